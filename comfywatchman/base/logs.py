"""The structured log: one JSON object per line, rotated by size."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final

import orjson

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import escape_surrogates
from comfywatchman.base.settings import LogSection

NAME: Final = "comfywatchman"
FILE_NAME: Final = "structured.log"
_READ_BYTES: Final = 1 << 20


class _FailSafeHandler(RotatingFileHandler):
    """A log file whose errors, such as a full disk, never reach the program."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; reopen the log first when another process has rotated it."""
        try:
            # Several processes write to one log; each of them would go on writing to the renamed file.
            if self.stream is not None and os.fstat(self.stream.fileno()).st_ino != os.stat(self.baseFilename).st_ino:
                self.stream.close()
                self.stream = self._open()
        except OSError:
            self.handleError(record)
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        """Drop the record: the log is the only place where the error could be reported."""

    def close(self) -> None:
        """Close even when the last bytes cannot be written."""
        with contextlib.suppress(OSError):
            super().close()


def open_log(folder: Path, section: LogSection) -> logging.Logger:
    """Return the program's logger, which writes to `structured.log` in a folder.

    Raises:
        Failure: `state-unwritable` when the log cannot be opened.
    """
    logger = logging.getLogger(NAME)
    # A second call would otherwise write every line twice.
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    file = folder / FILE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_pipe(file)
        log_file = _FailSafeHandler(
            file,
            maxBytes=max(1, int(section.max_mb * (1 << 20))),
            backupCount=section.backups,
            encoding="utf-8",
            errors="backslashreplace",
        )
    except OSError as error:
        raise Failure(
            "state-unwritable",
            f"The log in {folder} cannot be written: {error.strerror}.",
            hint="Fix the permissions of that folder or choose another home with --home.",
        ) from error
    log_file.setFormatter(_build_formatter())
    logger.addHandler(log_file)
    logger.setLevel(section.level.upper())
    logger.propagate = False
    return logger


def read_last_records(file: Path) -> list[dict[str, Any]]:
    """Return the records at the end of a structured log, the oldest first; lines that are no record are left out.

    Args:
        file: The log. One that is absent has no records. The file that was rotated last is read too, for the log is
            almost empty right after that.
    """
    records = []
    # The first line may begin in the middle, and the last one may be unfinished.
    for line in (*_read_last_lines(file.with_name(f"{file.name}.1")), *_read_last_lines(file)):
        with contextlib.suppress(orjson.JSONDecodeError):
            record = orjson.loads(line)
            if isinstance(record, dict):
                records.append(record)
    return records


def _read_last_lines(file: Path) -> list[bytes]:
    try:
        _refuse_pipe(file)
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _READ_BYTES))
            return stream.read().splitlines()
    except OSError:
        return []


def _refuse_pipe(file: Path) -> None:
    # Opening a FIFO for writing blocks until another process reads from it.
    if file.is_fifo():
        raise OSError(errno.EINVAL, f"{file.name} is a pipe")


def _build_formatter() -> logging.Formatter:
    from pythonjsonlogger.orjson import OrjsonFormatter

    class Formatter(OrjsonFormatter):
        # UTC, like every time in our files.
        converter = staticmethod(time.gmtime)

        def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
            try:
                return super().jsonify_log_record(log_data)
            except TypeError:
                # A path that is not UTF-8 must not cost the whole line.
                return super().jsonify_log_record(escape_surrogates(log_data))

    return Formatter(
        ["asctime", "levelname", "name", "message"],
        rename_fields={"asctime": "timestamp", "levelname": "level", "name": "logger"},
        datefmt="%Y-%m-%dT%H:%M:%SZ",
    )
