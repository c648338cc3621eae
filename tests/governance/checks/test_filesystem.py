from __future__ import annotations

import pytest

from comfywatchman.governance.checks.filesystem import judge


@pytest.mark.parametrize(("kind", "status"), [(None, "ok"), ("nfs4", "warn"), ("fuse.sshfs", "warn")])
def test_network_filesystem_is_a_warning(kind: str | None, status: str) -> None:
    assert judge(kind, "/srv/env").status == status
