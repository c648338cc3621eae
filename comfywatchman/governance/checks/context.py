"""Context shared by all checks: the governed root, the GPU driver, the cache, the time budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from comfywatchman.base.clock import Clock
from comfywatchman.base.gpu.driver import GpuDriver
from comfywatchman.base.state.state_file import read_state
from comfywatchman.comfyui.packs.scan import PackListing, find_node_folders
from comfywatchman.comfyui.server.listening import ServerProcess, find_servers
from comfywatchman.governance.checks.check_cache import CheckCache
from comfywatchman.governance.checks.result import CheckResult
from comfywatchman.governance.checks.transaction_facts import TransactionFacts, read_transaction_facts
from comfywatchman.governance.checks.unmet_requirements import UnmetRequirement, find_unmet_requirements
from comfywatchman.governance.environments import generation, integrity
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import GenerationMark, InstalledPackage, NodeRegistry
from comfywatchman.governance.uv.requirement import build_marker_environment


@dataclass(frozen=True)
class CheckBudget:
    """The time that checks may take.

    Attributes:
        clock: The clock.
        deadline: When they must end, by the clock's monotonic reading; None for no limit.
        is_full: Whether every installed file is read again, changed or not.
    """

    clock: Clock
    deadline: float | None
    is_full: bool = False

    @classmethod
    def start(cls, clock: Clock, seconds: float | None, *, is_full: bool = False) -> CheckBudget:
        """Start a budget of this many seconds now; None for no limit."""
        return cls(clock, None if seconds is None else clock.monotonic() + seconds, is_full)

    @property
    def has_time(self) -> bool:
        """Whether there is time for one more step."""
        return self.deadline is None or self.clock.monotonic() < self.deadline

    @property
    def is_unlimited(self) -> bool:
        """Whether there is no limit: everything is looked at, however long it takes."""
        return self.deadline is None


@dataclass(frozen=True, slots=True)
class ProductionEnvironment:
    """The environment in production.

    Attributes:
        key: Its generation.
        folder: Its folder, by its real path.
        mark: The mark of a completed build; None for a build that was interrupted.
        installed: Its packages with their `.dist-info` folders; empty without a mark.
    """

    key: str
    folder: Path
    mark: GenerationMark | None
    installed: dict[InstalledPackage, Path]


@dataclass(frozen=True)
class CheckContext:
    """The inputs of a check. Facts that several checks need are read once, when the first one needs them.

    Attributes:
        gov: The governed root, opened for reading.
        driver: The GPU driver.
        cache: The results of earlier checks.
        budget: The time that is left.
    """

    gov: GovContext
    driver: GpuDriver
    cache: CheckCache
    budget: CheckBudget

    @property
    def layout(self) -> GovLayout:
        """The files of the governed root."""
        return self.gov.layout

    @cached_property
    def production(self) -> ProductionEnvironment | None:
        """The environment in production; None when the link is missing or dangling."""
        key = generation.current_key(self.layout)
        if key is None or not self.layout.production.is_dir():
            return None
        folder = generation.environment_dir(self.layout, key)
        mark = generation.read_mark(self.layout, key)
        # Without a mark the build was interrupted, and its packages mean nothing.
        installed = {} if mark is None else integrity.find_installed(folder)
        return ProductionEnvironment(key, folder, mark, installed)

    @cached_property
    def registry(self) -> NodeRegistry:
        """The registered nodes; none when the file is missing or damaged."""
        registry = read_state(self.layout.plugins, NodeRegistry, only_look=True)
        return registry if isinstance(registry, NodeRegistry) else NodeRegistry()

    def find_unmet(self, lines: Iterable[str]) -> tuple[UnmetRequirement, ...]:
        """Return the requirement lines that production does not satisfy; none without a complete environment."""
        if self.production is None or self.production.mark is None:
            return ()
        installed = {package.name: package.version for package in self.production.installed}
        return find_unmet_requirements(lines, installed, build_marker_environment(self.production.mark.python))

    @cached_property
    def transactions(self) -> tuple[TransactionFacts, ...]:
        """Every readable transaction."""
        return read_transaction_facts(self.layout, self.cache)

    @cached_property
    def servers(self) -> tuple[ServerProcess, ...]:
        """The processes that run the governed ComfyUI."""
        return tuple(find_servers(self.gov.comfyui))

    @cached_property
    def node_folders(self) -> dict[str, PackListing]:
        """The packs in `custom_nodes`, folders and single Python files, by name."""
        return find_node_folders(self.gov.custom_nodes)


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        name: Its stable name, which its result carries.
        run: Collects the facts and judges them. A `Failure` or an `OSError` makes the result `unknown`.
    """

    name: str
    run: Callable[[CheckContext], CheckResult]
