from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from comfywatchman.app.prompt_requests import OutputText, fetch_input, list_output_texts
from comfywatchman.base.errors import Failure
from tests.servers.base import LocalServer, Reply


def allow(_host: str) -> bool:
    return True


def refuse(url: str, target: Path, *, max_bytes: int = 100) -> str:
    with pytest.raises(Failure) as raised:
        fetch_input(url, target, max_bytes=max_bytes, may_be_private=allow)
    assert not target.exists()
    return raised.value.code


def test_input_behind_a_redirect_is_fetched(tmp_path: Path) -> None:
    with LocalServer({"/a": Reply(status=302, headers={"location": "/b"}), "/b": Reply(b"content")}) as site:
        sha256 = fetch_input(f"{site.url}/a", tmp_path / "a", max_bytes=7, may_be_private=allow)
    assert sha256 == hashlib.sha256(b"content").hexdigest()
    assert (tmp_path / "a").read_bytes() == b"content"


def test_other_answers_are_refused(tmp_path: Path) -> None:
    pages = {
        "/gone": Reply(status=404),
        "/loop": Reply(status=302, headers={"location": "/loop"}),
        "/nowhere": Reply(status=302),
        "/large": Reply(b"content"),
    }
    with LocalServer(pages) as site:
        for name in ("gone", "loop", "nowhere"):
            assert refuse(f"{site.url}/{name}", tmp_path / "a") == "http-status"
        assert refuse(f"{site.url}/large", tmp_path / "a", max_bytes=6) == "file-too-large"


def test_slow_input_is_given_up(tmp_path: Path) -> None:
    with LocalServer({"/a": Reply(b"content")}) as site, pytest.raises(Failure) as raised:
        fetch_input(f"{site.url}/a", tmp_path / "a", max_bytes=100, may_be_private=allow, limit_seconds=-1)
    assert raised.value.code == "http-unreachable"
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/a", "https://user:pass@example.org/a", "a"])
def test_other_addresses_are_refused(url: str, tmp_path: Path) -> None:
    assert refuse(url, tmp_path / "a") == "download-host-refused"


def test_redirect_to_a_private_address_is_refused(tmp_path: Path) -> None:
    with LocalServer({"/b": Reply(b"content")}) as inner:
        redirect = Reply(status=302, headers={"location": f"{inner.url}/b"})
        with LocalServer({"/a": redirect}) as site, pytest.raises(Failure) as raised:
            fetch_input(
                f"{site.url}/a",
                tmp_path / "a",
                max_bytes=100,
                may_be_private=lambda host: host == f"127.0.0.1:{site.port}",
            )
        assert inner.asked == []
    assert raised.value.code == "download-host-refused"


def test_texts_of_a_history_entry_are_listed() -> None:
    entry = {"outputs": {"2": {"text": ["b", 1]}, "1": {"text": ["a"], "images": []}, "3": {"text": "c"}, "4": 5}}
    assert list_output_texts(entry) == (OutputText("1", "a"), OutputText("2", "b"))
    assert list_output_texts({}) == ()
