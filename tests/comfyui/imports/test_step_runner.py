"""Following steps by hand: which errors get out, and which names and marks they leave behind."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from comfywatchman.comfyui.imports.conditions import ConditionReader
from comfywatchman.comfyui.imports.host import ImportHost, PackEffects
from comfywatchman.comfyui.imports.problems import ImportProblem, ProblemKind
from comfywatchman.comfyui.imports.step_runner import Frame, StepRunner, iter_steps, pick_worst
from comfywatchman.comfyui.static_analysis.import_steps import (
    ANY_ERROR,
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

GONE = ImportStep(1, "gone", binds=("gone",))
DOUBTFUL = ImportStep(2, "doubtful", binds=("x",))
FAILURE = RaiseStep(3, "ValueError", "too old")


class AbsentModules(StepRunner):
    """A host without modules whose name begins with `gone`, and perhaps without `doubtful`."""

    def __init__(self) -> None:
        super().__init__(ConditionReader(ImportHost(None, None, (), PackEffects())))

    def run_import(self, step: ImportStep, frame: Frame) -> ImportProblem | None:
        return self._find(step.module, step.line, frame)

    def run_attribute(self, step: AttributeStep, frame: Frame) -> ImportProblem | None:
        return self._find(step.name.partition(".")[2], step.line, frame)

    def run_missing_file(self, step: MissingFileStep, frame: Frame) -> ImportProblem | None:
        return self._find("gone file", step.line, frame)

    def run_fault(self, step: FaultStep, frame: Frame) -> ImportProblem | None:
        return self._find(step.text, step.line, frame)

    def run_reading(self, step: ReadStep, frame: Frame) -> ImportProblem | None:
        return self._find(step.path, step.line, frame)

    def run_own_call(self, step: OwnCallStep, frame: Frame) -> ImportProblem | None:
        return self._find(step.name, step.line, frame)

    def run_api_call(self, step: ApiCallStep, frame: Frame) -> ImportProblem | None:
        return self._find(step.name, step.line, frame)

    def run_star_use(self, step: StarUseStep, frame: Frame) -> ImportProblem | None:
        return self._find(step.names[0], step.line, frame)

    def list_star_names(self, module: str) -> frozenset[str]:
        return frozenset({f"{module}_name"})

    @staticmethod
    def _find(name: str, line: int, frame: Frame) -> ImportProblem | None:
        if not name.startswith(("gone", "doubtful")):
            return None
        kind, is_certain = ProblemKind.PYTHON_PACKAGE, name.startswith("gone")
        return ImportProblem(kind, "ModuleNotFoundError", frame.file, line, f"import {name}", "absent", is_certain)


def run(*steps: Step) -> tuple[ImportProblem | None, Frame]:
    frame = Frame("one.py")
    return AbsentModules().run_block(steps, frame), frame


def verdict_of(*steps: Step) -> str:
    """Return the error of a certain problem, with a question mark for a possible one."""
    problem, _ = run(*steps)
    if problem is None:
        return "ok"
    return problem.error if problem.is_certain else f"{problem.error}?"


def catch(body: Sequence[Step], error: str, *handler: Step) -> TryStep:
    return TryStep(tuple(body), (HandlerSteps((error,), handler),))


@pytest.mark.parametrize(
    ("steps", "verdict"),
    [
        ([DOUBTFUL, FAILURE], "ValueError"),
        ([DOUBTFUL, ImportStep(3, "json")], "ModuleNotFoundError?"),
        ([catch([GONE], "ImportError")], "ok"),
        ([catch([GONE], "ValueError")], "ModuleNotFoundError"),
        ([catch([GONE], "pkg.Error")], "ModuleNotFoundError"),
        ([catch([RaiseStep(1, "pkg.Error")], "pkg.Other")], "pkg.Error?"),
        ([catch([GONE], ANY_ERROR, RaiseStep(4, RERAISE))], "ModuleNotFoundError"),
        ([catch([DOUBTFUL], ANY_ERROR, FAILURE)], "ValueError?"),
        ([TryStep((ImportStep(1, "json"),), (HandlerSteps((ANY_ERROR,)),), (FAILURE,))], "ValueError"),
        ([TryStep((GONE,), (HandlerSteps((ANY_ERROR,)),), (FAILURE,))], "ok"),
        ([TryStep((GONE,), (HandlerSteps((ANY_ERROR,)),), (), (FAILURE,))], "ValueError"),
        ([LoopStep((FAILURE,))], "ok"),
        ([LoopStep((ImportStep(1, "gone", is_certain=True),))], "ModuleNotFoundError"),
        ([LoopStep((UnresolvedStep(1, "load()"),))], "ImportError?"),
        ([CallStep((ReturnStep(), FAILURE)), GONE], "ModuleNotFoundError"),
        ([BranchStep(1, "1 > 2", (FAILURE,), (GONE,))], "ModuleNotFoundError"),
        ([BranchStep(1, "input()", (FAILURE,))], "ok"),
        ([BranchStep(1, "sys.version_info > (3, 9)", (FAILURE,))], "ValueError?"),
        ([CallStep((BranchStep(1, "input()", (ReturnStep(),)), FAILURE))], "ok"),
        ([MissingFileStep(1, "a.py")], "ModuleNotFoundError"),
        ([AttributeStep(1, "nodes.gone.x")], "ModuleNotFoundError"),
        ([SetStep("nodes.gone"), AttributeStep(1, "nodes.gone.x")], "ok"),
        ([SetStep("nodes.go"), AttributeStep(1, "nodes.gone")], "ModuleNotFoundError"),
    ],
)
def test_error_gets_out_of_the_blocks_around_it(steps: list[Step], verdict: str) -> None:
    assert verdict_of(*steps) == verdict


def test_first_error_explains_the_one_raised_in_its_place() -> None:
    problem, _ = run(catch([GONE], "ImportError", FAILURE))
    assert problem is not None
    assert (problem.error, problem.kind, problem.line) == ("ValueError", ProblemKind.PYTHON_PACKAGE, 1)


def test_raised_error_has_its_message() -> None:
    problem, _ = run(RaiseStep(3, "pkg.errors.TooOld", "update it"))
    assert problem is not None
    assert problem.summary == "one.py, line 3: it raises TooOld: update it"


def test_name_of_a_failed_import_fails_where_it_is_used() -> None:
    guarded = catch([GONE], "ImportError")
    use = UseStep(5, ("gone",), ("gone",))
    problem, _ = run(guarded, use)
    assert problem is not None
    assert (problem.error, problem.line, problem.statement) == ("NameError", 5, "gone")
    # It was bound before, or is bound afterwards.
    assert verdict_of(BindStep(("gone",)), guarded, use) == "ok"
    assert verdict_of(guarded, BindStep(("gone",)), use) == "ok"


def test_name_that_a_handler_sets_to_none_has_no_attributes() -> None:
    guarded = catch([GONE], "ImportError", BindStep(("gone",), is_none=True))
    assert verdict_of(guarded, UseStep(5, ("gone",))) == "ok"
    assert verdict_of(guarded, UseStep(5, ("gone",), ("gone",))) == "AttributeError"
    assert verdict_of(BindStep(("gone",), is_none=True), UseStep(5, ("gone",), ("gone",))) == "ok"


def test_names_of_a_star_import_are_lost_with_it() -> None:
    _, frame = run(catch([ImportStep(1, "gone", ("*",), ("*",))], "ImportError"))
    assert set(frame.lost) == {"gone_name"}
    _, frame = run(ImportStep(1, "json", ("*",), ("*",)))
    assert (frame.bound, frame.lost) == ({"json_name"}, {})


def test_marks_hold_the_problem_that_skips_them() -> None:
    _, frame = run(catch([MarkStep(1), GONE, MarkStep(2), LoopStep((MarkStep(3),))], "ImportError"), MarkStep(4))
    assert {line: problem is None for line, problem in frame.marks.items()} == {1: True, 2: False, 3: False, 4: True}
    _, frame = run(catch([DOUBTFUL, MarkStep(1)], "ImportError"), MarkStep(2))
    doubt = frame.marks[1]
    assert doubt is not None
    assert not doubt.is_certain
    assert frame.marks[2] is None


def test_certain_problem_is_worse_than_an_earlier_possible_one() -> None:
    [possible, certain] = [run(step)[0] for step in (DOUBTFUL, GONE)]
    assert pick_worst([None, possible, certain]) is certain
    assert pick_worst([None, possible]) is possible
    assert pick_worst([]) is None


def test_steps_inside_others_are_listed() -> None:
    inner = [MarkStep(line) for line in range(6)]
    handlers = (HandlerSteps((ANY_ERROR,), (inner[0],)),)
    outer = TryStep((inner[1],), handlers, (BranchStep(1, "", (inner[2],), (inner[3],)),), (CallStep((inner[4],)),))
    listed = [step for step in iter_steps([outer, inner[5]]) if isinstance(step, MarkStep)]
    assert sorted(listed, key=lambda step: step.line) == inner
