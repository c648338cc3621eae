from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.lock import hold_lock
from comfywatchman.readiness.backup import NAMES, restore_backup, write_backup
from tests.hosts import Host
from tests.torture.test_state_values import build_host

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return build_host(tmp_path_factory.mktemp("backup"))


def read_state_files(host: Host) -> dict[str, bytes]:
    return {name: (host.layout.home.state / name).read_bytes() for name in NAMES}


def change_archive(path: Path, name: str, content: bytes, kind: bytes = tarfile.REGTYPE) -> None:
    """Add one entry to a backup."""
    with tarfile.open(path, "r:gz") as archive:
        entries = [(entry, archive.extractfile(entry).read()) for entry in archive]  # type: ignore[union-attr]
    extra = tarfile.TarInfo(name)
    extra.size, extra.type = len(content), kind
    if kind == tarfile.SYMTYPE:
        extra.size, extra.linkname = 0, "/etc/passwd"
    with tarfile.open(path, "w:gz") as archive:
        for entry, body in [*entries, (extra, content)]:
            archive.addfile(entry, io.BytesIO(body))


def test_restored_state_is_the_one_that_was_backed_up(host: Host, tmp_path: Path) -> None:
    file, before = tmp_path / "a.tar.gz", read_state_files(host)
    manifest = write_backup(host.layout, file, host.clock)
    assert set(manifest.sha256) == set(NAMES)
    assert file.stat().st_mode & 0o777 == 0o600
    for name in NAMES:
        (host.layout.home.state / name).write_bytes(b"{changed")
    restored, replaced = restore_backup(host.layout, file, host.clock)
    assert restored == manifest
    assert read_state_files(host) == before
    assert {path.read_bytes() for path in replaced} == {b"{changed"}
    assert host.cycle().record.success


def test_file_that_the_backup_lacks_is_set_aside(host: Host, tmp_path: Path) -> None:
    file, queue = tmp_path / "a.tar.gz", host.layout.home.state / "downloads.json"
    content = queue.read_bytes()
    queue.unlink()
    write_backup(host.layout, file, host.clock)
    queue.write_bytes(content)
    restore_backup(host.layout, file, host.clock)
    assert not queue.exists()
    queue.write_bytes(content)


def test_backup_replaces_no_file(host: Host, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(Failure, match="exists already"):
        write_backup(host.layout, tmp_path / "a", host.clock)


def test_host_without_state_has_nothing_to_back_up(tmp_path: Path) -> None:
    empty = Host(tmp_path / "empty")
    with pytest.raises(Failure, match="no state to back up"):
        write_backup(empty.layout, tmp_path / "a", empty.clock)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("../../evil", b"x", tarfile.REGTYPE),
        ("cycle.lock", b"x", tarfile.REGTYPE),
        ("decisions.json", b"{}", tarfile.REGTYPE),
        ("downloads.json", b"", tarfile.SYMTYPE),
    ],
)
def test_changed_backup_changes_nothing(host: Host, tmp_path: Path, name: str, content: bytes, kind: bytes) -> None:
    file, before = tmp_path / "a.tar.gz", read_state_files(host)
    write_backup(host.layout, file, host.clock)
    change_archive(file, name, content, kind)
    with pytest.raises(Failure) as caught:
        restore_backup(host.layout, file, host.clock)
    assert caught.value.code == "backup-invalid"
    assert read_state_files(host) == before


def test_damaged_backup_changes_nothing(host: Host, tmp_path: Path) -> None:
    file, before = tmp_path / "a.tar.gz", read_state_files(host)
    write_backup(host.layout, file, host.clock)
    content = file.read_bytes()
    for damaged in (b"", b"x", content[: len(content) // 2], b"\x00" * 100):
        file.write_bytes(damaged)
        with pytest.raises(Failure) as caught:
            restore_backup(host.layout, file, host.clock)
        assert caught.value.code == "backup-invalid"
    assert read_state_files(host) == before


def test_running_scheduler_is_in_the_way_of_a_restore(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "a.tar.gz"
    write_backup(host.layout, file, host.clock)
    with hold_lock(host.layout.scheduler_lock, command="test", clock=host.clock), pytest.raises(Failure) as caught:
        restore_backup(host.layout, file, host.clock)
    assert caught.value.code == "lock-held"
