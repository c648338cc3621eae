"""`comfywatchman image`: what a picture on Civitai was made with, and what of it this host has."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from comfywatchman.base.files import show_path, write_atomic
from comfywatchman.cli.render import DONE, FAILED, print_json, print_table, printable
from comfywatchman.cli.session import Session

if TYPE_CHECKING:
    from comfywatchman.readiness.search.image import ImageLook, Picture
    from comfywatchman.readiness.search.image_models import HostModels, UsedModel


@click.command("image")
@click.argument("picture", metavar="ID")
@click.option(
    "--workflow", "target", type=click.Path(path_type=Path), help="Write its workflow here: a file or folder."
)
@click.option("--json", "as_json", is_flag=True, help="Print facts as JSON.")
@click.pass_context
def image(context: click.Context, picture: str, target: Path | None, as_json: bool) -> None:
    """Show what a picture on Civitai was made with, and what of it this host has.

    ID is the picture's number or the address of its page. No model is downloaded. Exits with 1 when Civitai has no such
    picture, or has no workflow of it to write.
    """
    session: Session = context.obj
    image_id = _id(session, picture)
    target = _new_file(target, image_id) if target is not None else None
    look, not_hashed = _look(session, image_id)
    written = _write(target, look) if target is not None else None
    if as_json:
        print_json(
            status=look.answer.status,
            message=look.answer.message,
            returned_ids=look.answer.returned_ids,
            picture=look.picture,
            not_hashed=not_hashed,
            problems=look.problems,
            workflow_file=show_path(written) if written is not None else None,
        )
    else:
        _show(look, not_hashed)
        _show_workflow(look, target, written)
    context.exit(FAILED if look.picture is None or written != target else DONE)


def _id(session: Session, text: str) -> int:
    from comfywatchman.readiness.search.factory import policy_of
    from comfywatchman.sources.civitai.images import image_id_of

    image_id = image_id_of(text.strip(), extra_hosts=policy_of(session.settings).extra_hosts)
    if image_id is None:
        raise click.BadParameter("Give a picture's number, or the address of its page on Civitai.", param_hint="ID")
    return image_id


def _new_file(target: Path, image_id: int) -> Path:
    """Return the file to write; refused before anybody is asked when it is there already."""
    target = target / f"civitai_{image_id}.json" if target.is_dir() else target
    if target.exists() or target.is_symlink():
        raise click.BadParameter(f"{show_path(target)} is there already; nothing is replaced.", param_hint="--workflow")
    return target


def _write(target: Path, look: ImageLook) -> Path | None:
    if look.workflow is None:
        return None
    write_atomic(target, look.workflow)
    return target


def _look(session: Session, image_id: int) -> tuple[ImageLook, int | None]:
    from comfywatchman.readiness.search.image import look_at_image

    host = _host(session)
    look = look_at_image(image_id, session.settings, host, session.clock)
    return look, host.not_hashed if host is not None else None


def _host(session: Session) -> HostModels | None:
    from comfywatchman.comfyui.install.folders import resolve_folders
    from comfywatchman.readiness.search.image import read_host

    installation = session.installation()
    if installation is None:
        click.echo("No ComfyUI was found, so nothing is compared. Name it: COMFYUI_ROOT=/path/to/ComfyUI", err=True)
        return None
    return read_host(session.layout.database, resolve_folders(installation)[0])


def _show(look: ImageLook, not_hashed: int | None) -> None:
    if look.picture is None:
        click.echo(f"{look.answer.status}: {printable(look.answer.message)}")
        return
    picture = look.picture
    if picture.models:
        print_table(("Type", "Name", "Hash", "Weight", "State", "Where"), [_row(one) for one in picture.models])
    else:
        click.echo(_why_nothing(picture))
    for name, value in picture.settings.items():
        click.echo(f"{name}: {printable(str(value))}")
    if not_hashed and any(one.state != "here" for one in picture.models):
        click.echo(_not_hashed(not_hashed))
    for problem in look.problems:
        click.echo(f"Problem: {printable(problem)}", err=True)


def _show_workflow(look: ImageLook, target: Path | None, written: Path | None) -> None:
    if written is not None:
        click.echo(f"Workflow written: {show_path(written)}")
        click.echo(f"What it needs of this host: comfywatchman scan {shlex.quote(show_path(written))}")
    elif look.workflow is not None:
        click.echo("Its metadata holds its workflow: add --workflow FILE to write it.")
    elif look.picture is not None and target is not None:
        click.echo("Civitai shows no workflow of ComfyUI for this picture, so no file was written.", err=True)


def _not_hashed(count: int) -> str:
    if count == 1:
        return "1 model of this host has no hash yet, so it can be told by its name only."
    return f"{count} models of this host have no hash yet, so they can be told by their names only."


def _why_nothing(picture: Picture) -> str:
    if not picture.has_metadata:
        return f"Civitai shows nothing of how picture {picture.id} was made."
    return f"The metadata of picture {picture.id} names no model."


def _row(one: UsedModel) -> tuple[str, ...]:
    names = (one.name, one.model, one.files[0] if one.files else None)
    name = " · ".join(dict.fromkeys(filter(None, names)))
    if not name and one.version_id is not None:
        name = f"version {one.version_id}"
    digest = f"{one.hash_kind} {one.hash}" if one.hash_kind else one.hash or ""
    weight = f"{one.weight:g}" if one.weight is not None else ""
    return one.type, name, digest, weight, _state(one), _where(one)


def _state(one: UsedModel) -> str:
    return f"{one.state.value} ({one.found_by})" if one.state == "here" else one.state.value


def _where(one: UsedModel) -> str:
    if one.state == "not here" and one.path:
        return f"other content: {one.path}"
    return one.path or ""
