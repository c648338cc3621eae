"""What a host provides to imports: ComfyUI's own modules, Python packages, and other node packs."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from packaging.utils import canonicalize_name

from comfywatchman.comfyui.imports.core_modules import CoreModules
from comfywatchman.comfyui.imports.environment import PythonEnvironment, PythonVersion
from comfywatchman.comfyui.imports.package_names import NUMPY, lacks_numpy_name, seems_to_lack, was_removed
from comfywatchman.comfyui.imports.problems import Absence, ProblemKind
from comfywatchman.comfyui.imports.signatures import ApiSignatures
from comfywatchman.comfyui.install.folders import get_canonical_name
from comfywatchman.comfyui.install.reachability import NO_SUCH_TARGET, Obstacle
from comfywatchman.comfyui.static_analysis.faults.expressions import split_folder_name
from comfywatchman.comfyui.static_analysis.import_steps import ApiCallStep
from comfywatchman.comfyui.static_analysis.outline_expressions import CORE_NAMES


@dataclass(frozen=True)
class PackEffects:
    """What the enabled packs may provide to others at run time.

    Attributes:
        sources: Paths of their Python files, each below its pack.
        sets_names: Names that they may set on modules of others, and modules that they may add.
        installer: A pack whose source installs Python packages; None when there is none.
        folders: The model folders that ComfyUI knows without packs; None when they are not known.
    """

    sources: Sequence[Sequence[str]] = ()
    sets_names: frozenset[str] = frozenset()
    installer: str | None = None
    folders: frozenset[str] | None = None

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

    Attributes:
        comfyui_version: Version of ComfyUI.
        read_paths: Files and folders that were looked for.
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
        self.read_paths: set[Path] = set()
        self._signatures = None if core is None else ApiSignatures(core)
        self.comfyui_version = comfyui_version
        self._comfyui = f"ComfyUI {comfyui_version}" if comfyui_version else "ComfyUI"

    @property
    def python_version(self) -> PythonVersion | None:
        """Version of ComfyUI's Python; None when it is not known."""
        versions = {environment.version for environment in self._environments}
        return versions.pop() if len(versions) == 1 else None

    def has_same_syntax(self) -> bool:
        """Return whether ComfyUI's Python certainly rejects what this Python cannot parse."""
        version = self.python_version
        return version is not None and version <= sys.version_info[:2]

    def may_set(self, names: Collection[str]) -> bool:
        """Return whether a pack, or ComfyUI itself, may set one of some names."""
        return not self._effects.sets_names.isdisjoint(names) or any(map(self._has_folder, names))

    def _has_folder(self, name: str) -> bool:
        folder, folders = split_folder_name(name), self._effects.folders
        return folder is not None and (folders is None or get_canonical_name(folder) in folders)

    def has_file(self, path: str, folder: Path | None) -> bool | None:
        """Return whether a file or folder exists; None when that is not known.

        Args:
            path: Its path.
            folder: The folder from which the path leads to it; None for the folder in which ComfyUI is started.
        """
        if folder is None:
            folder = None if self._core is None else self._core.root
        if folder is None:
            return None
        file = folder / path
        self.read_paths.add(file)
        try:
            file.stat()
        except OSError as error:
            return False if error.errno in NO_SUCH_TARGET else None
        return True

    def find_absence(self, dotted: str) -> Absence | None:
        """Return why a module outside of the pack cannot be imported; None when it can, or when nothing is known."""
        if dotted not in self._absences:
            self._absences[dotted] = self._look_for(dotted)
        return self._absences[dotted]

    def find_name_absence(self, module: str, name: str) -> Absence | None:
        """Return why a name cannot be imported from a module outside of the pack; None when it can."""
        if self._core is None or self._core.has_module(module) is not True:
            return self._find_package_name_absence(module, name)
        if self._core.has_name(module, name):
            return None
        return self._build_core_absence(f"has no {name} in {module}", f"{module}.{name}")

    def _find_package_name_absence(self, module: str, name: str) -> Absence | None:
        """Return why a name cannot be imported from a module of Python or of a package."""
        top = module.partition(".")[0]
        if not self._environments or top in CORE_NAMES or not self._effects.sets_names.isdisjoint({top, name}):
            return None
        if module == NUMPY:
            absence = self._find_numpy_absence(name)
            if absence is not None:
                return absence
        if top in sys.stdlib_module_names:
            if not all(was_removed(module, name, environment.version[1]) for environment in self._environments):
                return None
            explanation = f"Python {'.'.join(map(str, self._environments[0].version))} has no {name} in {module}"
            return Absence(ProblemKind.RAISED, explanation, is_certain=True)
        if not all(seems_to_lack(environment, module, name) for environment in self._environments):
            return None
        return Absence(ProblemKind.RAISED, f"the installed {module} does not mention {name}", is_certain=False)

    def _find_numpy_absence(self, name: str) -> Absence | None:
        """Return that the installed numpy has removed a name; None when it has not, or that is not known."""
        version = self.package_version(NUMPY)
        if version is None or not lacks_numpy_name(name, version):
            return None
        explanation = f"numpy {version} has no {name} any more"
        return Absence(ProblemKind.RAISED, explanation, is_certain=not self.may_set({name}))

    def find_attribute_absence(self, dotted: str) -> Absence | None:
        """Return why an attribute of a module of ComfyUI, or of numpy, does not exist; None when it does."""
        if dotted.startswith(f"{NUMPY}."):
            return self._find_numpy_absence(dotted.removeprefix(f"{NUMPY}."))
        if self._core is None:
            return None
        missing = self._core.find_missing_attribute(dotted)
        if missing is None:
            return None
        module, _, name = missing.rpartition(".")
        return self._build_core_absence(f"has no {name} in {module}", missing)

    def find_mismatch(self, step: ApiCallStep) -> Absence | None:
        """Return why this ComfyUI rejects the arguments of a call of its API; None when it accepts them."""
        if self._signatures is None:
            return None
        mismatch = self._signatures.explain_mismatch(step)
        if mismatch is None:
            return None
        # A pack that replaces a part of the API may have made it accept these arguments.
        is_changed = not self._effects.sets_names.isdisjoint(step.name.split("."))
        explanation = f"{self._comfyui} rejects the call: {mismatch}"
        return Absence(ProblemKind.COMFYUI_VERSION, explanation, is_certain=not is_changed)

    def find_extension_absence(self) -> Absence | None:
        """Return why this ComfyUI does not load packs that have only a `comfy_entrypoint`; None when it does."""
        if self.find_name_absence("nodes", "ComfyExtension") is None:
            return None
        explanation = f"{self._comfyui} does not load packs of the V3 API (comfy_entrypoint)"
        return Absence(ProblemKind.COMFYUI_VERSION, explanation, is_certain=True)

    def has_module(self, dotted: str) -> bool | None:
        """Return whether a module can be imported; None when that is not known."""
        absence = self.find_absence(dotted)
        if absence is not None:
            return False if absence.is_certain else None
        is_known = self._environments or (self._core is not None and self._core.has_module(dotted))
        return True if is_known else None

    def is_loaded(self, top: str) -> bool:
        """Return whether a module is in memory before any pack is imported, so that no folder can replace it."""
        if top in sys.stdlib_module_names or top in self._core_packages:
            return True
        return self._core is not None and self._core.has_module(top) is True

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
        if self._core is None:
            return None
        in_core = self._core.has_module(dotted)
        if in_core:
            return None
        if in_core is None and any(environment.has_module(top) for environment in self._environments):
            return self._find_package_absence(dotted)
        absence = self._build_core_absence(f"has no module {dotted}", dotted)
        # Whatever an older ComfyUI lacks may be a file of a pack: `utils`, `server`.
        may_be_packs = in_core is None and top in self._effects.module_names
        return replace(absence, is_certain=absence.is_certain and not may_be_packs)

    def _build_core_absence(self, what: str, dotted: str) -> Absence:
        is_changed = not self._effects.sets_names.isdisjoint({dotted, dotted.rpartition(".")[2]})
        # `comfy` has no `__init__.py`: folders of that name elsewhere on Python's path add to it.
        top = dotted.partition(".")[0]
        may_be_elsewhere = any(top in environment.names for environment in self._environments)
        return Absence(
            ProblemKind.COMFYUI_VERSION,
            f"{self._comfyui} {what}",
            is_certain=not is_changed and not may_be_elsewhere,
        )

    def _find_package_absence(self, dotted: str) -> Absence | None:
        top = dotted.partition(".")[0]
        for environment in self._environments:
            if environment.has_module(top):
                missing = environment.find_missing_part(dotted)
                if missing is None:
                    return None
                return Absence(ProblemKind.PYTHON_PACKAGE, f"the installed {top} has no {missing}", is_certain=False)
        if top in self._core_packages or self._is_folder_of_comfyui(dotted):
            return None
        if not self._environments:
            return self._build_unknown_absence(top)
        return self._build_package_absence(top)

    def _build_unknown_absence(self, top: str) -> Absence | None:
        """Return that nobody knows whether a package is installed; None for one that Python or a pack brings."""
        if self._core is None or top in sys.stdlib_module_names or top in self._effects.module_names:
            return None
        explanation = f"which Python ComfyUI uses is not known, so whether it has {top} is not either"
        return Absence(ProblemKind.UNRESOLVED, f"{explanation} ([comfyui] python names it)", is_certain=False)

    def _is_folder_of_comfyui(self, dotted: str) -> bool:
        """Return whether a name means a folder beside `main.py`, such as `custom_nodes`, which Python can import."""
        return self._core is not None and self._core.is_folder(dotted)

    def _build_package_absence(self, top: str) -> Absence:
        folders = ", ".join(environment.location for environment in self._environments)
        version = self.python_version
        python = f" {version[0]}.{version[1]}" if version is not None else ""
        explanation = f"ComfyUI's Python{python} ({folders}) has no module {top}"
        obstacles = [environment.find_obstacle(top) for environment in self._environments]
        obstacle = next((obstacle for obstacle in obstacles if obstacle is not None), None)
        doubt = self._describe_package_doubt(top, obstacle)
        if doubt:
            explanation += f", {doubt}"
        return Absence(ProblemKind.PYTHON_PACKAGE, explanation, is_certain=not doubt, obstacle=obstacle)

    def _describe_package_doubt(self, top: str, obstacle: Obstacle | None) -> str:
        """Return why a package that was not found may be there all the same; empty when it certainly is not."""
        hooks = [environment.hook for environment in self._environments if environment.hook is not None]
        effects = self._effects
        if obstacle is not None:
            return f"unless it is in {obstacle.path}, which could not be looked at"
        if any(environment.is_guess for environment in self._environments):
            return "unless ComfyUI is started with another Python ([comfyui] python names it)"
        if hooks:
            return f"unless {hooks[0]} provides it at run time"
        if top in effects.module_names or (effects.installer is None and top in effects.sets_names):
            return "unless one of the packs provides it at run time"
        if effects.installer is not None:
            return f"unless {effects.installer} installs it when ComfyUI starts"
        return ""
