"""Intake: each content of each file is acknowledged once, despite crashes and damaged state."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.readiness.workflows.availability import explain_absence
from comfywatchman.readiness.workflows.discovery import WatchedRoot, list_workflows
from comfywatchman.readiness.workflows.intake import compare_files
from comfywatchman.readiness.workflows.intake_log import (
    Acknowledgement,
    append_entries,
    read_last_entries,
    read_log,
)
from comfywatchman.readiness.workflows.known_workflows import (
    KnownWorkflow,
    load_known_workflows,
    save_known_workflows,
)

AT = "2026-11-20T14:00:{:02d}Z"


def sha256(path: str) -> str | None:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return None


@dataclass
class Host:
    """A root and a state folder, with cycles that run only the intake."""

    folder: Path
    cycles: int = 0
    crash: Callable[[tuple[Acknowledgement, ...]], bool] = lambda _: False

    def __post_init__(self) -> None:
        self.root.mkdir(exist_ok=True)
        self.state_file.parent.mkdir(exist_ok=True)

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def state_file(self) -> Path:
        return self.folder / "state" / "workflows.json"

    @property
    def log(self) -> Path:
        return self.folder / "state" / "intake_log.jsonl"

    def write(self, name: str, content: str) -> Path:
        path = self.root / name
        path.write_text(content)
        return path

    def cycle(self, *, hash_file: Callable[[str], str | None] = sha256) -> list[tuple[str, str]]:
        """Run one intake; return kind and file name of each acknowledgement."""
        self.cycles += 1
        roots = [WatchedRoot(self.root, "mine")]
        before, _ = load_known_workflows(self.state_file, self.log)
        listing = list_workflows(roots, suffixes=frozenset({".json"}))
        comparison = compare_files(
            listing.files,
            before,
            hash_file=hash_file,
            explain_absence=lambda path, device: explain_absence(path, roots, listing, device=device),
            at=AT.format(self.cycles % 60),
            cycle=f"c{self.cycles}",
        )
        if not self.crash(comparison.added):
            append_entries(self.log, comparison.added)
            save_known_workflows(self.state_file, self.log, comparison.known)
        return [(entry.kind, os.path.basename(entry.path)) for entry in comparison.added]

    def entries(self) -> list[Acknowledgement]:
        return list(read_log(self.log))

    def known(self) -> dict[str, KnownWorkflow]:
        return load_known_workflows(self.state_file, self.log)[0]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def forbidden(path: str) -> str | None:
    raise AssertionError(path)


def test_a_new_file_is_acknowledged_once(host: Host) -> None:
    path = host.write("a.json", "1")
    assert host.cycle() == [("new", "a.json")]
    assert host.cycle(hash_file=forbidden) == []
    (entry,) = host.entries()
    assert entry == Acknowledgement(
        at=AT.format(1), kind="new", path=str(path), source="mine", sha256=sha256(str(path)) or "", cycle="c1"
    )


def test_a_changed_file_is_updated(host: Host) -> None:
    host.write("a.json", "1")
    host.cycle()
    host.write("a.json", "22")
    assert host.cycle() == [("updated", "a.json")]


def test_touched_file_is_hashed_once_and_not_acknowledged(host: Host) -> None:
    path = host.write("a.json", "1")
    host.cycle()
    os.utime(path, ns=(1, 1))
    assert host.cycle() == []
    assert host.cycle(hash_file=forbidden) == []


def test_a_renamed_file_is_renamed(host: Host) -> None:
    path = host.write("a.json", "1")
    host.cycle()
    path.rename(host.root / "b\n\x1b\\.json")
    assert host.cycle() == [("renamed", r"b\n\x1b\\.json")]
    entry = host.entries()[-1]
    assert entry.previous_path == str(path)
    assert entry.raw_path == os.fsencode(host.root / "b\n\x1b\\.json").hex()
    assert list(host.known()) == [entry.path]
    assert host.cycle(hash_file=forbidden) == []


def test_renamed_file_keeps_its_history(host: Host) -> None:
    path = host.write("a.json", "1")
    host.cycle()
    known = {key: msgspec.structs.replace(item, last_resolved_at="then") for key, item in host.known().items()}
    save_known_workflows(host.state_file, host.log, known)
    path.rename(host.root / "b.json")
    host.cycle()
    assert [item.last_resolved_at for item in host.known().values()] == ["then"]


def test_a_removed_file_is_removed_and_may_come_back(host: Host) -> None:
    path = host.write("a.json", "1")
    host.cycle()
    path.unlink()
    assert host.cycle() == [("removed", "a.json")]
    assert host.cycle() == []
    host.write("a.json", "1")
    assert host.cycle() == [("new", "a.json")]


def test_rename_prefers_the_candidate_with_the_same_file_name(host: Host) -> None:
    for name in ("a.json", "b.json"):
        host.write(name, "same")
    host.cycle()
    for folder, name in (("1", "b.json"), ("2", "a.json")):
        (host.root / folder).mkdir()
        (host.root / name).rename(host.root / folder / name)
    assert sorted(host.cycle()) == [("renamed", "a.json"), ("renamed", "b.json")]
    for entry in host.entries()[-2:]:
        assert os.path.basename(entry.previous_path or "") == os.path.basename(entry.path)


def test_files_of_equal_content_are_separate_workflows(host: Host) -> None:
    host.write("a.json", "same")
    host.cycle()
    host.write("b.json", "same")
    assert host.cycle() == [("new", "b.json")]
    (host.root / "a.json").unlink()
    assert host.cycle() == [("removed", "a.json")]


def test_file_replacing_another_is_an_update(host: Host) -> None:
    host.write("a.json", "1")
    host.write("b.json", "2")
    host.cycle()
    (host.root / "a.json").rename(host.root / "b.json")
    assert sorted(host.cycle()) == [("removed", "a.json"), ("updated", "b.json")]


def test_names_that_look_alike_stay_separate(host: Host) -> None:
    host.write("a\n.json", "1")
    host.write("a\\n.json", "2")
    assert len(host.cycle()) == 2
    assert host.cycle(hash_file=forbidden) == []
    assert len(host.known()) == 2


def test_unreadable_file_keeps_its_known_state(host: Host) -> None:
    path = host.write("a.json", "1")
    host.cycle()
    os.utime(path, ns=(1, 1))
    host.write("b.json", "2")
    assert host.cycle(hash_file=lambda _: None) == []
    assert list(host.known()) == [str(path)]
    assert host.cycle() == [("new", "b.json")]


def test_missing_root_removes_nothing(host: Host) -> None:
    host.write("a.json", "1")
    host.cycle()
    host.root.rename(host.folder / "unmounted")
    assert host.cycle() == []
    (host.folder / "unmounted").rename(host.root)
    assert host.cycle(hash_file=forbidden) == []


def test_empty_mount_point_removes_nothing(host: Host) -> None:
    host.write("a.json", "1")
    host.cycle()
    known = {
        path: msgspec.structs.replace(item, signature=(item.signature[0] + 1, *item.signature[1:]))
        for path, item in host.known().items()
    }
    save_known_workflows(host.state_file, host.log, known)
    (host.root / "a.json").unlink()
    assert host.cycle() == []
    assert list(host.known()) == list(known)


def test_a_damaged_state_file_is_rebuilt_from_the_log(host: Host) -> None:
    host.write("a.json", "1")
    host.write("b.json", "2")
    host.cycle()
    (host.root / "b.json").unlink()
    host.cycle()
    host.state_file.write_bytes(b"{torn")
    known, damaged = load_known_workflows(host.state_file, host.log)
    assert [os.path.basename(path) for path in known] == ["a.json"]
    assert len(damaged) == 1
    assert damaged[0].moved_to is not None
    assert host.cycle() == []
    assert host.cycle(hash_file=forbidden) == []


def test_emptied_log_causes_no_second_acknowledgement(host: Host) -> None:
    host.write("a.json", "1")
    host.write("gone.json", "2")
    host.cycle()
    (host.root / "gone.json").unlink()
    host.cycle()
    host.log.write_bytes(b"")
    assert host.cycle() == []
    host.write("b.json", "3")
    assert host.cycle() == [("new", "b.json")]
    assert len(host.entries()) == 1


def test_crash_after_a_shortened_log_acknowledges_once(host: Host) -> None:
    for name in ("a.json", "b.json", "c.json"):
        host.write(name, name)
        host.cycle()
    (host.root / "c.json").unlink()
    host.write("a.json", "changed")
    host.cycle()
    lines = host.log.read_bytes().splitlines(keepends=True)
    host.log.write_bytes(lines[0])
    host.write("d.json", "d")
    crash_while_recording(host, 100)
    assert len(host.entries()) == 2
    assert host.cycle() == []
    assert sorted(map(os.path.basename, host.known())) == ["a.json", "b.json", "d.json"]


def test_log_that_is_not_a_regular_file_is_a_failure(host: Host) -> None:
    makers: tuple[Callable[[], object], ...] = (
        host.log.mkdir,
        lambda: os.mkfifo(host.log),
        lambda: host.log.symlink_to("/dev/zero"),
    )
    for make in makers:
        make()
        with pytest.raises(Failure) as caught:
            host.cycle()
        assert caught.value.code == "file-not-regular"
        host.log.rmdir() if host.log.is_dir() else host.log.unlink()


def test_torn_and_foreign_lines_are_skipped(host: Host) -> None:
    host.write("a.json", "1")
    host.cycle()
    with host.log.open("ab") as stream:
        stream.write(b'\xff\n\n[]\n{"at":"x"}\n{"at":"2026')
    host.write("b.json", "2")
    host.cycle()
    assert [entry.kind for entry in host.entries()] == ["new", "new"]
    assert len(host.known()) == 2


def test_nothing_is_written_when_nothing_changed(host: Host) -> None:
    host.write("a.json", "1")
    host.cycle()
    before = host.state_file.stat().st_ino
    host.cycle()
    assert host.state_file.stat().st_ino == before


CYCLE = """
import sys
from pathlib import Path
from tests.readiness.workflows.test_intake import Host
Host(Path(sys.argv[1]), cycles=7).cycle()
"""


@pytest.mark.parametrize("failpoint", ["cycle.after_intake", "files.after_append", "files.before_rename"])
@pytest.mark.slow
def test_a_kill_between_log_and_state_acknowledges_each_file_once(host: Host, failpoint: str) -> None:
    host.write("a.json", "1")
    host.cycle()
    for name in ("b.json", "c.json"):
        host.write(name, name)
    killed = subprocess.run(
        [sys.executable, "-c", CYCLE, str(host.folder)],
        env={**os.environ, "COMFYWATCHMAN_FAILPOINTS": f"{failpoint}=kill"},
        cwd=Path(__file__).parents[3],
        check=False,
        timeout=250,
    )
    assert killed.returncode == -9
    assert len(orjson.loads(host.state_file.read_bytes())["workflows"]) == 1

    assert host.cycle() == []

    assert sorted(os.path.basename(entry.path) for entry in host.entries()) == ["a.json", "b.json", "c.json"]
    assert host.cycle(hash_file=forbidden) == []


def test_the_newest_entries_come_first_however_long_the_log(host: Host) -> None:
    entries = [
        Acknowledgement(at="t", kind="new", path=f"/{number}" + "x" * 200, source="s", sha256="0" * 64, cycle="c")
        for number in range(1500)
    ]
    append_entries(host.log, entries)
    assert read_last_entries(host.log, 3) == entries[::-1][:3]
    assert read_last_entries(host.log, 700) == entries[::-1][:700]
    assert read_last_entries(host.log, 5000) == entries[::-1]
    assert read_last_entries(host.folder / "absent", 3) == []


def test_rename_found_only_in_the_log_is_not_repeated(host: Host) -> None:
    path = host.write("a.json", "1")
    host.cycle()
    path.rename(host.root / "b.json")
    crash_while_recording(host, 100)
    assert host.cycle() == []
    assert list(map(os.path.basename, host.known())) == ["b.json"]


NAMES = st.sampled_from(["a.json", "b.json", "b\n.json", "b\\n.json", os.fsdecode(b"\xff.json"), "名.json"])
STEPS = st.one_of(
    st.tuples(st.just("write"), NAMES, st.sampled_from(["1", "2", "3"])),
    st.tuples(st.just("rename"), NAMES, NAMES),
    st.tuples(st.just("delete"), NAMES, st.just("")),
    st.tuples(st.just("touch"), NAMES, st.just("")),
    st.tuples(st.just("cycle"), st.just(""), st.just("")),
    st.tuples(st.just("crash"), st.just(""), st.sampled_from([0, 30, 70, 100, 100])),
    st.tuples(st.just("damage"), st.just(""), st.just("")),
    st.tuples(st.just("unmount"), st.just(""), st.just("")),
)


def take(host: Host, step: tuple[str, str, str | int]) -> None:
    verb, name, argument = step
    path = host.root / name
    if verb == "write":
        path.write_text(str(argument))
    elif verb == "rename" and path.exists():
        path.rename(host.root / str(argument))
    elif verb == "delete":
        path.unlink(missing_ok=True)
    elif verb == "touch" and path.exists():
        os.utime(path)
    elif verb == "cycle":
        host.cycle()
    elif verb == "crash":
        crash_while_recording(host, int(argument))
    elif verb == "damage":
        host.state_file.unlink(missing_ok=True)
        host.state_file.write_bytes(b"{")
    elif verb == "unmount":
        host.root.rename(host.folder / "away")
        host.cycle()
        (host.folder / "away").rename(host.root)


def crash_while_recording(host: Host, percent: int) -> None:
    """Run a cycle whose log append is cut off after some bytes, as by a power cut."""

    def crash(added: tuple[Acknowledgement, ...]) -> bool:
        spare = host.folder / "spare.jsonl"
        shutil.copyfile(host.log, spare) if host.log.exists() else spare.write_bytes(b"")
        before = spare.stat().st_size
        append_entries(spare, added)
        content = spare.read_bytes()
        host.log.write_bytes(content[: before + (len(content) - before) * percent // 100])
        return True

    host.crash = crash
    host.cycle()
    host.crash = lambda _: False


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_replayed_log_matches_the_files(steps: list[tuple[str, str, str | int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        host = Host(Path(folder))
        for step in steps:
            take(host, step)
        host.cycle()

        there = {printable_path(path): sha256(str(path)) for path in host.root.iterdir()}
        replayed: dict[str, str] = {}
        for entry in host.entries():
            replay(replayed, entry)
        assert replayed == there
        assert {path: item.sha256 for path, item in host.known().items()} == there
        assert host.cycle(hash_file=forbidden) == []


def replay(state: dict[str, str], entry: Acknowledgement) -> None:
    """Apply one entry; fail when it contradicts the earlier ones."""
    if entry.kind == "removed":
        assert state.pop(entry.path) == entry.sha256
    elif entry.kind == "renamed":
        assert entry.path not in state
        assert state.pop(entry.previous_path or "") == entry.sha256
        state[entry.path] = entry.sha256
    else:
        assert (entry.path in state) == (entry.kind == "updated")
        assert state.get(entry.path) != entry.sha256
        state[entry.path] = entry.sha256
