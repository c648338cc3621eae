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
        is_certain: Whether it runs although a loop or condition surrounds it, because these were followed.
        is_doubtful: Whether its failure is only possible, because several calls share the line.
    """

    line: int
    module: str
    names: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()
    is_certain: bool = False
    is_doubtful: bool = False


class UnresolvedStep(msgspec.Struct, frozen=True, array_like=True, tag="unresolved"):
    """A module is loaded of which the source does not show the name.

    Attributes:
        line: Line of the call.
        statement: The call as source text.
    """

    line: int
    statement: str


class MissingFileStep(msgspec.Struct, frozen=True, array_like=True, tag="missing_file"):
    """A file is loaded that the pack does not have.

    Attributes:
        line: Line of the call.
        path: The file below the pack's folder.
    """

    line: int
    path: str


class ApiCallStep(msgspec.Struct, frozen=True, array_like=True, tag="api_call"):
    """ComfyUI's node API is called: `io.Int.Input("seed", default=0)`.

    Attributes:
        line: Line of the call.
        name: Dotted name of the function or class; `…Custom().Input` for a type that the source makes itself.
        positional: How many arguments have no name.
        keywords: The names of the others.
        is_open: Whether there may be further arguments.
        inputs: For a schema, the ids of its inputs, as far as the call shows them.
        outputs: The same of its outputs.
    """

    line: int
    name: str
    positional: int = 0
    keywords: tuple[str, ...] = ()
    is_open: bool = False
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


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


class SetStep(msgspec.Struct, frozen=True, array_like=True, tag="set"):
    """An attribute of a module of ComfyUI is set: `nodes.FORMATS = {}`."""

    name: str


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


class FaultStep(msgspec.Struct, frozen=True, array_like=True, tag="fault"):
    """The evaluation of an expression, or ComfyUI's use of a class, raises an error.

    Attributes:
        line: Line of the expression.
        error: Name of the error's class.
        text: Its message.
        names: Names that another pack may set so that nothing is raised.
        is_certain: Whether it certainly is raised.
    """

    line: int
    error: str
    text: str
    names: tuple[str, ...] = ()
    is_certain: bool = True


class ReadStep(msgspec.Struct, frozen=True, array_like=True, tag="read"):
    """A file or folder is read.

    Attributes:
        line: Line of the call.
        path: Its path below the pack's folder, or below the folder in which ComfyUI is started.
        is_own: Whether it is a path of the pack.
    """

    line: int
    path: str
    is_own: bool


class BindStep(msgspec.Struct, frozen=True, array_like=True, tag="bind"):
    """Names are bound by something else than an import.

    Attributes:
        names: The names.
        is_none: Whether their value is None, as in `except ImportError: cv2 = None`.
    """

    names: tuple[str, ...]
    is_none: bool = False


class UseStep(msgspec.Struct, frozen=True, array_like=True, tag="use"):
    """Names are used that only a guarded import may have bound.

    Attributes:
        line: Line of the use.
        names: The names.
        members: Those of which an attribute is read, which fails when they are None.
    """

    line: int
    names: tuple[str, ...]
    members: tuple[str, ...] = ()


class StarUseStep(msgspec.Struct, frozen=True, array_like=True, tag="star_use"):
    """Names are used that only `from … import *` can have bound.

    Attributes:
        line: Line of the use.
        names: The names.
        stars: The modules of which all names are imported.
    """

    line: int
    names: tuple[str, ...]
    stars: tuple[str, ...]


class MarkStep(msgspec.Struct, frozen=True, array_like=True, tag="mark"):
    """The statement in this line, which registers nodes, was executed."""

    line: int


class ReturnStep(msgspec.Struct, frozen=True, array_like=True, tag="return"):
    """The function ends here."""


class CallStep(msgspec.Struct, frozen=True, array_like=True, tag="call"):
    """A function of the same module runs."""

    body: tuple[Step, ...]


class OwnCallStep(msgspec.Struct, frozen=True, array_like=True, tag="own_call"):
    """A function of another module of the pack runs.

    Attributes:
        line: Line of the call.
        name: Dotted name of the function; a leading dot means a module of the pack.
    """

    line: int
    name: str


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
    | UnresolvedStep
    | MissingFileStep
    | ApiCallStep
    | AttributeStep
    | SetStep
    | RaiseStep
    | FaultStep
    | ReadStep
    | BindStep
    | UseStep
    | StarUseStep
    | MarkStep
    | ReturnStep
    | CallStep
    | OwnCallStep
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
        listed: How many functions of `PackOutline.listing` run before the class is listed, with its own.
    """

    module: str | None = None
    marks: tuple[tuple[str, int], ...] = ()
    inputs: str | None = None
    listed: int = 0


class PackOutline(msgspec.Struct, frozen=True, array_like=True):
    """What happens when a pack is imported.

    Attributes:
        modules: Its modules by dotted name (`.py.nodes`; `.` is the pack itself); None for one that does not exist.
        classes: What each class needs; nothing for classes that are not in here.
        inputs: The functions that list the inputs of classes, as far as something in them may fail.
        entries: Functions that a pack of the V3 API runs when it is imported.
        listing: What runs for each of its classes, in their order: ComfyUI stops at the first that fails.
        functions: The functions that modules call of each other, by dotted name.
        changes_path: Whether its source changes where Python looks for modules.
        installs_packages: Whether its source installs Python packages.
        sets_names: Names that it may set on modules of others.
        submodules: Folders of its git submodules that are empty or absent, below the pack's folder.
        path_folders: Folders that it puts on Python's path, as beginnings of module names (`.lib:`), each with whether
            it comes before all other folders there.
    """

    modules: dict[str, ModuleOutline | None] = {}
    classes: dict[str, ClassNeeds] = {}
    inputs: dict[str, FunctionOutline] = {}
    entries: tuple[FunctionOutline, ...] = ()
    listing: tuple[FunctionOutline, ...] = ()
    changes_path: bool = False
    installs_packages: bool = False
    sets_names: frozenset[str] = frozenset()
    submodules: tuple[str, ...] = ()
    path_folders: dict[str, bool] = {}
    functions: dict[str, FunctionOutline] = {}


NO_OUTLINE: Final = PackOutline()
