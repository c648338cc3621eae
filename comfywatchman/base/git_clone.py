"""Cloning a repository with git, without running anything that it or the user's settings configure.

Hooks, templates, helper programs, prompts and all but a few protocols are disabled. A secret is passed to git in its
environment: never as an argument, and it is written to no file.
"""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from comfywatchman.base.errors import Failure
from comfywatchman.base.git import list_submodules, read_head, read_origin
from comfywatchman.base.process import ChildProcess, run_with_timeout

_COMMIT: Final = re.compile(r"[0-9a-f]{7,64}")
_WHOLE_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/@\s]+@")
_POLL_SECONDS: Final = 0.5
_STALL_SECONDS: Final = 60
_MESSAGE_LINE: Final = re.compile(r"(?i)^(?:fatal|error|remote|ssh|warning):")


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository to clone. Its address must have been checked before.

    Attributes:
        url: The address, without secrets.
        user: The account for an https address; empty for none.
        secret: Its password or token.
        is_local: Whether the address may be a folder of this machine.
        network: Variables for network access: proxies and certificates.
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
    find_submodule: Callable[[str], Path | None] | None = None,
) -> str:
    """Clone a repository with its submodules and check out one ref; return the commit.

    After an error the folder may be left incomplete.

    Args:
        repository: The repository.
        folder: Where to clone it; must not exist.
        ref: Branch, tag or commit; empty for the default branch.
        timeout_seconds: Time limit for each call of git.
        progress: Called now and then with a line of git's progress output.
        pass_on: Descriptors that git inherits, such as that of a lock.
        find_submodule: Returns the bundle to clone a submodule from, by its path below the folder; None to clone
            submodules from their addresses.

    Raises:
        Failure: `git-missing`, `git-failed` or `child-timeout`.
    """
    git = _GitRunner(repository, timeout_seconds, progress, pass_on)
    # An empty template has no hooks. Checking out comes later, when the ref is known to exist.
    options = ("--template=", "--no-hardlinks", "--no-checkout", "--progress", "--origin=origin")
    git.run("clone", *options, "--", repository.url, str(folder))
    if not ref:
        # An empty repository is reported as such, not as a failed checkout.
        _read_commit(repository, folder)
    git.run("-C", str(folder), "checkout", "--quiet", "--force", *_checkout_arguments(git, folder, ref))
    if find_submodule is not None:
        _clone_submodules(git, folder, "", find_submodule)
    elif (folder / ".gitmodules").is_file():
        git.run("-C", str(folder), "submodule", "--quiet", "update", "--init", "--recursive")
    return _read_commit(repository, folder)


def check_out_commit(folder: Path, commit: str, *, timeout_seconds: float, network: Mapping[str, str]) -> None:
    """Check out a commit of a working copy and its submodules; it is fetched when the clone lacks it.

    Local changes that it would overwrite make git refuse.

    Raises:
        Failure: `git-missing`, `git-failed` or `child-timeout`.
    """
    origin = read_origin(folder) or str(folder)
    repository = Repository(origin, is_local="://" not in origin, network=network)
    git = _GitRunner(repository, timeout_seconds, lambda _line: None, ())
    git.run("-C", str(folder), "checkout", "--quiet", *_checkout_arguments(git, folder, commit))
    if (folder / ".gitmodules").is_file():
        git.run("-C", str(folder), "submodule", "--quiet", "update", "--init", "--recursive")


def write_bundle(folder: Path, bundle: Path, *, timeout_seconds: float) -> None:
    """Write the checked-out commit of a clone with its history into one file, from which it can be cloned.

    Raises:
        Failure: `git-missing`, `git-failed` or `child-timeout`.
    """
    git = _GitRunner(Repository(str(folder), is_local=True), timeout_seconds, lambda _line: None, ())
    git.run("-C", str(folder), "bundle", "create", "--quiet", str(bundle), "HEAD")


def list_all_submodules(folder: Path, *, timeout_seconds: float) -> tuple[str, ...]:
    """Return the submodules of a clone, and theirs, by their paths below it; those without files are left out.

    Raises:
        Failure: `git-failed`.
    """
    found = []
    for path in _list_submodules(folder, timeout_seconds):
        if read_head(folder / path) is not None:
            found.append(path)
            further = list_all_submodules(folder / path, timeout_seconds=timeout_seconds)
            found += [f"{path}/{inner}" for inner in further]
    return tuple(found)


def _list_submodules(folder: Path, timeout_seconds: float) -> tuple[str, ...]:
    paths = list_submodules(folder, timeout_seconds=timeout_seconds)
    if paths is None:
        raise Failure("git-failed", f"git cannot list the submodules of {folder}.", hint="Clone it again.")
    return paths


def _clone_submodules(git: _GitRunner, folder: Path, prefix: str, find_submodule: Callable[[str], Path | None]) -> None:
    """Clone the submodules of a working copy, and theirs, from bundles."""
    for path in _list_submodules(folder, git.timeout_seconds):
        bundle = find_submodule(f"{prefix}{path}")
        name = git.find_submodule_name(folder, path)
        if name is None or git.is_submodule_optional(folder, name):
            # Not named in .gitmodules, or `update = none` there: git clones nothing either way, so there is no bundle.
            continue
        if bundle is None:
            raise Failure(
                "git-failed",
                f"The submodule {prefix}{path} is not in the wheelhouse.",
                hint="Make the wheelhouse again where there is a network: comfywatchman version wheelhouse",
            )
        git.run("-C", str(folder), "config", f"submodule.{name}.url", str(bundle))
        git.run("-C", str(folder), "submodule", "--quiet", "update", "--init", "--", path)
        _clone_submodules(git, folder / path, f"{prefix}{path}/", find_submodule)


def set_origin(folder: Path, url: str, *, timeout_seconds: float) -> None:
    """Change the address that a clone states as its origin; its submodules get those that it names.

    Raises:
        Failure: `git-missing`, `git-failed` or `child-timeout`.
    """
    git = _GitRunner(Repository(url, is_local=True), timeout_seconds, lambda _line: None, ())
    git.run("-C", str(folder), "remote", "set-url", "origin", "--", url)
    if (folder / ".gitmodules").is_file():
        git.run("-C", str(folder), "submodule", "--quiet", "sync", "--recursive")


def fetch_origin(repository: Repository, folder: Path, *, timeout_seconds: float, pass_on: Sequence[int] = ()) -> None:
    """Fetch the branches and tags of a working copy's origin; its files and its own branches stay.

    Raises:
        Failure: `git-missing`, `git-failed` or `child-timeout`.
    """
    git = _GitRunner(repository, timeout_seconds, lambda _line: None, pass_on)
    # Without --force git refuses tags that the origin moved ("would clobber existing tag").
    git.run("-C", str(folder), "fetch", "--quiet", "--tags", "--force", "--no-recurse-submodules", "origin")


def query_git(folder: Path, *arguments: str, timeout_seconds: float) -> str | None:
    """Return what git prints about a working copy; None when it reports an error.

    Raises:
        Failure: `git-missing`, `child-failed` or `child-timeout`.
    """
    result = run_with_timeout(
        [_find_git(), "--no-pager", "-C", str(folder), *arguments],
        timeout_seconds=timeout_seconds,
        extra_environment=_clone_environment(Repository(str(folder), is_local=True)),
    )
    return result.output.decode("utf-8", "replace").strip() if result.status == 0 else None


def checkout_commit(folder: Path, commit: str, branch: str, *, timeout_seconds: float, force: bool = False) -> None:
    """Check out a commit in a working copy, on a branch that is at this commit, else detached.

    Unless forced, files that differ from the present commit are never overwritten: git refuses then.

    Raises:
        Failure: `git-missing`, `git-failed` or `child-timeout`.
    """
    at_branch = query_git(
        folder, "rev-parse", "--quiet", "--verify", f"refs/heads/{branch}", timeout_seconds=timeout_seconds
    )
    target = [branch, "--"] if branch and at_branch == commit else ["--detach", commit]
    options = ("--force",) if force else ()
    git = _GitRunner(Repository(str(folder), is_local=True), timeout_seconds, lambda _line: None, ())
    git.run("-C", str(folder), "checkout", "--quiet", "--no-recurse-submodules", *options, *target)


def _read_commit(repository: Repository, folder: Path) -> str:
    commit = read_head(folder)
    if commit is None:
        raise Failure(
            "git-failed", f"{repository.url} has no commit yet.", hint="Name a branch that has one with --ref."
        )
    return commit


@dataclass(frozen=True, slots=True)
class _GitRunner:
    """git with the settings of one clone."""

    repository: Repository
    timeout_seconds: float
    progress: Callable[[str], None]
    pass_on: Sequence[int]

    def run(self, *arguments: str) -> None:
        """Run git to its end.

        Raises:
            Failure: `git-failed`, `git-missing` or `child-timeout`.
        """
        status, errors = self.try_run(*arguments)
        if status != 0:
            raise self._failure(errors)

    def find_submodule_name(self, folder: Path, path: str) -> str | None:
        """Return the name of a submodule in .gitmodules by its path; None when it has none."""
        for entry in self._read_gitmodules(folder, "--get-regexp", r"^submodule\..*\.path$"):
            key, _, value = entry.partition("\n")
            if value == path:
                return key.removeprefix("submodule.").removesuffix(".path")
        return None

    def is_submodule_optional(self, folder: Path, name: str) -> bool:
        """Return whether git leaves out a submodule when it clones: `update = none` in .gitmodules."""
        return self._read_gitmodules(folder, "--get", f"submodule.{name}.update")[0] == "none"

    def _read_gitmodules(self, folder: Path, *arguments: str) -> list[str]:
        """Return the entries that `git config` prints for .gitmodules; one empty entry when it finds none."""
        result = run_with_timeout(
            [_find_git(), "--no-pager", "-C", str(folder), "config", "--file", ".gitmodules", "--null", *arguments],
            timeout_seconds=self.timeout_seconds,
            extra_environment=_clone_environment(self.repository),
            dies_with_us=True,
        )
        return result.output.decode("utf-8", "surrogateescape").split("\0")

    def try_run(self, *arguments: str) -> tuple[int, str]:
        """Run git to its end; return its status and error output."""
        with ChildProcess(
            [_find_git(), "--no-pager", *arguments],
            extra_environment=_clone_environment(self.repository),
            dies_with_us=True,
            pass_on=self.pass_on,
        ) as child:
            status = self._wait(child)
            return status, _printable_output(child.errors_tail())

    def _wait(self, child: ChildProcess) -> int:
        waited_seconds = 0.0
        reported = ""
        while (status := child.wait(_POLL_SECONDS)) is None:
            waited_seconds += _POLL_SECONDS
            if waited_seconds >= self.timeout_seconds:
                raise Failure(
                    "child-timeout",
                    f"git did not end within {self.timeout_seconds:g} seconds ({self.repository.url}).",
                    hint="Check the network, then try again.",
                )
            # git writes its progress to standard error.
            line = _last_line(_printable_output(child.errors_tail(max_bytes=512)))
            if line and line != reported:
                reported = line
                self.progress(line)
        return status

    def _failure(self, errors: str) -> Failure:
        lines = [line.strip() for line in errors.splitlines() if line.strip()]
        # Progress lines are left out; without a line that is a message the last one has to do.
        messages = [line for line in lines if _MESSAGE_LINE.match(line)] or lines[-1:]
        reason = "; ".join(dict.fromkeys(messages))[:600] or "no error message"
        return Failure(
            "git-failed",
            f"git could not get {self.repository.url}: {reason}",
            hint="Check the address, --ref and the network; a private repository needs a key (ssh) or a token.",
        )


def _checkout_arguments(git: _GitRunner, folder: Path, ref: str) -> list[str]:
    """Return the arguments of `git checkout` for a ref.

    A branch is preferred to a tag, and both to a commit, as with `git clone --branch`.
    """
    if not ref:
        return []

    def exists(revision: str) -> bool:
        verify = ("rev-parse", "--quiet", "--verify", "--end-of-options", f"{revision}^{{commit}}")
        return git.try_run("-C", str(folder), *verify)[0] == 0

    if exists(f"refs/remotes/origin/{ref}"):
        return ["-B", ref, "--track", f"origin/{ref}"]
    if exists(f"refs/tags/{ref}"):
        return ["--detach", f"refs/tags/{ref}"]
    if _COMMIT.fullmatch(ref):
        if _WHOLE_COMMIT.fullmatch(ref) and not exists(ref):
            # A clone has no commits of pull requests and rewritten branches; they can be fetched by their full hash.
            git.run("-C", str(folder), "fetch", "--quiet", "origin", ref)
        if exists(ref):
            return ["--detach", ref]
    raise Failure(
        "git-failed",
        f"{git.repository.url} has no branch, tag or commit {ref!r}.",
        hint=f"List its refs: git ls-remote {git.repository.url}",
    )


def _clone_environment(repository: Repository) -> dict[str, str]:
    environment = dict(repository.network or {})
    if "SSL_CERT_FILE" in environment:
        # git has a name of its own for it.
        environment["GIT_SSL_CAINFO"] = environment["SSL_CERT_FILE"]
    protocols = ["https", "ssh"]
    if urlsplit(repository.url).scheme == "http":
        protocols.append("http")
    if repository.is_local:
        protocols.append("file")
    environment |= {
        # Applies to submodules as well, whose addresses were not checked.
        "GIT_ALLOW_PROTOCOL": ":".join(protocols),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=30",
        "LC_ALL": "C.UTF-8",
    }
    settings = _clone_settings(repository)
    environment["GIT_CONFIG_COUNT"] = str(len(settings))
    for number, (key, value) in enumerate(settings.items()):
        environment[f"GIT_CONFIG_KEY_{number}"] = key
        environment[f"GIT_CONFIG_VALUE_{number}"] = value
    return environment


def _clone_settings(repository: Repository) -> dict[str, str]:
    """Return git settings, which are passed as GIT_CONFIG_KEY_n and GIT_CONFIG_VALUE_n (git-config(1))."""
    settings = {
        "core.hooksPath": "/dev/null",
        "core.fsmonitor": "false",
        # A repository may hold names that are .git on other filesystems (CVE-2014-9390).
        "core.protectHFS": "true",
        "core.protectNTFS": "true",
        "advice.detachedHead": "false",
        "credential.helper": "",
        "http.lowSpeedLimit": "1000",
        "http.lowSpeedTime": str(_STALL_SECONDS),
    }
    if repository.user or repository.secret:
        parts = urlsplit(repository.url)
        credentials = base64.b64encode(f"{repository.user}:{repository.secret}".encode()).decode("ascii")
        # For this server only: submodules elsewhere must not receive it.
        settings[f"http.{parts.scheme}://{parts.netloc}/.extraHeader"] = f"Authorization: Basic {credentials}"
    return settings


def _find_git() -> str:
    program = shutil.which("git")
    if program is None:
        raise Failure("git-missing", "git was not found.", hint="Install git and check that it is on PATH.")
    return program


def _printable_output(output: bytes) -> str:
    # git quotes addresses, with the credentials in them.
    text = _CREDENTIALS.sub("", output.decode("utf-8", "replace"))
    return "".join(char if char.isprintable() or char in "\r\n" else "?" for char in text)


def _last_line(text: str) -> str:
    # Progress lines end with \r and overwrite each other.
    for line in reversed(re.split(r"[\r\n]+", text)):
        if line.strip():
            return line.strip()
    return ""
