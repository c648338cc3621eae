"""The secrets of the web page in `state/web/`: the key of its sessions, the token, and the one-time code.

All are files with mode 0600. No secret appears in a URL, a log or an argument list.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.clock import SystemClock, format_utc, parse_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import make_folder, printable_path, read_regular, to_json, write_atomic
from comfywatchman.base.json_values import decode_json
from comfywatchman.base.lock import hold_lock
from comfywatchman.base.state.ranges import check_times

CODE_MINUTES: Final = 15
SESSION_DAYS: Final = 30
_CODE_ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Excludes look-alike characters."""

_CODE_LENGTH: Final = 8
_MAX_TRIES: Final = 5
_MAX_BYTES: Final = 4096
_LOCK_SECONDS: Final = 10.0
_OWNER_ONLY: Final = 0o600


class OneTimeCode(msgspec.Struct, frozen=True):
    """A code that is exchanged for a session once.

    Attributes:
        sha256: Its hash: the code itself is printed, and stored nowhere.
        expires_at: Until when it can be used, UTC.
        tries_left: Wrong codes until it is withdrawn.
    """

    sha256: str
    expires_at: str
    tries_left: int = _MAX_TRIES

    def __post_init__(self) -> None:
        """Check the times.

        Raises:
            ValueError: One is out of range.
        """
        check_times(self.expires_at)


@dataclass(frozen=True, slots=True)
class WebSecrets:
    """The secrets in a folder.

    Attributes:
        folder: `state/web/` of the home.
    """

    folder: Path

    @property
    def token_file(self) -> Path:
        """The file of the token for programs and for access beyond this machine."""
        return self.folder / "token"

    @property
    def code_file(self) -> Path:
        """The file of the one-time code."""
        return self.folder / "code.json"

    @property
    def key_file(self) -> Path:
        """The file of the key that signs session cookies; deleting it ends all sessions."""
        return self.folder / "session_key"

    def create_token(self) -> str:
        """Create the token, or return the existing one.

        Raises:
            Failure: `state-unwritable`, or `web-secret-exposed`.
        """
        token = self.read_token()
        return token if token is not None else self._create(self.token_file)

    def read_token(self) -> str | None:
        """Return the token; None when there is none.

        Raises:
            Failure: `web-secret-exposed` when other users can read it.
        """
        return _read_secret(self.token_file)

    def read_key(self) -> bytes:
        """Return the key of session cookies; it is created when there is none.

        Raises:
            Failure: `state-unwritable`, or `web-secret-exposed`.
        """
        key = _read_secret(self.key_file)
        return (key if key is not None else self._create(self.key_file)).encode()

    def create_code(self, now: datetime) -> str:
        """Create a one-time code in place of the last one.

        Raises:
            Failure: `state-unwritable`, or `lock-held`.
        """
        code = "".join(secrets.choice(_CODE_ALPHABET) for _ in range(_CODE_LENGTH))
        expires_at = format_utc(now + timedelta(minutes=CODE_MINUTES))
        with self._lock_code():
            self._write_code(OneTimeCode(_hash_code(code), expires_at))
        half = _CODE_LENGTH // 2
        return f"{code[:half]}-{code[half:]}"

    def use_code(self, text: str, now: datetime) -> bool:
        """Return whether a text is the one-time code, or the token; the code can be used once.

        Raises:
            Failure: `state-unwritable`, `web-secret-exposed` or `lock-held`.
        """
        if self.is_token(text.strip()):
            return True
        # Guesses at the same time would each count from the same number of tries, or write a used code again.
        with self._lock_code():
            return self._use_code(text, now)

    def is_token(self, text: str) -> bool:
        """Return whether a text is the token.

        Raises:
            Failure: `web-secret-exposed`.
        """
        token = self.read_token()
        return token is not None and hmac.compare_digest(token.encode(), text.encode(errors="replace"))

    def _use_code(self, text: str, now: datetime) -> bool:
        try:
            code = decode_json(read_regular(self.code_file, max_bytes=_MAX_BYTES), OneTimeCode)
        except (Failure, msgspec.MsgspecError):
            return False
        if now > parse_utc(code.expires_at):
            return False
        if hmac.compare_digest(_hash_code(text), code.sha256):
            self._delete_code()
            return True
        if code.tries_left <= 1:
            self._delete_code()
        else:
            self._write_code(msgspec.structs.replace(code, tries_left=code.tries_left - 1))
        return False

    @contextmanager
    def _lock_code(self) -> Iterator[None]:
        make_folder(self.folder)
        lock = self.folder / "code.lock"
        with hold_lock(lock, command="web", clock=SystemClock(), patience_seconds=_LOCK_SECONDS):
            yield

    def _delete_code(self) -> None:
        self.code_file.unlink(missing_ok=True)

    def _write_code(self, code: OneTimeCode) -> None:
        write_atomic(self.code_file, to_json(code), mode=_OWNER_ONLY)

    def _create(self, path: Path) -> str:
        secret = secrets.token_urlsafe(32)
        make_folder(self.folder)
        write_atomic(path, secret.encode() + b"\n", mode=_OWNER_ONLY)
        return secret


class SessionCookies:
    """Session cookies: an end and a signature. They survive a restart of the server.

    Args:
        read_key: Returns the key that signs them.
    """

    def __init__(self, read_key: Callable[[], bytes]) -> None:
        self._read_key = read_key

    def create(self, now: datetime) -> str:
        """Return the value of a new cookie.

        Raises:
            Failure: The key cannot be read.
        """
        content = f"{int((now + timedelta(days=SESSION_DAYS)).timestamp())}.{secrets.token_hex(8)}"
        return f"{content}.{self._sign(content)}"

    def is_valid(self, value: str, now: datetime) -> bool:
        """Return whether a cookie is one of ours, and has not ended.

        Raises:
            Failure: The key cannot be read.
        """
        content, _, signature = value.rpartition(".")
        if not hmac.compare_digest(self._sign(content).encode(), signature.encode(errors="replace")):
            return False
        end, _, _ = content.partition(".")
        return now.timestamp() < int(end)

    def _sign(self, content: str) -> str:
        return hmac.new(self._read_key(), content.encode(errors="replace"), hashlib.sha256).hexdigest()


def _read_secret(path: Path) -> str | None:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return None
    if stat.S_IMODE(mode) & 0o077:
        place = printable_path(path)
        raise Failure("web-secret-exposed", f"Other users can read {place}.", hint=f"Run: chmod 600 {place}")
    return read_regular(path, max_bytes=_MAX_BYTES).decode("ascii", "replace").strip() or None


def _hash_code(text: str) -> str:
    letters = "".join(char for char in text.upper() if char in _CODE_ALPHABET)
    return hashlib.sha256(letters.encode()).hexdigest()
