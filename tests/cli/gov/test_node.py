from __future__ import annotations

import pytest

from tests.cli.gov.calls import Gov
from tests.governance.contexts import KeptSite

pytestmark = pytest.mark.slow


def test_token_in_a_url_is_never_stored_or_printed(kept_root: KeptSite) -> None:
    gov = Gov(kept_root.restore())
    for url in ("https://me:t0ken@127.0.0.1:9/a/pack", "https://t0ken@127.0.0.1:9/a/pack?x", "ftp://me:t0ken@host/a"):
        result = gov("node", "add", url, "--json")
        assert result.exit_code == 1
        assert "t0ken" not in result.output
    folders = (gov.site.root, gov.site.folder / "home")
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert "node add" in (gov.site.root / "state/.lock").read_text()
    assert not [path for path in files if b"t0ken" in path.read_bytes()]


def test_all_folders_are_adopted_at_once(kept_root: KeptSite) -> None:
    gov = Gov(kept_root.restore())
    for name in ("depth", "other"):
        gov.pack(name)
    assert [node["id"] for node in gov.json("node", "add", "--adopt", "--all")] == ["depth", "other"]
    assert "Every custom node that is installed is registered." in gov("node", "add", "--adopt", "--all").stdout
    assert gov("node", "add", "--all").exit_code == 2
    assert gov("node", "add", "a", "b").exit_code == 2
    assert gov("node", "add").exit_code == 2
