"""The supervisor's own Python environment, apart from that of ComfyUI, with this comfywatchman and its requirements.

Its packages are copied from the environment that this program runs in: no network is needed, and the versions are
those that were tested together. `python -m comfywatchman.supervisor.venv FOLDER` creates it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from importlib import metadata as installed
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import comfywatchman
from comfywatchman.base.clock import SystemClock
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, to_json, write_atomic
from comfywatchman.base.lock import hold_lock
from comfywatchman.base.process import run_with_timeout
from comfywatchman.base.text import os_error_text
from comfywatchman.supervisor.metadata import read_metadata_file

VENV: Final = Path("server") / ".orchestrator_venv"
"""The environment's place in the folder that holds it: for comfygit its custom node pack, for us `ORCHESTRATOR`."""
ORCHESTRATOR: Final = "orchestrator"
"""The folder in `.metadata/`. In the node pack, thousands of files would count as code of the pack."""
PACKAGE: Final = "comfywatchman"

_MARK: Final = "comfywatchman-venv.json"
_LOCK_SECONDS: Final = 120.0
_TEST_SECONDS: Final = 60.0
_BLOCK: Final = 1 << 20
_UNWANTED: Final = frozenset({"RECORD", "direct_url.json"})
"""Files of our own distribution that describe how the running one was installed."""


class OrchestratorVenvMissing(Failure, RuntimeError):
    """There is no supervisor environment; a `RuntimeError` for callers that know comfygit's function."""


class VenvMark(msgspec.Struct, frozen=True):
    """The content of a complete environment.

    Attributes:
        fingerprint: Of the program's files, its requirements and the interpreter.
        version: The version of the program.
        schema_version: Version of this shape.
    """

    fingerprint: str
    version: str
    schema_version: int = 1


def get_orchestrator_python(custom_node_root: Path) -> Path:
    """Return the interpreter of the supervisor's environment in a folder that holds one.

    Raises:
        OrchestratorVenvMissing: `supervisor-venv-missing`.
    """
    python = interpreter_of(custom_node_root / VENV)
    if not python.is_file():
        raise OrchestratorVenvMissing(
            "supervisor-venv-missing",
            f"Orchestrator venv not found: {printable_path(python)} does not exist.",
            hint="Install the panel again: comfywatchman supervise install-panel",
        )
    return python


def interpreter_of(venv: Path) -> Path:
    """Return the path of an environment's interpreter."""
    return venv / "bin" / "python"


def ensure_orchestrator_venv(path: Path, *, wheel: Path | None = None) -> Path:
    """Create the supervisor's environment unless it is there, complete and up to date.

    It is built beside its place, tested, and renamed. One that is in use is replaced too: a running supervisor goes
    on, and the next one uses the new environment.

    Args:
        path: Its folder.
        wheel: The wheel of this program; the running program's files when None.

    Returns:
        Its interpreter.

    Raises:
        Failure: `supervisor-venv-failed`, `state-unwritable`, or `lock-held` when another process takes too long.
    """
    lock = path.with_name(f"{path.name}.lock")
    with hold_lock(lock, command="a new environment", clock=SystemClock(), patience_seconds=_LOCK_SECONDS):
        mark = VenvMark(_compute_fingerprint(wheel), _read_version())
        if read_metadata_file(path / _MARK, VenvMark) == mark and interpreter_of(path).is_file():
            return interpreter_of(path)
        if os.path.lexists(path) and not os.path.lexists(path / _MARK):
            raise _venv_failure(
                f"{printable_path(path)} exists and was not made by comfywatchman.", "Move it away, then try again."
            )
        for left in path.parent.glob(f"{path.name}.building-*"):
            shutil.rmtree(left, ignore_errors=True)
        _build(path, mark, wheel)
    return interpreter_of(path)


def _build(path: Path, mark: VenvMark, wheel: Path | None) -> None:
    import venv

    building = Path(tempfile.mkdtemp(prefix=f"{path.name}.building-", dir=path.parent))
    try:
        fresh = building / "venv"
        venv.EnvBuilder(symlinks=True, with_pip=False).create(fresh)
        packages = next(fresh.glob("lib/python*/site-packages"))
        for name in _find_requirements(PACKAGE):
            if name == PACKAGE and wheel is not None:
                _unpack_wheel(wheel, packages)
            elif name == PACKAGE:
                _copy_own_files(packages)
            else:
                _copy_distribution(installed.distribution(name), packages, fresh)
        _test(fresh, mark.version)
        write_atomic(fresh / _MARK, to_json(mark))
        if os.path.lexists(path):
            os.rename(path, building / "old")
        os.rename(fresh, path)
    except (OSError, installed.PackageNotFoundError, zipfile.BadZipFile) as error:
        reason = os_error_text(error) if isinstance(error, OSError) else f"{error}"
        message = f"The supervisor's environment could not be created: {reason}."
        raise _venv_failure(message, "Check the disk (df -h) and the permissions of the folder.") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _find_requirements(root: str) -> tuple[str, ...]:
    """Return the distributions that one needs, itself included, by normalised name."""
    found: dict[str, None] = {}
    open_names = [canonicalize_name(root)]
    while open_names:
        name = open_names.pop()
        if name in found:
            continue
        found[name] = None
        for line in installed.distribution(name).requires or ():
            requirement = Requirement(line)
            # Extras are not followed: ours are for other commands.
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                open_names.append(canonicalize_name(requirement.name))
    return tuple(sorted(found))


def _copy_distribution(distribution: installed.Distribution, packages: Path, venv: Path) -> None:
    """Copy the files that a distribution recorded; scripts are left out, as they name the other interpreter."""
    files = distribution.files
    if not files:
        name = distribution.name
        message = f"The supervisor's environment could not be created: {name} does not list its files."
        raise _venv_failure(message, "Install comfywatchman with pip or uv in an environment of its own.")
    for file in files:
        source, target = Path(str(file.locate())), Path(os.path.normpath(packages / PurePosixPath(file)))
        if file.suffix == ".pyc" or not target.is_relative_to(venv) or not source.is_file():
            continue
        if not target.is_relative_to(packages) and _is_script(source):
            continue
        _link_or_copy(source, target)


def _copy_own_files(packages: Path) -> None:
    """Copy this program and its metadata, from wherever it runs: an installation, or a checkout."""
    for source, target in _list_own_files():
        # Copied, not linked: some editors write into the files of a checkout.
        _copy(source, packages / target)
    distribution = installed.distribution(PACKAGE)
    name = f"{PACKAGE}-{distribution.version}.dist-info"
    # Not distribution.files: an environment made by this module has no RECORD of this program.
    for source in Path(str(distribution.locate_file(name))).iterdir():
        if source.name not in _UNWANTED and source.is_file():
            _copy(source, packages / name / source.name)


def _list_own_files() -> Iterator[tuple[Path, PurePosixPath]]:
    """Yield the files of this program, and their paths in site-packages."""
    root = Path(comfywatchman.__file__).parent
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(names):
            path = Path(folder, name)
            yield path, PurePosixPath(PACKAGE, *path.relative_to(root).parts)


def _unpack_wheel(wheel: Path, packages: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            # extractall() keeps members inside the folder, whatever they are named.
            archive.extract(member, packages)


def _link_or_copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Installers replace files instead of writing into them, so both environments may share one.
        os.link(source, target, follow_symlinks=True)
    except OSError:
        shutil.copy2(source, target)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def _is_script(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == b"#!"


def _test(venv: Path, version: str) -> None:
    code = f"import importlib.metadata as m, comfywatchman.__main__; assert m.version({PACKAGE!r}) == {version!r}"
    result = run_with_timeout([str(interpreter_of(venv)), "-I", "-c", code], timeout_seconds=_TEST_SECONDS)
    if result.status:
        last = result.errors.decode("utf-8", "replace").strip().rpartition("\n")[2]
        message = f"The supervisor's environment does not work: {last or f'status {result.status}'}"
        raise _venv_failure(message, "Install comfywatchman again in an environment of its own.")


def _compute_fingerprint(wheel: Path | None) -> str:
    """Return a hash of the environment's parts; in a checkout, it changes with each edit."""
    digest = hashlib.sha256(f"{sys.version}\n{sys.base_prefix}\n".encode())
    try:
        for name in _find_requirements(PACKAGE):
            digest.update(f"{name}=={installed.version(name)}\n".encode())
        if wheel is not None:
            with wheel.open("rb") as stream:
                while block := stream.read(_BLOCK):
                    digest.update(block)
        else:
            for source, target in _list_own_files():
                status = source.stat()
                digest.update(f"{target} {status.st_size} {status.st_mtime_ns}\n".encode())
    except (OSError, installed.PackageNotFoundError) as error:
        reason = os_error_text(error) if isinstance(error, OSError) else f"{error} is not installed"
        message = f"The supervisor's environment could not be created: {reason}."
        raise _venv_failure(message, "Install comfywatchman in an environment of its own.") from error
    return digest.hexdigest()


def _read_version() -> str:
    return installed.version(PACKAGE)


def _venv_failure(message: str, hint: str) -> Failure:
    return Failure("supervisor-venv-failed", message, hint=hint)


def run_as_program(arguments: list[str]) -> int:
    """Create the environment in the folder that is given; return the exit status."""
    if len(arguments) != 1:
        return 2
    try:
        ensure_orchestrator_venv(Path(arguments[0]).absolute())
    except Failure as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run_as_program(sys.argv[1:]))
