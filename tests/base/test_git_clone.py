from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.git import is_dirty, read_head, read_origin
from comfywatchman.base.git_clone import (
    Repository,
    clone_repository,
    fetch_origin,
    list_all_submodules,
    set_origin,
    write_bundle,
)
from tests.base.test_git import git, working_copy

HIDDEN = "t0ken"


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A repository with a branch, a tag, and a commit that no branch has."""
    pack = working_copy(tmp_path / "pack")
    for name in ("tagged", "side", "lost"):
        (pack / "nodes.py").write_text(f"NODES = '{name}'\n")
        if name == "side":
            git(pack, "checkout", "-q", "-b", "feature/side")
        git(pack, "commit", "-q", "-am", name)
        if name == "tagged":
            git(pack, "tag", "-a", "v1", "-m", "v1")
    git(pack, "tag", "lost")
    git(pack, "update-ref", "refs/hidden/lost", "HEAD")
    git(pack, "reset", "-q", "--hard", "HEAD~1")
    git(pack, "tag", "-d", "lost")
    git(pack, "config", "uploadpack.allowAnySHA1InWant", "true")
    git(pack, "checkout", "-q", "main")
    return pack


def get(pack: Path | str, folder: Path, ref: str = "", **changes: Any) -> str:
    facts = {"is_local": True, **changes}
    return clone_repository(
        Repository(str(pack), **facts), folder, ref=ref, timeout_seconds=60, progress=lambda _line: None
    )


@pytest.mark.slow
def test_default_branch_is_checked_out_without_ref(pack: Path, tmp_path: Path) -> None:
    commit = get(pack, tmp_path / "new")
    assert commit == git(pack, "rev-parse", "main") == read_head(tmp_path / "new")
    assert (tmp_path / "new/nodes.py").read_text() == "NODES = 'tagged'\n"
    assert read_origin(tmp_path / "new") == str(pack)
    assert is_dirty(tmp_path / "new", timeout_seconds=100) is False


@pytest.mark.parametrize(
    ("ref", "revision"), [("feature/side", "feature/side"), ("v1", "v1^{commit}"), ("main", "main")]
)
@pytest.mark.slow
def test_branches_and_tags_are_checked_out(pack: Path, tmp_path: Path, ref: str, revision: str) -> None:
    assert get(pack, tmp_path / "new", ref) == git(pack, "rev-parse", revision)


@pytest.mark.slow
def test_full_short_and_unreachable_commits_are_checked_out(pack: Path, tmp_path: Path) -> None:
    first = git(pack, "rev-parse", "main~1")
    lost = git(pack, "rev-parse", "refs/hidden/lost")
    assert get(pack, tmp_path / "whole", first) == first
    assert get(pack, tmp_path / "short", first[:8]) == first
    assert get(f"file://{pack}", tmp_path / "lost", lost) == lost


@pytest.mark.slow
def test_tag_that_the_origin_moved_is_fetched(pack: Path, tmp_path: Path) -> None:
    get(pack, tmp_path / "new")
    git(pack, "tag", "--force", "-a", "v1", "-m", "moved", "main~1")
    fetch_origin(Repository(str(pack), is_local=True), tmp_path / "new", timeout_seconds=60)
    assert git(tmp_path / "new", "rev-parse", "v1^{commit}") == git(pack, "rev-parse", "main~1")


@pytest.mark.parametrize("ref", ["absent", "0" * 40, "deadbeef"])
@pytest.mark.slow
def test_missing_ref_is_a_failure(pack: Path, tmp_path: Path, ref: str) -> None:
    with pytest.raises(Failure) as caught:
        get(f"file://{pack}", tmp_path / "new", ref)
    assert caught.value.code == "git-failed"
    assert "ls-remote" in str(caught.value) or "not our ref" in str(caught.value)


@pytest.mark.slow
def test_submodules_are_cloned_recursively(pack: Path, tmp_path: Path) -> None:
    outer = working_copy(tmp_path / "outer")
    git(outer, "submodule", "add", "-q", str(pack), "inner")
    git(outer, "commit", "-q", "-m", "with inner")
    get(outer, tmp_path / "new")
    assert read_head(tmp_path / "new/inner") == git(pack, "rev-parse", "main")


@pytest.mark.slow
def test_submodules_come_from_bundles_without_their_addresses(pack: Path, tmp_path: Path) -> None:
    middle = working_copy(tmp_path / "middle")
    git(middle, "submodule", "add", "-q", str(pack), "deep one")
    git(middle, "commit", "-q", "-m", "with deep one")
    outer = working_copy(tmp_path / "outer")
    git(outer, "submodule", "add", "-q", "--name", "own name", str(middle), "lib/inner")
    git(outer, "commit", "-q", "-m", "with inner")
    get(outer, tmp_path / "first")
    paths = list_all_submodules(tmp_path / "first", timeout_seconds=60)
    assert paths == ("lib/inner", "lib/inner/deep one")
    bundles = {path: tmp_path / f"{number}.bundle" for number, path in enumerate(("", *paths))}
    for path, bundle in bundles.items():
        write_bundle(tmp_path / "first" / path, bundle, timeout_seconds=60)
    for folder in (pack, middle, outer):
        folder.rename(folder.with_name(f"{folder.name}.gone"))

    def clone(target: Path, find_submodule: Callable[[str], Path | None]) -> None:
        repository = Repository(str(bundles[""]), is_local=True)
        clone_repository(
            repository,
            target,
            ref=read_head(tmp_path / "first") or "",
            timeout_seconds=60,
            progress=lambda _line: None,
            find_submodule=find_submodule,
        )

    clone(tmp_path / "second", bundles.get)
    set_origin(tmp_path / "second", "https://example.org/outer.git", timeout_seconds=60)
    for path in paths:
        assert read_head(tmp_path / "second" / path) == read_head(tmp_path / "first" / path)
    assert git(tmp_path / "second", "config", "submodule.own name.url") == str(middle)
    assert git(tmp_path / "second/lib/inner", "remote", "get-url", "origin") == str(middle)
    with pytest.raises(Failure, match="lib/inner is not in the wheelhouse"):
        clone(tmp_path / "third", lambda _path: None)


@pytest.mark.slow
def test_optional_submodule_is_left_out_without_a_bundle(pack: Path, tmp_path: Path) -> None:
    outer = working_copy(tmp_path / "outer")
    git(outer, "submodule", "add", "-q", "--name", "own name", str(pack), "inner")
    git(outer, "config", "--file", ".gitmodules", "submodule.own name.update", "none")
    git(outer, "commit", "-q", "-a", "-m", "with an optional submodule")
    get(outer, tmp_path / "first")
    assert list_all_submodules(tmp_path / "first", timeout_seconds=60) == ()
    write_bundle(tmp_path / "first", tmp_path / "outer.bundle", timeout_seconds=60)
    clone_repository(
        Repository(str(tmp_path / "outer.bundle"), is_local=True),
        tmp_path / "second",
        ref=read_head(outer) or "",
        timeout_seconds=60,
        progress=lambda _line: None,
        find_submodule=lambda _path: None,
    )
    assert read_head(tmp_path / "second") == read_head(outer)
    assert list((tmp_path / "second/inner").iterdir()) == []


def test_empty_repository_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q")
    with pytest.raises(Failure, match="no commit yet"):
        get(tmp_path / "empty", tmp_path / "new")


def test_failure_contains_the_error_of_git(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="fatal:"):
        get(tmp_path / "absent", tmp_path / "new")


@pytest.mark.parametrize("url", ["ext::touch {marker}", "http://127.0.0.1:9/a", "git://127.0.0.1:9/a"])
def test_helpers_and_other_protocols_are_refused(tmp_path: Path, url: str) -> None:
    marker = tmp_path / "ran"
    address = url.format(marker=marker)
    repository = Repository(address if "http" not in address else f"https+{address}", is_local=True)
    with pytest.raises(Failure):
        clone_repository(repository, tmp_path / "new", ref="", timeout_seconds=30, progress=lambda _line: None)
    assert not marker.exists()


@pytest.mark.slow
def test_submodule_cannot_use_local_folders_or_helpers(pack: Path, tmp_path: Path) -> None:
    outer = working_copy(tmp_path / "outer")
    git(outer, "submodule", "add", "-q", str(pack), "inner")
    git(outer, "commit", "-q", "-m", "with inner")
    git(outer, "update-server-info")
    with served(outer / ".git") as (url, _headers), pytest.raises(Failure, match="not allowed"):
        get(url, tmp_path / "new", is_local=False)


@pytest.mark.slow
def test_hooks_filters_and_user_settings_are_ignored(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker, home = tmp_path / "ran", tmp_path / "home"
    (home / "hooks").mkdir(parents=True)
    (home / "hooks/post-checkout").write_text(f"#!/bin/sh\ntouch {marker}\n")
    (home / "hooks/post-checkout").chmod(0o755)
    (home / ".gitconfig").write_text(
        f'[core]\n\thooksPath = {home}/hooks\n[init]\n\ttemplateDir = {home}\n[filter "x"]\n\tsmudge = touch {marker}\n'
    )
    (pack / ".gitattributes").write_text("*.py filter=x\n")
    git(pack, "add", ".gitattributes")
    git(pack, "commit", "-q", "-m", "filter")
    monkeypatch.setenv("HOME", str(home))
    get(pack, tmp_path / "new")
    assert not marker.exists()
    assert not (tmp_path / "new/.git/hooks").exists()


@contextmanager
def served(folder: Path, *, wanted: str = "") -> Iterator[tuple[str, list[str]]]:
    """Serve a git folder to git's plain protocol; give its address and the Authorization headers that came."""
    headers: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def send_head(self) -> Any:
            headers.append(self.headers.get("Authorization", ""))
            if wanted and headers[-1] != wanted:
                self.send_error(401)
                return None
            return super().send_head()

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", headers
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
def test_password_reaches_only_the_server(pack: Path, tmp_path: Path) -> None:
    git(pack, "update-server-info")
    wanted = "Basic " + base64.b64encode(f"me:{HIDDEN}".encode()).decode()
    with served(pack / ".git", wanted=wanted) as (url, headers):
        get(url, tmp_path / "new", is_local=False, user="me", secret=HIDDEN)
        assert set(headers) == {wanted}
        with pytest.raises(Failure) as caught:
            get(url, tmp_path / "other", is_local=False, user="me", secret=f"wrong-{HIDDEN}")
    assert HIDDEN not in str(caught.value)
    kept = [path for path in (tmp_path / "new").rglob("*") if path.is_file()]
    assert not any(HIDDEN.encode() in path.read_bytes() or wanted.encode() in path.read_bytes() for path in kept)


@pytest.mark.slow
def test_password_prompt_is_disabled(pack: Path, tmp_path: Path) -> None:
    git(pack, "update-server-info")
    with served(pack / ".git", wanted="Basic x") as (url, _headers), pytest.raises(Failure) as caught:
        get(url, tmp_path / "new", is_local=False)
    assert caught.value.code == "git-failed"


@pytest.mark.slow
def test_clone_is_ended_at_the_time_limit(tmp_path: Path) -> None:
    with silent() as url, pytest.raises(Failure) as caught:
        clone_repository(Repository(url), tmp_path / "new", ref="", timeout_seconds=0.5, progress=lambda _line: None)
    assert caught.value.code == "child-timeout"


@contextmanager
def silent() -> Iterator[str]:
    """Give the address of a server that takes connections and says nothing."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/pack.git"


@pytest.mark.slow
def test_missing_git_is_a_failure(pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Failure) as caught:
        get(pack, tmp_path / "new")
    assert caught.value.code == "git-missing"


@pytest.mark.slow
def test_git_dies_with_its_parent(tmp_path: Path) -> None:
    with silent() as url:
        code = (
            "import sys\nfrom pathlib import Path\n"
            "from comfywatchman.base.git_clone import Repository, clone_repository\n"
            "repository, folder = Repository(sys.argv[1]), Path(sys.argv[2])\n"
            "clone_repository(repository, folder, ref='', timeout_seconds=60, progress=lambda _: None)\n"
        )
        argv = [sys.executable, "-c", code, url, str(tmp_path / "new")]
        own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
        program = subprocess.Popen(argv, env=own)
        try:
            child = _until_git_runs(program.pid)
        finally:
            program.kill()
            program.wait()
        pidfd = _opened(child)
        if pidfd is not None:
            import select

            assert select.select([pidfd], [], [], 60)[0]
            os.close(pidfd)


def _opened(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _until_git_runs(parent: int) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            # The commands before the one that asks the server end soon.
            with suppress(FileNotFoundError, ProcessLookupError):
                if b"127.0.0.1" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return int(pid)
        time.sleep(0.01)
    raise AssertionError("git was not started")
