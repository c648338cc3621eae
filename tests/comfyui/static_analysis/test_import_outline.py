from __future__ import annotations

import ast

import pytest
from msgspec import structs

from comfywatchman.comfyui.static_analysis.import_outline import ModuleOutliner
from comfywatchman.comfyui.static_analysis.import_steps import (
    ANY_ERROR,
    RERAISE,
    AttributeStep,
    BindStep,
    BranchStep,
    HandlerSteps,
    ImportStep,
    LoopStep,
    MarkStep,
    RaiseStep,
    ReturnStep,
    StarUseStep,
    Step,
    TryStep,
    UnresolvedStep,
    UseStep,
)
from comfywatchman.comfyui.static_analysis.module_names import BEYOND, OWN, read_module_names
from comfywatchman.comfyui.static_analysis.outline_source import OutlineSource

FAILURE = RaiseStep(2, "E")
NO_PACKAGE = None
BOUND = frozenset("EFabfmtxy") | {"make"}
PACKAGE = ("py",)


def build_outliner(
    source: str, package: tuple[str, ...] | None = PACKAGE, prefix: str = OWN, marks: tuple[int, ...] = ()
) -> ModuleOutliner:
    tree, content = ast.parse(source), source.encode()
    names = read_module_names(tree, content, package or (), prefix=prefix)
    # Other code binds these names.
    names = structs.replace(names, names=names.names | BOUND)
    parts = (*(package or ()), "one")
    return ModuleOutliner(OutlineSource(tree, content, names, parts, package, prefix, marks=marks))


@pytest.mark.parametrize(
    ("source", "steps"),
    [
        ("with open(x):\n    raise E", [FAILURE]),
        ("with make():\n    raise E", [LoopStep((FAILURE,))]),
        (
            "import contextlib\nwith contextlib.suppress(OSError, E): raise E",
            [ImportStep(1, "contextlib"), TryStep((FAILURE,), (HandlerSteps(("OSError", "E")),))],
        ),
        ("while x:\n    raise E", [LoopStep((FAILURE,))]),
        ("for x in y: f(x)\nraise E", [FAILURE]),
        ("if t.TYPE_CHECKING: import x\nelse: raise E", [FAILURE]),
        ("if x: f(x)\nraise E", [FAILURE]),
        ("assert x\nraise E", [BranchStep(1, "x", (), (RaiseStep(1, "AssertionError"),)), FAILURE]),
        ("class A:\n    def f(self): raise E", []),
        ("class A:\n    import b", [ImportStep(2, "b")]),
        ("from __future__ import annotations\nraise E('a' f'{x} b\\n  c') from F", [RaiseStep(2, "E", "a b c")]),
    ],
)
def test_statements_become_steps(source: str, steps: list[Step]) -> None:
    assert list(build_outliner(source).build_steps()) == steps


@pytest.mark.parametrize(
    ("package", "prefix", "step"),
    [
        (PACKAGE, OWN, ImportStep(1, ".a", ("b",))),
        (("py", "deep"), OWN, ImportStep(1, ".py.a", ("b",))),
        ((), OWN, RaiseStep(1, "ImportError", BEYOND)),
        (NO_PACKAGE, OWN, RaiseStep(1, "ImportError", BEYOND)),
        (PACKAGE, ".lib:", RaiseStep(1, "ImportError", BEYOND)),
        (PACKAGE, ".lib?", UnresolvedStep(1, "from ..a import b")),
    ],
)
def test_relative_import_depends_on_the_package(package: tuple[str, ...] | None, prefix: str, step: Step) -> None:
    assert build_outliner("from ..a import b", package, prefix).build_steps() == (step,)


def test_errors_are_caught_and_raised_again() -> None:
    source = "try:\n    import cv2\nexcept (OSError, E) as e:\n    raise e\nexcept:\n    raise\nelse:\n    raise e"
    handlers = (
        HandlerSteps(("OSError", "E"), (RaiseStep(4, RERAISE),)),
        HandlerSteps((ANY_ERROR,), (RaiseStep(6, RERAISE),)),
    )
    body = (ImportStep(2, "cv2", binds=("cv2",)),)
    assert build_outliner(source).build_steps() == (TryStep(body, handlers, (RaiseStep(8, "e"),)),)


def test_use_of_a_guarded_name_is_a_step_outside_of_functions_only() -> None:
    source = "try: import cv2\nexcept E: cv2 = None\ndef f(): cv2.a()\nx = cv2.b\nclass A:\n    y: cv2.c = 1\nz = [cv2]"
    steps = build_outliner(source).build_steps()
    assert isinstance(steps[0], TryStep)
    assert steps[0].handlers == (HandlerSteps(("E",), (BindStep(("cv2",), is_none=True),)),)
    assert steps[1:] == (UseStep(4, ("cv2",), ("cv2",)), UseStep(7, ("cv2",)))


def test_names_of_a_star_import_are_looked_up() -> None:
    steps = build_outliner("from .a import *\nx = g(len, x0)").build_steps()
    assert steps == (ImportStep(1, ".py.a", ("*",), ("*",)), StarUseStep(2, ("g", "x0"), (".py.a",)))


def test_only_guarded_statements_are_marked() -> None:
    source = "A = 1\ntry:\n    B = 2\n    C = 3\nfinally:\n    D = 4"
    steps = build_outliner(source, marks=(1, 3, 6)).build_steps()
    body = (BindStep(("B",)), MarkStep(3), BindStep(("C",)))
    assert steps == (TryStep(body, final=(BindStep(("D",)),)),)


def test_annotations_are_evaluated_unless_they_are_texts() -> None:
    source = "import nodes\ndef f(x: nodes.A = nodes.B) -> 'nodes.C': pass"
    expected = [AttributeStep(2, "nodes.B"), AttributeStep(2, "nodes.A", is_annotation=True)]
    assert list(build_outliner(source).build_steps()[1:]) == expected
    lazy = build_outliner(f"from __future__ import annotations; {source}").build_steps()
    assert lazy[1:] == (AttributeStep(2, "nodes.B"),)


def test_function_in_which_nothing_may_fail_has_no_steps() -> None:
    outliner = build_outliner("import nodes\ndef f(): return 1\ndef g(): return nodes.A\ndef h(): return 'import'")
    functions = [part for part in outliner.source.tree.body if isinstance(part, ast.FunctionDef)]
    attribute = AttributeStep(3, "nodes.A")
    assert [outliner.build_function_steps(part) for part in functions] == [(), (attribute, ReturnStep()), ()]
