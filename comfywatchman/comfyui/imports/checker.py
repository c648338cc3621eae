"""Find out whether ComfyUI can import a pack on a host, by following the outline of its modules."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from msgspec.structs import replace as replace_problem

from comfywatchman.comfyui.imports.conditions import ConditionReader
from comfywatchman.comfyui.imports.host import ImportHost
from comfywatchman.comfyui.imports.problems import Absence, ImportProblem, ProblemKind
from comfywatchman.comfyui.imports.step_runner import Frame, StepRunner, pick_worst
from comfywatchman.comfyui.static_analysis.import_steps import AttributeStep, ImportStep, ModuleOutline, PackOutline
from comfywatchman.comfyui.static_analysis.module_names import OWN, join_dotted

_MAX_SHOWN_NAMES: Final = 3
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
    """

    def __init__(self, outline: PackOutline, host: ImportHost, sources: Collection[str]) -> None:
        self._outline = outline
        self._host = host
        self._sources = sources
        super().__init__(ConditionReader(host))
        self._results: dict[str, _ModuleResult] = {}

    def check_pack(self) -> ImportProblem | None:
        """Return why the pack cannot be imported; None when it can."""
        return self._check_module(OWN)

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
            explanation = f"the pack has no module {name.removeprefix(OWN)}"
        else:
            explanation = "the pack's folder has no __init__.py"
            inner = self._find_nested_pack()
            if inner is not None:
                explanation += f"; the pack itself lies one folder deeper, in {inner}"
        return ImportProblem(ProblemKind.PACK_FILES, "ModuleNotFoundError", "", None, "", explanation, is_certain=True)

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
        return self._list_star_names(module, frozenset())

    def _list_star_names(self, module: str, seen: frozenset[str]) -> frozenset[str]:
        outline = self._outline.modules.get(module)
        if outline is None or module in seen:
            return frozenset()
        names = outline.names
        if names.public is not None:
            return names.public
        public = frozenset(name for name in names.names if not name.startswith("_"))
        return public.union(*(self._list_star_names(star, seen | {module}) for star in names.stars))

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

    def run_import(self, step: ImportStep, frame: Frame) -> ImportProblem | None:
        """Return why an import fails."""
        if step.module.startswith(OWN):
            return self._run_own_import(step, frame)
        absence = self._find_absence(step.module)
        statement = _format_import(step)
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
            # The pack puts a folder of its own on Python's path.
            return None
        if self._outline.installs_packages:
            explanation = f"{absence.explanation}; the pack itself installs packages when ComfyUI starts"
            return replace(absence, explanation=explanation, is_certain=False)
        return absence

    def _has_source(self, module: str) -> bool:
        path = module.replace(".", "/")
        folder, file = f"/{path}/", f"/{path}.py"
        return any(folder in f"/{source}" or f"/{source}".endswith(file) for source in self._sources)

    def _run_own_import(self, step: ImportStep, frame: Frame) -> ImportProblem | None:
        problems: list[ImportProblem | None] = []
        for name in _list_packages(step.module):
            problem = self._check_module(name)
            if problem is not None and problem.is_certain:
                return self._place_missing(problem, step, frame)
            problems.append(problem)
        for name in step.names:
            problem = self._run_own_name(step, name, frame)
            if problem is not None and problem.is_certain:
                return problem
            problems.append(problem)
        return pick_worst(problems)

    def _place_missing(self, problem: ImportProblem, step: ImportStep, frame: Frame) -> ImportProblem:
        """Name the statement that imports a module which does not exist."""
        if problem.file or step.module == OWN:
            return problem
        return replace_problem(problem, file=frame.file, line=step.line, statement=_format_import(step))

    def _run_own_name(self, step: ImportStep, name: str, frame: Frame) -> ImportProblem | None:
        outline = self._outline.modules.get(step.module)
        if name == "*" or outline is None or self._has_own_name(step.module, name, frozenset()):
            return None
        inner = join_dotted(step.module, name)
        if self._outline.modules.get(inner) is not None:
            return self._check_module(inner)
        # Without an entry the module exists in another form, or was not looked for.
        if inner not in self._outline.modules or name in self._outline.sets_names:
            return None
        absence = Absence(ProblemKind.PACK_FILES, f"{outline.file or step.module} has no {name}", is_certain=True)
        return _build_problem(absence, "ImportError", frame, step.line, _format_import(step))

    def _has_own_name(self, module: str, name: str, seen: frozenset[str]) -> bool:
        outline = self._outline.modules.get(module)
        if outline is None or module in seen:
            return True
        names = outline.names
        if names.binds(module, name) or names.is_open or name.startswith("__"):
            return True
        seen |= {module}
        return any(not star.startswith(OWN) or self._has_own_name(star, name, seen) for star in names.stars)


def _build_problem(absence: Absence, error: str, frame: Frame, line: int, statement: str) -> ImportProblem:
    return ImportProblem(
        absence.kind, error, frame.file, line, statement, absence.explanation, is_certain=absence.is_certain
    )


def _format_import(step: ImportStep) -> str:
    module = step.module
    if not step.names:
        return f"import {module}"
    names = ", ".join(step.names[:_MAX_SHOWN_NAMES])
    if len(step.names) > _MAX_SHOWN_NAMES:
        names += ", …"
    return f"from {module} import {names}"


def _list_packages(module: str) -> Iterator[str]:
    """Yield a module of the pack and the packages around it, from the outside in."""
    yield OWN
    parts = module.removeprefix(OWN).split(".") if module != OWN else []
    for length in range(1, len(parts) + 1):
        yield OWN + ".".join(parts[:length])
