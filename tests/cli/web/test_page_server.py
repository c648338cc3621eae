from __future__ import annotations

import socket
from pathlib import Path

import msgspec
import pytest

from comfywatchman.app.jobs import JobAgent
from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure
from comfywatchman.base.settings import WebSection
from comfywatchman.cli.web import page_server
from comfywatchman.cli.web.page_server import ServedPage, choose_address, find_own_names, serve_page, serve_page_beside

ANY = "0.0.0.0"  # noqa: S104 - the address that means all of this machine
SECTION = WebSection(host="127.0.0.1", port=0, base_path="", hosts=(), with_jobs=True)


def change(**values: object) -> WebSection:
    return msgspec.structs.replace(SECTION, **values)


def test_options_replace_the_configuration() -> None:
    chosen = choose_address(SECTION, host="::1", port=9, base_path="/comfy/")
    assert (chosen.host, chosen.port, chosen.base_path) == ("::1", 9, "/comfy")
    assert choose_address(SECTION, host=None, port=None, base_path=None) == SECTION


@pytest.mark.parametrize("base", ["comfy", "//evil.example", "/a b", "/<x>", "/a?b"])
def test_base_path_is_a_path(base: str) -> None:
    with pytest.raises(Failure, match="not a valid base path"):
        choose_address(SECTION, host=None, port=None, base_path=base)


def test_names_of_the_server() -> None:
    assert find_own_names(SECTION) == {"127.0.0.1", "localhost", "::1"}
    assert find_own_names(change(hosts=("Box.example",))) >= {"box.example", "localhost"}
    public = find_own_names(change(host=ANY))
    assert socket.gethostname().lower() in public
    assert ANY not in public
    assert "10.9.8.7" in find_own_names(change(host="10.9.8.7"))


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return Session(tmp_path / "home", None)


@pytest.mark.slow
def test_beyond_this_machine_a_token_is_needed(session: Session) -> None:
    with JobAgent(session).open_store() as store:
        section = change(host=ANY)
        with pytest.raises(Failure) as raised, serve_page(session, store, section):
            pass
        assert raised.value.code == "web-token-missing"
        assert "names of workflows" in raised.value.message
        page_server.find_secrets(session).create_token()
        with serve_page(session, store, section) as page:
            assert page.is_public
            assert page.url.startswith("http://127.0.0.1:")


def test_missing_packages_are_named(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_server, "PACKAGES", ("uvicorn", "not_there_at_all"))
    with JobAgent(session).open_store() as store:
        with pytest.raises(Failure) as raised, serve_page(session, store, SECTION):
            pass
        assert raised.value.code == "web-extra-missing"
        assert "not_there_at_all" in raised.value.message
        hint = raised.value.hint or ""
        for command in ("uv tool install --reinstall", "pipx install --force", "pip install"):
            assert f"{command} '.[web]'" in hint


def test_other_command_goes_on_without_the_page(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("COMFYWATCHMAN_WEB__PORT", str(taken.getsockname()[1]))
        with JobAgent(session).open_store() as store, serve_page_beside(session, store) as page:
            assert isinstance(page, Failure)
            assert page.code == "web-port-taken"


@pytest.mark.slow
def test_page_is_served_beside_another_command(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYWATCHMAN_WEB__PORT", "0")
    with JobAgent(session).open_store() as store, serve_page_beside(session, store) as page:
        assert isinstance(page, ServedPage)
