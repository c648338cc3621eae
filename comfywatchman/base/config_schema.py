"""The keys of a configuration: reading them from TOML and from variables, and checking their values."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Generic, TypeVar, cast

import msgspec
from msgspec import inspect as types

from comfywatchman.base.address import has_password, mask_passwords
from comfywatchman.base.errors import Failure
from comfywatchman.base.parsing.toml_text import parse_toml
from comfywatchman.base.text import os_error_text

SettingsT = TypeVar("SettingsT", bound=msgspec.Struct)

MASK: Final = "********"
"""Shown in place of a secret."""

_ROOTS: Final = 'a list of paths such as ["~/workflows"], or of tables such as {path = "~/workflows", label = "mine"}'
_SIMPLE: Final = {
    types.BoolType: "true or false",
    types.StrType: "a string in quotes",
    types.DictType: 'a table of addresses and names such as {"https://host.example/cpu" = ["torch"]}',
}
_NO_LIMIT: Final = 1e6
"""Bounds from here on only catch nonsense and are left out of messages."""

_BOUNDS: Final = (("ge", "at least {}"), ("gt", "more than {}"), ("le", "at most {}"), ("lt", "less than {}"))


DEFAULT_LABEL: Final = "default"


@dataclass(frozen=True, slots=True)
class ConfigOrigin:
    """Where the value of a key comes from.

    Attributes:
        label: `default`, the path of a file, or `environment NAME`.
        folder: The folder that relative paths in the value start from.
        is_config_file: Whether it is a configuration file in TOML, which commands may change.
    """

    label: str
    folder: Path
    is_config_file: bool = False

    @property
    def is_default(self) -> bool:
        """Whether nobody has set the key."""
        return self.label == DEFAULT_LABEL


Layer = tuple[ConfigOrigin, Mapping[str, Any]]
"""Values by key (`schedule.min_vram_gb`), all of one origin."""


@dataclass(frozen=True)
class ConfigSchema(Generic[SettingsT]):
    """The sections and keys of one kind of configuration file.

    Attributes:
        settings: A struct of structs: the sections and their keys.
        prefix: The prefix of the variables that set its keys: `PREFIX_SECTION__KEY`.
        reserved: Variables with that prefix that are not keys.
        reserved_prefixes: Prefixes of variables that belong to another configuration.
        help: The hint of a failure about a value: where the keys are documented.
    """

    settings: type[SettingsT]
    prefix: str
    reserved: frozenset[str] = frozenset()
    reserved_prefixes: tuple[str, ...] = ()
    help: str = "`comfywatchman config --defaults` shows each key with its unit and default."

    @cached_property
    def keys(self) -> Mapping[str, Any]:
        """The type annotation of each key, by its full name (`schedule.min_vram_gb`)."""
        annotations: dict[str, Any] = {}
        for section in msgspec.structs.fields(self.settings):
            for field in msgspec.structs.fields(section.type):
                annotations[f"{section.name}.{field.name}"] = field.type
        return annotations

    def is_secret(self, key: str) -> bool:
        """Return whether a key holds a secret, which is never shown."""
        return _has_extra(types.type_info(self.keys[key]), "secret")

    def is_path(self, key: str) -> bool:
        """Return whether a key holds one path."""
        return _has_extra(types.type_info(self.keys[key]), "path")

    def build(
        self, layers: Iterable[Layer], environment: Mapping[str, str]
    ) -> tuple[SettingsT, dict[str, ConfigOrigin]]:
        """Merge layers, later ones over earlier ones; return the settings and the origin of each key.

        Raises:
            Failure: `config-wrong-type`.
        """
        values: dict[str, dict[str, Any]] = {}
        origins: dict[str, ConfigOrigin] = {}
        for origin, layer in layers:
            for key, value in layer.items():
                section, name = key.split(".")
                # Every layer is checked: a wrong value is reported even where another layer overrides it.
                values.setdefault(section, {})[name] = self._convert(key, value, origin, environment)
                origins[key] = origin
        return msgspec.convert(values, self.settings), origins

    def check_layer(self, layer: Layer, environment: Mapping[str, str]) -> None:
        """Check the values of one origin.

        Raises:
            Failure: `config-wrong-type`.
        """
        origin, values = layer
        for key, value in values.items():
            self._convert(key, value, origin, environment)

    def parse(self, text: str, source: str) -> dict[str, Any]:
        """Parse TOML into values by key.

        Args:
            text: The TOML.
            source: Its name, for messages.

        Raises:
            tomllib.TOMLDecodeError: The text is not TOML.
            Failure: `config-unknown-key` or `config-wrong-type`.
        """
        values: dict[str, Any] = {}
        sections = {key.split(".")[0] for key in self.keys}
        for section, content in parse_toml(text).items():
            if section not in sections:
                raise _unknown_key_failure(section, source, sorted(sections))
            if not isinstance(content, dict):
                raise Failure(
                    "config-wrong-type",
                    f"{section} in {source} is a single value, but it is the name of a section.",
                    hint=f"Write [{section}], and its keys below.",
                )
            for name, value in content.items():
                key = f"{section}.{name}"
                if key not in self.keys:
                    raise _unknown_key_failure(key, source, list(self.keys))
                values[key] = value
        return values

    def read_file(self, path: Path) -> Layer:
        """Read a configuration file.

        Raises:
            Failure: `config-unreadable`, `config-unknown-key`, `config-wrong-type`, or `config-secret-exposed` when it
                holds a secret and other users can read it.
        """
        try:
            values = self.parse(path.read_text("utf-8"), str(path))
            is_exposed = path.stat().st_mode & 0o077
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise Failure(
                "config-unreadable",
                f"{path} cannot be read: {os_error_text(error)}.",
                hint="Correct the file, or remove it.",
            ) from error
        for key, value in values.items():
            if is_exposed and self.holds_secret(key, value):
                raise Failure(
                    "config-secret-exposed",
                    f"{path} contains {key} and can be read by other users.",
                    hint=f"Run: chmod 600 {path}",
                )
        return ConfigOrigin(str(path), path.parent.resolve(), is_config_file=True), values

    def read_variables(self, environment: Mapping[str, str], folder: Path) -> Iterator[Layer]:
        """Yield one layer for each variable that sets a key.

        Args:
            environment: The variables.
            folder: The folder that relative paths start from.

        Raises:
            Failure: `config-unknown-key`.
        """
        for name in sorted(environment):
            is_reserved = name in self.reserved or name.startswith(self.reserved_prefixes)
            if name.startswith(self.prefix) and not is_reserved:
                yield ConfigOrigin(f"environment {name}", folder), self._parse_variable(name, environment[name])

    def parse_value(self, key: str, text: str) -> Any:
        """Return the value that a person writes for a key, in a variable or on the command line; it is not checked.

        Raises:
            Failure: `config-unknown-key`.
        """
        self.check_key(key, "the command")
        info = types.type_info(self.keys[key])
        plain = info.type if isinstance(info, types.Metadata) else info
        if isinstance(plain, types.StrType):
            # Taken literally: an access key of digits is text too, and needs no TOML quotes inside the shell's.
            return text
        try:
            return parse_toml(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            # Checked later like any other value: the message then says what it must be.
            return text

    def check_key(self, key: str, source: str) -> None:
        """Check that a key exists.

        Raises:
            Failure: `config-unknown-key`.
        """
        if key in self.keys:
            return
        of_section = [known for known in self.keys if known.startswith(f"{key}.")]
        if of_section:
            raise Failure(
                "config-unknown-key",
                f"{key!r} is a section of the configuration.",
                hint=f"Name one of its keys: {', '.join(of_section)}.",
            )
        raise _unknown_key_failure(key, source, list(self.keys))

    def holds_secret(self, key: str, value: Any) -> bool:
        """Return whether a value must not be readable by other users."""
        # The URL of a database may hold a password, whatever the documentation recommends.
        is_url_with_password = isinstance(value, str) and has_password(value)
        return is_url_with_password or (bool(value) and self.is_secret(key))

    def _parse_variable(self, name: str, text: str) -> dict[str, Any]:
        key = name.removeprefix(self.prefix).lower().replace("__", ".")
        if key not in self.keys:
            known = [self.prefix + known_key.upper().replace(".", "__") for known_key in self.keys]
            raise _unknown_key_failure(name, "the environment", [*known, *self.reserved])
        return {key: self.parse_value(key, text)}

    def _convert(self, key: str, value: Any, origin: ConfigOrigin, environment: Mapping[str, str]) -> Any:
        annotation = self.keys[key]
        info = types.type_info(annotation)
        try:
            typed = msgspec.convert(_add_labels(value, info), annotation)
            return _make_absolute(msgspec.to_builtins(typed), info, origin.folder, environment)
        except (msgspec.ValidationError, Failure) as error:
            shown = MASK if self.is_secret(key) else mask_passwords(value)
            reason = error.message if isinstance(error, Failure) else f"It must be {describe_value_type(annotation)}."
            raise Failure(
                "config-wrong-type",
                f"{key} in {origin.label} is {shown!r}: {reason[:1].lower()}{reason[1:]}",
                hint=self.help,
            ) from error


def user_home(environment: Mapping[str, str]) -> Path:
    """Return the user's home folder."""
    return Path(environment.get("HOME") or "/")


def expand_user(text: str, environment: Mapping[str, str]) -> Path:
    """Return a path with `~` or `~NAME` at its start replaced by that user's home folder.

    Raises:
        Failure: `config-wrong-type` when there is no such user.
    """
    if text == "~" or text.startswith("~/"):
        # Path.expanduser() would read the process's environment, not the given one.
        return user_home(environment) / text[2:]
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise Failure(
            "config-wrong-type",
            f"{text!r} begins with the home folder of a user that does not exist.",
            hint="Write the absolute path.",
        ) from error


def _add_labels(value: Any, info: types.Type) -> Any:
    """Expand bare paths in a list of tables with path and label; the label is the last name of the path."""
    is_list_of_tables = isinstance(info, types.VarTupleType) and isinstance(info.item_type, types.StructType)
    if not is_list_of_tables or not isinstance(value, list):
        return value
    labelled = []
    for item in value:
        table = {"path": item, "label": Path(item).name or item} if isinstance(item, str) else item
        labelled.append(table)
    return labelled


def _make_absolute(value: Any, info: types.Type, folder: Path, environment: Mapping[str, str]) -> Any:
    """Make the paths in a value absolute; relative ones start at a folder."""
    if isinstance(info, types.VarTupleType):
        return [_make_absolute(item, info.item_type, folder, environment) for item in value]
    if isinstance(info, types.DictType):
        return value
    if isinstance(value, dict):
        return {**value, "path": str(folder / expand_user(value["path"], environment))}
    # An empty path means "not set" and stays empty.
    if value and _has_extra(info, "path"):
        return str(folder / expand_user(value, environment))
    return value


def _has_extra(info: types.Type, name: str) -> bool:
    return isinstance(info, types.Metadata) and bool((info.extra or {}).get(name))


def _unknown_key_failure(key: str, source: str, known: list[str]) -> Failure:
    # With a cutoff of 0 there is always a match.
    closest = difflib.get_close_matches(key, known, n=1, cutoff=0)[0]
    return Failure(
        "config-unknown-key",
        f"Unknown configuration key {key!r} in {source}.",
        hint=f"The closest known key is {closest!r}.",
    )


def describe_value_type(annotation: Any) -> str:
    """Return what a value must be, as the text after "it must be".

    Args:
        annotation: The type annotation of the key in its settings class.
    """
    return _describe_type(types.type_info(annotation))


def _describe_type(info: types.Type) -> str:
    simple = _SIMPLE.get(type(info))
    if simple is not None:
        return simple
    if isinstance(info, types.Metadata):
        if _has_extra(info, "url"):
            return 'an address such as "http://127.0.0.1:8188", which begins with http:// or https://'
        return "a path in quotes" if _has_extra(info, "path") else _describe_type(info.type)
    if isinstance(info, (types.IntType, types.FloatType)):
        return _describe_number(info)
    if isinstance(info, types.LiteralType):
        return f"one of {', '.join(map(repr, info.values))}"
    # Settings have no other type but tuples.
    return _describe_list(cast("types.VarTupleType", info).item_type)


def _describe_list(item: types.Type) -> str:
    if isinstance(item, types.StructType):
        return _ROOTS
    if isinstance(item, types.LiteralType):
        return f"a list, each {_describe_type(item)}"
    if isinstance(item, types.Metadata):
        return 'a list of paths such as ["/one", "/two"]'
    return 'a list of strings such as ["one", "two"]'


def _describe_number(info: types.IntType | types.FloatType) -> str:
    noun = "a whole number" if isinstance(info, types.IntType) else "a number"
    bounds = []
    for attribute, template in _BOUNDS:
        bound = getattr(info, attribute)
        if bound is not None and bound < _NO_LIMIT:
            bounds.append(template.format(f"{bound:g}"))
    if not bounds:
        return noun
    return f"{noun} of {' and '.join(bounds)}"
