"""The configuration: layers of TOML and environment, each value with the place it came from."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import inspect as types

from comfywatchman.base.errors import Failure
from comfywatchman.base.settings import Section, Settings

PREFIX: Final = "COMFYWATCHMAN_"
RESERVED: Final = frozenset({"COMFYWATCHMAN_HOME", "COMFYWATCHMAN_FAILPOINTS"})
SHORTHANDS: Final = {
    "COMFYUI_ROOT": "comfyui.root",
    "CIVITAI_API_KEY": "secrets.civitai_api_key",
    "HF_TOKEN": "secrets.hf_token",
}
MASK: Final = "********"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the effective value of a key came from: `default`, a file, or a variable."""

    label: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Configuration:
    """The effective settings and the origin of each key (`schedule.min_vram_gb`)."""

    settings: Settings
    origins: Mapping[str, Origin]

    def rows(self) -> Iterator[tuple[str, Any, str]]:
        """Yield key, effective value (secrets masked) and origin, in the order of default.toml."""
        for key, origin in self.origins.items():
            section, name = key.split(".")
            value = msgspec.to_builtins(getattr(getattr(self.settings, section), name))
            yield key, MASK if value and _has_extra(_key_types()[key], "secret") else value, origin.label


@dataclass(frozen=True, slots=True)
class Home:
    """The folder that holds state/, output/ and log/."""

    folder: Path

    @property
    def state(self) -> Path:
        """What the program remembers."""
        return self.folder / "state"

    @property
    def output(self) -> Path:
        """What people and programs read."""
        return self.folder / "output"

    @property
    def log(self) -> Path:
        """The structured log."""
        return self.folder / "log"


def load(
    *, explicit: Path | None = None, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> Configuration:
    """Read all layers: defaults, the user's file, ./config.toml, the explicit file, the environment.

    Args:
        explicit: File of `--config`; must exist.
        folder: The current folder.
        environment: The process's variables.

    Raises:
        Failure: `config-unreadable`, `config-unknown-key`, `config-wrong-type` or `config-secret-exposed`.
    """
    environment = os.environ if environment is None else environment
    folder = folder or Path.cwd()
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for origin, layer in _layers(explicit, folder, environment):
        for key, value in layer.items():
            values[key] = _checked(key, value, origin)
            origins[key] = origin
    nested: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, name = key.split(".")
        nested.setdefault(section, {})[name] = value
    return Configuration(settings=msgspec.convert(nested, Settings), origins=origins)


def find_home(
    explicit: Path | None, *, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> Home:
    """Choose the home: `--home`, COMFYWATCHMAN_HOME, the current folder when it is one, else the user's data folder.

    The current folder is a home when it holds a config.toml or is a checkout of this repository.
    """
    environment = os.environ if environment is None else environment
    folder = folder or Path.cwd()
    named = explicit or (Path(environment["COMFYWATCHMAN_HOME"]) if environment.get("COMFYWATCHMAN_HOME") else None)
    if named is not None:
        return Home((folder / named.expanduser()).resolve())
    if (folder / "config.toml").is_file() or _is_checkout(folder):
        return Home(folder.resolve())
    data = environment.get("XDG_DATA_HOME") or str(_user_home(environment) / ".local" / "share")
    return Home(Path(data) / "comfywatchman")


def user_file(environment: Mapping[str, str] | None = None) -> Path:
    """Return the place of the user's own configuration file."""
    environment = os.environ if environment is None else environment
    base = environment.get("XDG_CONFIG_HOME") or str(_user_home(environment) / ".config")
    return Path(base) / "comfywatchman" / "config.toml"


def default_text() -> str:
    """Return default.toml as shipped."""
    return resources.files("comfywatchman.base").joinpath("default.toml").read_text("utf-8")


def _user_home(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("HOME") or "/")


def _is_checkout(folder: Path) -> bool:
    return (folder / "comfywatchman" / "base" / "default.toml").is_file() and (folder / "pyproject.toml").is_file()


def _layers(
    explicit: Path | None, folder: Path, environment: Mapping[str, str]
) -> Iterator[tuple[Origin, dict[str, Any]]]:
    yield Origin("default", folder), _flat(tomllib.loads(default_text()), "default.toml")
    files = [(user_file(environment), False), (folder / "config.toml", False)]
    files += [(explicit, True)] if explicit else []
    for path, needed in files:
        if needed or path.is_file():
            yield _from_file(path)
    for name, key in SHORTHANDS.items():
        if environment.get(name):
            yield Origin(f"environment {name}", folder), {key: environment[name]}
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in RESERVED:
            yield Origin(f"environment {name}", folder), _from_variable(name, environment[name])


def _from_file(path: Path) -> tuple[Origin, dict[str, Any]]:
    try:
        layer = _flat(tomllib.loads(path.read_text("utf-8")), str(path))
        exposed = path.stat().st_mode & 0o077
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Failure(
            "config-unreadable", f"{path} cannot be read: {error}.", hint="Correct the file or leave it out."
        ) from error
    secret = next((key for key, value in layer.items() if value and _has_extra(_key_types().get(key), "secret")), None)
    if secret and exposed:
        raise Failure(
            "config-secret-exposed",
            f"{path} holds {secret} and can be read by other users.",
            hint=f"Run: chmod 600 {path}",
        )
    return Origin(str(path), path.parent.resolve()), layer


def _from_variable(name: str, text: str) -> dict[str, Any]:
    key = name.removeprefix(PREFIX).lower().replace("__", ".")
    if key not in _key_types():
        known = [PREFIX + k.upper().replace(".", "__") for k in _key_types()]
        raise _unknown(name, "the environment", [*known, *RESERVED])
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    return {key: text if isinstance(_plain_type(_key_types()[key]), types.StrType) else value}


def _flat(tree: Mapping[str, Any], source: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    sections = {key.split(".")[0] for key in _key_types()}
    for section, content in tree.items():
        if section not in sections or not isinstance(content, dict):
            raise _unknown(section, source, sorted(sections))
        for name, value in content.items():
            key = f"{section}.{name}"
            if key not in _key_types():
                raise _unknown(key, source, list(_key_types()))
            flat[key] = value
    return flat


def _checked(key: str, value: Any, origin: Origin) -> Any:
    kind = _key_types()[key]
    try:
        typed = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        shown = MASK if _has_extra(kind, "secret") else value
        raise Failure(
            "config-wrong-type",
            f"{key} in {origin.label} is {shown!r}: {str(error)[:1].lower()}{str(error)[1:]}.",
            hint="`comfywatchman config --defaults` shows each key with its unit and default.",
        ) from error
    return _absolute(msgspec.to_builtins(typed), kind, origin.folder)


def _absolute(value: Any, kind: Any, folder: Path) -> Any:
    info = types.type_info(kind)
    if isinstance(value, str):
        return str(folder / Path(value).expanduser()) if value and _has_extra(kind, "path") else value
    if isinstance(info, types.VarTupleType) and isinstance(value, (list, tuple)):
        return [_absolute_item(item, info.item_type, folder) for item in value]
    return value


def _absolute_item(item: Any, info: types.Type, folder: Path) -> Any:
    if isinstance(info, types.StructType):
        return {**item, "path": str(folder / Path(item["path"]).expanduser())}
    return str(folder / Path(item).expanduser())


def _has_extra(kind: Any, name: str) -> bool:
    info = types.type_info(kind) if kind is not None else None
    return isinstance(info, types.Metadata) and bool((info.extra or {}).get(name))


def _plain_type(kind: Any) -> types.Type:
    info = types.type_info(kind)
    return info.type if isinstance(info, types.Metadata) else info


@cache
def _key_types() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for section in msgspec.structs.fields(Settings):
        if isinstance(section.type, type) and issubclass(section.type, Section):
            found |= {f"{section.name}.{field.name}": field.type for field in msgspec.structs.fields(section.type)}
    return found


def _unknown(key: str, source: str, known: list[str]) -> Failure:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0)
    return Failure(
        "config-unknown-key",
        f"{key!r} in {source} is no configuration key.",
        hint=f"The nearest known one is {close[0]!r}." if close else None,
    )
