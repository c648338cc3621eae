"""Changes of a configuration file: keys are set and removed, comments kept, and the result checked before writing."""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Table

from comfywatchman.base.config import SCHEMA, Configuration, check_layer, read_default_text, user_config_file
from comfywatchman.base.config_schema import MASK, ConfigOrigin
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import write_atomic
from comfywatchman.base.text import os_error_text

_NEW_FILE: Final = "# comfywatchman: `comfywatchman config --defaults` shows every key with its unit and default.\n"
_PRIVATE: Final = 0o600


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """One key of a configuration file before and after a change.

    Attributes:
        path: The file.
        key: Such as `schedule.min_vram_gb`.
        before: Its value in the file, as TOML; None when the file does not set it. Secrets are masked.
        after: The same, after the change.
        missing_path: The path that it was set to, when that does not exist.
    """

    path: Path
    key: str
    before: str | None
    after: str | None
    missing_path: Path | None = None

    @property
    def is_secret(self) -> bool:
        """Whether the values are masked."""
        return SCHEMA.is_secret(self.key)


def choose_file(configuration: Configuration | None, key: str, explicit: Path | None) -> Path:
    """Return the file in which a key is changed: the given one, the one that sets it now, else the user's.

    Args:
        configuration: The effective configuration; None when it cannot be read.
        key: The key; it must exist.
        explicit: The file of `--config`, if given.
    """
    if explicit is not None:
        return explicit
    if configuration is None or not configuration.origins[key].is_config_file:
        return user_config_file()
    return Path(configuration.origins[key].label)


def find_override(configuration: Configuration, change: ConfigChange) -> str | None:
    """Return the origin that overrides a changed key; None when the file of the change has the last word.

    Args:
        configuration: The effective configuration after the change.
        change: The change.
    """
    label = configuration.origins[change.key].label
    if change.after is None or label in {str(change.path), "default"}:
        return None
    return label


def set_key(path: Path, key: str, text: str) -> ConfigChange:
    """Set a key in a configuration file, which is created when it does not exist.

    Args:
        path: The file. A link is followed, so that a file kept elsewhere is changed there.
        key: Such as `schedule.min_vram_gb`.
        text: Strings as they are, anything else as in TOML. A relative path starts at the current folder.

    Raises:
        Failure: `config-unknown-key`, `config-wrong-type`, `config-unreadable` or `state-unwritable`.
    """
    (change,) = set_keys(path, [(key, text)])
    return change


def set_keys(
    path: Path, settings: Iterable[tuple[str, str]], *, has_comments: bool = False
) -> tuple[ConfigChange, ...]:
    """Set several keys at once.

    Args:
        path: As for `set_key`.
        settings: Keys and values.
        has_comments: Whether a key that the file does not have yet gets the comment that it has in default.toml.

    Raises:
        Failure: `config-unknown-key`, `config-wrong-type`, `config-unreadable` or `state-unwritable`.
    """
    document = _read_document(path)
    comments = _read_comments() if has_comments else {}
    changes: list[ConfigChange] = []
    for key, text in settings:
        value = SCHEMA.parse_value(key, text)
        if SCHEMA.is_path(key) and text and not text.startswith("~"):
            value = str(Path.cwd() / text)
        # First without the file, which does not hold it yet and must not be blamed.
        check_layer((ConfigOrigin("the command", Path.cwd()), {key: value}))
        before = _find_value(document, key)
        _put_value(document, key, value, comments.get(key, ()) if before is None else ())
        missing = _find_missing_path(key, value)
        changes.append(ConfigChange(path, key, _format_value(key, before), _format_value(key, value), missing))
    _write_document(path, document)
    return tuple(changes)


def unset_key(path: Path, key: str) -> ConfigChange:
    """Remove a key from a configuration file, so that an earlier file or the default applies.

    Raises:
        Failure: `config-unknown-key`, `config-wrong-type`, `config-unreadable` or `state-unwritable`.
    """
    SCHEMA.check_key(key, "the command")
    document = _read_document(path)
    before = _find_value(document, key)
    if before is not None:
        section, name = key.split(".")
        table: Any = document[section]
        del table[name]
        if isinstance(table, Table) and not table.as_string().strip():
            # An empty section would be in the way of one that is added by hand.
            del document[section]
        _write_document(path, document)
    return ConfigChange(path, key, _format_value(key, before), None)


def check_text(path: Path, text: str) -> dict[str, Any]:
    """Check the content of a configuration file; return its values by key.

    Args:
        path: The file that has, or will have, this content.
        text: The content.

    Raises:
        Failure: `config-unreadable`, `config-unknown-key` or `config-wrong-type`.
    """
    try:
        values = SCHEMA.parse(text, str(path))
    except tomllib.TOMLDecodeError as error:
        raise Failure(
            "config-unreadable", f"{path} is not valid TOML: {error}.", hint=f"Run: comfywatchman config edit {path}"
        ) from error
    origin = ConfigOrigin(str(path), path.absolute().parent)
    check_layer((origin, values))
    return values


def write_config(path: Path, text: str) -> None:
    """Check and write the whole content of a configuration file; one that holds a secret is readable by its owner only.

    Raises:
        Failure: `config-unreadable`, `config-unknown-key`, `config-wrong-type` or `state-unwritable`.
    """
    values = check_text(path, text)
    target = path.resolve()
    try:
        mode = stat.S_IMODE(target.stat().st_mode)
    except FileNotFoundError:
        mode = 0o644
    if any(SCHEMA.holds_secret(key, value) for key, value in values.items()):
        mode = _PRIVATE
    write_atomic(target, text.encode("utf-8"), mode=mode)


def read_config(path: Path) -> str:
    """Return the content of a configuration file; a comment when it does not exist.

    Raises:
        Failure: `config-unreadable`.
    """
    try:
        if path.exists() and not path.is_file():
            # Reading a pipe would wait without end.
            raise Failure("config-unreadable", f"{path} is not a regular file.", hint="Name a file.")
        return path.read_text("utf-8")
    except FileNotFoundError:
        return _NEW_FILE
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(
            "config-unreadable",
            f"{path} cannot be read: {os_error_text(error)}.",
            hint="Correct the file, or remove it.",
        ) from error


def _read_document(path: Path) -> tomlkit.TOMLDocument:
    text = read_config(path)
    try:
        return tomlkit.parse(text)
    except (TOMLKitError, ValueError, RecursionError) as error:
        raise Failure(
            "config-unreadable", f"{path} is not valid TOML: {error}.", hint=f"Run: comfywatchman config edit {path}"
        ) from error


def _write_document(path: Path, document: tomlkit.TOMLDocument) -> None:
    write_config(path, tomlkit.dumps(document))


def _put_value(document: tomlkit.TOMLDocument, key: str, value: Any, comments: Iterable[str]) -> None:
    section, name = key.split(".")
    if section not in document:
        document[section] = tomlkit.table()
    table: Any = document[section]
    # A section that is not a table is reported when the whole file is checked.
    if not isinstance(table, MutableMapping):
        return
    if isinstance(table, Table):
        # Tables in braces, and those that stand in several places, have no lines of their own.
        for comment in comments:
            table.add(tomlkit.comment(comment))
    table[name] = value


def _find_missing_path(key: str, value: object) -> Path | None:
    if not SCHEMA.is_path(key) or not isinstance(value, str) or not value:
        return None
    path = Path(value).expanduser()
    return None if path.exists() else path


def _read_comments() -> Mapping[str, Sequence[str]]:
    """Return the comment lines above each key in default.toml."""
    comments: dict[str, tuple[str, ...]] = {}
    section = ""
    lines: list[str] = []
    for line in read_default_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line.startswith("# "):
            lines.append(line.removeprefix("# "))
            continue
        elif "=" in line:
            comments[f"{section}.{line.partition('=')[0].strip()}"] = tuple(lines)
        lines = []
    return comments


def _find_value(document: tomlkit.TOMLDocument, key: str) -> Any:
    section, name = key.split(".")
    table = document.unwrap().get(section)
    return table.get(name) if isinstance(table, dict) else None


def _format_value(key: str, value: Any) -> str | None:
    if value is None:
        return None
    if value and SCHEMA.is_secret(key):
        return MASK
    return str(tomlkit.item(value).as_string())
