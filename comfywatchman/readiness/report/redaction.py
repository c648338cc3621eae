"""Redaction: the names of a person's own files are left out of the report, which may be shared (`redact_inputs`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from comfywatchman.comfyui.install.reachability import Obstacle
from comfywatchman.readiness.status import MissingInput, RefusedInput, WorkflowEntry


@dataclass(slots=True)
class _Aliases:
    """A number for each file, in the order of the report, so that the same file is recognised in it."""

    numbers: dict[str, int] = field(default_factory=dict)

    def name(self, missing: MissingInput) -> str:
        """Return what stands for a file: its kind and number."""
        number = self.numbers.setdefault(missing.name, len(self.numbers) + 1)
        return f"{missing.kind} {number}"


def redact_inputs(entries: Iterable[WorkflowEntry]) -> tuple[WorkflowEntry, ...]:
    """Return the entries without names of input files; counts and verdicts stay the same."""
    aliases = _Aliases()
    return tuple(_redact_entry(entry, aliases) for entry in entries)


def _redact_entry(entry: WorkflowEntry, aliases: _Aliases) -> WorkflowEntry:
    names = {missing.name: aliases.name(missing) for missing in entry.missing_inputs}
    if not names:
        return entry
    return msgspec.structs.replace(
        entry,
        missing_inputs=tuple(_redact_missing(missing, names) for missing in entry.missing_inputs),
        refused_inputs=tuple(_redact_refused(refused, names) for refused in entry.refused_inputs),
    )


def _redact_missing(missing: MissingInput, names: Mapping[str, str]) -> MissingInput:
    fix = "Its name is hidden in the report: comfywatchman explain shows it on this host."
    obstacle = missing.obstacle
    if obstacle is not None:
        # It may be the file itself that cannot be reached.
        path, detail = _redact_text(obstacle.path, names), _redact_text(obstacle.detail, names)
        obstacle = Obstacle(obstacle.kind, path, detail)
    return msgspec.structs.replace(missing, name=names[missing.name], fix=fix, obstacle=obstacle)


def _redact_refused(refused: RefusedInput, names: Mapping[str, str]) -> RefusedInput:
    if refused.value is None or refused.value not in names:
        return refused
    return msgspec.structs.replace(
        refused,
        value=names[refused.value],
        fix=_redact_text(refused.fix, names),
        problem=_redact_text(refused.problem, names),
    )


def _redact_text(text: str, names: Mapping[str, str]) -> str:
    # The longest first: one name may be part of another.
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, names[name])
    return text
