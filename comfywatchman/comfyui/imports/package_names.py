"""Names that `from … import` cannot take from modules of Python itself and of installed packages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.comfyui.imports.environment import PythonEnvironment

_MAX_FILE_BYTES: Final = 1 << 20
_OPEN: Final = re.compile(
    rb"^def __getattr__|^__getattr__|import \*|globals\(|vars\(|locals\(|exec\(|setattr\(|sys\.modules"
    rb"|modules\[__name__|azy",
    re.MULTILINE,
)
"""Code of a module that may bind names which its text does not show."""

_REMOVED_NAMES: Final[Mapping[str, tuple[int, frozenset[str]]]] = MappingProxyType(
    {
        "ast": (14, frozenset({"Bytes", "Ellipsis", "NameConstant", "Num", "Str"})),
        "asyncio": (11, frozenset({"coroutine"})),
        "base64": (9, frozenset({"decodestring", "encodestring"})),
        "collections": (
            10,
            frozenset({"AsyncGenerator", "AsyncIterable", "AsyncIterator", "Awaitable", "ByteString", "Callable"})
            | {"Collection", "Container", "Coroutine", "Generator", "Hashable", "ItemsView", "Iterable", "Iterator"}
            | {"KeysView", "Mapping", "MappingView", "MutableMapping", "MutableSequence", "MutableSet", "Reversible"}
            | {"Sequence", "Set", "Sized", "ValuesView"},
        ),
        "configparser": (12, frozenset({"SafeConfigParser"})),
        "fractions": (9, frozenset({"gcd"})),
        "importlib": (12, frozenset({"find_loader"})),
        "inspect": (11, frozenset({"formatargspec", "getargspec"})),
        "pkgutil": (14, frozenset({"find_loader", "get_loader"})),
        "platform": (8, frozenset({"dist", "linux_distribution"})),
        "ssl": (12, frozenset({"match_hostname", "wrap_socket"})),
        "time": (8, frozenset({"clock"})),
        "xml.etree": (9, frozenset({"cElementTree"})),
    }
)
"""Names that a minor version of Python 3 removed, by module (docs.python.org, "What's New")."""


NUMPY: Final = "numpy"

_NUMPY_NAMES: Final[Mapping[str, tuple[tuple[int, int], tuple[int, int]]]] = MappingProxyType(
    {
        **dict.fromkeys(("complex", "float", "int", "object", "str", "unicode"), ((1, 24), (99, 0))),
        **dict.fromkeys(("bool", "long"), ((1, 24), (2, 0))),
        **dict.fromkeys(
            (
                *("DataSource", "Inf", "Infinity", "NINF", "NZERO", "NaN", "PINF", "PZERO", "alltrue", "asfarray"),
                *("bool8", "cast", "cfloat", "clongfloat", "compare_chararrays", "complex_", "cumproduct", "disp"),
                *("find_common_type", "float_", "geterrobj", "infty", "issctype", "issubclass_", "issubsctype"),
                *("longcomplex", "longfloat", "lookfor", "mat", "maximum_sctype", "nbytes", "obj2sctype", "product"),
                *("recfromcsv", "recfromtxt", "round_", "safe_eval", "sctype2char", "sctypes", "seterrobj"),
                *("set_string_function", "singlecomplex", "sometrue", "source", "string_", "tracemalloc_domain"),
                *("unicode_", "who"),
            ),
            ((2, 0), (99, 0)),
        ),
    }
)
"""Names that numpy removed: since which version, and until which (NumPy 1.24.0 and 2.0.0 release notes)."""


def lacks_numpy_name(name: str, version: str) -> bool:
    """Return whether a version of numpy has removed a name."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or name not in _NUMPY_NAMES:
        return False
    removed_in, restored_in = _NUMPY_NAMES[name]
    return removed_in <= (int(numbers[1]), int(numbers[2])) < restored_in


def was_removed(module: str, name: str, minor: int) -> bool:
    """Return whether a module of Python's standard library has lost a name by a minor version of Python 3."""
    removed_in, names = _REMOVED_NAMES.get(module, (minor + 1, frozenset()))
    return name in names and minor >= removed_in


def seems_to_lack(environment: PythonEnvironment, module: str, name: str) -> bool:
    """Return whether an installed module neither mentions a name nor has a module of that name.

    The text of the module is looked at, not its statements: a name in a comment counts as bound. Modules that are no
    source, and those that may bind names in another way, seem to lack nothing.
    """
    for path in environment.paths:
        place = path.joinpath(*module.split("."))
        source = place / "__init__.py" if place.is_dir() else place.with_name(f"{place.name}.py")
        content = _read(source)
        if content is None:
            continue
        if place.is_dir() and any(place.glob(f"{name}*")):
            return False
        is_mentioned = re.search(rb"\b" + re.escape(name.encode()) + rb"\b", content) is not None
        return not is_mentioned and _OPEN.search(content) is None
    return False


def _read(path: Path) -> bytes | None:
    try:
        content = read_regular(path, max_bytes=_MAX_FILE_BYTES)
    except Failure:
        return None
    # A package may be filled by other files of the same name in another folder.
    return content or None
