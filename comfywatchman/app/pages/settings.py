"""The settings page: each value and its origin, by section."""

from __future__ import annotations

from dataclasses import dataclass

from comfywatchman.app.pages.page_request import PageRequest
from comfywatchman.base.config import format_value


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One key: its name in its section, its value as text (secrets masked), and its origin."""

    name: str
    value: str
    origin: str
    is_default: bool


@dataclass(frozen=True, slots=True)
class SettingsSection:
    """The keys of one section."""

    name: str
    rows: tuple[SettingRow, ...]


@dataclass(frozen=True, slots=True)
class SettingsView:
    """The settings page.

    Attributes:
        sections: The sections, in the order of the default configuration.
        home: The folder with state, output and log.
        only_changed: Whether only the keys that are not defaults are shown.
        changed: Number of keys that are not defaults.
        command: The command that shows the same.
    """

    sections: tuple[SettingsSection, ...]
    home: str
    only_changed: bool
    changed: int
    command: str


def view_settings(request: PageRequest) -> SettingsView:
    """Return the settings page.

    Raises:
        Failure: A `config-…` code.
    """
    session = request.host.session
    only_changed = request.query.get("only") == "changed"
    by_section: dict[str, list[SettingRow]] = {}
    changed = 0
    for key, value, origin in session.configuration.rows():
        section, name = key.split(".")
        is_default = session.configuration.origins[key].is_default
        changed += not is_default
        if is_default and only_changed:
            continue
        by_section.setdefault(section, []).append(SettingRow(name, format_value(value), origin, is_default))
    return SettingsView(
        sections=tuple(SettingsSection(name, tuple(rows)) for name, rows in by_section.items()),
        home=str(session.home_layout.home.folder),
        only_changed=only_changed,
        changed=changed,
        command=session.format_command("config"),
    )
