"""Facts about the governed environment that the readiness cycle receives from governance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from comfywatchman.app.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    from comfywatchman.base.gpu.query import GpuReading
    from comfywatchman.comfyui.references.observed import ObservedLoaders
    from comfywatchman.readiness.context import EnvironmentChecks
    from comfywatchman.readiness.status import Environment

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


def _is_governed(session: Session) -> bool:
    root = session.governed_root
    try:
        return (root / "pyproject.toml").is_file() or (root / "snapshots").is_dir()
    except OSError:
        # It exists but cannot be read; the checks report that.
        return True
