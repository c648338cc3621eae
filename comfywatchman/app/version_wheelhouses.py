"""`version wheelhouse`: pip for the wheels, git for the repositories."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfywatchman.app.version_clones import clone_locked_code, find_interpreter, require_same_python
from comfywatchman.base.config import network_variables
from comfywatchman.base.errors import Failure
from comfywatchman.base.git_clone import list_all_submodules, write_bundle
from comfywatchman.base.process import run_with_timeout
from comfywatchman.governance.store.settings import NetworkTable
from comfywatchman.governance.uv.client import Uv, find_uv
from comfywatchman.governance.uv.find_links import join_links
from comfywatchman.versions.lockfile import LockedCode, LockedPython
from comfywatchman.versions.package_files import PackageFile, list_package_files
from comfywatchman.versions.requirements import write_requirements
from comfywatchman.versions.wheelhouse import WheelhouseTools, name_submodule

_BUILD_SECONDS: Final = 7200.0
_INSTALL_SECONDS: Final = 600.0
_GIT_SECONDS: Final = 3600.0
_SHOWN_LINES: Final = 5
_BUILD_EPOCH: Final = "315532800"
"""1980-01-01, the earliest time that a zip file can hold: with it, building a wheel twice gives the same bytes."""


@dataclass(frozen=True, slots=True)
class WheelhouseOptions:
    """Options of a wheelhouse.

    Attributes:
        python: The interpreter; None to let uv find the locked version.
        network: Where packages come from.
        allow_local: Whether repositories may be folders of this machine.
        with_code: Whether repositories belong to it.
    """

    python: Path | None
    network: NetworkTable
    allow_local: bool
    with_code: bool


def build_wheelhouse_tools(
    options: WheelhouseOptions,
    *,
    confirm: Callable[[tuple[PackageFile, ...]], None],
    progress: Callable[[str], None],
) -> WheelhouseTools:
    """Build the functions that collecting a wheelhouse needs."""
    uv = Uv(find_uv(), network_variables(), options.network, dies_with_us=True)

    def build_wheels(python: LockedPython, folder: Path) -> None:
        interpreter = options.python or find_interpreter(uv, python)
        require_same_python(interpreter, python)
        with tempfile.TemporaryDirectory(prefix="comfywatchman-wheelhouse-") as name:
            hashed, others = write_requirements(Path(name), python.packages)
            files = _find_downloads(uv, hashed, interpreter, python) if hashed else ()
            repositories = sum(package.source == "git" for package in python.packages)
            confirm((*files, *[PackageFile("", "", "", None, None)] * repositories))
            pip = _make_pip(uv, interpreter, Path(name) / "pip")
            for requirements, options_of_pip in ((hashed, ["--require-hashes"]), (others, [])):
                if requirements is not None:
                    _run_pip(pip, options.network, [*options_of_pip, "--requirement", str(requirements)], folder)

    def bundle_code(code: LockedCode, path: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="comfywatchman-bundle-") as name:
            clone = Path(name) / "clone"
            clone_locked_code(code, clone, find_bundle=None, allow_local=options.allow_local, progress=progress)
            write_bundle(clone, path, timeout_seconds=_GIT_SECONDS)
            for submodule in list_all_submodules(clone, timeout_seconds=_GIT_SECONDS):
                bundle = path.with_name(f"{name_submodule(code.name, submodule)}{path.suffix}")
                write_bundle(clone / submodule, bundle, timeout_seconds=_GIT_SECONDS)

    return WheelhouseTools(build_wheels, bundle_code if options.with_code else None, progress)


def _find_downloads(uv: Uv, requirements: Path, interpreter: Path, python: LockedPython) -> tuple[PackageFile, ...]:
    result = uv.resolve_files([requirements], python=interpreter.absolute(), only_named=True)
    if not result.is_success:
        raise _incomplete(result.error_summary)
    return list_package_files(result.output, python.version)


def _make_pip(uv: Uv, interpreter: Path, folder: Path) -> Path:
    """Make an environment with pip, which uv has no command for: neither downloading wheels nor building them.

    The pip that the interpreter brings needs no network; some distributions leave it out.
    """
    result = uv.make_environment(folder, python=interpreter, seed=False)
    if not result.is_success:
        raise _incomplete(result.error_summary)
    python = folder / "bin" / "python"
    bundled = run_with_timeout([str(python), "-m", "ensurepip"], timeout_seconds=_INSTALL_SECONDS, dies_with_us=True)
    if bundled.status != 0:
        installed = uv.install(folder, ["pip"], project=folder, link_mode="copy")
        if not installed.is_success:
            raise _incomplete(installed.error_summary)
    return python


def _run_pip(python: Path, network: NetworkTable, arguments: list[str], folder: Path) -> None:
    argv = [str(python), "-m", "pip", "wheel", "--no-deps", "--disable-pip-version-check", "--no-input"]
    argv += ["--progress-bar", "off", "--wheel-dir", str(folder), *arguments]
    if network.no_index:
        argv.append("--no-index")
    variables = {**network_variables(), "SOURCE_DATE_EPOCH": _BUILD_EPOCH, "PYTHONNOUSERSITE": "1"}
    # As variables: arguments are visible to every user of the machine, and addresses may hold passwords.
    if network.index_url:
        variables["PIP_INDEX_URL"] = network.index_url
    if network.find_links:
        variables["PIP_FIND_LINKS"] = join_links(network.find_links, " ")
    result = run_with_timeout(argv, timeout_seconds=_BUILD_SECONDS, extra_environment=variables, dies_with_us=True)
    if result.status != 0:
        lines = result.errors.decode("utf-8", "replace").strip().splitlines()
        raise _incomplete(" ".join(lines[-_SHOWN_LINES:]))


def _incomplete(reason: str) -> Failure:
    return Failure(
        "version-wheelhouse-incomplete",
        f"The wheels cannot be collected: {reason}",
        hint="Packages of another index than the default one need it named: --index URL or --find-links PLACE.",
    )
