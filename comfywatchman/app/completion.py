"""Names that the shell completes, by their kind; nothing is written, and what cannot be read gives no names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure

NameSource = Callable[[Session, str], Iterable[str]]
"""Returns names; the second argument is the word so far, for sources with very many names."""

FILE_KINDS: Final = frozenset({"workflow", "workflow or model"})
"""Kinds in whose place a path may be given, too."""

_MAX_JOBS: Final = 200


def list_names(kind: str, session: Session, word: str) -> list[str]:
    """Return the names of a kind that begin with a word, or whose last part does.

    Args:
        kind: A key of `SOURCES`.
        session: The session of the call.
        word: The word so far.
    """
    try:
        names = sorted(set(SOURCES[kind](session, word)))
    # In the middle of a command line nothing but names may be printed.
    except (Failure, OSError, ValueError, LookupError):
        return []
    whole = [name for name in names if name.startswith(word)]
    return whole or [name for name in names if name.rpartition("/")[2].startswith(word)]


def _list_workflows(session: Session, _word: str) -> Iterable[str]:
    from comfywatchman.readiness.report.render import shorten_paths
    from comfywatchman.readiness.report.write import read_own_report
    from comfywatchman.readiness.status import MasterStatus

    report = read_own_report(session.layout, session.watched_comfyui(), only_look=True)
    if not isinstance(report, MasterStatus):
        return ()
    return shorten_paths(entry.path for entry in report.workflows).values()


def _list_missing_models(session: Session, _word: str) -> Iterable[str]:
    from comfywatchman.readiness.downloads.requests import list_missing_models
    from comfywatchman.readiness.report.write import read_own_report
    from comfywatchman.readiness.status import MasterStatus

    report = read_own_report(session.layout, session.watched_comfyui(), only_look=True)
    return [model.name for model in list_missing_models(report)] if isinstance(report, MasterStatus) else ()


def _list_workflows_and_models(session: Session, word: str) -> Iterable[str]:
    return [*_list_workflows(session, word), *_list_missing_models(session, word)]


def _list_config_keys(_session: Session, _word: str) -> Iterable[str]:
    from comfywatchman.base.config import SCHEMA

    return SCHEMA.keys


def _list_jobs(session: Session, word: str) -> Iterable[str]:
    from comfywatchman.app.jobs import JobAgent
    from comfywatchman.jobs.store.peek import peek_names

    return peek_names(JobAgent(session).settings.database_url, word, limit=_MAX_JOBS)


def _list_job_workflows(session: Session, _word: str) -> Iterable[str]:
    from comfywatchman.app.jobs import JobAgent
    from comfywatchman.jobs.files.workflows import load_workflows

    return load_workflows(JobAgent(session).settings.workflows)


def _list_transactions(session: Session, _word: str) -> Iterable[str]:
    from comfywatchman.governance.store.layout import GovLayout
    from comfywatchman.governance.transactions import transaction

    return [record.txid for record in transaction.read_all(GovLayout(session.governed_root))]


def _list_snapshots(session: Session, _word: str) -> Iterable[str]:
    from comfywatchman.governance.environments import snapshot
    from comfywatchman.governance.store.layout import GovLayout

    return [meta.id for meta in snapshot.read_all(GovLayout(session.governed_root))]


def _list_operations(session: Session, _word: str) -> Iterable[str]:
    from comfywatchman.governance.environments.rollback import read_operations
    from comfywatchman.governance.store.layout import GovLayout

    return [operation.op_id for operation in read_operations(GovLayout(session.governed_root))]


def _list_nodes(session: Session, _word: str) -> Iterable[str]:
    from comfywatchman.governance.nodes.registry import list_nodes
    from comfywatchman.governance.store.layout import GovLayout

    layout = GovLayout(session.governed_root)
    return [listing.plugin.id for listing in list_nodes(layout, session.governed_root)]


def _list_environments(session: Session, _word: str) -> Iterable[str]:
    from comfywatchman.app.supervision import open_environments

    return open_environments(session).names()


def _list_incidents(session: Session, _word: str) -> Iterable[str]:
    from comfywatchman.app.supervision import open_environments
    from comfywatchman.supervisor.incidents import list_incidents

    return [incident.name for incident in list_incidents(open_environments(session).metadata)]


def _list_versions(session: Session, _word: str) -> Iterable[str]:
    folder = session.home_layout.home.folder / "lockfiles"
    return [path.name.removeprefix("comfy-").removesuffix(".lock.json") for path in folder.glob("comfy-*.lock.json")]


SOURCES: Final[dict[str, NameSource]] = {
    "workflow": _list_workflows,
    "missing model": _list_missing_models,
    "workflow or model": _list_workflows_and_models,
    "configuration key": _list_config_keys,
    "job": _list_jobs,
    "job workflow": _list_job_workflows,
    "transaction": _list_transactions,
    "snapshot": _list_snapshots,
    "operation": _list_operations,
    "node": _list_nodes,
    "environment": _list_environments,
    "incident": _list_incidents,
    "version": _list_versions,
}
"""Where the names of each kind come from; an area that has names of its own adds its kind here."""
