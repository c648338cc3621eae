"""The steps of importing a module: what must succeed, in order, with the conditions around it.

Nothing here is evaluated: which imports succeed depends on the host. The steps of a pack are stored until its source
changes.
"""

from __future__ import annotations

from typing import Final

import msgspec

from comfywatchman.comfyui.static_analysis.module_names import NO_NAMES, ModuleNames

RERAISE: Final = ""
"""The error of a `raise` that raises the caught error again."""

ANY_ERROR: Final = "*"
"""What an `except:` without a class catches."""


class ImportStep(msgspec.Struct, frozen=True, array_like=True, tag="import"):
    """`import a.b`, or `from a import b, c`.

    Attributes:
        line: Line of the statement.
        module: Dotted name; a leading dot means a module of the pack.
        names: Names that it takes from the module; `*` for all.
        binds: Names that it binds, as far as a later step uses them.
        is_certain: Whether it runs although a loop surrounds it, because the loop was followed.
    """

    line: int
    module: str
    names: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()
    is_certain: bool = False


class AttributeStep(msgspec.Struct, frozen=True, array_like=True, tag="attribute"):
    """An attribute of a module of ComfyUI is read: `comfy.samplers.KSampler`.

    Attributes:
        line: Line of the expression.
        name: The dotted name, from the module on.
        is_annotation: Whether it stands in an annotation, which Python evaluates only before version 3.14.
    """

    line: int
    name: str
    is_annotation: bool = False


class RaiseStep(msgspec.Struct, frozen=True, array_like=True, tag="raise"):
    """An error is raised.

    Attributes:
        line: Line of the statement.
        error: Name of its class, `RERAISE` for the caught error.
        text: Its message, as far as the source shows it.
    """

    line: int
    error: str
    text: str = ""


class BindStep(msgspec.Struct, frozen=True, array_like=True, tag="bind"):
    """Names are bound by something else than an import."""

    names: tuple[str, ...]


class UseStep(msgspec.Struct, frozen=True, array_like=True, tag="use"):
    """Names are used that only a guarded import may have bound."""

    line: int
    names: tuple[str, ...]


class MarkStep(msgspec.Struct, frozen=True, array_like=True, tag="mark"):
    """The statement in this line, which registers nodes, was executed."""

    line: int


class ReturnStep(msgspec.Struct, frozen=True, array_like=True, tag="return"):
    """The function ends here."""


class CallStep(msgspec.Struct, frozen=True, array_like=True, tag="call"):
    """A function of the same module runs."""

    body: tuple[Step, ...]


class BranchStep(msgspec.Struct, frozen=True, array_like=True, tag="branch"):
    """An `if` statement.

    Attributes:
        line: Its line.
        test: The condition as source text, in which names stand for what the module's source says they are.
        body: The steps when it holds.
        orelse: The steps when it does not.
    """

    line: int
    test: str
    body: tuple[Step, ...] = ()
    orelse: tuple[Step, ...] = ()


class LoopStep(msgspec.Struct, frozen=True, array_like=True, tag="loop"):
    """Statements of which it is not known whether they run, or whether their errors get out."""

    body: tuple[Step, ...]


class HandlerSteps(msgspec.Struct, frozen=True, array_like=True):
    """One `except` clause.

    Attributes:
        catches: Names of the error classes; `ANY_ERROR` for a clause without.
        body: Its steps.
    """

    catches: tuple[str, ...]
    body: tuple[Step, ...] = ()


class TryStep(msgspec.Struct, frozen=True, array_like=True, tag="try"):
    """A `try` statement."""

    body: tuple[Step, ...]
    handlers: tuple[HandlerSteps, ...] = ()
    orelse: tuple[Step, ...] = ()
    final: tuple[Step, ...] = ()


Step = (
    ImportStep
    | AttributeStep
    | RaiseStep
    | BindStep
    | UseStep
    | MarkStep
    | ReturnStep
    | CallStep
    | BranchStep
    | LoopStep
    | TryStep
)


class ModuleOutline(msgspec.Struct, frozen=True, array_like=True):
    """What happens when a module is imported.

    Attributes:
        file: Path of its file below the pack's folder, for people; empty for a folder without `__init__.py`.
        steps: Its steps.
        names: The names that it binds.
        syntax_error: Why it is not valid Python, for people.
    """

    file: str
    steps: tuple[Step, ...] = ()
    names: ModuleNames = NO_NAMES
    syntax_error: str | None = None


class FunctionOutline(msgspec.Struct, frozen=True, array_like=True):
    """What happens when a function is called.

    Attributes:
        file: Path of its file below the pack's folder, for people.
        steps: Its steps.
    """

    file: str
    steps: tuple[Step, ...] = ()


class ClassNeeds(msgspec.Struct, frozen=True, array_like=True):
    """What must succeed for a node class to be mapped and listed, beside the import of the pack.

    Attributes:
        module: The module that defines it.
        marks: Guarded statements that map it: name of the module, and line.
        inputs: Key in `PackOutline.inputs` of the function that lists its inputs.
    """

    module: str | None = None
    marks: tuple[tuple[str, int], ...] = ()
    inputs: str | None = None


class PackOutline(msgspec.Struct, frozen=True, array_like=True):
    """What happens when a pack is imported.

    Attributes:
        modules: Its modules by dotted name (`.py.nodes`; `.` is the pack itself); None for one that does not exist.
        classes: What each class needs; nothing for classes that are not in here.
        inputs: The functions that list the inputs of classes, as far as something in them may fail.
        changes_path: Whether its source changes where Python looks for modules.
        installs_packages: Whether its source installs Python packages.
        sets_names: Names that it may set on modules of others.
    """

    modules: dict[str, ModuleOutline | None] = {}
    classes: dict[str, ClassNeeds] = {}
    inputs: dict[str, FunctionOutline] = {}
    changes_path: bool = False
    installs_packages: bool = False
    sets_names: frozenset[str] = frozenset()


NO_OUTLINE: Final = PackOutline()
