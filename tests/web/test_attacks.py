"""Requests that a hostile site, or a stranger, would send: each is refused, and none changes anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.app.tasks.start import list_tasks
from comfywatchman.jobs.store.job_store import JobStore
from tests.jobs.jobs import add_jobs
from tests.web.site import ORIGIN, Site, build_site, open_browser

SAME = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

ATTACKS = {
    "rebound host": ("GET", "/", {"Host": "evil.example:8189"}, 421),
    "rebound host of a change": ("POST", "/check", {"Host": "evil.example", **SAME, **FORM}, 421),
    "any address": ("GET", "/", {"Host": "0.0.0.0:8189"}, 421),
    "our address as a subdomain": ("GET", "/", {"Host": "127.0.0.1.evil.example"}, 421),
    "user part in the host": ("GET", "/", {"Host": "127.0.0.1@evil.example"}, 421),
    "our host as a user": ("GET", "/", {"Host": "evil@127.0.0.1"}, 421),
    "malformed port": ("GET", "/", {"Host": "127.0.0.1:http"}, 421),
    "empty host": ("GET", "/", {"Host": ""}, 421),
    "origin null": ("POST", "/check", {"Origin": "null", **FORM}, 403),
    "origin of another port": ("POST", "/check", {"Origin": "http://127.0.0.1:8188", **FORM}, 403),
    "origin of another site": ("POST", "/check", {"Origin": "https://evil.example", **FORM}, 403),
    "malformed origin": ("POST", "/check", {"Origin": "http://[x", **FORM}, 403),
    "origin of another scheme": ("POST", "/check", {"Origin": "file://127.0.0.1:8189", **FORM}, 403),
    "cross-site fetch": ("POST", "/check", {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site", **FORM}, 403),
    "same-site fetch": ("POST", "/check", {"Sec-Fetch-Site": "same-site", **FORM}, 403),
    "typed by a person": ("POST", "/check", {"Sec-Fetch-Site": "none", **FORM}, 403),
    "cookie without any origin": ("POST", "/check", {**FORM}, 403),
    "text/plain form": ("POST", "/check", {**SAME, "Content-Type": "text/plain"}, 415),
    "multipart form": ("POST", "/check", {**SAME, "Content-Type": "multipart/form-data; boundary=x"}, 415),
    "JSON to a form": ("POST", "/check", {**SAME, "Content-Type": "application/json"}, 415),
    "form to the API": ("POST", "/api/queue/a/retry", {**SAME, **FORM}, 415),
    "change by GET": ("GET", "/check", {}, 405),
    "undeclared method": ("DELETE", "/", SAME, 405),
    "TRACE": ("TRACE", "/", SAME, 405),
    "body in a GET": ("GET", "/", {"Content-Length": "5"}, 413),
    "body too large": ("POST", "/check", {**SAME, **FORM, "Content-Length": "70000"}, 413),
    "body of unknown size": ("POST", "/check", {**SAME, **FORM, "Transfer-Encoding": "chunked"}, 413),
    "path out of the static folder": ("GET", "/static/..%2f..%2fserver.py", {}, 404),
    "path out of the tasks": ("GET", "/tasks/..%2f..%2fetc%2fpasswd", {}, 404),
}


def send_plainly(site: Site, method: str, path: str, headers: dict[str, str]) -> int:
    """Send a request of a browser that has signed in, with no header but the given ones."""
    plain = open_browser(site.application, site.client.cookies, is_plain=True)
    return plain.request(method, path, headers=headers, follow_redirects=False).status_code


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_refused(site: Site, name: str) -> None:
    add_jobs(site.store, [1])
    method, path, headers, status = ATTACKS[name]
    assert send_plainly(site, method, path, headers) == status
    assert list_tasks(site.host.session) == ()


@pytest.mark.parametrize("cookie", ["", "1.2.3", "99999999999.aa.bb"])
def test_change_without_a_session_is_refused(site: Site, cookie: str) -> None:
    site.guest.cookies.set("comfywatchman_session", cookie)
    assert site.guest.post("/check", data={}, follow_redirects=False).status_code == 415
    response = site.guest.post("/check", data={"a": "b"}, follow_redirects=False)
    assert response.status_code == 401
    assert list_tasks(site.host.session) == ()


def test_wrong_token_is_refused(site: Site) -> None:
    site.secrets.create_token()
    response = site.guest.post("/api/queue/a/retry", headers={"Authorization": "Bearer no"})
    assert response.status_code == 401


def test_exposed_token_counts_as_none(site: Site) -> None:
    token = site.secrets.create_token()
    site.secrets.token_file.chmod(0o644)
    response = site.guest.post("/api/queue/a/retry", headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 401


def test_theme_leads_to_this_site_only(site: Site) -> None:
    for address in ("https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"):
        response = site.guest.post("/theme", data={"theme": "dark", "next": address}, follow_redirects=False)
        assert response.status_code == 303
        assert response.headers["location"].startswith("/")
        assert not response.headers["location"].startswith(("//", "/\\"))


def test_beyond_this_machine_reading_needs_a_session(
    tmp_path: Path, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    site = build_site(tmp_path / "home", store, needs_session_to_read=True)
    page = {"Accept": "text/html"}
    response = site.guest.get("/", headers=page, follow_redirects=False)
    assert (response.status_code, response.headers["location"]) == (303, "/sign-in")
    assert site.guest.get("/api/stats").status_code == 401
    assert site.guest.get("/static/app.css").status_code == 200
    assert site.guest.get("/sign-in").status_code == 200
    assert site.client.get("/").status_code == 200


def test_cookie_is_strict_and_hidden_from_scripts(site: Site) -> None:
    code = site.secrets.create_code(site.host.session.clock.now())
    response = site.guest.post("/sign-in", data={"code": code}, follow_redirects=False)
    cookie = response.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert code not in str(response.headers)


def test_every_answer_has_the_content_policy(site: Site) -> None:
    for path in ("/", "/sign-in", "/static/app.css", "/nowhere", "/tasks/none"):
        policy = site.guest.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


@pytest.mark.parametrize("odd", ['other={"a": 1}', "a b=c", "caf\xe9=1", "=", ";;", "x"])
def test_odd_cookies_of_other_ports_end_no_session(site: Site, odd: str) -> None:
    mine = "; ".join(f"{name}={value}" for name, value in site.client.cookies.items())
    plain = open_browser(site.application, is_plain=True)
    page = plain.get("/", headers={b"Cookie": f"{odd}; {mine}".encode("latin-1")})
    assert "Sign out" in page.text
