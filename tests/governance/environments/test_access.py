from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.lock import hold_lock, is_held
from comfywatchman.governance.environments.access import find_interpreter, open_context, read_context
from tests.governance.contexts import Site, build_site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return build_site(tmp_path, init=False)


def test_context_holds_the_lock_while_open(site: Site) -> None:
    with site.opened() as context:
        assert is_held(site.layout.process_lock)
        assert context.lock_descriptor is not None
        assert context.pass_on == (context.lock_descriptor,)
    assert not is_held(site.layout.process_lock)


@pytest.mark.slow
def test_second_command_names_the_lock_holder(site: Site) -> None:
    second = site.opened("second", patience_seconds=0.1)
    with site.opened("promote x"), pytest.raises(Failure, match="promote x") as caught, second:
        pass
    assert caught.value.code == "lock-held"


def test_waiting_is_reported_with_the_holder_before_it_begins(site: Site) -> None:
    holders: list[str] = []
    with hold_lock(site.layout.process_lock, command="gov tx run depth", clock=site.clock):
        second = open_context(
            site.root,
            comfyui=site.comfyui,
            command="second",
            clock=site.clock,
            network={},
            is_new=True,
            patience_seconds=0.1,
            on_wait=holders.append,
        )
        with pytest.raises(Failure), second:
            pass
    (holder,) = holders
    assert "(gov tx run depth, since " in holder


CHILD = "import sys; print('runs', flush=True); sys.stdin.read()"


def child_with(descriptors: tuple[int, ...]) -> subprocess.Popen[bytes]:
    """Start a program that inherits descriptors and ends with its standard input."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=-1, stdout=-1, pass_fds=descriptors, start_new_session=True
    )
    assert child.stdout
    assert child.stdout.readline() == b"runs\n"
    return child


def test_second_command_waits_for_children_of_a_killed_one(site: Site) -> None:
    with hold_lock(site.layout.process_lock, command="first", clock=site.clock) as descriptor:
        child = child_with((descriptor,))
    with child:
        # The first command is gone without its end, but its child lives: the lock is the child's now.
        assert is_held(site.layout.process_lock)
        assert child.stdin
        child.stdin.close()
        with site.opened("second", patience_seconds=60.0):
            assert child.wait(60) == 0


def test_stray_children_do_not_keep_the_lock(site: Site) -> None:
    with site.opened() as context:
        child = child_with(context.pass_on)
        reader = os.open(site.layout.process_lock, os.O_RDONLY)
        waiting = child_with((reader,))
    os.close(reader)
    with child, waiting:
        assert child.wait(60) < 0
        assert not is_held(site.layout.process_lock)
        # It has the file open, too, but never had the lock.
        assert waiting.poll() is None
        assert waiting.stdin
        waiting.stdin.close()


def test_missing_root_is_reported(site: Site) -> None:
    with pytest.raises(Failure, match="gov init") as caught:
        read_context(site.root, comfyui=site.comfyui, clock=site.clock, network={})
    assert caught.value.code == "gov-not-initialised"
    opening = open_context(site.root, comfyui=site.comfyui, command="x", clock=site.clock, network={})
    with pytest.raises(Failure, match="gov init"), opening:
        pass


def test_configured_comfyui_of_the_root_takes_precedence(site: Site) -> None:
    other = site.folder / "other"
    site.configure(paths={"comfyui_dir": str(other)})
    with site.opened() as context:
        assert context.comfyui == other
        assert context.custom_nodes == other / "custom_nodes"


def test_missing_comfyui_is_reported(site: Site) -> None:
    opening = open_context(site.root, comfyui=None, command="x", clock=site.clock, network={}, is_new=True)
    with pytest.raises(Failure) as caught, opening:
        pass
    assert caught.value.code == "comfyui-not-found"


def test_unwritable_root_is_reported(site: Site) -> None:
    (site.root / "state").write_text("a file, where a folder should be")
    with pytest.raises(Failure) as caught, site.opened():
        pass
    assert caught.value.code == "state-unwritable"


@pytest.mark.slow
def test_reading_deletes_files_of_killed_commands(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    (site.layout.work / "left").mkdir()
    with site.opened():
        (site.layout.work / "used").mkdir()
        context = read_context(site.root, comfyui=site.comfyui, clock=site.clock, network={})
        assert (site.layout.work / "used").is_dir()
    (site.layout.work / "left").mkdir()
    context = read_context(site.root, comfyui=site.comfyui, clock=site.clock, network={})
    assert context.note == ""
    assert list(site.layout.work.iterdir()) == []


@pytest.mark.slow
def test_reading_takes_no_lock(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    with site.opened():
        context = read_context(site.root, comfyui=site.comfyui, clock=site.clock, network={})
    assert context.note == ""
    assert context.pass_on == ()


def test_comfyui_interpreter_is_preferred_and_resolved(tmp_path: Path) -> None:
    own = tmp_path / "venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    real = tmp_path / "python3.12"
    real.write_text("#!/bin/sh\n")
    real.chmod(0o755)
    own.symlink_to(real)
    assert find_interpreter("", tmp_path, tmp_path / "prod") == real
    assert find_interpreter("", tmp_path / "nowhere", tmp_path / "venv") == real
    assert find_interpreter("", tmp_path / "nowhere", tmp_path / "prod") == Path(sys.executable).resolve()


def test_configured_interpreter_must_be_executable(tmp_path: Path) -> None:
    assert find_interpreter(sys.executable, tmp_path, tmp_path) == Path(sys.executable).resolve()
    for wrong in ("/nonexistent/python", str(tmp_path / "x")):
        with pytest.raises(Failure) as caught:
            find_interpreter(wrong, tmp_path, tmp_path)
        assert caught.value.code == "gov-python-missing"


def test_network_filesystem_is_logged(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("comfywatchman.governance.environments.access.find_network_filesystem", lambda _folder: "nfs4")
    with site.opened():
        assert "network filesystem" in caplog.text


def _count_up(folder: str) -> None:
    site = Site(Path(folder))
    with site.opened():
        counter = site.folder / "counter"
        counter.write_text(str(int(counter.read_text()) + 1))


@pytest.mark.slow
def test_concurrent_commands_run_one_after_the_other(site: Site) -> None:
    (site.folder / "counter").write_text("0")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_count_up, args=(os.fspath(site.folder),)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert (site.folder / "counter").read_text() == "4"


@pytest.mark.slow
def test_uv_ends_with_the_command(tmp_path: Path) -> None:
    # An orphaned uv would hold the lock of the root, and write behind the next command.
    with build_site(tmp_path, init=False).opened() as context:
        assert context.uv.dies_with_us
