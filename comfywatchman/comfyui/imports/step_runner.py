"""Follow the steps of an outline: what fails, what is caught, and what does not happen because of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace as replace_problem

from comfywatchman.comfyui.imports.conditions import ConditionReader
from comfywatchman.comfyui.imports.errors import catches
from comfywatchman.comfyui.imports.problems import ImportProblem, ProblemKind
from comfywatchman.comfyui.static_analysis.import_steps import (
    RERAISE,
    ApiCallStep,
    AttributeStep,
    BindStep,
    BranchStep,
    CallStep,
    FaultStep,
    HandlerSteps,
    ImportStep,
    LoopStep,
    MarkStep,
    MissingFileStep,
    OwnCallStep,
    RaiseStep,
    ReadStep,
    ReturnStep,
    SetStep,
    StarUseStep,
    Step,
    TryStep,
    UnresolvedStep,
    UseStep,
)


@dataclass(slots=True)
class Frame:
    """The state of following one module or function.

    Attributes:
        file: Path of its file below the pack's folder, for people.
        bound: Names that import statements have bound so far.
        nulls: Names that an `except` clause has bound to None, each with the error that it handled.
        lost: Names that stay unbound, or may, each with the reason.
        marks: The guarded statements that were met, with what keeps them from running.
        doubt: What may fail in the blocks followed at the moment.
        caught: The error that the present `except` clause handles.
        has_returned: Whether the function that is followed has ended.
    """

    file: str
    bound: set[str] = field(default_factory=set)
    nulls: dict[str, ImportProblem] = field(default_factory=dict)
    lost: dict[str, ImportProblem] = field(default_factory=dict)
    marks: dict[int, ImportProblem | None] = field(default_factory=dict)
    doubt: ImportProblem | None = None
    caught: ImportProblem | None = None
    has_returned: bool = False


class StepRunner(ABC):
    """Follows steps; a subclass knows the modules of the pack and of the host.

    Args:
        conditions: Decides conditions.
    """

    def __init__(self, conditions: ConditionReader) -> None:
        self._conditions = conditions
        self._set_names: set[str] = set()

    @abstractmethod
    def run_import(self, step: ImportStep, frame: Frame) -> ImportProblem | None:
        """Return why an import fails."""

    @abstractmethod
    def run_attribute(self, step: AttributeStep, frame: Frame) -> ImportProblem | None:
        """Return why a module of ComfyUI lacks an attribute."""

    @abstractmethod
    def run_missing_file(self, step: MissingFileStep, frame: Frame) -> ImportProblem | None:
        """Return the problem that a file is missing."""

    @abstractmethod
    def run_fault(self, step: FaultStep, frame: Frame) -> ImportProblem | None:
        """Return the error that an expression raises."""

    @abstractmethod
    def run_reading(self, step: ReadStep, frame: Frame) -> ImportProblem | None:
        """Return why a file cannot be read."""

    @abstractmethod
    def run_own_call(self, step: OwnCallStep, frame: Frame) -> ImportProblem | None:
        """Return why a function of another module of the pack fails."""

    @abstractmethod
    def run_api_call(self, step: ApiCallStep, frame: Frame) -> ImportProblem | None:
        """Return why ComfyUI's API rejects a call."""

    @abstractmethod
    def run_star_use(self, step: StarUseStep, frame: Frame) -> ImportProblem | None:
        """Return why a name of `from … import *` is not bound."""

    @abstractmethod
    def list_star_names(self, module: str) -> frozenset[str]:
        """Return the names that `from … import *` takes from a module of the pack."""

    def run_block(self, steps: Sequence[Step], frame: Frame) -> ImportProblem | None:
        """Follow steps; return the first certain problem, else the first possible one."""
        doubt: ImportProblem | None = None
        for position, step in enumerate(steps):
            problem = self.run_step(step, frame)
            if problem is not None and problem.is_certain:
                self._skip(steps[position:], problem, frame)
                return problem
            doubt = doubt or problem
            frame.doubt = frame.doubt or problem
            if frame.has_returned:
                break
        return doubt

    def _skip(self, steps: Iterable[Step], problem: ImportProblem, frame: Frame) -> None:
        """Record the effects of a problem on steps that it skips: names stay unbound, guarded statements do not run."""
        for step in iter_steps(steps):
            if isinstance(step, MarkStep):
                frame.marks.setdefault(step.line, problem)
            for name in self._list_bound_names(step):
                if name not in frame.bound:
                    frame.lost.setdefault(name, problem)

    def run_step(self, step: Step, frame: Frame) -> ImportProblem | None:
        """Follow one step."""
        run = _RUNNERS.get(type(step))
        if run is None:
            return None
        return run(self, step, frame)

    def _bind(self, step: Step, doubt: ImportProblem | None, frame: Frame) -> None:
        doubt = doubt or frame.doubt
        for name in self._list_bound_names(step):
            frame.bound.add(name)
            frame.nulls.pop(name, None)
            if doubt is None:
                frame.lost.pop(name, None)
            else:
                frame.lost.setdefault(name, doubt)

    def _list_bound_names(self, step: Step) -> Iterable[str]:
        match step:
            case BindStep():
                return step.names
            case ImportStep(binds=("*",)):
                return self.list_star_names(step.module)
            case ImportStep():
                return step.binds
        return ()

    def follow_branch(self, step: BranchStep, frame: Frame) -> ImportProblem | None:
        """Follow an `if` statement."""
        truth, asks_host = self._conditions.decide(step.test)
        if truth is not None:
            return self.run_block(step.body if truth else step.orelse, frame)
        problems = []
        returned = []
        for block in (step.body, step.orelse):
            frame.has_returned = False
            problems.append(self.run_block(block, frame))
            returned.append(frame.has_returned)
        # What comes after a `return` that may have been reached is not known to run.
        frame.has_returned = any(returned)
        problem = pick_worst(problems)
        if problem is None:
            return None
        if _is_followed((*step.body, *step.orelse)):
            return problem
        self._forget_losses((*step.body, *step.orelse), frame)
        # A condition that has nothing to do with the host is most likely chosen so that nothing fails.
        return replace_problem(problem, is_certain=False) if asks_host else None

    def follow_loop(self, step: LoopStep, frame: Frame) -> ImportProblem | None:
        """Follow a loop."""
        problem = self.run_block(step.body, frame)
        frame.has_returned = False
        if problem is None:
            return None
        if problem.kind is ProblemKind.UNRESOLVED or _is_followed(step.body):
            return problem
        self._forget_losses(step.body, frame)
        return None

    def _forget_losses(self, steps: Iterable[Step], frame: Frame) -> None:
        for step in iter_steps(steps):
            for name in self._list_bound_names(step):
                frame.lost.pop(name, None)
                frame.nulls.pop(name, None)
                frame.bound.add(name)

    def follow_try(self, step: TryStep, frame: Frame) -> ImportProblem | None:
        """Follow a `try` statement."""
        outer_doubt, frame.doubt = frame.doubt, None
        problem = self.run_block(step.body, frame)
        if problem is None or not problem.is_certain:
            # The handlers do not catch what fails here.
            after = self.run_block(step.orelse, frame)
        else:
            after = None
            self._skip(step.orelse, problem, frame)
        frame.doubt = outer_doubt
        if problem is not None:
            problem = self._run_handlers(step.handlers, problem, frame)
        return pick_worst([problem, after, self.run_block(step.final, frame)])

    def _run_handlers(
        self, handlers: Sequence[HandlerSteps], problem: ImportProblem, frame: Frame
    ) -> ImportProblem | None:
        for handler in handlers:
            is_caught = catches(handler.catches, problem.error)
            if is_caught is None:
                return replace_problem(problem, is_certain=False)
            if is_caught:
                outer, frame.caught = frame.caught, problem
                raised = self.run_block(handler.body, frame)
                frame.caught = outer
                if raised is None:
                    return None
                # The first error says more than the one that is raised in its place.
                reason = problem if raised.kind is ProblemKind.RAISED else raised
                return replace_problem(reason, error=raised.error, is_certain=problem.is_certain and raised.is_certain)
        return problem

    def follow_import(self, step: ImportStep, frame: Frame) -> ImportProblem | None:
        """Follow an import."""
        problem = self.run_import(step, frame)
        if problem is None or not problem.is_certain:
            self._bind(step, problem, frame)
        return problem

    def follow_unresolved(self, step: UnresolvedStep, frame: Frame) -> ImportProblem:
        """Follow an import of which the module is not known."""
        explanation = "its source does not show which module that loads"
        return ImportProblem(
            ProblemKind.UNRESOLVED, "ImportError", frame.file, step.line, step.statement, explanation, is_certain=False
        )

    def follow_attribute(self, step: AttributeStep, frame: Frame) -> ImportProblem | None:
        """Follow the reading of an attribute; one that the pack itself has set exists."""
        if any(f"{step.name}.".startswith(f"{name}.") for name in self._set_names):
            return None
        return self.run_attribute(step, frame)

    def follow_setting(self, step: SetStep, _frame: Frame) -> None:
        """Follow the setting of an attribute of a module of ComfyUI."""
        self._set_names.add(step.name)

    def follow_missing_file(self, step: MissingFileStep, frame: Frame) -> ImportProblem | None:
        """Follow the loading of a file that does not exist."""
        return self.run_missing_file(step, frame)

    def follow_fault(self, step: FaultStep, frame: Frame) -> ImportProblem | None:
        """Follow an expression that raises an error."""
        return self.run_fault(step, frame)

    def follow_reading(self, step: ReadStep, frame: Frame) -> ImportProblem | None:
        """Follow the reading of a file."""
        return self.run_reading(step, frame)

    def follow_api_call(self, step: ApiCallStep, frame: Frame) -> ImportProblem | None:
        """Follow a call of ComfyUI's API."""
        return self.run_api_call(step, frame)

    def follow_binding(self, step: BindStep, frame: Frame) -> None:
        """Follow the binding of names."""
        self._bind(step, None, frame)
        if step.is_none and frame.caught is not None:
            frame.nulls.update(dict.fromkeys(step.names, frame.caught))

    def follow_call(self, step: CallStep, frame: Frame) -> ImportProblem | None:
        """Follow a call."""
        problem = self.run_block(step.body, frame)
        frame.has_returned = False
        return problem

    def follow_own_call(self, step: OwnCallStep, frame: Frame) -> ImportProblem | None:
        """Follow a call of a function of another module of the pack."""
        return self.run_own_call(step, frame)

    def follow_mark(self, step: MarkStep, frame: Frame) -> None:
        """Follow a guarded statement."""
        frame.marks[step.line] = frame.doubt

    def follow_return(self, _step: ReturnStep, frame: Frame) -> None:
        """Follow a `return` statement."""
        frame.has_returned = True

    def follow_use(self, step: UseStep, frame: Frame) -> ImportProblem | None:
        """Follow the use of names."""
        return _find_unbound(step, frame)

    def follow_star_use(self, step: StarUseStep, frame: Frame) -> ImportProblem | None:
        """Follow the use of names of `from … import *`."""
        return self.run_star_use(step, frame)

    def follow_raise(self, step: RaiseStep, frame: Frame) -> ImportProblem | None:
        """Follow a `raise` statement."""
        return _build_raised_problem(step, frame)


def _build_raised_problem(step: RaiseStep, frame: Frame) -> ImportProblem:
    if step.error == RERAISE and frame.caught is not None:
        return frame.caught
    error = step.error or "RuntimeError"
    explanation = f"it raises {error.rpartition('.')[2]}"
    if step.text:
        explanation += f": {step.text}"
    return ImportProblem(ProblemKind.RAISED, error, frame.file, step.line, "", explanation, is_certain=True)


def _find_unbound(step: UseStep, frame: Frame) -> ImportProblem | None:
    for name in step.names:
        reason, error, state = frame.lost.get(name), "NameError", "not defined"
        if reason is None and name in step.members:
            reason, error, state = frame.nulls.get(name), "AttributeError", "None"
        if reason is not None:
            explanation = f"{name} is {state} there, because {reason.summary}"
            return replace_problem(
                reason, error=error, file=frame.file, line=step.line, statement=name, explanation=explanation
            )
    return None


def _is_followed(steps: Iterable[Step]) -> bool:
    """Return whether the loop or condition around steps was followed, so that an import in it certainly runs."""
    return any(isinstance(step, ImportStep) and step.is_certain for step in iter_steps(steps))


def pick_worst(problems: Iterable[ImportProblem | None]) -> ImportProblem | None:
    """Return the first certain problem, else the first possible one."""
    found = [problem for problem in problems if problem is not None]
    return next((problem for problem in found if problem.is_certain), found[0] if found else None)


def iter_steps(steps: Iterable[Step]) -> Iterator[Step]:
    """Yield steps and the steps inside them."""
    for step in steps:
        yield step
        match step:
            case TryStep():
                yield from iter_steps((*step.body, *step.orelse, *step.final))
                for handler in step.handlers:
                    yield from iter_steps(handler.body)
            case BranchStep():
                yield from iter_steps((*step.body, *step.orelse))
            case LoopStep() | CallStep():
                yield from iter_steps(step.body)


_RUNNERS: Final[Mapping[type, Callable[..., ImportProblem | None]]] = {
    ImportStep: StepRunner.follow_import,
    UnresolvedStep: StepRunner.follow_unresolved,
    MissingFileStep: StepRunner.follow_missing_file,
    ApiCallStep: StepRunner.follow_api_call,
    AttributeStep: StepRunner.follow_attribute,
    SetStep: StepRunner.follow_setting,
    BindStep: StepRunner.follow_binding,
    CallStep: StepRunner.follow_call,
    OwnCallStep: StepRunner.follow_own_call,
    BranchStep: StepRunner.follow_branch,
    LoopStep: StepRunner.follow_loop,
    TryStep: StepRunner.follow_try,
    MarkStep: StepRunner.follow_mark,
    ReturnStep: StepRunner.follow_return,
    UseStep: StepRunner.follow_use,
    StarUseStep: StepRunner.follow_star_use,
    RaiseStep: StepRunner.follow_raise,
    FaultStep: StepRunner.follow_fault,
    ReadStep: StepRunner.follow_reading,
}
"""The method that follows each type of step."""
