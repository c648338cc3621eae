"""What a start in the candidate means, held against the comparison start in production. Nothing is read here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from comfywatchman.governance.store.records import Finding, Judgement
from comfywatchman.governance.trial.outcome import StartOutcome

_CUSTOM_NODES_PREFIX: Final = "custom_nodes."
_STATUS_ORDER: Final = {"fail": 0, "warn": 1, "unknown": 2, "ok": 3}
_MAX_NAMED: Final = 5


def build_judgement(node_id: str, after: StartOutcome, before: StartOutcome | None) -> Judgement:
    """Return the judgement of a start.

    Args:
        node_id: The node under trial.
        after: The start in the candidate, with the node.
        before: The start in production, without the node; None when there was none to compare with.
    """
    findings = sorted(_collect_findings(node_id, after, before), key=lambda finding: _STATUS_ORDER[finding.status])
    failed = any(finding.status == "fail" for finding in findings)
    added, lost = _compare_classes(after, before)
    return Judgement(
        how=after.how,
        exit_code=after.exit_code or (1 if failed else 0),
        findings=tuple(findings),
        classes_added=added,
        classes_lost=lost,
        import_failures=after.failures,
        model_folders=after.model_folders,
        widget_places=after.widget_places,
        model_directories=after.model_directories,
    )


def pack_name(module: str) -> str:
    """Return the pack that a class comes from: the folder in `custom_nodes`, or `ComfyUI` for its own."""
    return module.removeprefix(_CUSTOM_NODES_PREFIX) if module.startswith(_CUSTOM_NODES_PREFIX) else "ComfyUI"


def _collect_findings(node_id: str, after: StartOutcome, before: StartOutcome | None) -> Iterator[Finding]:
    yield _build_start_finding(after)
    if after.unasked is not None:
        detail = f"This ComfyUI does not know {after.unasked}: it was started with all of its own custom nodes."
        yield Finding(name="start", status="warn", detail=detail)
    yield from _build_import_findings(node_id, after, before)
    if after.packs is not None:
        yield from _build_class_findings(node_id, after, before)
        if after.model_folders:
            inputs = sum(map(len, after.model_folders.values()))
            detail = (
                f"{_format_count(inputs, 'input')} of "
                f"{_format_count(len(after.model_folders), 'node class', 'node classes')} "
            )
            yield Finding(name="models", status="ok", detail=f"{detail}list model folders.")
    if after.probe is not None:
        yield _build_probe_finding(after.probe, before)


def _build_start_finding(after: StartOutcome) -> Finding:
    if after.trouble is not None or after.exit_code:
        return Finding(name="start", status="fail", detail=after.trouble or f"It ended with {after.exit_code}.")
    words = "ComfyUI started and answered." if after.how == "server" else "main.py ended by itself with status 0."
    return Finding(name="start", status="ok", detail=words)


def _build_import_findings(node_id: str, after: StartOutcome, before: StartOutcome | None) -> Iterator[Finding]:
    for name, reason in sorted(after.failures.items()):
        words = f"{name} could not be imported: {reason or 'its log does not say why'}"
        if name == node_id:
            yield Finding(name="import", status="fail", detail=words)
        elif before is None:
            yield Finding(name="import", status="warn", detail=f"{words} (whether it could before is not known)")
        elif name in before.failures:
            yield Finding(name="import", status="warn", detail=f"{words} (as before)")
        else:
            yield Finding(name="import", status="fail", detail=f"{words} (it could before)")
    if node_id in after.imported:
        yield Finding(name="import", status="ok", detail=f"{node_id} was imported.")
    elif after.how == "server" and node_id not in after.failures:
        yield Finding(name="import", status="unknown", detail=f"The log does not name {node_id}.")


def _build_class_findings(node_id: str, after: StartOutcome, before: StartOutcome | None) -> Iterator[Finding]:
    own = sorted(name for name, module in (after.packs or {}).items() if pack_name(module) == node_id)
    if own:
        yield Finding(name="classes", status="ok", detail=f"{node_id} brings {_format_classes(own)}.")
    elif node_id in after.imported:
        yield Finding(name="classes", status="warn", detail=f"{node_id} brings no node class.")
    if before is None or before.packs is None:
        reason = "" if before is None or before.trouble is None else f": {before.trouble}"
        yield Finding(
            name="classes", status="unknown", detail=f"There is no start of production to compare with{reason}"
        )
        return
    for pack, names in _compare_classes(after, before)[1].items():
        yield Finding(name="classes", status="fail", detail=f"{pack} loses {_format_classes(list(names))}.")
    taken = sorted(name for name in own if name in before.packs and pack_name(before.packs[name]) != node_id)
    if taken:
        yield Finding(
            name="classes", status="warn", detail=f"{node_id} takes the place of others: {_format_classes(taken)}."
        )


def _build_probe_finding(probe: Finding, before: StartOutcome | None) -> Finding:
    earlier = before.probe if before is not None else None
    if probe.status == "fail" and earlier is not None and earlier.status == "fail":
        return Finding(name=probe.name, status="warn", detail=f"{probe.detail} It failed before the change too.")
    return probe


def _compare_classes(
    after: StartOutcome, before: StartOutcome | None
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Return the classes that came and went, by pack."""
    if after.packs is None or before is None or before.packs is None:
        return {}, {}
    return _group_missing_by_pack(after.packs, before.packs), _group_missing_by_pack(before.packs, after.packs)


def _group_missing_by_pack(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for name in sorted(one.keys() - other.keys()):
        found.setdefault(pack_name(one[name]), []).append(name)
    return {pack: tuple(names) for pack, names in sorted(found.items())}


def _format_classes(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return f"{_format_count(len(names), 'node class', 'node classes')} ({', '.join(names[:_MAX_NAMED])}{more})"


def _format_count(number: int, one: str, several: str = "") -> str:
    return f"{number} {one if number == 1 else several or f'{one}s'}"
