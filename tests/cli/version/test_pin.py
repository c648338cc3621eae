from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from tests.governance.wheels import add_wheel
from tests.hosts import Host
from tests.servers.base import LocalServer, Reply

pytestmark = pytest.mark.slow


def test_requirements_are_pinned_with_hashes(tmp_path: Path) -> None:
    host = Host(tmp_path)
    wheels = [add_wheel(tmp_path / "w", "tiny", "1.5", requires=["deep>=1"]), add_wheel(tmp_path / "w", "deep", "2.0")]
    pages = {}
    for name, wheel in zip(("tiny", "deep"), wheels, strict=True):
        digest = sha256(wheel.read_bytes()).hexdigest()
        link = f'<a href="/files/{wheel.name}#sha256={digest}">{wheel.name}</a>'
        pages[f"/simple/{name}/"] = Reply(link.encode(), headers={"content-type": "text/html"})
        pages[f"/files/{wheel.name}"] = Reply(wheel.read_bytes())
    requirements = tmp_path / "requirements.txt"
    requirements.write_text('tiny>=1\nnever==1; sys_platform == "win32"\n')
    with LocalServer(pages) as server:
        host.variables["UV_CACHE_DIR"] = str(tmp_path / "cache")
        index = ("--index", f"{server.url}/simple")
        output = tmp_path / "pins.txt"
        result = host.invoke("version", "pin", str(requirements), *index, "--output", str(output))
        assert (result.exit_code, result.stdout) == (0, f"Wrote {output}: 2 packages.\n"), result.output
        assert f"deep==2.0 \\\n    --hash=sha256:{sha256(wheels[1].read_bytes()).hexdigest()}" in output.read_text()
        (tmp_path / "local").mkdir()
        (tmp_path / "local" / "pyproject.toml").write_text('[project]\nname = "local"\nversion = "1"\n')
        requirements.write_text("tiny\n-e ./local\n")
        shown = host.invoke("version", "pin", str(requirements), *index, "--json")
        assert shown.exit_code == 1
        assert json.loads(shown.stdout)["unpinned"][0].startswith("-e ")
        requirements.write_text("tiny>=7\n")
        failed = host.invoke("version", "pin", str(requirements), *index)
        assert getattr(failed.exception, "code", None) == "version-pin-failed"
        assert "tiny" in str(failed.exception)
