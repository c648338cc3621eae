"""A governed root over a ComfyUI that only prints, with a folder of tiny wheels as its only package index."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import tomlkit

from comfywatchman.base.clock import Clock, SystemClock
from comfywatchman.governance.environments import generation
from comfywatchman.governance.environments import init as environment_init
from comfywatchman.governance.environments.access import open_context
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.settings import read_default_config, read_settings
from tests.governance.wheels import add_wheel

DEFAULT_SETTINGS = read_settings(Path("/nonexistent/config.toml"), environment={})
"""The settings of a governed root whose config.toml sets nothing."""

MAIN = 'print("fake comfyui start")\n'


@dataclass
class Site:
    """The folders around a governed root; `made` builds one.

    Attributes:
        folder: Everything lies below it.
        clock: The clock of commands.
        network: How the network is reached; not at all as a rule.
    """

    folder: Path
    clock: Clock = field(default_factory=SystemClock)
    network: Mapping[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The governed root."""
        return self.folder / "env"

    @property
    def comfyui(self) -> Path:
        """The fake ComfyUI."""
        return self.folder / "ComfyUI"

    @property
    def wheels(self) -> Path:
        """The folder that stands for the package index."""
        return self.folder / "wheels"

    @property
    def layout(self) -> GovLayout:
        """Where everything of the root stands."""
        return GovLayout(self.root)

    @contextmanager
    def opened(self, command: str = "test", *, patience_seconds: float = 250.0) -> Iterator[GovContext]:
        """Open the context as a command does."""
        with open_context(
            self.root,
            comfyui=self.comfyui,
            command=command,
            clock=self.clock,
            network=self.network,
            is_new=True,
            patience_seconds=patience_seconds,
        ) as context:
            yield context

    def configure(self, **tables: dict[str, object]) -> None:
        """Change keys of the root's config.toml: `site.configure(tx={"smoke_test_cmd": "true"})`."""
        path = self.layout.config
        document = tomlkit.parse(path.read_text("utf-8") if path.exists() else read_default_config())
        for table, values in tables.items():
            for key, value in values.items():
                document[table][key] = value
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(tomlkit.dumps(document), "utf-8")

    def init(self) -> None:
        """Run what `gov init` runs."""
        with self.opened("init") as context:
            environment_init.init(context)

    def run_in_production(self, code: str) -> str:
        """Run code with production's interpreter, from its real path, and return what it printed."""
        key = generation.current_key(self.layout)
        assert key is not None
        python = generation.environment_dir(self.layout, key) / "bin" / "python"
        result = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=250)
        return result.stdout.strip()


@dataclass(frozen=True)
class KeptSite:
    """A root that is made once and brought back for each test, in its own place: an environment cannot be moved.

    Attributes:
        made: The root as it was made; use what `restored` returns.
        copy: A copy of its whole folder.
    """

    made: Site
    copy: Path

    @classmethod
    def of(cls, site: Site) -> KeptSite:
        """Keep a root as it is now."""
        copy = site.folder.with_name(f"{site.folder.name}-kept")
        _copy_tree(site.folder, copy)
        return cls(site, copy)

    def restore(self) -> Site:
        """Bring it back as it was, whatever was done to it."""
        shutil.rmtree(self.made.folder)
        _copy_tree(self.copy, self.made.folder)
        return Site(self.made.folder, self.made.clock)


def _copy_tree(folder: Path, copy: Path) -> None:
    # `cp` keeps files one that are linked to each other, as those of an environment and of uv's cache are.
    subprocess.run(["cp", "-a", folder, copy], check=True, timeout=250)


def build_site(
    folder: Path, *, requirements: tuple[str, ...] = ("corelet==1.0",), clock: Clock | None = None, init: bool = True
) -> Site:
    """Make a governed root; ComfyUI requires `corelet`, and the index has `numlet` 1.0 and 2.0 and four others.

    `oldlet` wants numlet<2 and `newlet` wants numlet>=2, so that they clash; `plainlet` wants nothing; `deeplet` wants
    `plainlet` and numlet.

    Args:
        folder: An empty folder.
        requirements: Lines of ComfyUI's requirements.txt.
        clock: The clock of commands; that of the machine when None.
        init: Whether `gov init` has run.
    """
    site = Site(folder, clock or SystemClock())
    (site.comfyui / "custom_nodes").mkdir(parents=True)
    (site.comfyui / "main.py").write_text(MAIN)
    (site.comfyui / "requirements.txt").write_text("".join(f"{line}\n" for line in requirements))
    add_wheel(site.wheels, "corelet", "1.0")
    add_wheel(site.wheels, "corelet", "2.0")
    add_wheel(site.wheels, "numlet", "1.0", files={"numlet/linalg.py": "order = 1\n"})
    add_wheel(site.wheels, "numlet", "2.0", files={"numlet/linalg.py": "order = 2\n"})
    add_wheel(site.wheels, "oldlet", "1.0", requires=["numlet<2"])
    add_wheel(site.wheels, "newlet", "1.0", requires=["numlet>=2"])
    add_wheel(site.wheels, "plainlet", "1.0", scripts={"plain": "plainlet:__version__.strip"})
    add_wheel(site.wheels, "deeplet", "1.0", requires=["plainlet", "numlet"])
    cache = folder / "uv-cache"
    site.configure(network={"no_index": True, "find_links": [str(site.wheels)], "cache_dir": str(cache)})
    if init:
        site.init()
    return site
