"""What a start in the candidate means, held against the comparison start in production. Nothing is read here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from comfywatchman.governance.store.records import Finding, Judgement
from comfywatchman.governance.trial.outcome import Started

_CUSTOM: Final = "custom_nodes."
_RANK: Final = {"fail": 0, "warn": 1, "unknown": 2, "ok": 3}
_NAMED: Final = 5


def judged(node_id: str, after: Started, before: Started | None) -> Judgement:
    """Return the judgement of a start.

    Args:
        node_id: The node under trial.
        after: The start in the candidate, with the node.
        before: The start in production, without the node; None when there was none to compare with.
    """
    findings = sorted(_findings(node_id, after, before), key=lambda finding: _RANK[finding.status])
    failed = any(finding.status == "fail" for finding in findings)
    added, lost = _classes(after, before)
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


def pack_of(module: str) -> str:
    """Return the pack that a class comes from: the folder in `custom_nodes`, or `ComfyUI` for its own."""
    return module.removeprefix(_CUSTOM) if module.startswith(_CUSTOM) else "ComfyUI"


def _findings(node_id: str, after: Started, before: Started | None) -> Iterator[Finding]:
    yield _of_start(after)
    if after.unasked is not None:
        detail = f"This ComfyUI does not know {after.unasked}: it was started with all of its own custom nodes."
        yield Finding(name="start", status="warn", detail=detail)
    yield from _of_imports(node_id, after, before)
    if after.packs is not None:
        yield from _of_classes(node_id, after, before)
        if after.model_folders:
            inputs = sum(map(len, after.model_folders.values()))
            detail = f"{_count(inputs, 'input')} of {_count(len(after.model_folders), 'node class', 'node classes')} "
            yield Finding(name="models", status="ok", detail=f"{detail}list model folders.")
    if after.probe is not None:
        yield _of_probe(after.probe, before)


def _of_start(after: Started) -> Finding:
    if after.trouble is not None or after.exit_code:
        return Finding(name="start", status="fail", detail=after.trouble or f"It ended with {after.exit_code}.")
    words = "ComfyUI started and answered." if after.how == "server" else "main.py ended by itself with status 0."
    return Finding(name="start", status="ok", detail=words)


def _of_imports(node_id: str, after: Started, before: Started | None) -> Iterator[Finding]:
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


def _of_classes(node_id: str, after: Started, before: Started | None) -> Iterator[Finding]:
    own = sorted(name for name, module in (after.packs or {}).items() if pack_of(module) == node_id)
    if own:
        yield Finding(name="classes", status="ok", detail=f"{node_id} brings {_listed(own)}.")
    elif node_id in after.imported:
        yield Finding(name="classes", status="warn", detail=f"{node_id} brings no node class.")
    if before is None or before.packs is None:
        reason = "" if before is None or before.trouble is None else f": {before.trouble}"
        yield Finding(
            name="classes", status="unknown", detail=f"There is no start of production to compare with{reason}"
        )
        return
    for pack, names in _classes(after, before)[1].items():
        yield Finding(name="classes", status="fail", detail=f"{pack} loses {_listed(list(names))}.")
    taken = sorted(name for name in own if name in before.packs and pack_of(before.packs[name]) != node_id)
    if taken:
        yield Finding(name="classes", status="warn", detail=f"{node_id} takes the place of others: {_listed(taken)}.")


def _of_probe(probe: Finding, before: Started | None) -> Finding:
    earlier = before.probe if before is not None else None
    if probe.status == "fail" and earlier is not None and earlier.status == "fail":
        return Finding(name=probe.name, status="warn", detail=f"{probe.detail} It failed before the change too.")
    return probe


def _classes(after: Started, before: Started | None) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Return the classes that came and went, by pack."""
    if after.packs is None or before is None or before.packs is None:
        return {}, {}
    return _by_pack(after.packs, before.packs), _by_pack(before.packs, after.packs)


def _by_pack(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for name in sorted(one.keys() - other.keys()):
        found.setdefault(pack_of(one[name]), []).append(name)
    return {pack: tuple(names) for pack, names in sorted(found.items())}


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{_count(len(names), 'node class', 'node classes')} ({', '.join(names[:_NAMED])}{more})"


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number} {one if number == 1 else several or f'{one}s'}"
