"""Settings that follow from ComfyUI's folder and its running process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from comfywatchman.app.session import Session
from comfywatchman.app.setup.proposal import SetupChoices, SetupFinding
from comfywatchman.base.files import printable_path
from comfywatchman.base.text import pluralize
from comfywatchman.comfyui.install.install import read_version

DEFAULT_URL: Final = "http://127.0.0.1:8188"
_ENVIRONMENTS: Final = ("venv", ".venv")
_PYTHON: Final = Path("bin") / "python"


def propose_comfyui(_session: Session, choices: SetupChoices) -> Iterator[SetupFinding]:
    """Propose the folder."""
    version = read_version(choices.comfyui) or "of unknown version"
    text = f"{version} in {printable_path(choices.comfyui)}"
    yield SetupFinding("ComfyUI", text, (("comfyui.root", str(choices.comfyui)),))


def propose_python(_session: Session, choices: SetupChoices) -> Iterator[SetupFinding]:
    """Propose the interpreter, unless it is the one that is found without a setting."""
    from comfywatchman.governance.adoption.old_environment import find_python

    found = _find_environment(choices.comfyui)
    python = choices.python or (choices.process.python if choices.process else None)
    if python is None and found is None:
        # Such as the `venv` beside ComfyUI's folder; without a setting only those in the folder are found.
        python = find_python(choices.comfyui, running=None, active="")
    if python is not None and (found is None or not _is_same_environment(python, found)):
        yield SetupFinding("Python", printable_path(python), (("comfyui.python", str(python)),))
    elif found is not None:
        yield SetupFinding("Python", f"{printable_path(found)} (found beside main.py)")
    else:
        text = "unknown: which node packs can be imported is judged from the server or its log"
        yield SetupFinding("Python", text)


def propose_server(_session: Session, choices: SetupChoices) -> Iterator[SetupFinding]:
    """Propose the address of the running server."""
    url = choices.url or (choices.process.url if choices.process else None)
    if url is None:
        state = "not running" if choices.process is None else "runs, but does not listen at a port yet"
        yield SetupFinding("Server", f"{state}; {DEFAULT_URL} is asked")
        return
    running = "running" if choices.process is not None else "given"
    settings = () if url == DEFAULT_URL else (("comfyui.url", url),)
    yield SetupFinding("Server", f"{url} ({running})", settings)


def propose_folders(_session: Session, choices: SetupChoices) -> Iterator[SetupFinding]:
    """Propose the folders that the running server was started with."""
    process = choices.process
    if process is None:
        return
    folders = (
        ("comfyui.base_directory", process.base_directory),
        ("comfyui.models_directory", process.models_directory),
        ("comfyui.input_directory", process.input_directory),
    )
    settings = [(key, str(path)) for key, path in folders if path is not None]
    if process.extra_model_paths:
        quoted = ", ".join(_quote(path) for path in process.extra_model_paths)
        settings.append(("comfyui.extra_model_paths", f"[{quoted}]"))
    if settings:
        text = f"{pluralize(len(settings), 'option')} of the running server"
        yield SetupFinding("Folders", text, tuple(settings))


def describe_gpu(session: Session, _choices: SetupChoices) -> Iterator[SetupFinding]:
    """Name the GPUs, and the limit of free memory that applies to them."""
    from comfywatchman.base.gpu.query import read_gpus
    from comfywatchman.readiness.gates import find_needed_gb

    gpus = read_gpus()
    limit = session.settings.schedule.min_vram_gb
    for device in gpus.devices:
        needed = find_needed_gb(device, limit)
        name = device.name or f"GPU {device.index}"
        yield SetupFinding("GPU", f"{name}; a cycle waits until {needed:.3g} GiB are free")
    if not gpus.devices:
        text = (gpus.reason or "unknown").rstrip(".") if gpus.status == "unknown" else "none; checks run without one"
        yield SetupFinding("GPU", text)


def _find_environment(comfyui: Path) -> Path | None:
    for name in _ENVIRONMENTS:
        python = comfyui / name / _PYTHON
        if python.exists():
            return python
    return None


def _is_same_environment(python: Path, other: Path) -> bool:
    # The links themselves lead to the base interpreter, which several environments share.
    return python.parent.resolve() == other.parent.resolve()


def _quote(path: Path) -> str:
    import tomlkit

    return str(tomlkit.string(str(path)).as_string())
