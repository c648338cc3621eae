"""Back up the state that cannot be recreated into one file, and restore it."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Final, Literal

import msgspec
import orjson

from comfywatchman.base.clock import Clock, format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular, to_json, write_atomic
from comfywatchman.base.lock import hold_lock
from comfywatchman.base.state.ranges import Count
from comfywatchman.base.state.state_file import set_aside
from comfywatchman.base.state.version import find_later_version
from comfywatchman.readiness.layout import ReadinessLayout

NAMES: Final = (
    "decisions.json",
    "downloads.json",
    "history.jsonl",
    "intake_log.jsonl",
    "scheduler.json",
    "workflows.json",
)
"""The files of a backup. All others belong to the machine, or the next cycle writes them."""

_MANIFEST: Final = "manifest.json"
_MAX_FILE_BYTES: Final = 256 << 20
_MAX_BACKUP_BYTES: Final = 1 << 30
_PATIENCE_SECONDS: Final = 10.0


class BackupManifest(msgspec.Struct, frozen=True):
    """The first entry of a backup: when it was made, and the SHA-256 of each file by name.

    Attributes:
        made_at: UTC.
        sha256: Hash of each file by its name in `state/`.
        bytes: Size of all files together.
        schema_version: 1.
    """

    made_at: str
    sha256: dict[str, str]
    bytes: Count = 0
    schema_version: Literal[1] = 1


def write_backup(layout: ReadinessLayout, target: Path, clock: Clock) -> BackupManifest:
    """Write a backup of the state into a new file, while no cycle runs.

    Raises:
        Failure: `lock-held` while a cycle runs, `backup-invalid` when the file exists already or there is no state,
            `file-unreadable`, `state-unwritable`.
    """
    if target.exists() or target.is_symlink():
        raise Failure("backup-invalid", f"{printable_path(target)} exists already and is not replaced.")
    with hold_lock(layout.cycle_lock, command="backup", clock=clock, patience_seconds=_PATIENCE_SECONDS):
        contents = _read_contents(layout.home.state)
    if not contents:
        raise Failure("backup-invalid", f"There is no state to back up in {printable_path(layout.home.state)}.")
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    manifest = BackupManifest(format_utc(clock.now()), hashes, sum(map(len, contents.values())))
    # The state names folders and models of this user.
    write_atomic(target, _pack({_MANIFEST: to_json(manifest), **contents}), mode=0o600)
    return manifest


def restore_backup(layout: ReadinessLayout, source: Path, clock: Clock) -> tuple[BackupManifest, tuple[Path, ...]]:
    """Put the state of a backup in the place of the present one, which is set aside.

    Nothing is changed unless the whole backup is sound.

    Returns:
        Its manifest, and the files that were set aside.

    Raises:
        Failure: `backup-invalid`, `lock-held` while a scheduler or a cycle runs, `state-unwritable`.
    """
    manifest, contents = _read_backup(source)
    replaced: list[Path] = []
    with (
        hold_lock(layout.scheduler_lock, command="restore", clock=clock),
        hold_lock(layout.cycle_lock, command="restore", clock=clock, patience_seconds=_PATIENCE_SECONDS),
    ):
        for name in NAMES:
            path = layout.home.state / name
            # A link stays one until it is replaced; what it leads to is not touched.
            if path.exists() or path.is_symlink():
                moved_to = set_aside(path, word="replaced")
                if moved_to is None:
                    raise Failure("state-unwritable", f"{printable_path(path)} cannot be renamed.")
                replaced.append(moved_to)
            if name in contents:
                write_atomic(path, contents[name])
    return manifest, tuple(replaced)


def _read_contents(state: Path) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    for name in NAMES:
        try:
            contents[name] = read_regular(state / name, max_bytes=_MAX_FILE_BYTES)
        except Failure as failure:
            if not isinstance(failure.__cause__, FileNotFoundError):
                raise
    return contents


def _pack(contents: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o600
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def _read_backup(source: Path) -> tuple[BackupManifest, dict[str, bytes]]:
    packed = read_regular(source, max_bytes=_MAX_BACKUP_BYTES)
    try:
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
            contents = _read_entries(archive)
        document = orjson.loads(contents.pop(_MANIFEST))
        if find_later_version(document, BackupManifest) is not None:
            raise _invalid_failure(source, "a later version of comfywatchman wrote it")
        manifest = msgspec.convert(document, BackupManifest)
    except (tarfile.TarError, EOFError, OSError, ValueError, KeyError, msgspec.ValidationError) as error:
        raise _invalid_failure(source, "it is damaged, or no backup of comfywatchman") from error
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    if hashes != manifest.sha256:
        raise _invalid_failure(source, "its files are not those that were backed up")
    return manifest, contents


def _read_entries(archive: tarfile.TarFile) -> dict[str, bytes]:
    """Return the content of each entry; only plain files with the names of a backup are accepted.

    Raises:
        ValueError: Another entry, or too many bytes.
    """
    contents: dict[str, bytes] = {}
    left = _MAX_BACKUP_BYTES
    for entry in archive:
        left -= entry.size
        if not entry.isreg() or entry.name not in {_MANIFEST, *NAMES} or entry.name in contents or left < 0:
            raise ValueError(f"unexpected entry {entry.name!r}")
        stream = archive.extractfile(entry)
        contents[entry.name] = b"" if stream is None else stream.read()
    return contents


def _invalid_failure(source: Path, reason: str) -> Failure:
    return Failure(
        "backup-invalid",
        f"{printable_path(source)} cannot be restored: {reason}.",
        hint="Nothing was changed. Take another backup.",
    )
