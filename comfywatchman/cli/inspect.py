"""`comfywatchman inspect`: what a model file is, told without loading it."""

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
        path: As it was given, printable.
        size: In bytes; null when there is no such file.
        format: See `HeaderFacts.format`.
        problem: Why ComfyUI could not load it, in words; null when nothing speaks against it.
        problem_code: The same for programs.
        warnings: What does not keep it from loading but should be known.
        header: What a safetensors or GGUF header says; null for other formats.
        sha256: With `--hash` and `--identify`: of the whole file, lower-case hex.
        autov2: With `--hash` and `--identify`: Civitai's short form of the SHA-256.
        autov3: With `--hash` and `--identify`: of what follows a safetensors header.
        blake3: With `--hash` and `--identify`: of the whole file.
        civitai: With `--identify`: the files there that have the same SHA-256. Empty when Civitai answered that it
            knows none; null when it was not asked or did not answer.
        same_name: With `--identify`: whether one of them is called as this file is; null when there are none.
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
@click.option("--hash", "with_hashes", is_flag=True, help="Also hash: SHA-256, AutoV2, AutoV3, BLAKE3.")
@click.option("--identify", is_flag=True, help="Also ask Civitai, by SHA-256, what the files are.")
@click.option("--recursive", is_flag=True, help="Look into folders below a folder, too.")
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
    """Look into model files: format, header, hashes, warnings. Nothing in them is ever executed.

    Exits with 1 when a file could not be loaded by ComfyUI, or Civitai did not say what it is.
    """
    from comfywatchman.cli.render import DONE, FAILED, print_json

    files = [file for path in paths for file in _list_files(path, recursive=recursive)]
    hashing = with_hashes or identify
    inspected = [_add_hashes(inspect_file(file), file) if hashing else inspect_file(file) for file in files]
    failure = None
    if identify:
        inspected, failure = _identify_files(context.obj, inspected, files)
    problems = [] if failure is None else [_identify_failure_text(failure)]
    if as_json:
        print_json(files=inspected, problems=problems)
    elif inspected:
        _print_files(inspected)
    else:
        click.echo("No model files there. With --recursive, folders below are searched, too.")
    if identify and not as_json:
        _print_identities(inspected, problems)
    context.exit(FAILED if problems or any(file.problem for file in inspected) else DONE)


def inspect_file(path: Path) -> InspectedFile:
    """Read one file's header and say what it is; a file that cannot be read is an answer, too."""
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
        return ["a pickle can run code when a program loads it; prefer safetensors"]
    if facts.format == "unknown" and facts.problem is None:
        return ["a format that is not known here; nothing was checked"]
    return []


def _add_hashes(inspected: InspectedFile, path: Path) -> InspectedFile:
    from comfywatchman.readiness.models.hashing import Hasher

    if inspected.size is None:
        return inspected
    with Hasher() as hasher:
        answer = hasher.hash_file(os.fspath(path))
    if isinstance(answer, str):
        return msgspec.structs.replace(inspected, warnings=[*inspected.warnings, f"not hashed: {answer}"])
    _, hashes = answer
    return msgspec.structs.replace(
        inspected, sha256=hashes.sha256, autov2=hashes.autov2, autov3=hashes.autov3, blake3=hashes.blake3
    )


def _identify_files(
    session: Session, inspected: list[InspectedFile], files: list[Path]
) -> tuple[list[InspectedFile], Failure | None]:
    from comfywatchman.readiness.search.identify import identify_files

    digests = [one.sha256 for one in inspected if one.sha256 is not None]
    answer = identify_files(digests, session.settings, session.clock)
    told = []
    for one, file in zip(inspected, files, strict=True):
        known = answer.known.get(one.sha256 or "")
        if known is not None:
            same_name = any(identity.name == file.name for identity in known)
            told.append(msgspec.structs.replace(one, civitai=known, same_name=same_name))
        elif one.sha256 is not None and answer.failure is None:
            told.append(msgspec.structs.replace(one, civitai=()))
        else:
            told.append(one)
    return told, answer.failure


def _identify_failure_text(failure: Failure) -> str:
    hint = f" {failure.hint}" if failure.hint else ""
    return f"Civitai did not tell of every file, so what it might know of them is open: {failure.message}{hint}"


def _list_files(path: Path, *, recursive: bool) -> Iterator[Path]:
    """Return a file itself, or the model files in a folder, sorted."""
    if not os.path.isdir(path):
        yield path
        return
    for folder, below, names in os.walk(path):
        below[:] = sorted(below) if recursive else []
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in MODEL_SUFFIXES:
                yield Path(folder, name)


def _print_files(inspected: list[InspectedFile]) -> None:
    from comfywatchman.cli.render import print_table

    rows = [
        (
            _verdict_text(file),
            file.path,
            file.format,
            "-" if file.size is None else format_size(file.size),
            _summarize(file),
        )
        for file in inspected
    ]
    print_table(("", "file", "format", "size", "says"), rows)
    if len(inspected) == 1 and inspected[0].header is not None and inspected[0].header.metadata:
        print_table(("metadata", "value"), list(inspected[0].header.metadata.items()))


def _print_identities(inspected: list[InspectedFile], problems: list[str]) -> None:
    from comfywatchman.cli.render import print_table, printable

    rows = [row for file in inspected for row in _identity_rows(file)]
    if rows:
        print_table(("file", "on Civitai", "type", "base model", "called there", "page"), rows)
    for problem in problems:
        click.echo(f"Problem: {printable(problem)}", err=True)


def _identity_rows(file: InspectedFile) -> Iterator[tuple[str, ...]]:
    if not file.civitai:
        why = "not hashed, so not asked" if file.sha256 is None else "no answer"
        yield file.path, why if file.civitai is None else "not known there", "", "", "", ""
        return
    own = os.path.basename(file.path)
    for one in file.civitai:
        title = " / ".join(part for part in (one.model, one.version) if part) or f"version {one.version_id}"
        name = "the same" if one.name == own else one.name
        yield file.path, title, one.type or "", one.base_model or "", name, one.page or ""


def _verdict_text(file: InspectedFile) -> str:
    return "broken" if file.problem else "warning" if file.warnings else "ok"


def _summarize(file: InspectedFile) -> str:
    parts = [file.problem] if file.problem else []
    header = file.header
    if header is not None:
        count = "" if header.parameters is None else f", {header.parameters:,} parameters"
        parts.append(f"{pluralize(header.tensors, 'tensor')}{count}")
        parts.extend(f"{number} x {dtype}" for dtype, number in header.dtypes.items())
        parts.extend([header.family] if header.family else [])
    parts.extend(file.warnings)
    if file.sha256:
        parts.append(f"sha256 {file.sha256}, AutoV2 {file.autov2}, AutoV3 {file.autov3 or '-'}, blake3 {file.blake3}")
    return "; ".join(parts)
