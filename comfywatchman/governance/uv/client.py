"""The uv client: every call of uv, with its package indexes, cache and time limits, goes through it.

uv gets its environment from an allow-list: a `UV_PYTHON`, `PIP_*` or `VIRTUAL_ENV` of the user would make it work on
another environment than the given one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import msgspec
from packaging.utils import canonicalize_name

from comfywatchman.base.errors import Failure
from comfywatchman.base.json_values import decode_json
from comfywatchman.base.process import ProcessResult, run_with_timeout
from comfywatchman.governance.store.records import InstalledPackage
from comfywatchman.governance.store.settings import LinkMode, NetworkTable
from comfywatchman.governance.uv.find_links import build_link_variables, list_link_options, list_torch_options

SEEDS: Final = frozenset({"pip", "setuptools", "wheel"})
"""Packages that every candidate has, so that installers of nodes work; they are not governed."""

_LOCK_SECONDS: Final = 900.0
_SYNC_SECONDS: Final = 7200.0
_QUERY_SECONDS: Final = 120.0
_SUMMARY_LINES: Final = 5
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/@\s]+@")


def ignore_progress(_text: str) -> None:
    """Show no progress."""


@dataclass(frozen=True, slots=True)
class UvResult:
    """The exit status and output of a uv call, without credentials."""

    status: int
    output: str
    errors: str

    @property
    def is_success(self) -> bool:
        """Whether the call succeeded."""
        return self.status == 0

    @property
    def error_summary(self) -> str:
        """The first lines of the error output as one text, for messages."""
        lines = [line.strip() for line in self.errors.splitlines() if line.strip()]
        return " ".join(lines[:_SUMMARY_LINES]) or "uv printed nothing"


class _PipListEntry(msgspec.Struct, frozen=True):
    name: str
    version: str


@dataclass(frozen=True)
class Uv:
    """uv with the network settings of a governed root.

    Attributes:
        path: The program.
        network: Environment variables for network access (`base.config.network_variables`).
        options: The root's `[network]` table.
        lock_descriptor: The descriptor of the root's lock, which a call inherits; None outside a lock.
        progress: Called with a text when a call that takes long begins.
        dies_with_us: Whether uv is killed when this process is, so that it writes nothing behind a later run.
    """

    path: Path
    network: Mapping[str, str]
    options: NetworkTable
    lock_descriptor: int | None = None
    progress: Callable[[str], None] = ignore_progress
    dies_with_us: bool = False

    @cached_property
    def version(self) -> str:
        """The version, `0.13.9`."""
        return self._run(["--version"], timeout_seconds=_QUERY_SECONDS).output.split()[1]

    def lock(self, project: Path, *, python: Path) -> UvResult:
        """Resolve a project folder's pyproject.toml into its uv.lock; nothing is installed."""
        self.progress("Resolving packages")
        argv = ["lock", *self._index_options(), "--python", str(python), "--project", str(project)]
        return self._run(argv, timeout_seconds=_LOCK_SECONDS, folder=project)

    def check_lock(self, project: Path, *, python: Path) -> UvResult:
        """Check that a project's uv.lock matches its pyproject.toml; fails when it does not."""
        argv = ["lock", "--check", *self._index_options(), "--python", str(python), "--project", str(project)]
        return self._run(argv, timeout_seconds=_LOCK_SECONDS, folder=project)

    def sync(
        self, project: Path, environment: Path, *, python: Path, link_mode: LinkMode, only_check: bool = False
    ) -> UvResult:
        """Make an environment contain exactly the packages in a project's lock, all groups.

        Args:
            project: The folder with pyproject.toml and uv.lock; the lock must match.
            environment: The environment's folder, created if missing. pip, setuptools and wheel stay.
            python: The interpreter, an absolute path.
            link_mode: How files come from the cache.
            only_check: Change nothing; fails when something would change.

        Raises:
            ValueError: The environment is a link, such as that to production: uv would write into the generation
                behind it.
        """
        if environment.is_symlink():
            raise ValueError(f"{environment} is a link")
        self.progress("Installing packages")
        argv = ["sync", "--locked", "--exact", "--all-groups", *self._index_options(), "--python", str(python)]
        argv += ["--link-mode", link_mode, "--project", str(project)]
        if only_check:
            argv.append("--check")
        variables = {"UV_PROJECT_ENVIRONMENT": str(environment)}
        return self._run(argv, timeout_seconds=_SYNC_SECONDS, folder=project, variables=variables)

    def make_environment(self, folder: Path, *, python: Path, seed: bool, is_relocatable: bool = False) -> UvResult:
        """Create an environment.

        Args:
            folder: Its folder.
            python: The interpreter, an absolute path.
            seed: Whether pip, setuptools and wheel are installed from the index.
            is_relocatable: Whether its folder may be renamed: scripts then find their interpreter beside them.
        """
        argv = ["venv", "--no-project", *self._index_options(), "--python", str(python)]
        if seed:
            argv.append("--seed")
        if is_relocatable:
            argv.append("--relocatable")
        return self._run([*argv, str(folder)], timeout_seconds=_LOCK_SECONDS)

    def install(
        self,
        environment: Path,
        lines: Sequence[str],
        *,
        project: Path,
        link_mode: LinkMode,
        constraints: Path | None = None,
        requirements: Path | None = None,
        timeout_seconds: float = _SYNC_SECONDS,
    ) -> UvResult:
        """Install requirement lines into an environment that is not a generation.

        Args:
            environment: The environment's folder.
            lines: Requirement lines, addresses of git repositories or paths of wheels.
            project: The folder whose pyproject.toml has the overrides and sources in force.
            link_mode: How files come from the cache.
            constraints: A file of lines that constrain versions.
            requirements: A file of further lines.
            timeout_seconds: The time limit; it includes building packages from source.
        """
        self.progress("Installing packages")
        argv = ["pip", "install", *self._index_options(), "--python", str(_interpreter_path(environment))]
        argv += ["--link-mode", link_mode]
        for option, path in (("--constraint", constraints), ("--requirement", requirements)):
            if path is not None:
                argv += [option, str(path)]
        return self._run([*argv, "--", *lines], timeout_seconds=timeout_seconds, folder=project)

    def find_python(self, version: str) -> UvResult:
        """Find an interpreter of this machine by its version; the output is its path."""
        return self._run(["python", "find", "--no-project", "--system", version], timeout_seconds=_QUERY_SECONDS)

    def install_pins(
        self,
        environment: Path,
        requirements: Path,
        *,
        require_hashes: bool,
        link_mode: LinkMode,
        torch_backend: str | None = None,
    ) -> UvResult:
        """Install exactly the packages of a requirements file, without their dependencies.

        Args:
            environment: The environment's folder.
            requirements: The file; each line pins one package.
            require_hashes: Whether every file must have one of the hashes in its line.
            link_mode: How files come from the cache.
            torch_backend: The builds of torch; None for those of the package index.
        """
        self.progress("Installing packages")
        argv = ["pip", "install", "--no-deps", *self._index_options(), "--link-mode", link_mode]
        argv += [*list_torch_options(torch_backend, None), "--python", str(_interpreter_path(environment))]
        if require_hashes:
            argv.append("--require-hashes")
        argv += ["--requirement", str(requirements)]
        return self._run(argv, timeout_seconds=_SYNC_SECONDS, folder=requirements.parent)

    def install_requirements(
        self,
        environment: Path,
        requirements: Sequence[Path],
        *,
        link_mode: LinkMode,
        torch_backend: str | None = None,
        overrides: Path | None = None,
    ) -> UvResult:
        """Install the packages of requirements files with their dependencies.

        Args:
            environment: The environment's folder.
            requirements: The files.
            link_mode: How files come from the cache.
            torch_backend: The builds of torch (`cpu`, `cu128`, `auto`); None for those of the index.
            overrides: A requirements file whose lines replace those of any package.
        """
        argv = ["pip", "install", *self._index_options(), "--link-mode", link_mode]
        argv += ["--python", str(_interpreter_path(environment)), *list_torch_options(torch_backend, overrides)]
        argv += [argument for path in requirements for argument in ("--requirement", str(path))]
        return self._run(argv, timeout_seconds=_SYNC_SECONDS, folder=requirements[0].parent)

    def resolve_files(
        self,
        requirements: Sequence[Path],
        *,
        python: Path,
        torch_backend: str | None = None,
        overrides: Path | None = None,
        only_named: bool = False,
    ) -> UvResult:
        """Resolve requirements files; the output is a pylock.toml with the address, hash and size of each file.

        Args:
            requirements: The files.
            python: The interpreter, an absolute path.
            torch_backend: The builds of torch (`cpu`, `cu128`, `auto`); None for those of the index.
            overrides: A requirements file whose lines replace those of any package.
            only_named: Leave out the dependencies of the named packages.
        """
        argv = ["pip", "compile", "--format", "pylock.toml", "--no-header", "--no-annotate", "--quiet"]
        if only_named:
            argv.append("--no-deps")
        argv += [*self._index_options(), "--python", str(python), *list_torch_options(torch_backend, overrides)]
        argv += [str(path) for path in requirements]
        return self._run(argv, timeout_seconds=_LOCK_SECONDS, folder=requirements[0].parent)

    def compile_hashes(self, requirements: Path, *, python: Path, torch_backend: str | None = None) -> UvResult:
        """Look up the files that the index has for exact pins; the output has hashes and indexes.

        Args:
            requirements: A file of pins, `name==1.0` on each line.
            python: The interpreter whose platform counts, an absolute path.
            torch_backend: The builds of torch; None for those of the package index.
        """
        argv = ["--no-deps", "--generate-hashes", "--emit-index-annotation", *list_torch_options(torch_backend, None)]
        return self._compile(requirements, python, *argv)

    def pin(self, requirements: Path, *, python: Path) -> UvResult:
        """Resolve a requirements file to exact versions; the output has them with the hashes of their files."""
        return self._compile(requirements, python, "--generate-hashes")

    def packages(self, environment: Path) -> tuple[InstalledPackage, ...]:
        """Return the installed packages, sorted by normalised name; without pip, setuptools and wheel.

        Raises:
            Failure: `gov-uv-failed`.
        """
        argv = ["pip", "list", "--format", "json", "--python", str(_interpreter_path(environment))]
        packages = []
        for entry in decode_json(self._run_checked(argv), tuple[_PipListEntry, ...]):
            package = InstalledPackage(canonicalize_name(entry.name), entry.version)
            if package.name not in SEEDS:
                packages.append(package)
        return tuple(sorted(packages))

    def freeze(self, environment: Path) -> tuple[str, ...]:
        """Return the lines of `uv pip freeze`, without credentials in addresses; without pip, setuptools and wheel.

        Raises:
            Failure: `gov-uv-failed`.
        """
        argv = ["pip", "freeze", "--python", str(_interpreter_path(environment))]
        lines = [line.strip() for line in self._run_checked(argv).splitlines()]
        return tuple(sorted(line for line in lines if line and _package_name(line) not in SEEDS))

    def check(self, environment: Path) -> tuple[str, ...]:
        """Return the unmet requirements of installed packages, one line each; empty when there are none."""
        argv = ["pip", "check", "--python", str(_interpreter_path(environment))]
        result = self._run(argv, timeout_seconds=_QUERY_SECONDS)
        if result.is_success:
            return ()
        # uv does not document which of the two streams has the lines.
        lines = [line.strip() for line in f"{result.output}\n{result.errors}".splitlines()]
        return tuple(line for line in lines if line.startswith("The package"))

    def clean_cache(self, packages: Sequence[str]) -> UvResult:
        """Remove packages from uv's cache, so that the next installation downloads them again."""
        return self._run(["cache", "clean", "--", *packages], timeout_seconds=_LOCK_SECONDS)

    def _compile(self, requirements: Path, python: Path, *options: str) -> UvResult:
        argv = ["pip", "compile", *options, "--no-header", "--no-annotate", "--quiet", *self._index_options()]
        argv += ["--python", str(python), str(requirements)]
        return self._run(argv, timeout_seconds=_LOCK_SECONDS, folder=requirements.parent)

    def _index_options(self) -> list[str]:
        argv = []
        if self.options.offline:
            argv.append("--offline")
        if self.options.no_index:
            argv.append("--no-index")
        return argv + list_link_options(self.options.find_links)

    def _run_checked(self, argv: Sequence[str]) -> str:
        result = self._run(argv, timeout_seconds=_QUERY_SECONDS)
        if not result.is_success:
            command = " ".join(argv[:2])
            raise Failure(
                "gov-uv-failed",
                f"uv {command} exited with status {result.status}: {_last_line(result.errors)}",
                hint="If the environment is damaged, rebuild it: gov init",
            )
        return result.output

    def _run(
        self,
        argv: Sequence[str],
        *,
        timeout_seconds: float,
        folder: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> UvResult:
        # Before 0.13, uv wraps messages at 80 columns unless UV_NO_WRAP is set.
        extra = {**self.network, "UV_NO_WRAP": "1", "UV_PYTHON_DOWNLOADS": "never", **(variables or {})}
        if self.options.cache_dir:
            extra["UV_CACHE_DIR"] = self.options.cache_dir
        extra |= build_link_variables(self.options.find_links)
        if self.options.index_url:
            # As a variable: arguments are visible to every user of the machine.
            extra["UV_DEFAULT_INDEX"] = self.options.index_url
        result = run_with_timeout(
            [str(self.path), "--color", "never", "--no-progress", *argv],
            timeout_seconds=timeout_seconds,
            extra_environment=extra,
            folder=folder,
            pass_on=() if self.lock_descriptor is None else (self.lock_descriptor,),
            dies_with_us=self.dies_with_us,
        )
        return _to_result(result)


def find_uv() -> Path:
    """Return the uv installed with this program, else the one on PATH.

    Raises:
        Failure: `gov-uv-missing`.
    """
    import shutil

    import uv

    try:
        return Path(uv.find_uv_bin())
    except FileNotFoundError as error:
        on_path = shutil.which("uv")
        if on_path is None:
            raise Failure(
                "gov-uv-missing",
                "uv was not found: neither beside this program nor on PATH.",
                hint="Install it: python -m pip install uv.",
            ) from error
        return Path(on_path)


def _to_result(result: ProcessResult) -> UvResult:
    return UvResult(result.status, _decode_output(result.output), _decode_output(result.errors))


def _decode_output(output: bytes) -> str:
    return _CREDENTIALS.sub("", output.decode("utf-8", "replace"))


def _interpreter_path(environment: Path) -> Path:
    # Absolute: uv reads a relative `-p v1` as a version.
    return environment.absolute() / "bin" / "python"


def _package_name(line: str) -> str:
    """Return the normalised package name of a freeze line, such as `name==1.0` or `name @ file:///…`."""
    return canonicalize_name(re.split(r"[ @=\[<>!~;]", line, maxsplit=1)[0])


def _last_line(text: str) -> str:
    for line in reversed(text.splitlines()):
        if line.strip():
            return line.strip()
    return "it printed nothing"
