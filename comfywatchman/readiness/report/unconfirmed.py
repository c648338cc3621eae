"""Workflows that are READY as far as files show: imports that nothing has shown, choices that only a server gives."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from comfywatchman.base.text import pluralize, shorten_list
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.readiness.status import UncheckedChoice, WorkflowEntry

_MAX_NAMES: Final = 12
_CAUSE: Final = "no running ComfyUI, and no log of its last start, shows that it can import"


def describe_unconfirmed(entries: Iterable[WorkflowEntry]) -> str:
    """Describe in one sentence which READY verdicts rest on files alone; empty when none does."""
    workflows, packs = 0, set[str]()
    for entry in entries:
        if entry.status is WorkflowStatus.READY and entry.unconfirmed_packs:
            workflows += 1
            packs.update(entry.unconfirmed_packs)
    if not workflows:
        return ""
    verb = "is" if workflows == 1 else "are"
    owner = "its" if workflows == 1 else "their"
    if len(packs) == 1:
        count = "the pack"
    else:
        count = f"{len(packs)} of {owner} packs:"
    names = shorten_list(sorted(packs), most=_MAX_NAMES)
    return f"{pluralize(workflows, 'workflow')} {verb} ready as far as files show: {_CAUSE} {count} {names}."


def describe_unconfirmed_packs(packs: Collection[str]) -> str:
    """Describe which packs of one workflow nothing has confirmed, in one sentence; empty without any."""
    if not packs:
        return ""
    noun = "the pack" if len(packs) == 1 else "the packs"
    return f"Not confirmed: {_CAUSE} {noun} {shorten_list(sorted(packs), most=_MAX_NAMES)}."


def describe_unchecked(entries: Iterable[WorkflowEntry]) -> str:
    """Describe in one sentence how many READY workflows have choices that were not checked; empty when none has."""
    ready = [entry for entry in entries if entry.status is WorkflowStatus.READY and entry.unchecked_choices]
    if not ready:
        return ""
    verb = "has" if len(ready) == 1 else "have"
    choices = {choice for entry in ready for choice in entry.unchecked_choices}
    return f"{pluralize(len(ready), 'ready workflow')} {verb} {_name_unchecked(choices)}."


def describe_unchecked_choices(choices: Collection[UncheckedChoice]) -> str:
    """Describe which choices of one workflow were not checked, in one sentence; empty without any."""
    if not choices:
        return ""
    return f"Not checked: {_name_unchecked(choices)}."


def _name_unchecked(choices: Collection[UncheckedChoice]) -> str:
    names = sorted({f"{choice.input or 'inputs'} of {choice.node_type}" for choice in choices})
    return f"values that only ComfyUI itself can check: {shorten_list(names, most=_MAX_NAMES)}"
