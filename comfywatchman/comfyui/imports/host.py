"""What a host provides to imports: ComfyUI's own modules, Python packages, and other node packs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath

from packaging.utils import canonicalize_name

from comfywatchman.comfyui.imports.core_modules import CoreModules
from comfywatchman.comfyui.imports.environment import PythonEnvironment, PythonVersion
from comfywatchman.comfyui.imports.problems import Absence, ProblemKind
from comfywatchman.comfyui.static_analysis.outline_expressions import CORE_NAMES


@dataclass(frozen=True)
class PackEffects:
    """What the enabled packs may provide to others at run time.

    Attributes:
        sources: Paths of their Python files, each below its pack.
        sets_names: Names that they may set on modules of others, and modules that they may add.
        installer: A pack whose source installs Python packages; None when there is none.
    """

    sources: Sequence[Sequence[str]] = ()
    sets_names: frozenset[str] = frozenset()
    installer: str | None = None

    @cached_property
    def module_names(self) -> frozenset[str]:
        """Names of all files and folders with Python source: each may be put on Python's path."""
        names: set[str] = set()
        for sources in self.sources:
            for source in sources:
                names.update(PurePosixPath(source).with_suffix("").parts)
        return frozenset(names)


class ImportHost:
    """A host.

    Args:
        core: ComfyUI's own modules; None without its source.
        comfyui_version: Its version.
        environments: The Python environments that may be ComfyUI's; none when it is not known.
        effects: What its packs may provide at run time.
        core_packages: Python packages that ComfyUI itself imports at its start: if it starts, they are there.
    """

    def __init__(
        self,
        core: CoreModules | None,
        comfyui_version: str | None,
        environments: Sequence[PythonEnvironment],
        effects: PackEffects,
        core_packages: frozenset[str] = frozenset(),
    ) -> None:
        self._core = core
        self._environments = tuple(environments)
        self._effects = effects
        self._core_packages = core_packages
        self._absences: dict[str, Absence | None] = {}
        self.comfyui_version = comfyui_version

    @property
    def python_version(self) -> PythonVersion | None:
        """Version of ComfyUI's Python; None when it is not known."""
        versions = {environment.version for environment in self._environments}
        return versions.pop() if len(versions) == 1 else None

    def has_same_syntax(self) -> bool:
        """Return whether ComfyUI's Python certainly rejects what this Python cannot parse."""
        version = self.python_version
        return version is not None and version <= sys.version_info[:2]

    def find_absence(self, dotted: str) -> Absence | None:
        """Return why a module outside of the pack cannot be imported; None when it can, or when nothing is known."""
        if dotted not in self._absences:
            self._absences[dotted] = self._look_for(dotted)
        return self._absences[dotted]

    def find_name_absence(self, module: str, name: str) -> Absence | None:
        """Return why a name cannot be imported from a module of ComfyUI; None for modules of others."""
        if self._core is None or self._core.has_module(module) is not True or self._core.has_name(module, name):
            return None
        return self._build_core_absence(f"has no {name} in {module}", f"{module}.{name}")

    def find_attribute_absence(self, dotted: str) -> Absence | None:
        """Return why an attribute of a module of ComfyUI does not exist; None when it does."""
        missing = None if self._core is None else self._core.find_missing_attribute(dotted)
        if missing is None:
            return None
        module, _, name = missing.rpartition(".")
        return self._build_core_absence(f"has no {name} in {module}", missing)

    def has_module(self, dotted: str) -> bool | None:
        """Return whether a module can be imported; None when that is not known."""
        absence = self.find_absence(dotted)
        if absence is not None:
            return False if absence.is_certain else None
        is_known = self._environments or (self._core is not None and self._core.has_module(dotted))
        return True if is_known else None

    def has_attribute(self, dotted: str) -> bool | None:
        """Return whether a module of ComfyUI has a name; None when that is not known."""
        if self._core is None or self._core.has_module(dotted.partition(".")[0]) is not True:
            return None
        absence = self.find_attribute_absence(dotted)
        if absence is None:
            module = dotted.rpartition(".")[0]
            # Attributes of classes are not looked for.
            return True if self._core.has_module(module) else None
        return False if absence.is_certain else None

    def package_version(self, name: str) -> str | None:
        """Return the version of an installed Python package; None when it is not known."""
        versions = {environment.versions.get(canonicalize_name(name)) for environment in self._environments}
        return versions.pop() if len(versions) == 1 else None

    def _look_for(self, dotted: str) -> Absence | None:
        top = dotted.partition(".")[0]
        if top not in CORE_NAMES:
            return self._find_package_absence(dotted)
        in_core = None if self._core is None else self._core.has_module(dotted)
        if self._core is None or in_core:
            return None
        if in_core is None and any(environment.has_module(top) for environment in self._environments):
            return self._find_package_absence(dotted)
        absence = self._build_core_absence(f"has no module {dotted}", dotted)
        # Whatever an older ComfyUI lacks may be a file of a pack: `utils`, `server`.
        may_be_packs = in_core is None and top in self._effects.module_names
        return replace(absence, is_certain=absence.is_certain and not may_be_packs)

    def _build_core_absence(self, what: str, dotted: str) -> Absence:
        version = f" {self.comfyui_version}" if self.comfyui_version else ""
        changed = not self._effects.sets_names.isdisjoint({dotted, dotted.rpartition(".")[2]})
        # `comfy` has no `__init__.py`: folders of that name elsewhere on Python's path add to it.
        top = dotted.partition(".")[0]
        may_be_elsewhere = any(top in environment.names for environment in self._environments)
        return Absence(
            ProblemKind.COMFYUI_VERSION,
            f"ComfyUI{version} {what}",
            is_certain=not changed and not may_be_elsewhere,
        )

    def _find_package_absence(self, dotted: str) -> Absence | None:
        top = dotted.partition(".")[0]
        for environment in self._environments:
            if environment.has_module(top):
                missing = environment.find_missing_part(dotted)
                if missing is None:
                    return None
                return Absence(ProblemKind.PYTHON_PACKAGE, f"the installed {top} has no {missing}", is_certain=False)
        if not self._environments or top in self._core_packages or self._is_folder_of_comfyui(dotted):
            return None
        return self._build_package_absence(top)

    def _is_folder_of_comfyui(self, dotted: str) -> bool:
        """Return whether a name means a folder beside `main.py`, such as `custom_nodes`, which Python can import."""
        return self._core is not None and self._core.is_folder(dotted)

    def _build_package_absence(self, top: str) -> Absence:
        folders = ", ".join(environment.location for environment in self._environments)
        version = self.python_version
        python = f" {version[0]}.{version[1]}" if version is not None else ""
        explanation = f"ComfyUI's Python{python} ({folders}) has no module {top}"
        hooks = [environment.hook for environment in self._environments if environment.hook is not None]
        effects = self._effects
        doubt = ""
        if any(environment.is_guess for environment in self._environments):
            doubt = "unless ComfyUI is started with another Python ([comfyui] python names it)"
        elif hooks:
            doubt = f"unless {hooks[0]} provides it at run time"
        elif top in effects.module_names:
            doubt = "unless one of the packs provides it at run time"
        elif effects.installer is not None:
            doubt = f"unless {effects.installer} installs it when ComfyUI starts"
        elif top in effects.sets_names:
            doubt = "unless one of the packs provides it at run time"
        if doubt:
            explanation += f", {doubt}"
        return Absence(ProblemKind.PYTHON_PACKAGE, explanation, is_certain=not doubt)
