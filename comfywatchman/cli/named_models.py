"""Models that `comfywatchman download` is given by name and no plan holds: links to local files, and declared links."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import click

from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure
from comfywatchman.base.text import format_decimal_size
from comfywatchman.cli.render import printable
from comfywatchman.comfyui.install.folders import ModelFolders
from comfywatchman.readiness.downloads.plan import DownloadPlan, PlanItem, match_items
from comfywatchman.readiness.downloads.queue import DownloadOutcome
from comfywatchman.readiness.downloads.requests import (
    build_declared_item,
    build_link_item,
    find_models,
    is_link,
    list_missing_models,
)
from comfywatchman.readiness.models.inventory import ModelFile
from comfywatchman.readiness.status import MasterStatus, MissingModel
from comfywatchman.readiness.workflows.names import suggest_names


@dataclass(slots=True)
class NamedModels:
    """What names stand for.

    Attributes:
        items: Items of the plan.
        links: Models for which a file of this host is linked.
        declared: Models to download from the link that their workflow declares.
    """

    items: list[PlanItem] = field(default_factory=list)
    links: list[MissingModel] = field(default_factory=list)
    declared: list[PlanItem] = field(default_factory=list)


def sort_names(
    session: Session, names: Sequence[str], plan: DownloadPlan | None, report: MasterStatus | None
) -> NamedModels:
    """Return what names stand for: items of a plan first, then models of the report.

    Raises:
        Failure: `download-plan-invalid` for an unknown name, `download-no-source` for a model without a source.
    """
    known = list_missing_models(report) if report is not None else ()
    named = NamedModels()
    for name in names:
        items = match_items(plan, name) if plan is not None else ()
        if items:
            named.items += [item for item in items if item not in named.items]
            continue
        models = find_models(name, known)
        if not models:
            raise _unknown_name_failure(session, name, plan, known)
        for model in models:
            _add_model(session, named, model)
    return named


def _add_model(session: Session, named: NamedModels, model: MissingModel) -> None:
    item = build_declared_item(model)
    if is_link(model):
        named.links.append(model)
    elif item is not None:
        named.declared.append(item)
    else:
        command = session.format_command("resolve", model.name)
        message = f"No source is known for {printable(model.name)}."
        raise Failure("download-no-source", message, hint=f"Search for it: {command}")


def _unknown_name_failure(
    session: Session, name: str, plan: DownloadPlan | None, known: Iterable[MissingModel]
) -> Failure:
    names = [model.name for model in known]
    names += [item.filename for item in plan.items] if plan is not None else []
    suggestions = suggest_names(name, list(dict.fromkeys(names)))
    hint = f"{session.format_command('download', '--list')} shows what can be downloaded."
    if suggestions:
        hint = f"Did you mean {' or '.join(map(printable, suggestions))}?"
    return Failure("download-plan-invalid", f"No missing model is named {printable(name)}.", hint=hint)


def confirm_declared(items: Iterable[PlanItem], *, yes: bool) -> None:
    """Ask whether to download from links that only a workflow declares.

    Raises:
        Failure: `download-unconfirmed` when nobody can be asked, or the answer is no.
    """
    for item in items:
        text = f"{printable(item.filename)}: the workflow declares {printable(item.url)}"
        _confirm(f"{text}, which nobody has verified.", "Download it?", yes=yes)


def link_models(
    session: Session, models: Iterable[MissingModel], folders: ModelFolders, *, yes: bool
) -> tuple[DownloadOutcome, ...]:
    """Link files of this host to the places where workflows expect them.

    Raises:
        Failure: `download-unconfirmed` when nothing proves that a file is the right one and nobody confirms it.
    """
    from comfywatchman.readiness.downloads.local_link import link_model

    models = tuple(models)
    files, hashes = _list_files(session, folders) if models else ({}, {})
    outcomes = []
    for model in models:
        source = files.get(model.found_at or "")
        if source is None:
            message = f"{printable(model.found_at or '')} is no longer there."
            raise Failure("download-no-source", message, hint="Check again, then repeat the command.")
        is_proved = model.declared_sha256 is not None and hashes.get(source.path) == model.declared_sha256
        if not is_proved:
            size = format_decimal_size(source.size)
            text = f"{printable(source.path)} ({size}) has the name of {printable(model.name)}"
            _confirm(f"{text}, but nothing proves that it is the same model.", "Link it?", yes=yes)
        outcomes.append(link_model(build_link_item(model), source, session.settings, folders))
    return tuple(outcomes)


def _list_files(session: Session, folders: ModelFolders) -> tuple[dict[str, ModelFile], Mapping[str, str]]:
    """Return the model files of this host by printable path, and the known SHA-256 of each by path."""
    from comfywatchman.base.files import printable_path
    from comfywatchman.readiness.database import open_database
    from comfywatchman.readiness.models.index import ModelIndex
    from comfywatchman.readiness.models.inventory import build_inventory
    from comfywatchman.readiness.models.scan import scan_models

    with closing(open_database(session.layout.database)) as database:
        index = ModelIndex(database)
        inventory = build_inventory(scan_models(folders), index)
        known = index.hashes()
        files = {printable_path(file.path): file for file in inventory.all_models()}
        hashes = {file.path: known[file.key].sha256 for file in files.values() if file.key in known}
    return files, hashes


def _confirm(text: str, question: str, *, yes: bool) -> None:
    if yes:
        return
    if sys.stdin.isatty():
        click.echo(text, err=True)
        if click.confirm(question, err=True):
            return
    raise Failure("download-unconfirmed", text, hint="To accept it, run the command again with --yes.")
