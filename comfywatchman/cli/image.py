"""`comfywatchman image`: what a picture on Civitai was made with, and what of it this host has."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from comfywatchman.app.session import Session
from comfywatchman.base.files import printable_path, write_atomic
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import DONE, FAILED, print_json, print_table, printable

if TYPE_CHECKING:
    from comfywatchman.readiness.search.image import CivitaiPicture, ImageLookup
    from comfywatchman.readiness.search.image_models import HostModels, UsedModel


@click.command("image")
@click.argument("picture", metavar="ID")
@click.option(
    "--workflow", "target", type=click.Path(path_type=Path), help="Write its workflow here: a file or folder."
)
@json_option
@click.pass_context
def image(context: click.Context, picture: str, target: Path | None, as_json: bool) -> None:
    """Show what a picture on Civitai was made with, and what of it this host has.

    ID is the picture's number or the address of its page. No model is downloaded. Exits with 1 when Civitai has no such
    picture, or has no workflow of it to write.
    """
    session: Session = context.obj
    image_id = _parse_image_id(session, picture)
    target = _resolve_target(target, image_id) if target is not None else None
    look, not_hashed = _look_up_image(session, image_id)
    written = _write_workflow(target, look) if target is not None else None
    if as_json:
        print_json(
            status=look.answer.status,
            message=look.answer.message,
            returned_ids=look.answer.returned_ids,
            picture=look.picture,
            not_hashed=not_hashed,
            problems=look.problems,
            workflow_file=printable_path(written) if written is not None else None,
        )
    else:
        _print_picture(look, not_hashed)
        _print_workflow_hint(look, target, written)
    context.exit(FAILED if look.picture is None or written != target else DONE)


def _parse_image_id(session: Session, text: str) -> int:
    from comfywatchman.readiness.search.factory import build_policy
    from comfywatchman.sources.civitai.images import parse_image_id

    image_id = parse_image_id(text.strip(), extra_hosts=build_policy(session.settings).extra_hosts)
    if image_id is None:
        raise click.BadParameter("Give a picture's number, or the address of its page on Civitai.", param_hint="ID")
    return image_id


def _resolve_target(target: Path, image_id: int) -> Path:
    """Return the file to write; refused before anybody is asked when it is there already."""
    target = target / f"civitai_{image_id}.json" if target.is_dir() else target
    if target.exists() or target.is_symlink():
        raise click.BadParameter(
            f"{printable_path(target)} is there already; nothing is replaced.", param_hint="--workflow"
        )
    return target


def _write_workflow(target: Path, look: ImageLookup) -> Path | None:
    if look.workflow is None:
        return None
    write_atomic(target, look.workflow)
    return target


def _look_up_image(session: Session, image_id: int) -> tuple[ImageLookup, int | None]:
    from comfywatchman.readiness.search.image import look_up_image

    host = _read_host_models(session)
    look = look_up_image(image_id, session.settings, host, session.clock)
    return look, host.not_hashed if host is not None else None


def _read_host_models(session: Session) -> HostModels | None:
    from comfywatchman.comfyui.install.folders import resolve_folders
    from comfywatchman.readiness.search.image import read_host_models

    installation = session.installation()
    if installation is None:
        click.echo("No ComfyUI was found, so nothing is compared. Name it: COMFYUI_ROOT=/path/to/ComfyUI", err=True)
        return None
    return read_host_models(session.layout.database, resolve_folders(installation)[0])


def _print_picture(look: ImageLookup, not_hashed: int | None) -> None:
    if look.picture is None:
        click.echo(f"{look.answer.status}: {printable(look.answer.message)}")
        return
    picture = look.picture
    if picture.models:
        print_table(("Type", "Name", "Hash", "Weight", "State", "Where"), [_model_row(one) for one in picture.models])
    else:
        click.echo(_explain_no_models(picture))
    for name, value in picture.settings.items():
        click.echo(f"{name}: {printable(str(value))}")
    if not_hashed and any(one.state != "here" for one in picture.models):
        click.echo(_not_hashed_text(not_hashed))
    for problem in look.problems:
        click.echo(f"Problem: {printable(problem)}", err=True)


def _print_workflow_hint(look: ImageLookup, target: Path | None, written: Path | None) -> None:
    if written is not None:
        click.echo(f"Workflow written: {printable_path(written)}")
        click.echo(f"What it needs of this host: comfywatchman scan {shlex.quote(printable_path(written))}")
    elif look.workflow is not None:
        click.echo("Its metadata holds its workflow: add --workflow FILE to write it.")
    elif look.picture is not None and target is not None:
        click.echo("Civitai shows no workflow of ComfyUI for this picture, so no file was written.", err=True)


def _not_hashed_text(count: int) -> str:
    if count == 1:
        return "1 model of this host has no hash yet, so it can be told by its name only."
    return f"{count} models of this host have no hash yet, so they can be told by their names only."


def _explain_no_models(picture: CivitaiPicture) -> str:
    if not picture.has_metadata:
        return f"Civitai shows nothing of how picture {picture.id} was made."
    return f"The metadata of picture {picture.id} names no model."


def _model_row(one: UsedModel) -> tuple[str, ...]:
    names = (one.name, one.model, one.files[0] if one.files else None)
    name = " · ".join(dict.fromkeys(filter(None, names)))
    if not name and one.version_id is not None:
        name = f"version {one.version_id}"
    digest = f"{one.hash_kind} {one.hash}" if one.hash_kind else one.hash or ""
    weight = f"{one.weight:g}" if one.weight is not None else ""
    return one.type, name, digest, weight, _state_text(one), _location_text(one)


def _state_text(one: UsedModel) -> str:
    return f"{one.state.value} ({one.found_by})" if one.state == "here" else one.state.value


def _location_text(one: UsedModel) -> str:
    if one.state == "not here" and one.path:
        return f"other content: {one.path}"
    return one.path or ""
