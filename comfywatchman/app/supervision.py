"""The environments that the supervisor manages, from the configuration and from governance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path

if TYPE_CHECKING:
    from comfywatchman.comfyui.install.install import Installation
    from comfywatchman.governance.store.layout import GovLayout
    from comfywatchman.governance.store.records import SnapshotMeta
    from comfywatchman.supervisor.process.launcher import ManagedEnvironment
    from comfywatchman.supervisor.workspace import EnvironmentSet

PRODUCTION: Final = "production"
"""The name of the environment that is in production in a governed root, whichever it is."""


@dataclass(frozen=True)
class GovernedEnvironments:
    """The environments of a governed root: `production`, and each snapshot whose environment is still kept.

    Activating a snapshot is `gov rollback` to it; afterwards it is what `production` means.

    Attributes:
        session: The session.
        layout: The governed root.
        installation: Its ComfyUI.
    """

    session: Session
    layout: GovLayout
    installation: Installation

    @property
    def root(self) -> Path:
        """The governed root."""
        return self.layout.root

    @property
    def metadata(self) -> Path:
        """The folder for the supervisor's state files."""
        from comfywatchman.supervisor.metadata import METADATA

        return self.layout.root / METADATA

    def names(self) -> tuple[str, ...]:
        """Return `production` and the ids of the snapshots that can be started, newest first."""
        snapshots = [meta.id for meta in reversed(self._read_snapshots()) if self._find_folder(meta.id) is not None]
        return (PRODUCTION, *snapshots)

    def current(self) -> str | None:
        """Return `production` when there is one."""
        return PRODUCTION if self._find_folder(PRODUCTION) is not None else None

    def get(self, name: str) -> ManagedEnvironment:
        """Return an environment.

        Raises:
            Failure: `supervisor-environment-unknown`, or a `config-…` of the root's config.toml.
        """
        from comfywatchman.base.config import comfyui_variables
        from comfywatchman.governance.foreground import build_folder_arguments
        from comfywatchman.governance.store.settings import read_settings
        from comfywatchman.governance.trial.trial import find_interpreter
        from comfywatchman.supervisor.process.launcher import ManagedEnvironment

        folder = self._find_folder(name)
        if folder is None:
            raise Failure(
                "supervisor-environment-unknown",
                f"The governed root {printable_path(self.root)} has no environment {name!r}, or it was pruned.",
                hint="Environments: production, and the snapshots of: gov snapshot list",
            )
        run = read_settings(self.layout.config).run
        return ManagedEnvironment(
            name=name,
            python=find_interpreter(folder),
            comfyui=self.installation.root,
            arguments=(*build_folder_arguments(self.installation), *run.extra_args),
            variables=comfyui_variables(run.environment),
        )

    def prepare(self, name: str, *, is_cancelled: Callable[[], bool] = lambda: False) -> None:  # noqa: ARG002
        """Check that an environment exists: those of a governed root are complete, and never changed.

        Raises:
            Failure: `supervisor-environment-unknown`.
        """
        self.get(name)

    def activate(self, name: str) -> None:
        """Put the environment of a snapshot into production, as `gov rollback` does.

        Raises:
            Failure: As `governance.environments.access.open_context` and `rollback`.
        """
        from comfywatchman.base.config import network_variables
        from comfywatchman.governance.environments.access import open_context
        from comfywatchman.governance.environments.rollback import rollback

        if name == PRODUCTION:
            return
        with open_context(
            self.root,
            comfyui=self.session.find_comfyui_folder(),
            command=f"supervise switch {name}",
            clock=self.session.clock,
            network=network_variables(),
        ) as context:
            rollback(context, name)

    def _find_folder(self, name: str) -> Path | None:
        from comfywatchman.governance.environments.generation import current_key, environment_dir

        key = current_key(self.layout)
        if name != PRODUCTION:
            key = next((meta.generation for meta in self._read_snapshots() if meta.id == name), None)
        if key is None:
            return None
        folder = environment_dir(self.layout, key)
        return folder if folder.is_dir() else None

    def _read_snapshots(self) -> tuple[SnapshotMeta, ...]:
        from comfywatchman.governance.environments.snapshot import read_all

        return read_all(self.layout)


def open_environments(session: Session, workspace: Path | None = None) -> EnvironmentSet:
    """Return the environments to supervise: the configured workspace's, else the governed root's, else COMFYGIT_HOME's.

    Args:
        session: The session.
        workspace: A workspace or governed root to take instead.

    Raises:
        Failure: `supervisor-no-workspace` when there is none, `comfyui-not-found`, or a `config-…` code.
    """
    from comfywatchman.governance.store.governed import has_governed_files
    from comfywatchman.governance.store.layout import GovLayout
    from comfywatchman.supervisor.workspace import find_workspace_root

    if workspace is not None:
        return _open_named(session, workspace.expanduser().absolute())
    configured = session.settings.supervisor.workspace
    if configured:
        return _open_workspace(Path(configured))
    # An adoption that was declined or failed leaves a folder with a lock.
    if has_governed_files(GovLayout(session.governed_root)):
        return open_governed(session)
    found = find_workspace_root()
    if found is not None:
        return _open_workspace(found)
    raise Failure(
        "supervisor-no-workspace",
        "There is no governed root and no comfygit workspace, so there is no environment to start ComfyUI in.",
        hint="Create a governed root (gov init), or name a workspace: [supervisor] workspace or COMFYGIT_HOME.",
    )


def environment_files(environments: EnvironmentSet) -> str:
    """Return the pattern, below the root, of a file that each environment has; the `*` is the environment's name."""
    from comfywatchman.supervisor.panel.install import COMFYGIT_FILES

    if isinstance(environments, GovernedEnvironments):
        return f"{environments.layout.snapshots.relative_to(environments.root)}/*/meta.json"
    return COMFYGIT_FILES


def _open_named(session: Session, folder: Path) -> EnvironmentSet:
    from comfywatchman.governance.store.layout import GovLayout
    from comfywatchman.supervisor.workspace import ENVIRONMENTS

    if (folder / ENVIRONMENTS).is_dir():
        return _open_workspace(folder)
    if GovLayout(folder).generations.is_dir():
        return open_governed(replace(session, governed_option=folder))
    raise Failure(
        "supervisor-no-workspace",
        f"{printable_path(folder)} is neither a comfygit workspace nor a governed root.",
        hint="Name the folder that holds environments/, or a governed root (gov init).",
    )


def open_governed(session: Session) -> GovernedEnvironments:
    """Return the environments of the governed root.

    Raises:
        Failure: `comfyui-not-found`, or a `config-…` code.
    """
    from comfywatchman.governance.store.governed import find_governed_comfyui
    from comfywatchman.governance.store.layout import GovLayout
    from comfywatchman.governance.store.settings import read_settings

    layout = GovLayout(session.governed_root.absolute())
    comfyui = find_governed_comfyui(layout, read_settings(layout.config), session.find_comfyui_folder())
    return GovernedEnvironments(session, layout, session.installation_at(comfyui))


def _open_workspace(root: Path) -> EnvironmentSet:
    import shutil

    from comfywatchman.supervisor.workspace import ComfygitWorkspace

    uv = shutil.which("uv")
    if uv is None:
        return ComfygitWorkspace(root)
    return ComfygitWorkspace(root, uv=Path(uv))
