"""What a person should do, most rewarding first. Pure: made from the entries of the report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from comfywatchman.readiness.status import Candidate, MissingInput, MissingModel, MissingNode, Package, WorkflowEntry
from comfywatchman.readiness.verdict import OPEN_STATES, Status


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do.

    Attributes:
        kind: `node`, `model`, `input` or `file`.
        what: Node package, model name, name of an input file, or workflow file.
        instruction: What to do with it.
        because: What is wrong, in words.
        workflows: Paths of the workflows that need it.
        candidates: Where a model may be had.
        packages: Who provides a node, when that is not certain.
        is_sure: False when it is not known whether something is really missing.
    """

    kind: str
    what: str
    instruction: str
    because: str
    workflows: tuple[str, ...]
    candidates: tuple[Candidate, ...] = ()
    packages: tuple[Package, ...] = ()
    is_sure: bool = True


@dataclass(slots=True)
class _Group:
    first: Action
    workflows: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    is_sure: bool = False

    def action(self) -> Action:
        because = self.first.because
        if self.classes:
            because = f"{because}: {', '.join(sorted(set(self.classes)))}"
        return Action(
            kind=self.first.kind,
            what=self.first.what,
            instruction=self.first.instruction,
            because=because,
            workflows=tuple(dict.fromkeys(self.workflows)),
            candidates=self.first.candidates,
            packages=self.first.packages,
            is_sure=self.is_sure,
        )


def actions(entries: Iterable[WorkflowEntry]) -> tuple[Action, ...]:
    """Return what to do for all workflows together: nodes before models, what blocks most workflows first."""
    groups: dict[tuple[str, ...], _Group] = {}
    for entry in entries:
        if entry.status is Status.INVALID:
            _add(groups, ("file", entry.path), _file_action(entry), entry.path)
        for node in entry.missing_nodes:
            _add(groups, _node_key(node), _node_action(node), entry.path, node.class_type)
        for model in entry.missing_models:
            _add(groups, ("model", model.folder or "", model.name, model.fix or ""), _model_action(model), entry.path)
        for one in entry.missing_inputs:
            if one.required:
                _add(groups, ("input", one.folder, one.name), _input_action(one), entry.path)
    found = [group.action() for group in groups.values()]
    order = {"node": 0, "model": 1, "input": 2, "file": 3}
    return tuple(
        sorted(found, key=lambda one: (not one.is_sure, order[one.kind], -len(one.workflows), one.what.lower()))
    )


def _add(
    groups: dict[tuple[str, ...], _Group], key: tuple[str, ...], first: Action, path: str, class_type: str | None = None
) -> None:
    group = groups.setdefault(key, _Group(first))
    group.workflows.append(path)
    group.is_sure |= first.is_sure
    if class_type is not None:
        group.classes.append(class_type)


def _node_key(node: MissingNode) -> tuple[str, ...]:
    if len(node.packages) == 1:
        return ("node", node.state, node.packages[0].id)
    if node.state == "needs_newer_comfyui":
        return ("node", node.state)
    return ("node", node.state, node.class_type, *(package.id for package in node.packages))


def _node_action(node: MissingNode) -> Action:
    what = node.packages[0].id if len(node.packages) == 1 else node.class_type
    if node.state == "needs_newer_comfyui":
        what = "ComfyUI"
    because = {
        "missing": "missing node classes",
        "import_failed": "its import failed",
        "needs_newer_comfyui": "node classes of a newer ComfyUI",
    }.get(node.state, "node classes of unknown origin")
    return Action(
        kind="node",
        what=what,
        instruction=node.fix or "Find the package that provides it.",
        because=because,
        workflows=(),
        packages=node.packages,
        is_sure=node.state != "unknown",
    )


def _model_action(model: MissingModel) -> Action:
    return Action(
        kind="model",
        what=model.name,
        instruction=model.fix or "",
        because=f"{model.status.value.replace('_', ' ')} in {model.folder or 'an unknown folder'}",
        workflows=(),
        candidates=model.candidates,
        is_sure=model.confidence != "low" and model.status not in OPEN_STATES,
    )


def _input_action(one: MissingInput) -> Action:
    return Action(
        kind="input",
        what=one.name,
        instruction=one.fix,
        because=f"a {one.kind} that is not in ComfyUI's {one.folder} folder",
        workflows=(),
    )


def _file_action(entry: WorkflowEntry) -> Action:
    reason = entry.problems[0].message if entry.problems else "cannot be read"
    return Action(
        kind="file",
        what=entry.path,
        instruction="Repair the file, or move it out of the workflow folder.",
        because=reason,
        workflows=(),
    )
