"""Facts about the governed environment that the readiness cycle receives from governance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from comfywatchman.app.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    from comfywatchman.base.gpu.query import GpuReading
    from comfywatchman.comfyui.install.identity import ComfyUIIdentity
    from comfywatchman.comfyui.references.observed import ObservedLoaders
    from comfywatchman.readiness.context import EnvironmentChecks
    from comfywatchman.readiness.status import Environment, NotGovernedCause

BUDGET_SECONDS: Final = 0.5
"""Time that a cycle gives the checks; parts that have not changed since the last cycle take a few milliseconds."""


def environment_checks(session: Session) -> EnvironmentChecks | None:
    """Return the function that checks the governed environment in a cycle; None when no environment is governed.

    Raises:
        Failure: A `config-…` code.
    """
    root = session.governed_root
    if not _is_governed(session):
        return None

    def check(gpus: GpuReading) -> Environment:
        import msgspec

        from comfywatchman.base.config import network_variables
        from comfywatchman.base.files import printable_path
        from comfywatchman.base.gpu.driver import read_gpu_driver
        from comfywatchman.governance.checks.runner import find_worst_status, run_checks
        from comfywatchman.governance.environments.access import read_context
        from comfywatchman.readiness.status import Environment, EnvironmentCheck

        context = read_context(
            root, comfyui=session.find_comfyui_folder(), clock=session.clock, network=network_variables()
        )
        results = run_checks(context, driver=read_gpu_driver(lambda: gpus), budget_seconds=BUDGET_SECONDS)
        # Readiness has a type of its own: it must not import governance.
        checks = msgspec.convert(msgspec.to_builtins(results), tuple[EnvironmentCheck, ...])
        return Environment(state=find_worst_status(results), checks=checks, root=printable_path(root))

    return check


def observed_loaders(session: Session) -> ObservedLoaders:
    """Return the loader inputs observed in trials of the governed environment; none when no environment is governed.

    Raises:
        Failure: A `config-…` code.
    """
    from comfywatchman.comfyui.references.observed import NOTHING_OBSERVED

    if not _is_governed(session):
        return NOTHING_OBSERVED
    from comfywatchman.governance.store.layout import GovLayout
    from comfywatchman.governance.trial.loader_inputs import read_observed_loaders

    return read_observed_loaders(GovLayout(session.governed_root))


def production_folder(session: Session) -> Path | None:
    """Return the folder of the Python environment in production; None when no environment is governed, or built.

    Raises:
        Failure: A `config-…` code.
    """
    if not _is_governed(session):
        return None
    from comfywatchman.governance.environments.generation import current_key, environment_dir
    from comfywatchman.governance.store.layout import GovLayout

    layout = GovLayout(session.governed_root)
    key = current_key(layout)
    return None if key is None else environment_dir(layout, key)


def ungoverned_environment(session: Session) -> Environment:
    """Return what to report when the environment of the watched ComfyUI is not governed.

    Raises:
        Failure: A `config-…` code.
    """
    from comfywatchman.base.files import printable_path
    from comfywatchman.readiness.status import NOT_GOVERNED, Environment

    root = session.governed_root
    watched = session.find_comfyui_folder()
    if watched is None or _is_governed(session) or not _is_root(root):
        return NOT_GOVERNED
    shown = printable_path(root)
    other = _find_other_governed(root, watched)
    if other is None:
        return Environment(state="not governed", root=shown, cause="not-recorded")
    is_replaced = other.root == printable_path(watched.resolve())
    cause: NotGovernedCause = "replaced-comfyui" if is_replaced else "other-comfyui"
    return Environment(state="not governed", root=shown, cause=cause, governs=other.root)


def _is_governed(session: Session) -> bool:
    """Return whether the governed root governs the watched ComfyUI, and no other one."""
    root = session.governed_root
    watched = session.find_comfyui_folder()
    try:
        if watched is None or not _is_root(root):
            return False
    except OSError:
        # It exists but cannot be read; the checks report that.
        return True
    return bool(_read_governed(root)) and _find_other_governed(root, watched) is None


def _find_other_governed(root: Path, watched: Path) -> ComfyUIIdentity | None:
    """Return the ComfyUI that a root governs when it is not the watched one."""
    from comfywatchman.comfyui.install.identity import identify_comfyui

    # Governance knows no base directory: the environment is that of the source.
    identity = identify_comfyui(watched)
    for governed in _read_governed(root):
        if not identity.is_same(governed):
            return governed
    return None


def _read_governed(root: Path) -> list[ComfyUIIdentity]:
    """Return the ComfyUIs that a root names: the recorded one and that of its configuration; none in old roots."""
    from pathlib import Path

    from comfywatchman.base.errors import Failure
    from comfywatchman.comfyui.install.identity import identify_comfyui
    from comfywatchman.governance.store.governed import read_governed
    from comfywatchman.governance.store.layout import GovLayout
    from comfywatchman.governance.store.settings import read_settings

    layout = GovLayout(root)
    recorded = read_governed(layout)
    governed = [] if recorded is None else [recorded]
    try:
        folder = read_settings(layout.config).paths.comfyui_dir
    except Failure:
        # The checks report it.
        return governed
    return [*governed, identify_comfyui(Path(folder))] if folder else governed


def _is_root(root: Path) -> bool:
    return (root / "pyproject.toml").is_file() or (root / "snapshots").is_dir()
