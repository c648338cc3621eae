from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from comfywatchman.cli.gov import gov
from tests.governance.grounds import made


def test_a_token_in_an_address_is_kept_nowhere_and_said_nowhere(tmp_path: Path) -> None:
    site = made(tmp_path)
    environment = {
        "COMFYUI_ROOT": str(site.comfyui),
        "COMFYWATCHMAN_HOME": str(tmp_path / "home"),
        "COMFYWATCHMAN_GOVERNANCE__ROOT": str(site.root),
        "HOME": str(tmp_path),
    }
    for url in ("https://me:t0ken@127.0.0.1:9/a/pack", "https://t0ken@127.0.0.1:9/a/pack?x", "ftp://me:t0ken@host/a"):
        result = CliRunner().invoke(gov, ["node", "add", url, "--json"], env=environment)
        assert result.exit_code == 1
        assert "t0ken" not in result.output
    files = [path for folder in (site.root, tmp_path / "home") for path in folder.rglob("*") if path.is_file()]
    assert "node add" in (site.root / "state/.lock").read_text()
    assert not [path for path in files if b"t0ken" in path.read_bytes()]
