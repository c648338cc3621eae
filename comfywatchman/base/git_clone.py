"""Fetching a repository with git, so that nothing of it, and nothing of the user's settings, is run.

Hooks, templates, helper programs, prompts and every protocol but the allowed ones are off; a secret goes to git in its
environment, never as an argument, and into no file.
"""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from comfywatchman.base.errors import Failure
from comfywatchman.base.git import read_head
from comfywatchman.base.process import ChildProcess

_COMMIT: Final = re.compile(r"[0-9a-f]{7,64}")
_WHOLE_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/@\s]+@")
_POLL_SECONDS: Final = 0.5
_STALL_SECONDS: Final = 60
_MESSAGE_LINE: Final = re.compile(r"(?i)^(?:fatal|error|remote|ssh|warning):")


@dataclass(frozen=True, slots=True)
class Repository:
    """What is to be cloned, by an address that was checked before.

    Attributes:
        url: The address, without any secret.
        user: The account for an https address; empty for none.
        secret: Its password or token.
        is_local: Whether folders of this machine may be read.
        network: Variables by which this machine reaches the network: proxies and certificates.
    """

    url: str
    user: str = ""
    secret: str = ""
    is_local: bool = False
    network: Mapping[str, str] | None = None


def clone_repository(
    repository: Repository,
    folder: Path,
    *,
    ref: str,
    timeout_seconds: float,
    progress: Callable[[str], None],
    pass_on: Sequence[int] = (),
) -> str:
    """Clone a repository with its submodules and check one state of it out; return the commit.

    After a raise something may be left in the folder.

    Args:
        repository: What to clone.
        folder: Where to; must not be there.
        ref: Branch, tag or commit; empty for the branch that the repository shows first.
        timeout_seconds: How long each of the steps may take.
        progress: Told what git says of its progress, a line now and then.
        pass_on: Descriptors that git inherits, such as that of a lock.

    Raises:
        Failure: `git-missing`, `git-failed` or `child-timeout`.
    """
    run = _GitRunner(repository, timeout_seconds, progress, pass_on)
    fresh = ("--template=", "--no-hardlinks", "--no-checkout", "--progress", "--origin=origin")
    run("clone", *fresh, "--", repository.url, str(folder))
    if not ref:
        _read_commit(repository, folder)
    run("-C", str(folder), "checkout", "--quiet", "--force", *_checkout_arguments(run, folder, ref))
    if (folder / ".gitmodules").is_file():
        run("-C", str(folder), "submodule", "--quiet", "update", "--init", "--recursive")
    return _read_commit(repository, folder)


def _read_commit(repository: Repository, folder: Path) -> str:
    commit = read_head(folder)
    if commit is None:
        raise Failure("git-failed", f"{repository.url} has no commit yet.", hint="Name a branch that has one: --ref.")
    return commit


@dataclass(frozen=True, slots=True)
class _GitRunner:
    """git with the settings of one clone."""

    repository: Repository
    timeout_seconds: float
    progress: Callable[[str], None]
    pass_on: Sequence[int]

    def __call__(self, *arguments: str) -> str:
        """Run git to its end; return what it printed."""
        ended = self.attempt(*arguments)
        if ended[0]:
            raise self._failed(ended[2])
        return ended[1]

    def attempt(self, *arguments: str) -> tuple[int, str, str]:
        """Run git to its end; return status, output and errors."""
        with ChildProcess(
            [_find_git(), "--no-pager", *arguments],
            extra_environment=dict(_clone_environment(self.repository)),
            dies_with_us=True,
            pass_on=self.pass_on,
        ) as child:
            status = self._wait(child)
            return status, _printable_output(child.output_tail()), _printable_output(child.errors_tail())

    def _wait(self, child: ChildProcess) -> int:
        waited, said = 0.0, ""
        while (status := child.wait(_POLL_SECONDS)) is None:
            waited += _POLL_SECONDS
            if waited >= self.timeout_seconds:
                raise Failure(
                    "child-timeout",
                    f"git did not end within {self.timeout_seconds:g} seconds ({self.repository.url}).",
                    hint="Try again when the network is better.",
                )
            last = _last_line(_printable_output(child.errors_tail(max_bytes=512)))
            if last and last != said:
                said = last
                self.progress(last)
        return status

    def _failed(self, errors: str) -> Failure:
        lines = [line.strip() for line in errors.splitlines() if line.strip()]
        told = [line for line in lines if _MESSAGE_LINE.match(line)] or lines[-1:]
        words = "; ".join(dict.fromkeys(told))[:600] or "it said nothing"
        return Failure(
            "git-failed",
            f"git could not get {self.repository.url}: {words}",
            hint="Check the address, --ref and the network; a private repository needs a key (ssh) or a token.",
        )


def _checkout_arguments(run: _GitRunner, folder: Path, ref: str) -> list[str]:
    """Return the arguments of `git checkout` for a branch, a tag or a commit; a branch wins, as with `git clone`."""
    at = ("-C", str(folder), "rev-parse", "--quiet", "--verify", "--end-of-options")
    if not ref:
        return []
    if run.attempt(*at, f"refs/remotes/origin/{ref}^{{commit}}")[0] == 0:
        return ["-B", ref, "--track", f"origin/{ref}"]
    if run.attempt(*at, f"refs/tags/{ref}^{{commit}}")[0] == 0:
        return ["--detach", f"refs/tags/{ref}"]
    if _COMMIT.fullmatch(ref):
        if run.attempt(*at, f"{ref}^{{commit}}")[0] and _WHOLE_COMMIT.fullmatch(ref):
            # Commits of pull requests and of rewritten branches come only when they are asked for.
            run("-C", str(folder), "fetch", "--quiet", "origin", ref)
        if run.attempt(*at, f"{ref}^{{commit}}")[0] == 0:
            return ["--detach", ref]
    raise Failure(
        "git-failed",
        f"{run.repository.url} has no branch, tag or commit {ref!r}.",
        hint=f"See what it has: git ls-remote {run.repository.url}",
    )


def _clone_environment(repository: Repository) -> Iterator[tuple[str, str]]:
    network = dict(repository.network or {})
    if certificates := network.get("SSL_CERT_FILE"):
        network["GIT_SSL_CAINFO"] = certificates
    yield from network.items()
    local = ":file" if repository.is_local else ""
    http = ":http" if urlsplit(repository.url).scheme == "http" else ""
    yield "GIT_ALLOW_PROTOCOL", f"https:ssh{http}{local}"
    yield "GIT_CONFIG_NOSYSTEM", "1"
    yield "GIT_CONFIG_GLOBAL", "/dev/null"
    yield "GIT_ATTR_NOSYSTEM", "1"
    yield "GIT_TERMINAL_PROMPT", "0"
    yield "GIT_NO_REPLACE_OBJECTS", "1"
    yield "GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=30"
    yield "LC_ALL", "C.UTF-8"
    settings = list(_clone_settings(repository))
    yield "GIT_CONFIG_COUNT", str(len(settings))
    for number, (key, value) in enumerate(settings):
        yield f"GIT_CONFIG_KEY_{number}", key
        yield f"GIT_CONFIG_VALUE_{number}", value


def _clone_settings(repository: Repository) -> Iterator[tuple[str, str]]:
    yield "core.hooksPath", "/dev/null"
    yield "core.fsmonitor", "false"
    yield "core.protectHFS", "true"
    yield "core.protectNTFS", "true"
    yield "advice.detachedHead", "false"
    yield "credential.helper", ""
    yield "http.lowSpeedLimit", "1000"
    yield "http.lowSpeedTime", str(_STALL_SECONDS)
    if repository.user or repository.secret:
        parts = urlsplit(repository.url)
        token = base64.b64encode(f"{repository.user}:{repository.secret}".encode()).decode("ascii")
        yield f"http.{parts.scheme}://{parts.netloc}/.extraHeader", f"Authorization: Basic {token}"


def _find_git() -> str:
    found = shutil.which("git")
    if found is None:
        raise Failure("git-missing", "git was not found.", hint="Install git and see that it is on PATH.")
    return found


def _printable_output(output: bytes) -> str:
    text = _CREDENTIALS.sub("", output.decode("utf-8", "replace"))
    return "".join(char if char.isprintable() or char in "\r\n" else "?" for char in text)


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(re.split(r"[\r\n]+", text)) if line.strip()), "")
