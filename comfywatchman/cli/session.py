"""What every command starts from: configuration, home, clock and log."""

from __future__ import annotations

import logging
import shlex
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from comfywatchman.base import config
from comfywatchman.base.clock import Clock, SystemClock
from comfywatchman.base.errors import Failure
from comfywatchman.base.settings import Settings
from comfywatchman.comfyui.install.install import Installation, find_installation
from comfywatchman.readiness.layout import ReadinessLayout
from comfywatchman.readiness.workflows.discovery import WatchedRoot, find_default_roots


@dataclass
class Session:
    """One call of the program.

    Attributes:
        home_option: Folder of `--home`.
        config_option: File of `--config`.
        comfyui_option: Folder of `--comfyui`.
        governed_option: Folder of `gov --root`.
        clock: The clock.
    """

    home_option: Path | None
    config_option: Path | None
    comfyui_option: Path | None = None
    governed_option: Path | None = None
    clock: Clock = field(default_factory=SystemClock)

    @cached_property
    def configuration(self) -> config.Configuration:
        """The effective configuration.

        Raises:
            Failure: A `config-…` code.
        """
        return config.load(explicit=self.config_option)

    @property
    def settings(self) -> Settings:
        """The effective settings."""
        return self.configuration.settings

    @cached_property
    def layout(self) -> ReadinessLayout:
        """Where state, output and log are."""
        return ReadinessLayout(config.find_home(self.home_option))

    @cached_property
    def log(self) -> logging.Logger:
        """The structured log, opened at first use.

        Raises:
            Failure: `state-unwritable`.
        """
        from comfywatchman.base.logs import open_log

        return open_log(self.layout.home.log, self.settings.log)

    @property
    def governed_root(self) -> Path:
        """The folder of the governed environment: the named one, the configured one, else `state/env` under the home.

        Raises:
            Failure: A `config-…` code.
        """
        if self.governed_option is not None:
            return self.governed_option.expanduser().absolute()
        configured = self.settings.governance.root
        return Path(configured) if configured else self.layout.home.state / "env"

    def installation(self) -> Installation | None:
        """Find the ComfyUI to watch: the configured one, else ~/ComfyUI, else the current folder.

        Raises:
            Failure: `comfyui-not-found` when one was configured and is not there.
        """
        named, origin = self._named_root()
        if named is not None:
            found = find_installation([(origin, named)], explicit={origin})
            if found is None:
                raise Failure(
                    "comfyui-not-found",
                    f"There is no ComfyUI in {named} (named by {origin}).",
                    hint="Name the folder that holds ComfyUI's main.py: --comfyui, COMFYUI_ROOT or [comfyui] root.",
                )
        else:
            places = [("~/ComfyUI", Path("~/ComfyUI").expanduser()), ("the current folder", Path.cwd())]
            found = find_installation(places)
        return _apply_settings(found, self.settings) if found else None

    def installation_at(self, folder: Path) -> Installation:
        """Return the ComfyUI in a folder with the configured folders; what is not there fails when it is needed."""
        found = find_installation([("its folder", folder)])
        bare = Installation(root=folder, version=None, base=folder, found_by="its folder")
        return _apply_settings(found or bare, self.settings)

    def find_comfyui_folder(self) -> Path | None:
        """Return the folder of the watched ComfyUI, whatever it holds when it was named; None when none was found.

        Raises:
            Failure: A `config-…` code.
        """
        named, origin = self._named_root()
        found = self.installation() if named is None else find_installation([(origin, named)], explicit={origin})
        return found.root if found else named

    def require_installation(self, purpose: str) -> Installation:
        """Find the ComfyUI to watch, for a command that can do nothing without one.

        Args:
            purpose: What it is needed for, as it follows "No ComfyUI was found".

        Raises:
            Failure: `comfyui-not-found`.
        """
        found = self.installation()
        if found is None:
            hint = "Name it: COMFYUI_ROOT=/path/to/ComfyUI, or --comfyui /path/to/ComfyUI before the command."
            sample = self.layout.sample / "ComfyUI"
            if sample.is_dir():
                hint += f" The sample host of the first run is --comfyui {shlex.quote(str(sample))}."
            raise Failure("comfyui-not-found", f"No ComfyUI was found {purpose}.", hint=hint)
        return found

    def _named_root(self) -> tuple[Path | None, str]:
        if self.comfyui_option is not None:
            return self.comfyui_option.expanduser().absolute(), "--comfyui"
        root = self.settings.comfyui.root
        return (Path(root) if root else None), self.configuration.origins["comfyui.root"].label

    def arguments(self, installation: Installation | None) -> tuple[str, ...]:
        """Return the options that make another call of this program work on the same home, settings and ComfyUI."""
        home = ("--home", str(self.layout.home.folder))
        config_file = ("--config", str(self.config_option.absolute())) if self.config_option else ()
        comfyui = ("--comfyui", str(installation.root)) if installation else ()
        return (*home, *config_file, *comfyui)

    def format_command(self, *arguments: str) -> str:
        """Return another call of this program as a person types it, on the same home, configuration and ComfyUI."""
        named = (("--home", self.home_option), ("--config", self.config_option), ("--comfyui", self.comfyui_option))
        options = [text for option, path in named if path is not None for text in (option, str(path))]
        return shlex.join(("comfywatchman", *options, *arguments))

    def roots(self, installation: Installation) -> tuple[WatchedRoot, ...]:
        """Return the workflow roots: the configured ones, else those of ComfyUI itself."""
        configured = tuple(WatchedRoot(Path(root.path), root.label) for root in self.settings.workflows.roots)
        return configured or tuple(find_default_roots(installation.base))


def _apply_settings(found: Installation, settings: Settings) -> Installation:
    section = settings.comfyui
    return Installation(
        root=found.root,
        version=found.version,
        base=Path(section.base_directory) if section.base_directory else found.base,
        models=Path(section.models_directory) if section.models_directory else None,
        extra_model_paths=tuple(Path(path) for path in section.extra_model_paths),
        input=Path(section.input_directory) if section.input_directory else None,
        found_by=found.found_by,
    )


def own_command() -> tuple[str, ...]:
    """Return the command line that starts this program again."""
    import sys

    return sys.executable, "-m", "comfywatchman"
