"""What every command starts from: which ComfyUI, which roots, and how to be started again."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.app.session import Session, own_command
from comfywatchman.base.errors import Failure
from comfywatchman.readiness.workflows.discovery import WatchedRoot
from tests.hosts import Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def session(host: Host, text: str = "", **options: Path) -> Session:
    path = host.folder / "given.toml"
    path.write_text(text)
    return Session(home_option=host.home, config_option=path, comfyui_option=options.get("comfyui"))


def test_option_wins_over_the_configuration(host: Host) -> None:
    found = session(host, '[comfyui]\nroot = "/nowhere"\n', comfyui=host.comfyui).installation()
    assert found is not None
    assert (found.root, found.found_by) == (host.comfyui, "--comfyui")


def test_configured_folder_without_comfyui_is_a_failure(host: Host) -> None:
    with pytest.raises(Failure, match=r"/nowhere \(named by .*given.toml\)") as raised:
        session(host, '[comfyui]\nroot = "/nowhere"\n').installation()
    assert raised.value.code == "comfyui-not-found"


def test_configured_folder_on_a_disk_that_is_not_mounted_is_named(host: Host) -> None:
    link = host.folder / "far"
    link.symlink_to("/nowhere/at/all")
    for root in (link, link / "ComfyUI"):
        with pytest.raises(Failure) as raised:
            session(host, f'[comfyui]\nroot = "{root}"\n').installation()
        assert raised.value.code == "comfyui-not-found"
        assert raised.value.hint == (
            f"{link} could not be looked at. Mount the disk of /nowhere/at/all, where this link leads, or point the "
            "link elsewhere."
        )


def test_sample_host_is_offered_without_a_comfyui(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(host.folder / "nobody"))
    for is_built in (False, True):
        if is_built:
            (host.home / "state" / "sample" / "ComfyUI").mkdir(parents=True)
        with pytest.raises(Failure) as raised:
            session(host).require_installation("to look at")
        assert ("sample host" in (raised.value.hint or "")) == is_built


def test_steps_of_the_sample_host_name_it(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    # The session has no ComfyUI: neither in the home of the user nor in the current folder.
    monkeypatch.setenv("HOME", str(host.home))
    monkeypatch.chdir(host.home)
    here = session(host)
    assert here.report_program() == here.program()
    sample = host.home / "state" / "sample" / "ComfyUI"
    sample.mkdir(parents=True)
    assert here.report_program() == (*here.program(), "--comfyui", str(sample))
    named = session(host, comfyui=host.comfyui)
    assert named.report_program() == named.program()


def test_installation_has_the_configured_folders(host: Host) -> None:
    text = '[comfyui]\nbase_directory = "base"\nmodels_directory = "m"\nextra_model_paths = ["a.yaml"]\n'
    found = session(host, text, comfyui=host.comfyui).installation()
    assert found is not None
    assert (found.base, found.models) == (host.folder / "base", host.folder / "m")
    assert found.extra_model_paths == (host.folder / "a.yaml",)


def test_default_roots_are_those_of_comfyui(host: Host) -> None:
    here = session(host, comfyui=host.comfyui)
    found = here.installation()
    assert found is not None
    assert here.roots(found) == (WatchedRoot(host.workflows, "comfyui"),)


def test_configured_roots_replace_the_default(host: Host) -> None:
    here = session(host, '[[workflows.roots]]\npath = "w"\nlabel = "mine"\n', comfyui=host.comfyui)
    found = here.installation()
    assert found is not None
    assert here.roots(found) == (WatchedRoot(host.folder / "w", "mine"),)


def test_arguments_name_home_configuration_and_comfyui(host: Host) -> None:
    here = session(host, comfyui=host.comfyui)
    found = here.installation()
    config = host.folder / "given.toml"
    named = ("--home", str(host.home), "--config", str(config), "--comfyui", str(host.comfyui))
    assert here.arguments(found) == named
    assert here.arguments(None) == named[:4]
    assert own_command()[1:] == ("-m", "comfywatchman")


def test_gov_command_has_the_options_of_the_call() -> None:
    here = Session(None, None, Path("/a b"), Path("/root"))
    assert here.format_gov_command("init", "--adopt") == "gov --root /root --comfyui '/a b' init --adopt"
    assert Session(None, None).format_gov_command("init") == "gov init"


def test_kept_texts_name_only_the_options_that_are_needed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYUI_ROOT", str(host.comfyui))
    monkeypatch.setenv("COMFYWATCHMAN_HOME", str(host.home))
    default = Session(host.home, None, comfyui_option=host.comfyui)
    assert default.complete_report_commands("gov init") == "gov init"
    monkeypatch.delenv("COMFYWATCHMAN_HOME")
    monkeypatch.setenv("COMFYUI_ROOT", str(host.folder))
    other = Host(host.folder / "other")
    kept = Session(host.home, None, comfyui_option=other.comfyui).complete_report_commands("Run: gov init")
    assert kept == f"Run: gov --home {host.home} --comfyui {other.comfyui} init"


def test_failures_of_a_call_name_its_options(host: Host) -> None:
    ended = host.invoke("env", "--root", str(host.folder / "root"), "tx", "inspect", "x")
    assert ended.exit_code != 0
    assert f"gov --root {host.folder / 'root'} --home {host.home} init" in ended.stderr
