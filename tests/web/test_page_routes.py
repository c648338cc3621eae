from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from comfywatchman.app.pages.status_sentence import build_status_sentence
from comfywatchman.jobs.store.job_store import JobStore
from tests.jobs.jobs import add_jobs
from tests.web.commands import list_commands, parse_command
from tests.web.site import Site, build_site

pytestmark = pytest.mark.slow


def test_home_page_of_an_empty_host(site: Site) -> None:
    page = site.guest.get("/")
    assert page.status_code == 200
    assert "Nothing has been checked yet." in page.text
    assert "Three steps" in page.text


def test_unchanged_page_is_not_sent_again(site: Site) -> None:
    tag = site.guest.get("/sign-in").headers.get("etag")
    assert tag is None
    page = site.guest.get("/")
    again = site.guest.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_unchanged_fragment_is_not_sent_again(site: Site) -> None:
    page = site.guest.get("/").text
    address, tag = re.findall(r'id="live-status_line" hx-get="([^"]+)".*?hx-ptag="([^"]+)"', page)[0]
    assert address == "/?fragment=status_line"
    assert site.guest.get(address, headers={"HX-PTag": tag}).status_code == 304
    changed = site.guest.get(address, headers={"HX-PTag": "old"})
    assert changed.status_code == 200
    assert changed.headers["hx-ptag"] == tag
    assert "<html" not in changed.text


def test_common_part_needs_no_view_of_its_page(site: Site) -> None:
    assert site.guest.get("/workflows/0000000000000000").status_code == 404
    assert site.guest.get("/workflows/0000000000000000?fragment=status_line").status_code == 200


def test_unknown_fragment_and_page_are_not_found(site: Site) -> None:
    assert site.guest.get("/?fragment=none").status_code == 404
    assert site.guest.get("/nowhere").status_code == 404


@pytest.mark.parametrize("name", ["path", "self", "block", "context", "__self", "fragment_url"])
def test_any_name_can_stand_in_the_query(site: Site, name: str) -> None:
    assert site.guest.get(f"/queue?{name}=x").status_code == 200
    assert site.guest.get(f"/queue?{name}=x&fragment=status_line").status_code == 200


def test_zero_bytes_reach_no_query(site: Site) -> None:
    page = site.guest.get("/queue?text=a%00b")
    assert page.status_code == 200
    assert 'value="ab"' in page.text
    assert site.guest.get("/api/queue?text=a%00b").status_code == 422
    assert site.guest.get("/api/queue/a%00b").status_code == 422
    (job,) = add_jobs(site.store, [1])
    assert site.guest.get(f"/queue/{job}%00").status_code == 200
    form = {"text": "a\0b", "expected": "0"}
    assert site.client.post("/actions/queue/cancel-all", data=form).status_code == 422


def test_commands_name_the_home_of_this_page(site: Site) -> None:
    home = site.host.session.layout.home.folder
    (job,) = add_jobs(site.store, [1])
    shown = [
        site.guest.get(f"/{path}").text
        for path in ("", "queue?status=done", "models", "workflows", "environment", "hosts")
    ]
    shown.append(site.client.get(f"/queue/{job}").text)
    commands = [command for page in shown for command in list_commands(page)]
    assert len(commands) >= 6
    for command in commands:
        assert shlex.split(command)[:3] == ["comfywatchman", "--home", str(home)]
        parse_command(command)


def test_theme_is_kept_in_a_cookie(site: Site) -> None:
    page = site.guest.post("/theme", data={"theme": "dark", "next": "sign-in"})
    assert page.url.path == "/sign-in"
    assert '<html lang="en" data-theme="dark">' in page.text


def test_sign_out_ends_the_session(site: Site) -> None:
    assert "Sign out" in site.client.get("/").text
    page = site.client.post("/sign-out", data={"now": "1"})
    assert "Sign out" not in page.text


def test_wrong_code_is_said(site: Site) -> None:
    page = site.guest.post("/sign-in", data={"code": "AAAA-AAAA"})
    assert page.status_code == 403
    assert "The code is wrong" in page.text


@pytest.mark.parametrize("path", ["/", "/comfy/"], ids=["proxy removes the base path", "proxy leaves it"])
def test_page_works_below_a_base_path(
    tmp_path: Path, store: JobStore, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    site = build_site(tmp_path / "home", store, base_path="/comfy")
    page = site.guest.get(path)
    assert page.status_code == 200
    links = re.findall(r'(?:href|action|src|hx-get)="([^"#]+)"', page.text)
    assert links
    assert all(link.startswith("/comfy/") for link in links)


def test_unreadable_queue_is_named_and_nothing_is_claimed(site: Site) -> None:
    site.store.close()
    database = Path(str(site.store.database.engine.url.database))
    database.unlink()
    database.mkdir()
    sentence = build_status_sentence(site.host, site.host.session.clock.now(), needs_you=0)
    assert sentence.jobs is None
    assert sentence.queue_error
    assert sentence.is_stale
    page = site.guest.get("/")
    assert page.status_code == 200
    assert "<h2>The queue cannot be read</h2>" in page.text
    assert site.guest.get("/queue").status_code == 503
    assert site.guest.get("/api/queue").status_code == 503
