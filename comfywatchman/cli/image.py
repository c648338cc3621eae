"""`comfywatchman image`: the models used for an image on Civitai, and which of them this host has."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from comfywatchman.app.session import Session
from comfywatchman.base.files import printable_path, write_atomic
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import print_json, print_step, print_table, printable, result_code

if TYPE_CHECKING:
    from comfywatchman.readiness.search.image import CivitaiPicture, ImageLookup
    from comfywatchman.readiness.search.image_models import HostModels, UsedModel


@click.command("image")
@click.argument("picture", metavar="ID")
@click.option(
    "--workflow", "target", type=click.Path(path_type=Path), help="Write its workflow to this file or folder."
)
@json_option
@click.pass_context
def image(context: click.Context, picture: str, target: Path | None, as_json: bool) -> None:
    """Show the models used for an image on Civitai, and which of them this host has.

    ID is the number of the image or the address of its page. No model is downloaded. Exits with 1 when Civitai has no
    such image, or no workflow to write.

    \b
    Examples:
      comfywatchman image 96712457
      comfywatchman image 96712457 --json
    """
    session: Session = context.obj
    session.start_log()
    image_id = _parse_image_id(session, picture)
    if target is not None:
        target = _resolve_target(target, image_id)
    lookup, not_hashed = _look_up_image(session, image_id)
    written = _write_workflow(target, lookup)
    if as_json:
        print_json(
            status=lookup.answer.status,
            message=lookup.answer.message,
            returned_ids=lookup.answer.returned_ids,
            picture=lookup.picture,
            not_hashed=not_hashed,
            problems=lookup.problems,
            workflow_file=printable_path(written) if written is not None else None,
        )
    else:
        _print_picture(lookup, not_hashed)
        _print_workflow_hint(lookup, target, written)
    context.exit(result_code(success=lookup.picture is not None and written == target))


def _parse_image_id(session: Session, text: str) -> int:
    from comfywatchman.readiness.search.factory import build_policy
    from comfywatchman.sources.civitai.images import parse_image_id

    image_id = parse_image_id(text.strip(), extra_hosts=build_policy(session.settings).extra_hosts)
    if image_id is None:
        raise click.BadParameter("Give the number of an image, or the address of its page on Civitai.", param_hint="ID")
    return image_id


def _resolve_target(target: Path, image_id: int) -> Path:
    """Return the file to write; checked before Civitai is queried."""
    if target.is_dir():
        target = target / f"civitai_{image_id}.json"
    if target.exists() or target.is_symlink():
        raise click.BadParameter(
            f"{printable_path(target)} already exists and is not replaced.", param_hint="--workflow"
        )
    return target


def _write_workflow(target: Path | None, lookup: ImageLookup) -> Path | None:
    if target is None or lookup.workflow is None:
        return None
    write_atomic(target, lookup.workflow)
    return target


def _look_up_image(session: Session, image_id: int) -> tuple[ImageLookup, int | None]:
    from comfywatchman.readiness.search.image import look_up_image

    host = _read_host_models(session)
    lookup = look_up_image(image_id, session.settings, host, session.clock)
    return lookup, host.not_hashed if host is not None else None


def _read_host_models(session: Session) -> HostModels | None:
    from comfywatchman.comfyui.install.folders import resolve_folders
    from comfywatchman.readiness.search.image import read_host_models

    installation = session.installation()
    if installation is None:
        click.echo("No ComfyUI was found to compare with. Name it: COMFYUI_ROOT=/path/to/ComfyUI", err=True)
        return None
    return read_host_models(session.layout.database, resolve_folders(installation)[0])


def _print_picture(lookup: ImageLookup, not_hashed: int | None) -> None:
    if lookup.picture is None:
        click.echo(f"{lookup.answer.status}: {printable(lookup.answer.message)}")
        return
    picture = lookup.picture
    if picture.models:
        print_table(
            ("Type", "Name", "Hash", "Weight", "State", "Where"), [_model_row(model) for model in picture.models]
        )
    else:
        click.echo(_explain_no_models(picture))
    for name, value in picture.settings.items():
        click.echo(f"{name}: {printable(str(value))}")
    if not_hashed and any(model.state != "here" for model in picture.models):
        click.echo(_missing_hashes_text(not_hashed))
    for problem in lookup.problems:
        click.echo(f"Problem: {printable(problem)}", err=True)


def _print_workflow_hint(lookup: ImageLookup, target: Path | None, written: Path | None) -> None:
    if written is not None:
        click.echo(f"Workflow written: {printable_path(written)}")
        print_step(f"To check it on this host: comfywatchman scan {shlex.quote(printable_path(written))}")
    elif lookup.workflow is not None:
        click.echo("Its metadata contains the workflow: add --workflow FILE to write it.")
    elif lookup.picture is not None and target is not None:
        click.echo("Civitai has no ComfyUI workflow for this image, so no file was written.", err=True)


def _missing_hashes_text(count: int) -> str:
    if count == 1:
        return "1 model of this host has no hash yet and is compared by name only."
    return f"{count} models of this host have no hash yet and are compared by name only."


def _explain_no_models(picture: CivitaiPicture) -> str:
    if not picture.has_metadata:
        return f"Civitai has no metadata for image {picture.id}."
    return f"The metadata of image {picture.id} names no model."


def _model_row(model: UsedModel) -> tuple[str, ...]:
    # The names often repeat each other.
    names = dict.fromkeys([model.name, model.model, model.files[0] if model.files else None])
    name = " · ".join(part for part in names if part)
    if not name and model.version_id is not None:
        name = f"version {model.version_id}"
    digest = model.hash or ""
    if model.hash_kind:
        digest = f"{model.hash_kind} {digest}"
    weight = "" if model.weight is None else f"{model.weight:g}"
    return model.type, name, digest, weight, _state_text(model), _location_text(model)


def _state_text(model: UsedModel) -> str:
    if model.state == "here":
        return f"{model.state.value} ({model.found_by})"
    return model.state.value


def _location_text(model: UsedModel) -> str:
    if not model.path:
        return ""
    if model.state == "not here":
        # A file of that name exists, but its hash differs.
        return f"other content: {model.path}"
    return model.path
