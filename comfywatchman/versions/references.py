"""Reference outputs: the results of workflows, kept to see later whether a version still gives the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import (
    fsync_file,
    fsync_folder,
    make_folder,
    printable_path,
    read_regular,
    to_json,
    unwritable_failure,
    write_atomic,
)
from comfywatchman.base.json_values import decode_json
from comfywatchman.versions.pixels import PixelFacts, measure_difference, read_pixels
from comfywatchman.versions.staging import hold_folder, remove_tree

SCHEMA: Final = "comfywatchman/outputs@1"
RECORDS_NAME: Final = "outputs.json"
_MAX_RECORDS_BYTES: Final = 16 << 20
_MAX_WORKFLOW_BYTES: Final = 64 << 20


class OutputRecord(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One output of a workflow.

    Attributes:
        workflow: The name of the workflow's file.
        node_id: The node that made it.
        number: Its place among the outputs of the node, from 1.
        file: Its copy below the folder of the records.
        size: Its size in bytes.
        file_sha256: The hash of the file.
        pixels_sha256: The hash of its decoded pixels; None when it is no image.
        shape: Mode, size and frames of an image, `RGB 512x512`; empty for other files.
    """

    workflow: str
    node_id: str
    number: int
    file: str
    size: int
    file_sha256: str
    pixels_sha256: str | None = None
    shape: str = ""


class WorkflowRecord(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A workflow whose outputs are recorded: its file name and its hash."""

    name: str
    sha256: str


class OutputRecords(msgspec.Struct, frozen=True, kw_only=True):
    """`outputs.json`: the reference outputs of a version.

    Attributes:
        tag: The name of the version.
        content_sha256: The content hash of its lock.
        workflows: The workflows, sorted.
        outputs: The outputs, sorted.
        schema: `comfywatchman/outputs@1`.
    """

    tag: str
    content_sha256: str
    workflows: tuple[WorkflowRecord, ...]
    outputs: tuple[OutputRecord, ...]
    schema: str = SCHEMA


class OutputState(StrEnum):
    """How an output compares with its reference.

    Attributes:
        SAME: The same pixels, or the same bytes of a file that is no image.
        CLOSE: Other pixels, within the tolerance.
        DIFFERENT: Other pixels, or other bytes.
        MISSING: It was not made this time.
        EXTRA: It has no reference.
    """

    SAME = "same"
    CLOSE = "close"
    DIFFERENT = "different"
    MISSING = "missing"
    EXTRA = "extra"


class OutputComparison(msgspec.Struct, frozen=True, kw_only=True):
    """One output, compared with its reference.

    Attributes:
        workflow: The workflow.
        node_id: The node.
        number: Its place among the outputs of the node.
        state: The result.
        difference: The mean difference of the pixels in steps of 1 of 255; None when it was not measured.
    """

    workflow: str
    node_id: str
    number: int
    state: OutputState
    difference: float | None = None


@dataclass(frozen=True, slots=True)
class MadeOutput:
    """A file that a node of a workflow made, in the order of the server."""

    node_id: str
    path: Path


RunWorkflow = Callable[[Path, Path], Sequence[MadeOutput]]
"""Runs a workflow file and saves its outputs in an empty folder; raises `Failure`."""


def record_outputs(
    tag: str, content_sha256: str, workflows: Iterable[Path], folder: Path, run: RunWorkflow
) -> OutputRecords:
    """Run workflows and keep their outputs as references; those of earlier calls are replaced as a whole.

    Args:
        tag: The name of the version.
        content_sha256: The content hash of its lock.
        workflows: The workflow files; their names must differ.
        folder: Where the references go.
        run: Runs one workflow.

    Raises:
        Failure: `version-bad-references`, `version-clone-running`, `state-unwritable`, or the failure of a run.
    """
    files = _index_by_name(workflows)
    partial = _partial_folder(folder)
    with hold_folder(partial):
        _restore_replaced(folder)
        _clear_folder(partial)
        outputs: list[OutputRecord] = []
        entries = []
        try:
            for name, path in sorted(files.items()):
                content = read_regular(path, max_bytes=_MAX_WORKFLOW_BYTES)
                make_folder(partial / name)
                write_atomic(partial / name / "workflow.json", content)
                entries.append(WorkflowRecord(name=name, sha256=hashlib.sha256(content).hexdigest()))
                made = run(path, partial / name)
                if not made:
                    raise Failure(
                        "version-bad-references",
                        f"{name} made no file, so there is nothing to compare later.",
                        hint="Name a workflow that saves an image or another file.",
                    )
                outputs += describe_outputs(name, made, partial)
                _fsync_tree(partial / name)
            records = OutputRecords(
                tag=tag, content_sha256=content_sha256, workflows=tuple(entries), outputs=tuple(sorted(outputs))
            )
            write_atomic(partial / RECORDS_NAME, to_json(records))
            _replace_folder(partial, folder)
        except OSError as error:
            raise unwritable_failure(folder, error) from error
    return records


def read_records(folder: Path) -> OutputRecords:
    """Read the records of reference outputs.

    Raises:
        Failure: `version-bad-references`; after a kill of `record_outputs`, also `version-clone-running` or
            `state-unwritable`.
    """
    if not os.path.lexists(folder) and os.path.lexists(_replaced_folder(folder)):
        with hold_folder(_partial_folder(folder)):
            _restore_replaced(folder)
    path = folder / RECORDS_NAME
    hint = "Record them: comfywatchman version record VERSION --workflow FILE"
    try:
        records = decode_json(read_regular(path, max_bytes=_MAX_RECORDS_BYTES), OutputRecords)
    except Failure as failure:
        message = f"There are no reference outputs in {printable_path(folder)}."
        raise Failure("version-bad-references", message, hint=hint) from failure
    except (msgspec.MsgspecError, RecursionError) as error:
        message = f"{printable_path(path)} is damaged: {error}."
        raise Failure("version-bad-references", message, hint=hint) from error
    places = [output.file for output in records.outputs] + [f"{one.name}/workflow.json" for one in records.workflows]
    if records.schema != SCHEMA or any(place.startswith("/") or ".." in place.split("/") for place in places):
        message = f"{printable_path(path)} was not written by this program."
        raise Failure("version-bad-references", message, hint=hint)
    return records


def check_outputs(
    records: OutputRecords, folder: Path, work: Path, run: RunWorkflow, *, tolerance: float
) -> tuple[OutputComparison, ...]:
    """Run the recorded workflows again and compare their outputs with the references.

    Args:
        records: The records.
        folder: The folder of the references.
        work: An empty folder for the new outputs.
        run: Runs one workflow.
        tolerance: The mean difference of pixels, in steps of 1 of 255, that still counts as `CLOSE`; 0 for none.

    Raises:
        Failure: `state-unwritable`, or the failure of a run.
    """
    made: list[OutputRecord] = []
    for workflow in records.workflows:
        try:
            make_folder(work / workflow.name)
        except OSError as error:
            raise unwritable_failure(work, error) from error
        outputs = run(folder / workflow.name / "workflow.json", work / workflow.name)
        made += describe_outputs(workflow.name, outputs, work)
    references = {_key(output): output for output in records.outputs}
    actual = {_key(output): output for output in made}
    comparisons = []
    for key in sorted({*references, *actual}):
        reference, output = references.get(key), actual.get(key)
        state, difference = _compare(reference, output, folder, work, tolerance)
        comparisons.append(
            OutputComparison(workflow=key[0], node_id=key[1], number=key[2], state=state, difference=difference)
        )
    return tuple(comparisons)


def describe_outputs(workflow: str, made: Iterable[MadeOutput], folder: Path) -> list[OutputRecord]:
    """Return the records of the outputs of one workflow, whose files are below a folder."""
    numbers: dict[str, int] = {}
    records = []
    for output in made:
        numbers[output.node_id] = numbers.get(output.node_id, 0) + 1
        pixels = read_pixels(output.path)
        with output.path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        records.append(
            OutputRecord(
                workflow=workflow,
                node_id=output.node_id,
                number=numbers[output.node_id],
                file=output.path.relative_to(folder).as_posix(),
                size=output.path.stat().st_size,
                file_sha256=digest,
                pixels_sha256=pixels.sha256 if pixels else None,
                shape=_describe_shape(pixels) if pixels else "",
            )
        )
    return records


def _index_by_name(workflows: Iterable[Path]) -> dict[str, Path]:
    """Return workflow files by name.

    Raises:
        Failure: `version-bad-references` when two files have the same name.
    """
    files: dict[str, Path] = {}
    for path in workflows:
        if path.name in files:
            raise Failure(
                "version-bad-references",
                f"Two workflows have the same file name, {printable_path(path.name)}.",
                hint="Rename one of them: references are stored by file name.",
            )
        files[path.name] = path
    return files


def _partial_folder(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.partial")


def _replaced_folder(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.replaced")


def _replace_folder(partial: Path, folder: Path) -> None:
    """Rename a finished folder to its name; the earlier one exists until then, under a name known to the next run."""
    replaced = _replaced_folder(folder)
    remove_tree(replaced)
    if os.path.lexists(folder):
        os.rename(folder, replaced)
    os.rename(partial, folder)
    fsync_folder(folder.parent)
    remove_tree(replaced)


def _restore_replaced(folder: Path) -> None:
    """Give references their name back when a run was killed while it replaced them.

    Raises:
        Failure: `state-unwritable`.
    """
    replaced = _replaced_folder(folder)
    if os.path.lexists(folder) or not os.path.lexists(replaced):
        return
    try:
        os.rename(replaced, folder)
        fsync_folder(folder.parent)
    except OSError as error:
        raise unwritable_failure(folder, error) from error


def _clear_folder(folder: Path) -> None:
    # The folder itself stays: the lock is held on it.
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise unwritable_failure(folder, error) from error
    for name in names:
        remove_tree(folder / name)


def _fsync_tree(folder: Path) -> None:
    for parent, _folders, names in os.walk(folder, topdown=False):
        for name in names:
            fsync_file(Path(parent, name))
        fsync_folder(Path(parent))


def _compare(
    reference: OutputRecord | None, output: OutputRecord | None, folder: Path, work: Path, tolerance: float
) -> tuple[OutputState, float | None]:
    if reference is None:
        return OutputState.EXTRA, None
    if output is None:
        return OutputState.MISSING, None
    if reference.pixels_sha256 is None or output.pixels_sha256 is None:
        is_same = reference.file_sha256 == output.file_sha256
        return (OutputState.SAME if is_same else OutputState.DIFFERENT), None
    if reference.pixels_sha256 == output.pixels_sha256:
        return OutputState.SAME, 0.0
    difference = measure_difference(folder / reference.file, work / output.file)
    is_close = difference is not None and difference <= tolerance
    return (OutputState.CLOSE if is_close else OutputState.DIFFERENT), difference


def _key(output: OutputRecord) -> tuple[str, str, int]:
    return output.workflow, output.node_id, output.number


def _describe_shape(pixels: PixelFacts) -> str:
    frames = f", {pixels.frames} frames" if pixels.frames > 1 else ""
    return f"{pixels.mode} {pixels.width}x{pixels.height}{frames}"
