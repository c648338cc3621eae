"""Judge a start in a candidate by comparing it with the baseline start in production. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from comfywatchman.base.text import pluralize, shorten_list
from comfywatchman.governance.store.records import Finding, Judgement
from comfywatchman.governance.trial.outcome import CUSTOM_NODES_PREFIX, StartOutcome

FINDING_ORDER: Final = {"fail": 0, "warn": 1, "unknown": 2, "ok": 3}
"""The order of findings: worst first."""

_MAX_NAMED: Final = 5

ClassesByPack = dict[str, tuple[str, ...]]


def build_judgement(node_id: str, after: StartOutcome, before: StartOutcome | None) -> Judgement:
    """Return the judgement of a start.

    Args:
        node_id: The node under trial; empty when only packages change.
        after: The start in the candidate, with the node.
        before: The baseline: a start in production, without the node; None when there is none.
    """
    findings = _collect_findings(node_id, after, before)
    findings.sort(key=lambda finding: FINDING_ORDER[finding.status])
    has_failed = any(finding.status == "fail" for finding in findings)
    added, lost = _compare_classes(after, before)
    return Judgement(
        how=after.how,
        # A server that runs has no exit code of its own: a failed finding counts as 1.
        exit_code=after.exit_code or int(has_failed),
        findings=tuple(findings),
        classes_added=added,
        classes_lost=lost,
        import_failures=after.failures,
        model_folders=after.model_folders,
        widget_places=after.widget_places,
        model_directories=after.model_directories,
    )


def pack_name(module: str) -> str:
    """Return the pack that a class comes from: the folder in `custom_nodes`, or `ComfyUI` for its own classes."""
    if module.startswith(CUSTOM_NODES_PREFIX):
        return module.removeprefix(CUSTOM_NODES_PREFIX)
    return "ComfyUI"


def _collect_findings(node_id: str, after: StartOutcome, before: StartOutcome | None) -> list[Finding]:
    findings = [_build_start_finding(node_id, after, before)]
    if after.has_started and before is not None and not before.has_started:
        detail = f"Production does not start without {node_id or 'the change'}: {_describe_trouble(before)}"
        findings.append(Finding(name="start", status="warn", detail=detail))
    if after.unasked is not None:
        detail = f"This ComfyUI does not support {after.unasked}, so it was started with all of its own custom nodes."
        findings.append(Finding(name="start", status="warn", detail=detail))
    findings += _build_import_findings(node_id, after, before)
    if after.packs is not None:
        findings += _build_class_findings(node_id, after, after.packs, before)
        if after.model_folders:
            findings.append(_build_models_finding(after.model_folders))
    if after.probe is not None:
        findings.append(_build_probe_finding(after.probe, before))
    return findings


def _build_start_finding(node_id: str, after: StartOutcome, before: StartOutcome | None) -> Finding:
    if not after.has_started:
        detail = _describe_trouble(after)
        if before is not None and before.has_started:
            detail = f"{detail} Production starts without {node_id or 'the change'}."
        elif before is not None:
            subject = node_id or "the change"
            detail = f"{detail} Production does not start without {subject} either: {_describe_trouble(before)}"
        return Finding(name="start", status="fail", detail=detail)
    if after.how == "server":
        return Finding(name="start", status="ok", detail="ComfyUI started and responded.")
    return Finding(name="start", status="ok", detail="main.py exited by itself with status 0.")


def _describe_trouble(outcome: StartOutcome) -> str:
    return outcome.trouble or f"It exited with status {outcome.exit_code}."


def _build_import_findings(node_id: str, after: StartOutcome, before: StartOutcome | None) -> list[Finding]:
    findings = []
    for name, reason in sorted(after.failures.items()):
        detail = f"{name} could not be imported: {reason or 'no reason in its log'}"
        if name == node_id:
            findings.append(Finding(name="import", status="fail", detail=detail))
        elif before is not None and name in before.failures:
            # Not caused by the node under trial.
            findings.append(Finding(name="import", status="warn", detail=f"{detail} (as before)"))
        elif before is not None and name in before.imported:
            findings.append(Finding(name="import", status="fail", detail=f"{detail} (it could before)"))
        else:
            # The baseline failed before it came to this pack, or its log does not name it.
            detail = f"{detail} (it is unknown whether it could be imported before)"
            findings.append(Finding(name="import", status="warn", detail=detail))
    if node_id in after.imported:
        findings.append(Finding(name="import", status="ok", detail=f"{node_id} was imported."))
    elif node_id and after.how == "server" and node_id not in after.failures:
        findings.append(Finding(name="import", status="unknown", detail=f"The log does not name {node_id}."))
    return findings


def _build_class_findings(
    node_id: str, after: StartOutcome, packs: Mapping[str, str], before: StartOutcome | None
) -> list[Finding]:
    findings = []
    own_classes = sorted(name for name, module in packs.items() if pack_name(module) == node_id)
    if own_classes:
        detail = f"{node_id} provides {_format_classes(own_classes)}."
        findings.append(Finding(name="classes", status="ok", detail=detail))
    elif node_id in after.imported:
        findings.append(Finding(name="classes", status="warn", detail=f"{node_id} provides no node class."))
    if before is None or before.packs is None:
        reason = f": {before.trouble}" if before is not None and before.trouble else "."
        detail = f"There is no baseline start of production to compare with{reason}"
        findings.append(Finding(name="classes", status="unknown", detail=detail))
        return findings
    for pack, names in _group_missing_by_pack(before.packs, packs).items():
        findings.append(Finding(name="classes", status="fail", detail=f"{pack} loses {_format_classes(names)}."))
    # Two packs may register the same class name: the one that is loaded last wins.
    replaced = [name for name in own_classes if name in before.packs and pack_name(before.packs[name]) != node_id]
    if replaced:
        detail = f"{node_id} replaces classes of other packs: {_format_classes(replaced)}."
        findings.append(Finding(name="classes", status="warn", detail=detail))
    return findings


def _build_models_finding(model_folders: Mapping[str, Mapping[str, str]]) -> Finding:
    input_count = sum(len(inputs) for inputs in model_folders.values())
    class_count = _format_class_count(len(model_folders))
    verb = "lists" if input_count == 1 else "list"
    detail = f"{pluralize(input_count, 'input')} of {class_count} {verb} model folders."
    return Finding(name="models", status="ok", detail=detail)


def _build_probe_finding(probe: Finding, before: StartOutcome | None) -> Finding:
    baseline_probe = before.probe if before is not None else None
    has_failed_before = baseline_probe is not None and baseline_probe.status == "fail"
    if probe.status == "fail" and has_failed_before:
        return Finding(name=probe.name, status="warn", detail=f"{probe.detail} It failed before the change, too.")
    return probe


def _compare_classes(after: StartOutcome, before: StartOutcome | None) -> tuple[ClassesByPack, ClassesByPack]:
    """Return the added and the lost classes, by pack."""
    if after.packs is None or before is None or before.packs is None:
        return {}, {}
    return _group_missing_by_pack(after.packs, before.packs), _group_missing_by_pack(before.packs, after.packs)


def _group_missing_by_pack(packs: Mapping[str, str], other: Mapping[str, str]) -> ClassesByPack:
    """Return the classes that are missing in the other start, by pack."""
    missing: dict[str, list[str]] = {}
    for name in sorted(packs.keys() - other.keys()):
        pack = pack_name(packs[name])
        missing.setdefault(pack, []).append(name)
    return {pack: tuple(missing[pack]) for pack in sorted(missing)}


def _format_classes(names: Sequence[str]) -> str:
    return f"{_format_class_count(len(names))} ({_shorten(names)})"


def _format_class_count(number: int) -> str:
    return "1 node class" if number == 1 else f"{number} node classes"


def _shorten(names: Sequence[str]) -> str:
    return shorten_list(names, most=_MAX_NAMED)
