"""`version init`: a home with ComfyUI at a ref and a Python environment with its base dependencies, proved by a start.

Each step looks first at what is there: running the command again goes on where an interrupted run stopped, and changes
nothing once everything is in place.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular, unwritable_failure
from comfywatchman.comfyui.install.install import is_comfyui
from comfywatchman.versions.home import (
    HomeMarker,
    VersionHome,
    make_home,
    read_home_marker,
    write_home_config,
    write_home_marker,
)
from comfywatchman.versions.model_paths import FILE_NAME, write_model_paths
from comfywatchman.versions.package_files import PackageFile
from comfywatchman.versions.staging import hold_folder, remove_tree

_MAX_REQUIREMENTS_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class HomeRequest:
    """The ComfyUI that a home gets.

    Attributes:
        repo: Its repository.
        ref: Branch, tag or commit; empty for the default branch.
        torch: The builds of torch, a name that `check_torch_builds` accepts.
        environment: The folder of the Python environment; None for `.venv` in ComfyUI.
        further: Requirement lines beside those of ComfyUI.
    """

    repo: str
    ref: str
    torch: str
    environment: Path | None
    further: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HomeTools:
    """Functions of other parts of the program that the command uses. Each raises `Failure`.

    Attributes:
        clone_code: Clones ComfyUI's repository into a folder that does not exist; returns the commit.
        make_environment: Creates a Python environment in a folder.
        list_downloads: Returns the files of all packages that requirements bring into an environment.
        confirm: Called with these files before they are fetched.
        install: Installs requirements into an environment.
        start: Starts ComfyUI once, with the Python of an environment; None to leave that out.
        progress: Called with a text when a step begins.
    """

    clone_code: Callable[[Path], str]
    make_environment: Callable[[Path], None]
    list_downloads: Callable[[Path, Path], tuple[PackageFile, ...]]
    confirm: Callable[[tuple[PackageFile, ...]], None]
    install: Callable[[Path, Path], None]
    start: Callable[[Path, Path], None] | None
    progress: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class HomeResult:
    """A finished home.

    Attributes:
        home: The home.
        environment: The folder of the Python environment.
        marker: Its final marker.
        is_changed: Whether this run changed anything.
    """

    home: VersionHome
    environment: Path
    marker: HomeMarker
    is_changed: bool


def initialize_home(home: VersionHome, request: HomeRequest, tools: HomeTools) -> HomeResult:
    """Bring a home into the requested state.

    Raises:
        Failure: A `version-…` code, or the failure of a step. What was built stays for the next run.
    """
    check_home_folder(home)
    make_home(home)
    with hold_folder(home.root):
        before = read_home_marker(home)
        environment = request.environment or home.comfyui / ".venv"
        _check_environment(environment, before)
        marker = _ensure_code(home, request, tools, before)
        # Later than the clone: commands that are run in the folder would look for a ComfyUI that is not there.
        write_home_config(home)
        marker = _ensure_environment(home, request, environment, tools, marker)
        if tools.start is not None and not marker.is_started:
            tools.progress("Starting ComfyUI once")
            tools.start(home.comfyui, environment)
            marker = msgspec.structs.replace(marker, is_started=True)
            write_home_marker(home, marker)
    return HomeResult(home, environment, marker, is_changed=marker != before)


def check_home_folder(home: VersionHome) -> None:
    """Check that the folder of a home is not a ComfyUI itself: another one would be cloned into it.

    Raises:
        Failure: `version-home-differs`.
    """
    if os.path.lexists(home.root / "main.py"):
        folder = printable_path(home.root)
        raise Failure(
            "version-home-differs",
            f"{folder} has a main.py, as a ComfyUI has; version init would clone another one into it.",
            hint=f"Name a new folder: --path FOLDER. To record the ComfyUI that you have: "
            f"comfywatchman --comfyui {shlex.quote(folder)} version create NAME",
        )


def _ensure_code(home: VersionHome, request: HomeRequest, tools: HomeTools, marker: HomeMarker) -> HomeMarker:
    if os.path.lexists(home.comfyui):
        _check_code(home, request, marker)
    else:
        tools.progress(f"Cloning ComfyUI from {request.repo}")
        remove_tree(home.unfinished_code)
        commit = tools.clone_code(home.unfinished_code)
        if not is_comfyui(home.unfinished_code):
            raise Failure(
                "version-home-differs",
                f"{request.repo} is not ComfyUI: it has no main.py, nodes.py and folder_paths.py.",
                hint="Name ComfyUI's repository: --repo URL",
            )
        marker = HomeMarker(repo=request.repo, ref=request.ref, commit=commit)
        # Before the rename: a copy without a marker would pass for one of the user.
        write_home_marker(home, marker)
        try:
            os.rename(home.unfinished_code, home.comfyui)
        except OSError as error:
            raise unwritable_failure(home.comfyui, error, verb="created") from error
    # The user's own ComfyUI keeps its model folders.
    if marker.commit and not os.path.lexists(home.comfyui / FILE_NAME):
        write_model_paths(home.comfyui, home.models)
    return marker


def _check_code(home: VersionHome, request: HomeRequest, marker: HomeMarker) -> None:
    """Check that the ComfyUI in the home is one that the request may mean; the user's own is taken without a ref."""
    shown = printable_path(home.comfyui)
    if not is_comfyui(home.comfyui):
        problem = f"{shown} exists and is not ComfyUI"
    elif request.ref and request.ref not in {marker.ref, marker.commit}:
        origin = f"made from {marker.ref or marker.commit}" if marker.commit else "not made by `version init`"
        problem = f"{shown} is {origin}, and --ref asks for {request.ref}"
    else:
        return
    raise Failure(
        "version-home-differs",
        f"{problem}.",
        hint="Name another folder (--path FOLDER), or change the checkout with git and leave --ref out.",
    )


def _check_environment(environment: Path, marker: HomeMarker) -> None:
    """Check that a folder without an interpreter may be replaced by an environment: it must not hold other files."""
    if os.path.lexists(environment / "bin" / "python") or marker.environment == str(environment):
        return
    try:
        is_free = not os.path.lexists(environment) or (environment / "pyvenv.cfg").is_file()
        is_free = is_free or (environment.is_dir() and not os.listdir(environment))
    except OSError:
        is_free = False
    if not is_free:
        raise Failure(
            "version-home-differs",
            f"{printable_path(environment)} exists and is not a Python environment.",
            hint="Name an environment, an empty folder or a new one: --venv FOLDER",
        )


def _ensure_environment(
    home: VersionHome, request: HomeRequest, environment: Path, tools: HomeTools, marker: HomeMarker
) -> HomeMarker:
    requirements = home.comfyui / "requirements.txt"
    content = read_regular(requirements, max_bytes=_MAX_REQUIREMENTS_BYTES)
    digest = hashlib.sha256(content + "\0".join(request.further).encode()).hexdigest()
    has_python = os.path.lexists(environment / "bin" / "python")
    wanted = (digest, request.torch)
    if has_python and (marker.requirements_sha256, marker.torch) == wanted:
        return marker
    is_ours = marker.environment == str(environment)
    if not has_python or (is_ours and (not marker.requirements_sha256 or marker.torch != request.torch)):
        # An installer that was killed leaves packages that look installed and lack files. One that finds torch in
        # place keeps it, whatever builds are asked for.
        marker = msgspec.structs.replace(marker, environment=str(environment), requirements_sha256="", is_started=False)
        write_home_marker(home, marker)
        remove_tree(environment)
        tools.progress(f"Creating a Python environment in {printable_path(environment)}")
        tools.make_environment(environment)
    tools.progress("Looking up packages and their sizes")
    tools.confirm(tools.list_downloads(environment, requirements))
    if is_ours or not has_python:
        # Until the installation has ended, a later run builds the environment again.
        write_home_marker(home, msgspec.structs.replace(marker, requirements_sha256="", is_started=False))
    tools.install(environment, requirements)
    marker = msgspec.structs.replace(marker, requirements_sha256=digest, torch=request.torch, is_started=False)
    write_home_marker(home, marker)
    return marker
