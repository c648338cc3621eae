"""Find out whether ComfyUI can import a pack on a host, by following the outline of its modules."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from msgspec.structs import replace as replace_problem

from comfywatchman.comfyui.imports.conditions import ConditionReader
from comfywatchman.comfyui.imports.host import ImportHost
from comfywatchman.comfyui.imports.problems import Absence, ImportProblem, ProblemKind, format_import
from comfywatchman.comfyui.imports.step_runner import Frame, StepRunner, pick_worst
from comfywatchman.comfyui.static_analysis.import_steps import (
    ApiCallStep,
    AttributeStep,
    FaultStep,
    ImportStep,
    MissingFileStep,
    ModuleOutline,
    OwnCallStep,
    PackOutline,
    ReadStep,
    StarUseStep,
)
from comfywatchman.comfyui.static_analysis.module_names import (
    OWN,
    iter_packages,
    join_dotted,
    split_location,
)

_MAX_REEXPORTS: Final = 8
_LAZY_ANNOTATIONS: Final = (3, 14)
"""Since this version, Python evaluates annotations only when they are asked for (PEP 649)."""


@dataclass(slots=True)
class _ModuleResult:
    """Whether a module can be imported, and which of its guarded statements run."""

    problem: ImportProblem | None = None
    marks: dict[int, ImportProblem | None] = field(default_factory=dict)


class ImportChecker(StepRunner):
    """Follows the import of one pack.

    Args:
        outline: The pack.
        host: What the host provides.
        sources: Paths of the pack's Python files.
        root: The folder of the pack, or the folder that holds a one-file pack.
    """

    def __init__(self, outline: PackOutline, host: ImportHost, sources: Collection[str], root: Path) -> None:
        self._outline = outline
        self._host = host
        self._sources = sources
        self._root = root
        super().__init__(ConditionReader(host))
        self._results: dict[str, _ModuleResult] = {}
        self._calls: dict[str, ImportProblem | None] = {}
        self._called: set[str] = set()
        self._own_names: dict[tuple[str, str], bool] = {}

    def check_pack(self) -> ImportProblem | None:
        """Return why the pack cannot be imported; None when it can."""
        problems = [self._check_module(OWN)]
        if self._outline.entries:
            absence = self._host.find_extension_absence()
            if absence is not None:
                problems.append(ImportProblem(absence.kind, "", "", None, "", absence.explanation, is_certain=True))
            problems += [self.run_block(entry.steps, Frame(entry.file)) for entry in self._outline.entries]
        return pick_worst(problems)

    def check_class(self, class_type: str) -> ImportProblem | None:
        """Return why a class is not mapped although the pack is imported, or cannot be used; None when it can."""
        needs = self._outline.classes.get(class_type)
        if needs is None:
            return None
        problems: list[ImportProblem | None] = []
        if needs.module is not None:
            problems.append(self._check_module(needs.module))
        for module, line in needs.marks:
            self._check_module(module)
            problems.append(self._results[module].marks.get(line))
        if needs.inputs is not None:
            function = self._outline.inputs[needs.inputs]
            problems.append(self.run_block(function.steps, Frame(function.file)))
        listing = self._outline.listing[: needs.listed]
        problems += [self.run_block(function.steps, Frame(function.file)) for function in listing]
        return pick_worst(problems)

    def _check_module(self, name: str) -> ImportProblem | None:
        result = self._results.get(name)
        if result is None:
            # In an import cycle the module is there already, although unfinished.
            result = self._results[name] = _ModuleResult()
            outline = self._outline.modules.get(name)
            if outline is not None:
                result.problem = self._follow_module(outline, result)
            elif name in self._outline.modules:
                result.problem = self._build_missing_problem(name)
        return result.problem

    def _build_missing_problem(self, name: str) -> ImportProblem:
        if name != OWN:
            explanation = f"the pack has no module {'.'.join(split_location(name))}"
        else:
            explanation = "the pack's folder has no __init__.py"
            inner = self._find_nested_pack()
            if inner is not None:
                explanation += f"; the pack itself lies one folder deeper, in {inner}"
        kind, explanation = self._explain_missing("/".join(split_location(name)), explanation)
        return ImportProblem(kind, "ModuleNotFoundError", "", None, "", explanation, is_certain=True)

    def _explain_missing(self, path: str, explanation: str) -> tuple[ProblemKind, str]:
        """Return why a file or module of the pack is missing."""
        for folder in self._outline.submodules:
            if f"{path}/".startswith(f"{folder}/"):
                return ProblemKind.SUBMODULE, f"{explanation}: {folder} is a git submodule that was not fetched"
        return ProblemKind.PACK_FILES, explanation

    def run_missing_file(self, step: MissingFileStep, frame: Frame) -> ImportProblem | None:
        """Return the problem that a file is missing."""
        kind, explanation = self._explain_missing(step.path, f"the pack has no file {step.path}")
        return ImportProblem(kind, "FileNotFoundError", frame.file, step.line, "", explanation, is_certain=True)

    def run_fault(self, step: FaultStep, frame: Frame) -> ImportProblem | None:
        """Return the error that an expression raises, unless another pack may set what it lacks."""
        may_be_set = self._host.may_set(step.names)
        if may_be_set and not step.is_certain:
            return None
        is_certain = step.is_certain and not may_be_set
        verb = "raises" if is_certain else "may raise"
        explanation = f"it {verb} {step.error}: {step.text}"
        return ImportProblem(
            ProblemKind.RAISED, step.error, frame.file, step.line, "", explanation, is_certain=is_certain
        )

    def run_reading(self, step: ReadStep, frame: Frame) -> ImportProblem | None:
        """Return that a file does not exist, which is only a doubt: something may create it until then."""
        if self._host.has_file(step.path, self._root if step.is_own else None) is not False:
            return None
        owner = "the pack has" if step.is_own else "ComfyUI's folder has"
        kind, explanation = self._explain_missing(step.path, f"{owner} no {step.path}, which is read there")
        kind = kind if step.is_own else ProblemKind.RAISED
        return ImportProblem(kind, "FileNotFoundError", frame.file, step.line, "", explanation, is_certain=False)

    def _find_nested_pack(self) -> str | None:
        tops = {source.partition("/")[0] for source in self._sources if "/" in source}
        return next((top for top in sorted(tops) if f"{top}/__init__.py" in self._sources), None)

    def _follow_module(self, outline: ModuleOutline, result: _ModuleResult) -> ImportProblem | None:
        if outline.syntax_error is not None:
            return ImportProblem(
                ProblemKind.PACK_FILES,
                "SyntaxError",
                outline.file,
                None,
                "",
                f"it is not valid Python ({outline.syntax_error})",
                is_certain=self._host.has_same_syntax(),
            )
        return self.run_block(outline.steps, Frame(outline.file, marks=result.marks))

    def list_star_names(self, module: str) -> frozenset[str]:
        """Return the names that `from … import *` takes from a module of the pack."""
        taken: set[str] = set()
        for _, outline in self._walk_stars((module,)):
            if outline is not None and outline.names.public is not None:
                taken |= outline.names.public
            elif outline is not None:
                taken.update(name for name in outline.names.names if not name.startswith("_"))
        return frozenset(taken)

    def _walk_stars(self, modules: Iterable[str]) -> Iterator[tuple[str, ModuleOutline | None]]:
        """Yield modules and those that they take all names from, each once, down to the first `__all__`."""
        waiting = list(modules)
        seen = set(waiting)
        while waiting:
            module = waiting.pop()
            outline = self._outline.modules.get(module)
            yield module, outline
            if outline is not None and outline.names.public is None:
                waiting += [star for star in outline.names.stars if star not in seen]
                seen.update(outline.names.stars)

    def run_attribute(self, step: AttributeStep, frame: Frame) -> ImportProblem | None:
        """Return why a module of ComfyUI lacks an attribute."""
        absence = self._host.find_attribute_absence(step.name)
        if absence is None:
            return None
        version = self._host.python_version
        if step.is_annotation and version is not None and version >= _LAZY_ANNOTATIONS:
            return None
        problem = _build_problem(absence, "AttributeError", frame, step.line, step.name)
        return replace_problem(problem, is_certain=problem.is_certain and not (step.is_annotation and version is None))

    def run_star_use(self, step: StarUseStep, frame: Frame) -> ImportProblem | None:
        """Return why a name that only `from … import *` can bind is not bound."""
        for name in step.names:
            if any(self._may_bind(outline, module, name) for module, outline in self._walk_stars(step.stars)):
                continue
            modules = ", ".join(".".join(split_location(star)) or "the pack" for star in step.stars)
            explanation = f"{name} is not defined there: `from … import *` does not take it from {modules}"
            return ImportProblem(
                ProblemKind.PACK_FILES, "NameError", frame.file, step.line, name, explanation, is_certain=False
            )
        return None

    def _may_bind(self, outline: ModuleOutline | None, module: str, name: str) -> bool:
        if outline is None:
            return True
        names = outline.names
        if names.public is not None:
            return name in names.public
        # Names with an underscore, too: whether they are meant to be private does not matter here.
        return names.is_open or name in names.names or join_dotted(module, name) in self._outline.modules

    def run_own_call(self, step: OwnCallStep, frame: Frame) -> ImportProblem | None:
        """Return why a function of another module of the pack fails."""
        del frame
        name = self._find_function(step.name)
        function = self._outline.functions.get(name)
        if function is None or name in self._called:
            return None
        if name not in self._calls:
            self._called.add(name)
            self._calls[name] = self.run_block(function.steps, Frame(function.file))
            self._called.discard(name)
        return self._calls[name]

    def _find_function(self, name: str) -> str:
        """Return the dotted name under which a function is defined: a module may import it from another."""
        for _ in range(_MAX_REEXPORTS):
            module, _, function = name.rpartition(".")
            outline = self._outline.modules.get(module or OWN)
            origin = None if outline is None else outline.names.origins.get(function)
            if origin is None or not origin.startswith(OWN) or origin == name:
                break
            name = origin
        return name

    def run_api_call(self, step: ApiCallStep, frame: Frame) -> ImportProblem | None:
        """Return why ComfyUI's API rejects a call."""
        absence = self._host.find_mismatch(step)
        if absence is None:
            return None
        statement = f"{step.name.replace('()', '(…)')}(…)"
        return _build_problem(absence, "TypeError", frame, step.line, statement)

    def run_import(self, step: ImportStep, frame: Frame) -> ImportProblem | None:
        """Return why an import fails."""
        module = self._find_own_module(step.module)
        if module is not None:
            problem = self._run_own_import(replace_problem(step, module=module), format_import(step), frame)
        else:
            problem = self._run_foreign_import(step, frame)
        if problem is None or not step.is_doubtful:
            return problem
        return replace_problem(problem, is_certain=False)

    def _find_own_module(self, module: str) -> str | None:
        """Return the module of the pack that an import means; None for a module of others."""
        if module.startswith(OWN):
            return module
        top = module.partition(".")[0]
        if self._host.is_loaded(top):
            return None
        has_foreign = self._host.has_module(top) is True
        found: list[str] = []
        for folder, is_first in self._outline.path_folders.items():
            if self._outline.modules.get(folder + top) is not None and (is_first or not has_foreign):
                found.append(folder + module)
        # Folders without `__init__.py` are merged: each may hold a part of the package.
        existing = [name for name in found if self._outline.modules.get(name) is not None]
        return next(iter((*existing, *found)), None)

    def _run_foreign_import(self, step: ImportStep, frame: Frame) -> ImportProblem | None:
        absence = self._find_absence(step.module)
        statement = format_import(step)
        if absence is not None:
            return _build_problem(absence, "ModuleNotFoundError", frame, step.line, statement)
        problems: list[ImportProblem | None] = []
        for name in step.names:
            missing = None if name == "*" else self._host.find_name_absence(step.module, name)
            if missing is not None:
                problems.append(_build_problem(missing, "ImportError", frame, step.line, statement))
        return pick_worst(problems)

    def _find_absence(self, module: str) -> Absence | None:
        absence = self._host.find_absence(module)
        if absence is None or absence.kind is not ProblemKind.PYTHON_PACKAGE:
            return absence
        if self._outline.changes_path and self._has_source(module):
            explanation = f"{absence.explanation}; the pack itself has one, and changes Python's path"
            return replace(absence, explanation=explanation, is_certain=False)
        folder = self._find_unfetched_path_folder()
        if folder is not None:
            explanation = f"{absence.explanation}: {folder}, a folder on Python's path, is a git submodule that was not"
            return replace(absence, kind=ProblemKind.SUBMODULE, explanation=f"{explanation} fetched")
        if self._outline.installs_packages:
            explanation = f"{absence.explanation}; the pack itself installs packages when ComfyUI starts"
            return replace(absence, explanation=explanation, is_certain=False)
        return absence

    def _find_unfetched_path_folder(self) -> str | None:
        """Return a folder that the pack puts on Python's path and that lies in a submodule which was not fetched."""
        for folder in self._outline.path_folders:
            path = "/".join(split_location(folder))
            for submodule in self._outline.submodules:
                if f"{path}/".startswith(f"{submodule}/"):
                    return path
        return None

    def _has_source(self, module: str) -> bool:
        path = module.replace(".", "/")
        folder, file = f"/{path}/", f"/{path}.py"
        return any(folder in f"/{source}" or f"/{source}".endswith(file) for source in self._sources)

    def _run_own_import(self, step: ImportStep, statement: str, frame: Frame) -> ImportProblem | None:
        problems: list[ImportProblem | None] = []
        for name in iter_packages(step.module):
            problem = self._check_module(name)
            if problem is not None and problem.is_certain:
                return self._place_missing(problem, step, statement, frame)
            problems.append(problem)
        for name in self._list_imported_names(step):
            problem = self._run_own_name(step, name, statement, frame)
            if problem is not None and problem.is_certain:
                return problem
            problems.append(problem)
        return pick_worst(problems)

    def _place_missing(self, problem: ImportProblem, step: ImportStep, statement: str, frame: Frame) -> ImportProblem:
        """Name the statement that imports a module which does not exist."""
        if problem.file or step.module == OWN:
            return problem
        return replace_problem(problem, file=frame.file, line=step.line, statement=statement)

    def _list_imported_names(self, step: ImportStep) -> Sequence[str]:
        """Return the names that an import takes from a module; a star takes those of `__all__`."""
        outline = self._outline.modules.get(step.module)
        if "*" not in step.names or outline is None:
            return step.names
        return sorted(outline.names.public or ())

    def _run_own_name(self, step: ImportStep, name: str, statement: str, frame: Frame) -> ImportProblem | None:
        outline = self._outline.modules.get(step.module)
        if name == "*" or outline is None or outline.names.binds(step.module, name):
            return None
        inner = join_dotted(step.module, name)
        is_bound = self._has_own_name(step.module, name)
        if self._outline.modules.get(inner) is not None:
            problem = self._check_module(inner)
            # A name that the module has already keeps Python from importing the module inside it.
            return replace_problem(problem, is_certain=False) if problem is not None and is_bound else problem
        if is_bound:
            return None
        # Without an entry the module exists in another form, or was not looked for.
        if inner not in self._outline.modules or name in self._outline.sets_names:
            return None
        location = split_location(inner)
        what = outline.file or ".".join(location[:-1])
        kind, explanation = self._explain_missing("/".join(location), f"{what} has no {name}")
        absence = Absence(kind, explanation, is_certain=True)
        return _build_problem(absence, "ImportError", frame, step.line, statement)

    def _has_own_name(self, module: str, name: str) -> bool:
        outline = self._outline.modules.get(module)
        if outline is None:
            return True
        found = self._own_names.get((module, name))
        if found is None:
            # Modules that take their names from one another in a circle may have it.
            self._own_names[module, name] = True
            names = outline.names
            found = names.binds(module, name) or names.is_open or name.startswith("__")
            found = found or any(not star.startswith(OWN) or self._has_own_name(star, name) for star in names.stars)
            self._own_names[module, name] = found
        return found


def _build_problem(absence: Absence, error: str, frame: Frame, line: int, statement: str) -> ImportProblem:
    return ImportProblem(
        absence.kind,
        error,
        frame.file,
        line,
        statement,
        absence.explanation,
        is_certain=absence.is_certain,
        obstacle=absence.obstacle,
    )
