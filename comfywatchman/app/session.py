"""The session: configuration, home, ComfyUI, clock and log of one call of the program."""

from __future__ import annotations

import contextlib
import logging
import shlex
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from comfywatchman.app.job_config import read_global_config
from comfywatchman.base import config
from comfywatchman.base.clock import Clock, SystemClock
from comfywatchman.base.config_schema import Layer
from comfywatchman.base.errors import Failure
from comfywatchman.base.settings import Settings
from comfywatchman.comfyui.install.install import Installation, find_installation
from comfywatchman.comfyui.install.reachability import describe_obstacle, explain_unreachable
from comfywatchman.readiness.layout import ReadinessLayout
from comfywatchman.readiness.report.printed_commands import complete_commands
from comfywatchman.readiness.workflows.discovery import WatchedRoot, find_default_roots

if TYPE_CHECKING:
    from comfywatchman.comfyui.install.identity import ComfyUIIdentity


class ProgressRecorder(Protocol):
    """Where a command that runs in the background records its progress: `app.tasks.progress.TaskReporter`."""

    def show(self, text: str) -> None:
        """Record what the command does now."""

    def count(self, text: str, done: int, total: int | None) -> None:
        """Record how far it is."""


@dataclass
class Session:
    """One call of the program.

    Attributes:
        home_option: Folder of `--home`.
        config_option: File of `--config`.
        comfyui_option: Folder of `--comfyui`.
        governed_option: Folder of `gov --root`.
        clock: The clock.
        task: Where the command records its progress; None unless it runs in the background for the page.
    """

    home_option: Path | None
    config_option: Path | None
    comfyui_option: Path | None = None
    governed_option: Path | None = None
    clock: Clock = field(default_factory=SystemClock)
    task: ProgressRecorder | None = None

    @cached_property
    def configuration(self) -> config.Configuration:
        """The effective configuration.

        Raises:
            Failure: A `config-…` code, or `jobs-file-invalid` for global_config.yaml.
        """
        return config.load(explicit=self.config_option, read_named_file=self._read_global_config)

    def _read_global_config(self, settings: Settings) -> Layer | None:
        return read_global_config(settings, config.find_home(self.home_option))

    @property
    def settings(self) -> Settings:
        """The effective settings."""
        return self.configuration.settings

    @cached_property
    def home_layout(self) -> ReadinessLayout:
        """Where the state and output of real ComfyUIs are, and the log and the governed root."""
        return ReadinessLayout(config.find_home(self.home_option))

    @property
    def layout(self) -> ReadinessLayout:
        """Where the state and output of the watched ComfyUI are; the sample host has its own.

        Raises:
            Failure: A `config-…` code.
        """
        sample = self.home_layout.sample
        if self.is_sample and sample.is_dir():
            return ReadinessLayout(config.Home(sample / "home"))
        return self.home_layout

    @property
    def is_sample(self) -> bool:
        """Whether the watched ComfyUI is the sample host: it is named, or there is no other.

        Raises:
            Failure: A `config-…` code.
        """
        folder = self.find_comfyui_folder()
        return folder is None or folder.resolve() == (self.home_layout.sample / "ComfyUI").resolve()

    @cached_property
    def log(self) -> logging.Logger:
        """The structured log, opened at first use.

        Raises:
            Failure: `state-unwritable`.
        """
        from comfywatchman.base.logs import open_log

        return open_log(self.home_layout.home.log, self.settings.log)

    def start_log(self) -> None:
        """Let what the modules log reach the log file; a command that only reads goes on where it cannot be written."""
        with contextlib.suppress(Failure):
            self.log.debug("command called")

    @property
    def governed_root(self) -> Path:
        """The root of the governed environment: `gov --root`, `[governance] root`, else `state/env` in the home.

        Raises:
            Failure: A `config-…` code.
        """
        if self.governed_option is not None:
            return self.governed_option.expanduser().absolute()
        if self.settings.governance.root:
            return Path(self.settings.governance.root)
        return self.home_layout.home.state / "env"

    def installation(self) -> Installation | None:
        """Find the ComfyUI to watch: the configured one, else ~/ComfyUI, else the current folder.

        Raises:
            Failure: `comfyui-not-found` when one is configured and does not exist.
        """
        root, origin = self._read_root_setting()
        if root is None:
            folders = [("~/ComfyUI", Path("~/ComfyUI").expanduser()), ("the current folder", Path.cwd())]
            installation = find_installation(folders)
            if installation is None:
                return None
            return _apply_settings(installation, self.settings)
        installation = find_installation([(origin, root)], explicit={origin})
        if installation is None:
            obstacle = explain_unreachable(str(root))
            if obstacle is not None:
                message = f"ComfyUI's folder {root} (named by {origin}) cannot be read."
                raise Failure("comfyui-not-found", message, hint=describe_obstacle(obstacle))
            raise Failure(
                "comfyui-not-found",
                f"There is no ComfyUI in {root} (named by {origin}).",
                hint="Name the folder that holds ComfyUI's main.py: --comfyui, COMFYUI_ROOT or [comfyui] root.",
            )
        return _apply_settings(installation, self.settings)

    def installation_at(self, folder: Path) -> Installation:
        """Return the ComfyUI in a folder with the configured model folders, whether it is complete or not."""
        installation = find_installation([("its folder", folder)])
        if installation is None:
            installation = Installation(root=folder, version=None, base=folder, found_by="its folder")
        return _apply_settings(installation, self.settings)

    def find_comfyui_folder(self) -> Path | None:
        """Return the folder of the watched ComfyUI; None when there is none.

        A configured folder is returned even when it holds no ComfyUI.

        Raises:
            Failure: A `config-…` code.
        """
        root, origin = self._read_root_setting()
        if root is None:
            found = self.installation()
            return found.root if found else None
        installation = find_installation([(origin, root)], explicit={origin})
        # ComfyUI may also be in a folder named `ComfyUI` inside the configured one.
        return installation.root if installation else root

    def watched_comfyui(self) -> ComfyUIIdentity | None:
        """Return the identity of the watched ComfyUI; None when none is configured, or found.

        Raises:
            Failure: A `config-…` code.
        """
        from comfywatchman.comfyui.install.identity import identify_comfyui

        folder = self.find_comfyui_folder()
        sample = self.home_layout.sample / "ComfyUI"
        if folder is None:
            return identify_comfyui(sample) if sample.is_dir() else None
        watched = identify_comfyui(folder, _optional_path(self.settings.comfyui.base_directory))
        if watched.id:
            return watched
        from comfywatchman.readiness.report.write import read_report
        from comfywatchman.readiness.status import MasterStatus

        # Its disk is not mounted: the report is recognised by the path, and names the id that all other state has.
        report = read_report(self.layout, only_look=True)
        if isinstance(report, MasterStatus) and report.comfyui is not None and watched.is_same(report.comfyui):
            return report.comfyui
        return watched

    def require_installation(self, purpose: str) -> Installation:
        """Find the ComfyUI to watch, for a command that cannot work without one.

        Args:
            purpose: Why it is needed, as the text after "No ComfyUI was found".

        Raises:
            Failure: `comfyui-not-found`.
        """
        installation = self.installation()
        if installation is None:
            hint = "Name it: COMFYUI_ROOT=/path/to/ComfyUI, or --comfyui /path/to/ComfyUI before the command."
            sample = self.home_layout.sample / "ComfyUI"
            if sample.is_dir():
                hint += f" To use the sample host of the first run: --comfyui {shlex.quote(str(sample))}."
            raise Failure("comfyui-not-found", f"No ComfyUI was found {purpose}.", hint=hint)
        return installation

    def _read_root_setting(self) -> tuple[Path | None, str]:
        """Return the configured folder of ComfyUI and where it is configured."""
        if self.comfyui_option is not None:
            return self.comfyui_option.expanduser().absolute(), "--comfyui"
        return _optional_path(self.settings.comfyui.root), self.configuration.origins["comfyui.root"].label

    def arguments(self, installation: Installation | None) -> tuple[str, ...]:
        """Return the options that start this program from any folder on the same home, configuration and ComfyUI."""
        options = ["--home", str(self.home_layout.home.folder)]
        if self.config_option:
            options += ["--config", str(self.config_option.absolute())]
        if installation:
            options += ["--comfyui", str(installation.root)]
        return tuple(options)

    def format_command(self, *arguments: str) -> str:
        """Return a call of this program, with the options of this one, as the user would type it."""
        return shlex.join([*self.program(), *arguments])

    def format_gov_command(self, *arguments: str) -> str:
        """Return a call of `gov`, with the options of this call, as the user would type it."""
        return shlex.join([*self._gov_program(), *arguments])

    def complete_commands(self, text: str) -> str:
        """Return a text of an area whose commands carry the options of this call."""
        return complete_commands(text, {"comfywatchman": self.program(), "gov": self._gov_program()})

    def complete_report_commands(self, text: str) -> str:
        """Return a text whose commands carry the options that they need in any folder, for files that are kept.

        Services name home and ComfyUI always; options that name what is used without them are left out.

        Raises:
            Failure: A `config-…` code.
        """
        options: list[str] = []
        home = self.home_layout.home.folder
        if home != config.find_home(None, folder=Path("/")).folder:
            options += ["--home", str(home)]
        if self.config_option is not None:
            options += ["--config", str(self.config_option.absolute())]
        comfyui = self.find_comfyui_folder()
        if self.comfyui_option is not None and comfyui != replace(self, comfyui_option=None).find_comfyui_folder():
            options += ["--comfyui", str(self.comfyui_option.expanduser().absolute())]
        elif comfyui is None and self.is_sample:
            options += ["--comfyui", str(self.home_layout.sample / "ComfyUI")]
        return complete_commands(text, {name: (name, *options) for name in ("comfywatchman", "gov")})

    def _gov_program(self) -> tuple[str, ...]:
        root = () if self.governed_option is None else ("--root", str(self.governed_option))
        return ("gov", *root, *self.program()[1:])

    def program(self) -> tuple[str, ...]:
        """Return the name of this program with the options of this call."""
        command = ["comfywatchman"]
        options = (("--home", self.home_option), ("--config", self.config_option), ("--comfyui", self.comfyui_option))
        for option, path in options:
            if path is not None:
                command += [option, str(path)]
        return tuple(command)

    def report_program(self) -> tuple[str, ...]:
        """Return the program with the options of this call, for steps of the report, also of the sample host's.

        Raises:
            Failure: A `config-…` code.
        """
        sample = self.home_layout.sample / "ComfyUI"
        if sample.is_dir() and self.find_comfyui_folder() is None:
            # Only a cycle uses the sample without being told to.
            return (*self.program(), "--comfyui", str(sample))
        return self.program()

    def roots(self, installation: Installation) -> tuple[WatchedRoot, ...]:
        """Return the workflow roots: the configured ones, else those of ComfyUI."""
        configured = tuple(WatchedRoot(Path(root.path), root.label) for root in self.settings.workflows.roots)
        return configured or tuple(find_default_roots(installation.base))


def _apply_settings(installation: Installation, settings: Settings) -> Installation:
    section = settings.comfyui
    return replace(
        installation,
        base=_optional_path(section.base_directory) or installation.base,
        models=_optional_path(section.models_directory),
        extra_model_paths=tuple(Path(path) for path in section.extra_model_paths),
        input=_optional_path(section.input_directory),
    )


def _optional_path(text: str) -> Path | None:
    return Path(text) if text else None


def own_command() -> tuple[str, ...]:
    """Return the command that starts this program."""
    import sys

    # Not sys.argv[0]: the interpreter of this environment works from everywhere, also without an installed script.
    return sys.executable, "-m", "comfywatchman"
