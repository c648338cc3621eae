from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.errors import Failure
from comfywatchman.base.lock import hold_lock
from comfywatchman.web.security import web_secrets
from comfywatchman.web.security.web_secrets import SessionCookies, WebSecrets

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=16)


@pytest.fixture
def secrets(tmp_path: Path) -> WebSecrets:
    return WebSecrets(tmp_path / "web")


def test_code_is_used_once(secrets: WebSecrets) -> None:
    code = secrets.create_code(NOW)
    assert secrets.use_code(code.lower().replace("-", " "), NOW)
    assert not secrets.use_code(code, NOW)


def test_code_expires(secrets: WebSecrets) -> None:
    assert not secrets.use_code(secrets.create_code(NOW), LATER)


def test_new_code_replaces_the_last_one(secrets: WebSecrets) -> None:
    old, new = secrets.create_code(NOW), secrets.create_code(NOW)
    assert not secrets.use_code(old, NOW)
    assert secrets.use_code(new, NOW)


def test_five_wrong_codes_withdraw_the_code(secrets: WebSecrets) -> None:
    code = secrets.create_code(NOW)
    for _ in range(5):
        assert not secrets.use_code("AAAA-AAAA", NOW)
    assert not secrets.use_code(code, NOW)


def test_four_wrong_codes_do_not(secrets: WebSecrets) -> None:
    code = secrets.create_code(NOW)
    for _ in range(4):
        assert not secrets.use_code("AAAA-AAAA", NOW)
    assert secrets.use_code(code, NOW)


def test_guesses_at_the_same_time_are_all_counted(secrets: WebSecrets) -> None:
    secrets.create_code(NOW)
    barrier = threading.Barrier(4)

    def guess(_number: int) -> bool:
        barrier.wait(timeout=60)
        return secrets.use_code("AAAA-AAAA", NOW)

    with ThreadPoolExecutor(4) as executor:
        assert not any(executor.map(guess, range(4)))
    assert b'"tries_left": 1' in secrets.code_file.read_bytes()


def test_code_changes_only_under_its_lock(secrets: WebSecrets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_secrets, "_LOCK_SECONDS", 0.0)
    code = secrets.create_code(NOW)
    with hold_lock(secrets.folder / "code.lock", command="test", clock=SystemClock()):
        for change in (lambda: secrets.use_code(code, NOW), lambda: secrets.create_code(NOW)):
            with pytest.raises(Failure) as raised:
                change()
            assert raised.value.code == "lock-held"
    assert secrets.use_code(code, NOW)


@pytest.mark.parametrize("text", ["", "-", "\udcff", "ä" * 5000])
def test_nothing_is_no_code(secrets: WebSecrets, text: str) -> None:
    assert not secrets.use_code(text, NOW)
    secrets.create_token()
    assert not secrets.use_code(text, NOW)


def test_code_is_stored_as_a_hash_only(secrets: WebSecrets) -> None:
    code = secrets.create_code(NOW).replace("-", "")
    assert code not in secrets.code_file.read_text()


def test_token_serves_as_a_code_again_and_again(secrets: WebSecrets) -> None:
    token = secrets.create_token()
    assert secrets.create_token() == token
    assert secrets.use_code(f" {token} ", NOW)
    assert secrets.use_code(token, NOW)
    assert not secrets.use_code(token[:-1], NOW)


def test_secrets_are_readable_by_their_owner_only(secrets: WebSecrets) -> None:
    secrets.create_token()
    secrets.create_code(NOW)
    secrets.read_key()
    for path in (secrets.token_file, secrets.code_file, secrets.key_file):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_exposed_token_is_refused(secrets: WebSecrets) -> None:
    secrets.create_token()
    secrets.token_file.chmod(0o640)
    with pytest.raises(Failure) as raised:
        secrets.read_token()
    assert raised.value.code == "web-secret-exposed"


@pytest.mark.parametrize(
    "content", [b"{", b'{"sha256": "\xff"}', b'{"sha256": "a", "expires_at": "soon"}', b"[" * 4000]
)
def test_damaged_code_file_is_no_code(secrets: WebSecrets, content: bytes) -> None:
    code = secrets.create_code(NOW)
    secrets.code_file.write_bytes(content)
    assert not secrets.use_code(code, NOW)


def test_cookie_survives_a_restart_and_ends_after_thirty_days(secrets: WebSecrets) -> None:
    cookie = SessionCookies(secrets.read_key).create(NOW)
    again = SessionCookies(WebSecrets(secrets.folder).read_key)
    assert again.is_valid(cookie, NOW + timedelta(days=29))
    assert not again.is_valid(cookie, NOW + timedelta(days=30))


@pytest.mark.parametrize("change", [lambda text: text[:-1], lambda text: "9" + text, lambda _: "", lambda _: "a.b.c"])
def test_changed_cookie_is_refused(secrets: WebSecrets, change: object) -> None:
    cookies = SessionCookies(secrets.read_key)
    assert callable(change)
    assert not cookies.is_valid(change(cookies.create(NOW)), NOW)


def test_new_key_ends_sessions(secrets: WebSecrets) -> None:
    cookies = SessionCookies(secrets.read_key)
    cookie = cookies.create(NOW)
    secrets.key_file.unlink()
    assert not cookies.is_valid(cookie, NOW)
