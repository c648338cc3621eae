"""uv, which resolves and installs packages: the one door to it.

Its children get an environment from a whitelist: a `UV_PYTHON`, `PIP_*` or `VIRTUAL_ENV` of the person would make it
work on another environment than the one that is meant.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import msgspec
from packaging.utils import canonicalize_name

from comfywatchman.base.errors import Failure
from comfywatchman.base.process import ProcessResult, run_bounded
from comfywatchman.governance.store.records import InstalledPackage
from comfywatchman.governance.store.settings import LinkMode, NetworkTable

SEEDS: Final = frozenset({"pip", "setuptools", "wheel"})
"""Packages that every candidate has so that installers work; they are no part of what is governed."""

_LOCK_SECONDS: Final = 900.0
_SYNC_SECONDS: Final = 7200.0
_QUICK_SECONDS: Final = 120.0
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/@\s]+@")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UvResult:
    """How a call of uv ended: its exit status and what it printed."""

    status: int
    output: str
    errors: str

    @property
    def is_success(self) -> bool:
        """Whether it did what was asked."""
        return self.status == 0


class _PipListEntry(msgspec.Struct, frozen=True):
    name: str
    version: str


@dataclass(frozen=True)
class Uv:
    """uv with the network that a governed root uses.

    Attributes:
        path: The program.
        network: How this machine reaches the network (`base.config.network_variables`).
        options: The root's `[network]` table.
        lock_descriptor: The descriptor of the root's lock, which a call inherits; None outside a lock.
    """

    path: Path
    network: Mapping[str, str]
    options: NetworkTable
    lock_descriptor: int | None = None

    @cached_property
    def version(self) -> str:
        """Its version, `0.13.9`."""
        return self._call(["--version"], timeout_seconds=_QUICK_SECONDS).output.split()[1]

    def lock(self, project: Path, *, python: Path) -> UvResult:
        """Resolve a project folder's pyproject.toml into its uv.lock; nothing is installed."""
        log.info("resolving packages")
        argv = ["lock", *self._index(), "--python", str(python), "--project", str(project)]
        return self._call(argv, timeout_seconds=_LOCK_SECONDS, folder=project)

    def is_fresh(self, project: Path, *, python: Path) -> UvResult:
        """Ask whether a project's uv.lock fits its pyproject.toml; well when it does."""
        argv = ["lock", "--check", *self._index(), "--python", str(python), "--project", str(project)]
        return self._call(argv, timeout_seconds=_LOCK_SECONDS, folder=project)

    def sync(
        self, project: Path, environment: Path, *, python: Path, link_mode: LinkMode, only_check: bool = False
    ) -> UvResult:
        """Make an environment hold exactly what a project's lock says, all groups.

        Never give it the link to production: it would write into the generation behind it.

        Args:
            project: The folder with pyproject.toml and uv.lock; the lock must fit.
            environment: The environment's folder; made when it is not there. pip, setuptools and wheel stay.
            python: The interpreter, an absolute path.
            link_mode: How files come from the cache.
            only_check: Change nothing; well when nothing would change.
        """
        if environment.is_symlink():
            raise ValueError(f"{environment} is a link")
        log.info("installing packages")
        argv = ["sync", "--locked", "--exact", "--all-groups", *self._index(), "--python", str(python)]
        argv += ["--link-mode", link_mode, "--project", str(project), *(["--check"] if only_check else [])]
        variables = {"UV_PROJECT_ENVIRONMENT": str(environment)}
        return self._call(argv, timeout_seconds=_SYNC_SECONDS, folder=project, variables=variables)

    def make_environment(self, folder: Path, *, python: Path, seed: bool) -> UvResult:
        """Make an environment, with pip, setuptools and wheel when `seed` is set (they come from the index)."""
        argv = ["venv", "--no-project", *self._index(), "--python", str(python), *(["--seed"] if seed else [])]
        return self._call([*argv, str(folder)], timeout_seconds=_LOCK_SECONDS)

    def install(
        self,
        environment: Path,
        lines: Sequence[str],
        *,
        project: Path,
        link_mode: LinkMode,
        constraints: Path | None = None,
        timeout_seconds: float = _SYNC_SECONDS,
    ) -> UvResult:
        """Install requirement lines into an environment that is no generation.

        Args:
            environment: The environment's folder.
            lines: Requirement lines, addresses of git repositories or files of wheels.
            project: The folder whose pyproject.toml says what is overridden and where packages come from.
            link_mode: How files come from the cache.
            constraints: A file of lines that narrow versions.
            timeout_seconds: How long it may take; packages may be built from their source meanwhile.
        """
        log.info("installing packages")
        argv = [
            "pip",
            "install",
            *self._index(),
            "--python",
            str(_interpreter_path(environment)),
            "--link-mode",
            link_mode,
        ]
        argv += [] if constraints is None else ["--constraint", str(constraints)]
        return self._call([*argv, "--", *lines], timeout_seconds=timeout_seconds, folder=project)

    def packages(self, environment: Path) -> tuple[InstalledPackage, ...]:
        """Return what is installed, sorted by normalised name; without pip, setuptools and wheel.

        Raises:
            Failure: `gov-uv-failed`.
        """
        argv = ["pip", "list", "--format", "json", "--python", str(_interpreter_path(environment))]
        listed = msgspec.json.decode(self._answer(argv), type=tuple[_PipListEntry, ...])
        found = (InstalledPackage(canonicalize_name(one.name), one.version) for one in listed)
        return tuple(sorted(one for one in found if one.name not in SEEDS))

    def freeze(self, environment: Path) -> tuple[str, ...]:
        """Return the lines of `uv pip freeze`, credentials of addresses left out; without pip, setuptools and wheel.

        Raises:
            Failure: `gov-uv-failed`.
        """
        argv = ["pip", "freeze", "--python", str(_interpreter_path(environment))]
        lines = (line.strip() for line in self._answer(argv).splitlines())
        return tuple(sorted(line for line in lines if line and _package_name(line) not in SEEDS))

    def check(self, environment: Path) -> tuple[str, ...]:
        """Return what installed packages want and do not have, one line each; empty when all fits."""
        ended = self._call(
            ["pip", "check", "--python", str(_interpreter_path(environment))], timeout_seconds=_QUICK_SECONDS
        )
        lines = (line.strip() for line in f"{ended.output}\n{ended.errors}".splitlines())
        return () if ended.is_success else tuple(line for line in lines if line.startswith("The package"))

    def clean_cache(self, packages: Sequence[str]) -> UvResult:
        """Drop packages from uv's cache, so that the next environment gets them anew from their source."""
        return self._call(["cache", "clean", "--", *packages], timeout_seconds=_LOCK_SECONDS)

    def _index(self) -> list[str]:
        options = self.options
        argv = ["--offline"] if options.offline else []
        argv += ["--no-index"] if options.no_index else []
        return argv + [part for place in options.find_links for part in ("--find-links", place)]

    def _answer(self, argv: Sequence[str]) -> str:
        ended = self._call(argv, timeout_seconds=_QUICK_SECONDS)
        if not ended.is_success:
            what = " ".join(argv[:2])
            raise Failure(
                "gov-uv-failed",
                f"uv {what} ended with status {ended.status}: {_last_line(ended.errors)}",
                hint="If the environment is damaged, this builds it again: gov init",
            )
        return ended.output

    def _call(
        self,
        argv: Sequence[str],
        *,
        timeout_seconds: float,
        folder: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> UvResult:
        extra = {**self.network, "UV_NO_WRAP": "1", "UV_PYTHON_DOWNLOADS": "never", **(variables or {})}
        if self.options.cache_dir:
            extra["UV_CACHE_DIR"] = self.options.cache_dir
        if self.options.index_url:
            extra["UV_DEFAULT_INDEX"] = self.options.index_url
        ended = run_bounded(
            [str(self.path), "--color", "never", "--no-progress", *argv],
            timeout_seconds=timeout_seconds,
            extra_environment=extra,
            folder=folder,
            pass_on=() if self.lock_descriptor is None else (self.lock_descriptor,),
        )
        return _to_result(ended)


def find_uv() -> Path:
    """Return the uv that came with this program, else the one on PATH.

    Raises:
        Failure: `gov-uv-missing`.
    """
    import shutil

    import uv

    try:
        return Path(uv.find_uv_bin())
    except FileNotFoundError as error:
        found = shutil.which("uv")
        if found is None:
            raise Failure(
                "gov-uv-missing",
                "uv was not found: neither beside this program nor on PATH.",
                hint="Install it: python -m pip install uv.",
            ) from error
        return Path(found)


def _to_result(ended: ProcessResult) -> UvResult:
    texts = (_CREDENTIALS.sub("", text.decode("utf-8", "replace")) for text in (ended.output, ended.errors))
    return UvResult(ended.status, *texts)


def _interpreter_path(environment: Path) -> Path:
    # Absolute: uv reads a relative `-p v1` as a version.
    return environment.absolute() / "bin" / "python"


def _package_name(line: str) -> str:
    return canonicalize_name(re.split(r"[ @=\[<>!~;]", line, maxsplit=1)[0])


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")
