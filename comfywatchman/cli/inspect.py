"""`comfywatchman inspect`: facts about model files, read without loading them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from comfywatchman.base.files import printable_path
from comfywatchman.base.text import format_size, os_error_text, pluralize
from comfywatchman.cli.options import json_option
from comfywatchman.comfyui.models.file import HeaderFacts, check_header
from comfywatchman.comfyui.models.metadata import ModelMetadata, read_metadata
from comfywatchman.comfyui.models.suffixes import MODEL_SUFFIXES

if TYPE_CHECKING:
    from comfywatchman.app.session import Session
    from comfywatchman.base.errors import Failure
    from comfywatchman.readiness.search.identify import ModelIdentity


class InspectedFile(msgspec.Struct, frozen=True):
    """One file as `inspect --json` shows it.

    Attributes:
        path: The path as given, printable.
        size: Size in bytes; null when the file cannot be read.
        format: See `HeaderFacts.format`.
        problem: Why ComfyUI cannot load it, as text; null when no problem was found.
        problem_code: The same as a code.
        warnings: Facts that do not prevent loading but matter.
        header: The metadata of a safetensors or GGUF header; null for other formats.
        sha256: With `--hash` and `--identify`: SHA-256 of the whole file, lower-case hex.
        autov2: With `--hash` and `--identify`: Civitai's short form of the SHA-256.
        autov3: With `--hash` and `--identify`: SHA-256 of the content after a safetensors header, as Civitai uses it.
        blake3: With `--hash` and `--identify`: BLAKE3 of the whole file.
        civitai: With `--identify`: the files on Civitai with the same SHA-256. Empty when Civitai knows none; null when
            it was not asked or did not answer.
        same_name: With `--identify`: whether one of them has the same name; null when there are none.
    """

    path: str
    size: int | None
    format: str
    problem: str | None
    problem_code: str | None
    warnings: list[str]
    header: ModelMetadata | None
    sha256: str | None = None
    autov2: str | None = None
    autov3: str | None = None
    blake3: str | None = None
    civitai: tuple[ModelIdentity, ...] | None = None
    same_name: bool | None = None


@click.command("inspect")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--hash", "with_hashes", is_flag=True, help="Also compute SHA-256, AutoV2, AutoV3 and BLAKE3.")
@click.option("--identify", is_flag=True, help="Also look the files up on Civitai by their SHA-256.")
@click.option("--recursive", is_flag=True, help="Search folders recursively.")
@json_option
@click.pass_context
def inspect(
    context: click.Context,
    paths: tuple[Path, ...],
    with_hashes: bool,
    identify: bool,
    recursive: bool,
    as_json: bool,
) -> None:
    """Show format, header, hashes and warnings of model files.

    Nothing in them is ever executed. Exits with 1 when ComfyUI could not load a file, or Civitai did not answer.

    \b
    Examples:
      comfywatchman inspect model.safetensors
      comfywatchman inspect model.safetensors --identify
    """
    from comfywatchman.cli.render import print_json, result_code

    files: list[Path] = []
    for path in paths:
        files.extend(_list_files(path, recursive=recursive))
    inspected = [inspect_file(file) for file in files]
    if with_hashes or identify:
        inspected = [_add_hashes(entry, file) for entry, file in zip(inspected, files, strict=True)]
    problems = []
    if identify:
        inspected, failure = _identify_files(context.obj, inspected, files)
        if failure is not None:
            problems.append(_identify_failure_text(failure))
    if as_json:
        print_json(files=inspected, problems=problems)
    elif inspected:
        _print_files(inspected)
    else:
        click.echo("No model files found. Add --recursive to search subfolders.")
    if identify and not as_json:
        _print_identities(inspected, problems)
    context.exit(result_code(success=not problems and not any(entry.problem for entry in inspected)))


def inspect_file(path: Path) -> InspectedFile:
    """Inspect one file; one that cannot be read is returned with its problem."""
    try:
        size: int | None = os.stat(path).st_size
        facts = check_header(path, size or 0)
    except (OSError, ValueError) as error:
        size = None
        facts = HeaderFacts("unknown", f"cannot be read: {os_error_text(error)}", "unreadable")
    readable = facts.problem_code not in {"unreadable", "not-regular"}
    return InspectedFile(
        path=printable_path(path),
        size=size,
        format=facts.format,
        problem=facts.problem,
        problem_code=facts.problem_code,
        warnings=_find_warnings(facts),
        header=read_metadata(path) if readable else None,
    )


def _find_warnings(facts: HeaderFacts) -> list[str]:
    if facts.format in {"pickle", "zip-pickle"}:
        return ["a pickle can run code when it is loaded; prefer safetensors"]
    if facts.format == "unknown" and facts.problem is None:
        return ["unknown format; nothing was checked"]
    return []


def _add_hashes(inspected: InspectedFile, path: Path) -> InspectedFile:
    from comfywatchman.readiness.models.hashing import Hasher

    if inspected.size is None:
        return inspected
    with Hasher() as hasher:
        result = hasher.hash_file(os.fspath(path))
    if isinstance(result, str):
        return msgspec.structs.replace(inspected, warnings=[*inspected.warnings, f"not hashed: {result}"])
    _key, hashes = result
    return msgspec.structs.replace(
        inspected, sha256=hashes.sha256, autov2=hashes.autov2, autov3=hashes.autov3, blake3=hashes.blake3
    )


def _identify_files(
    session: Session, inspected: list[InspectedFile], files: list[Path]
) -> tuple[list[InspectedFile], Failure | None]:
    from comfywatchman.readiness.search.identify import identify_files

    digests = [entry.sha256 for entry in inspected if entry.sha256 is not None]
    answer = identify_files(digests, session.settings, session.clock)
    identified = []
    for entry, file in zip(inspected, files, strict=True):
        identities = answer.known.get(entry.sha256 or "")
        if identities is not None:
            same_name = any(identity.name == file.name for identity in identities)
            identified.append(msgspec.structs.replace(entry, civitai=identities, same_name=same_name))
        elif entry.sha256 is not None and answer.failure is None:
            # Civitai answered and does not know it.
            identified.append(msgspec.structs.replace(entry, civitai=()))
        else:
            identified.append(entry)
    return identified, answer.failure


def _identify_failure_text(failure: Failure) -> str:
    hint = f" {failure.hint}" if failure.hint else ""
    return f"Not all files could be looked up on Civitai: {failure.message}{hint}"


def _list_files(path: Path, *, recursive: bool) -> Iterator[Path]:
    """Yield a file itself, or the model files in a folder, sorted."""
    if not os.path.isdir(path):
        yield path
        return
    for folder, subfolders, names in os.walk(path):
        # os.walk descends into what is left in this list, in its order.
        subfolders[:] = sorted(subfolders) if recursive else []
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in MODEL_SUFFIXES:
                yield Path(folder, name)


def _print_files(inspected: list[InspectedFile]) -> None:
    from comfywatchman.cli.render import print_table

    rows = []
    for file in inspected:
        size = "-" if file.size is None else format_size(file.size)
        rows.append((_verdict_text(file), file.path, file.format, size, _summarize(file)))
    print_table(("", "file", "format", "size", "details"), rows)
    if len(inspected) == 1 and inspected[0].header is not None and inspected[0].header.metadata:
        print_table(("metadata", "value"), list(inspected[0].header.metadata.items()))


def _print_identities(inspected: list[InspectedFile], problems: list[str]) -> None:
    from comfywatchman.cli.render import print_table, printable

    rows = [row for file in inspected for row in _identity_rows(file)]
    if rows:
        print_table(("file", "on Civitai", "type", "base model", "name on Civitai", "page"), rows)
    for problem in problems:
        click.echo(f"Problem: {printable(problem)}", err=True)


def _identity_rows(file: InspectedFile) -> Iterator[tuple[str, ...]]:
    if not file.civitai:
        if file.civitai is not None:
            reason = "unknown"
        elif file.sha256 is None:
            reason = "not hashed, so not looked up"
        else:
            reason = "no answer"
        yield file.path, reason, "", "", "", ""
        return
    file_name = os.path.basename(file.path)
    for identity in file.civitai:
        title = " / ".join(part for part in (identity.model, identity.version) if part)
        name = "the same" if identity.name == file_name else identity.name
        yield (
            file.path,
            title or f"version {identity.version_id}",
            identity.type or "",
            identity.base_model or "",
            name,
            identity.page or "",
        )


def _verdict_text(file: InspectedFile) -> str:
    if file.problem:
        return "broken"
    if file.warnings:
        return "warning"
    return "ok"


def _summarize(file: InspectedFile) -> str:
    parts = []
    if file.problem:
        parts.append(file.problem)
    header = file.header
    if header is not None:
        tensors = pluralize(header.tensors, "tensor")
        if header.parameters is not None:
            tensors += f", {header.parameters:,} parameters"
        parts.append(tensors)
        parts.extend(f"{number} x {dtype}" for dtype, number in header.dtypes.items())
        if header.family:
            parts.append(header.family)
    parts.extend(file.warnings)
    if file.sha256:
        parts.append(f"sha256 {file.sha256}, AutoV2 {file.autov2}, AutoV3 {file.autov3 or '-'}, blake3 {file.blake3}")
    return "; ".join(parts)
