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


@pytest.mark.slow
def test_init_stores_the_comfyui_option(site: Site) -> None:
    assert call(site, "status").exit_code == 1
    assert call(site, "--comfyui", str(site.comfyui), "init").exit_code == 0
    result = call(site, "status")
    assert result.exit_code == 0, result.output
    assert str(site.comfyui) in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", [["status"], ["check"], ["init"], ["node", "list"], ["op", "list"]])
def test_root_refuses_the_option_of_another_comfyui(site: Site, command: list[str]) -> None:
    call(site, "--comfyui", str(site.comfyui), "init")
    (site.folder / "link").symlink_to(site.comfyui)
    assert call(site, "--comfyui", str(site.folder / "link"), "status").exit_code == 0
    other = site.folder / "other"
    (other / "main.py").parent.mkdir()
    (other / "main.py").touch()
    result = call(site, "--comfyui", str(other), *command)
    assert result.exit_code == 1
    assert f"(gov-other-comfyui): The root {site.root} governs the ComfyUI in {site.comfyui}" in result.stderr


@pytest.mark.slow
def test_init_refuses_a_root_of_another_comfyui(site: Site) -> None:
    site.init()
    (site.folder / "other").mkdir()
    (site.folder / "other" / "main.py").touch()
    environment = {"HOME": str(site.folder), "COMFYUI_ROOT": str(site.folder / "other")}
    named = ["--root", str(site.root), "--home", str(site.folder / "home")]
    result = CliRunner().invoke(gov, [*named, "init", "--json"], env=environment)
    assert orjson.loads(result.stdout)["error"]["code"] == "gov-other-comfyui"
    # Other commands work on the ComfyUI of the root, whatever is configured.
    assert not result.stderr.startswith("The root")
    shown = CliRunner().invoke(gov, [*named, "status", "--json"], env=environment)
    assert orjson.loads(shown.stdout)["result"]["comfyui"] == str(site.comfyui)


@pytest.mark.slow
def test_root_of_another_comfyui_than_the_configured_one_is_noted(site: Site) -> None:
    site.init()
    other = site.folder / "other"
    other.mkdir()
    environment = {"HOME": str(site.folder), "COMFYWATCHMAN_GOVERNANCE__ROOT": str(site.root)}
    for folder, note in (
        (site.comfyui, ""),
        (other, f"governs {site.comfyui}, not the configured ComfyUI in {other}."),
    ):
        environment["COMFYUI_ROOT"] = str(folder)
        result = CliRunner().invoke(gov, ["--home", str(site.folder / "home"), "status"], env=environment)
        assert (result.exit_code, note in result.stderr, bool(note)) == (0, True, "governs" in result.stderr)


@pytest.mark.slow
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
