from __future__ import annotations

import pytest

from comfywatchman.governance.environments import generation
from tests.cli.gov.calls import Gov

pytestmark = pytest.mark.slow


def test_run_starts_comfyui_from_the_real_environment_folder(gov_on: Gov) -> None:
    (gov_on.site.comfyui / "main.py").write_text("import sys; print(sys.prefix, sys.argv[1:]); sys.exit(7)\n")
    ended = gov_on.program("run", "--", "--port", "8190")
    key = generation.current_key(gov_on.site.layout)
    assert ended.returncode == 7, ended.stderr
    assert f"/envs/{key} " in ended.stdout
    assert "['--port', '8190']" in ended.stdout
