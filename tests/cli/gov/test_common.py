"""A governed root that the system does not let us look into."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from comfywatchman.base.errors import Failure
from comfywatchman.base.lock import LockHolder, hold_lock, read_holder
from comfywatchman.cli.gov.main import gov
from comfywatchman.governance.environments.access import read_context
from tests.governance.contexts import Site, build_site

# Longer than a name may be: asking for it fails for root, too, as a folder without permission does for others.
UNSEEN = "a" * 300


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return build_site(tmp_path, init=False)


@pytest.mark.parametrize("command", [["status"], ["check"], ["node", "list"], ["tx", "run", "x"]])
def test_inaccessible_root_is_reported(site: Site, command: list[str]) -> None:
    root = site.folder / UNSEEN / "env"
    called = ["--root", str(root), "--home", str(site.folder / "home"), "--comfyui", str(site.comfyui)]
    result = CliRunner().invoke(gov, [*called, *command, "--json"])
    assert result.exit_code == 1
    error = orjson.loads(result.stdout)["error"]
    assert error["code"] == "file-unreadable"
    assert UNSEEN in error["message"]


def call(site: Site, *arguments: str) -> Result:
    """Run `gov` on the site's root, with no ComfyUI configured."""
    environment = {"HOME": str(site.folder), "COMFYUI_ROOT": None}
    named = ["--root", str(site.root), "--home", str(site.folder / "home")]
    return CliRunner().invoke(gov, [*named, *arguments], env=environment)


def test_init_stores_the_comfyui_option(site: Site) -> None:
    assert call(site, "status").exit_code == 1
    assert call(site, "--comfyui", str(site.comfyui), "init").exit_code == 0
    result = call(site, "status")
    assert result.exit_code == 0, result.output
    assert str(site.comfyui) in result.stdout


def test_other_comfyui_option_is_ignored_with_a_note(site: Site) -> None:
    call(site, "--comfyui", str(site.comfyui), "init")
    assert "--comfyui" not in call(site, "--comfyui", str(site.comfyui), "status").stderr
    assert "--comfyui is ignored" in call(site, "--comfyui", str(site.folder / "other"), "status").stderr


def test_waiting_for_the_lock_is_shown_whatever_the_log_says(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    call(site, "--comfyui", str(site.comfyui), "init")
    monkeypatch.setattr("comfywatchman.governance.environments.access.log.info", lambda *_phrase, **_fields: None)
    locks = ExitStack()
    locks.enter_context(hold_lock(site.layout.process_lock, command="gov tx run depth", clock=site.clock))
    monkeypatch.setattr("comfywatchman.governance.environments.access.read_holder", partial(_release, locks))
    shown = call(site, "tx", "abort", "nonsense").stderr
    assert "Waiting for process" in shown
    assert "(gov tx run depth, since " in shown


def _release(locks: ExitStack, path: Path) -> LockHolder | None:
    """Read the holder of a lock as it is, then let the waiting command have it."""
    holder = read_holder(path)
    locks.close()
    return holder


def test_inaccessible_root_is_a_failure_for_the_cycle(site: Site) -> None:
    with pytest.raises(Failure) as caught:
        read_context(site.folder / UNSEEN, comfyui=site.comfyui, clock=site.clock, network={})
    assert caught.value.code == "file-unreadable"
