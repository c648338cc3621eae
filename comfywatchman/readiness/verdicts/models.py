"""Judging one workflow: each model reference, then the whole. Pure: everything known is passed in."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from comfywatchman.base.files import to_nfc
from comfywatchman.comfyui.references.reference import Confidence, Reference
from comfywatchman.readiness.models.scan import UNFINISHED
from comfywatchman.readiness.states import UNDECIDED_STATES, ModelState, WorkflowStatus

LONGEST_NAME_BYTES = 1024


_NAME_DIFFERENCES = (ModelState.SEPARATOR, ModelState.NORMALISATION, ModelState.CASE)


class InstalledModel(Protocol):
    """A model file of the inventory."""

    @property
    def folder(self) -> str:
        """Canonical model folder."""

    @property
    def name(self) -> str:
        """Name below the folder, with `/`."""

    @property
    def path(self) -> str:
        """Absolute path."""

    @property
    def problem(self) -> str | None:
        """Why the file cannot be a model, or None."""

    @property
    def problem_code(self) -> str | None:
        """The same for programs."""


class ModelLookup(Protocol):
    """What may be asked of an inventory."""

    def exact(self, folder: str, name: str) -> InstalledModel | None:
        """Return the file that ComfyUI would open for this name."""

    def by_basename(self, name_lower: str) -> Sequence[InstalledModel]:
        """Return files of every folder by lower-cased last path segment, whatever their Unicode form."""

    def target(self, folder: str) -> str:
        """Return where a new model of a folder belongs, as a person would write it."""

    @property
    def folders(self) -> Mapping[str, object]:
        """The model folders that ComfyUI knows, by canonical name."""


@dataclass(frozen=True, slots=True)
class ModelFinding:
    """One reference held against the inventory.

    Attributes:
        reference: The place that names the model.
        state: What the host has.
        fix: What to do, in words; None when nothing is to be done.
        path: The file found, if one.
    """

    reference: Reference
    state: ModelState
    fix: str | None = None
    path: str | None = None

    @property
    def is_sure(self) -> bool:
        """Whether what is missing is surely missing (a guess by file ending is not, nor a value of unknown classes)."""
        return self.reference.confidence != "low" and self.state not in UNDECIDED_STATES


def judge_reference(
    reference: Reference,
    models: ModelLookup,
    *,
    unknown_classes: Sequence[str] = (),
    choices: Collection[str] | None = None,
) -> ModelFinding:
    """Say what this host has for one reference; what the server would open is exact, however odd its name.

    Args:
        reference: The reference.
        models: The inventory.
        unknown_classes: Node classes of the same workflow that this host lacks; with one of them missing, promoted
            values may stand in the wrong place, so a value that is no file name is said to be unresolvable.
        choices: What the running server offers for this input; None when none runs or it has no list for it. The
            server decides what it accepts, the file whether it can be loaded.
    """
    finding = _judge_by_files(reference, models, unknown_classes)
    if choices is None:
        return finding
    if reference.value in choices:
        is_broken = finding.state is ModelState.INVALID
        return finding if is_broken else ModelFinding(reference, ModelState.EXACT, path=finding.path)
    if finding.state is not ModelState.EXACT:
        return finding
    fix = "The file is there, but the running ComfyUI does not offer it: restart it, or see which folders it reads."
    return ModelFinding(reference, ModelState.MISSING, fix, finding.path)


def _judge_by_files(reference: Reference, models: ModelLookup, unknown_classes: Sequence[str]) -> ModelFinding:
    found = _find_exact(reference, models)
    if found is not None and reference.folder is None and found.problem is None:
        return _build_unknown_folder_finding(reference, found)
    if found is not None:
        return _judge_exact_match(reference, found)
    if not _is_file_name(reference.value):
        return ModelFinding(reference, ModelState.UNRESOLVABLE, _explain_unresolvable(unknown_classes))
    if reference.folder is None:
        return _judge_without_folder(reference, models)
    return _judge_near_matches(reference, models, unknown_classes)


def combine_findings(
    models: Iterable[ModelFinding], *, nodes_missing: bool, nodes_uncertain: bool, is_refused: bool = False
) -> WorkflowStatus:
    """Put a readable workflow's findings together; only active references may be given.

    Args:
        models: Findings of what the workflow requires.
        nodes_missing: A required node class is surely not usable.
        nodes_uncertain: For a required node class it is not known.
        is_refused: The running server surely refuses it for another reason.
    """
    lacking = [finding for finding in models if finding.state is not ModelState.EXACT]
    if nodes_missing or is_refused or any(finding.is_sure for finding in lacking):
        return WorkflowStatus.MISSING
    return WorkflowStatus.UNCERTAIN if nodes_uncertain or lacking else WorkflowStatus.READY


def confidence_rank(confidence: Confidence) -> int:
    """Order confidences, the surest first."""
    return ("high", "medium", "low").index(confidence)


def _find_exact(reference: Reference, models: ModelLookup) -> InstalledModel | None:
    if reference.folder is not None:
        folders = (reference.folder, *reference.also_folders)
        tried = (models.exact(folder, name) for folder in folders for name in reference.tries if name)
        return next((found for found in tried if found is not None), None)
    near = models.by_basename(_basename(reference.value).lower()) if reference.value else ()
    return _pick_loadable([found for found in near if found.name == reference.value])


def _pick_loadable(matches: Sequence[InstalledModel]) -> InstalledModel | None:
    return next((match for match in matches if match.problem is None), matches[0] if matches else None)


def _judge_without_folder(reference: Reference, models: ModelLookup) -> ModelFinding:
    wanted = _to_posix(reference.value)
    near = models.by_basename(_basename(wanted).lower())
    best = _pick_loadable([found for found in near if found.name == wanted]) or _pick_loadable(near)
    if best is not None:
        if best.problem is not None:
            return _judge_exact_match(reference, best)
        state = _compare_names(best.name, (wanted,)) or ModelState.SUBFOLDER
        return ModelFinding(
            reference, state, f"This host has {best.folder}/{best.name}; choose it in the node.", best.path
        )
    return ModelFinding(reference, ModelState.MISSING, "Which folder the node reads is not known; see its pack's page.")


def _build_unknown_folder_finding(reference: Reference, found: InstalledModel) -> ModelFinding:
    return ModelFinding(
        reference,
        ModelState.FOLDER_UNKNOWN,
        f"{found.folder}/{found.name} is there, but it is not known which folder this node reads. "
        "Start ComfyUI and run the check again: the running server says what the node offers.",
        found.path,
    )


def _judge_exact_match(reference: Reference, found: InstalledModel) -> ModelFinding:
    if found.problem is None:
        return ModelFinding(reference, ModelState.EXACT, path=found.path)
    if found.problem_code == UNFINISHED:
        fix = f"{found.folder}/{found.name} is not whole yet ({found.problem}): let aria2 finish, or delete both files."
    else:
        fix = f"{found.folder}/{found.name} is there but broken ({found.problem}): delete it and fetch it again."
    return ModelFinding(reference, ModelState.INVALID, fix, found.path)


def _judge_near_matches(reference: Reference, models: ModelLookup, unknown_classes: Sequence[str]) -> ModelFinding:
    folder = reference.folder or ""
    names = tuple(_to_posix(name) for name in reference.tries)
    near = [found for name in names for found in models.by_basename(_basename(name).lower())]
    here = [found for found in near if found.folder in {folder, *reference.also_folders}]
    differences = [(_compare_names(found.name, names), found) for found in here]
    for state, matches in (
        *((one, [found for state, found in differences if state is one]) for one in _NAME_DIFFERENCES),
        (ModelState.SUBFOLDER, here),
        (ModelState.WRONG_FOLDER, near),
    ):
        if matches:
            return _build_near_finding(reference, state, matches, models.target(folder))
    if folder not in models.folders and unknown_classes:
        fix = f"Install the missing node pack first; then put the file into {models.target(folder)}."
        return ModelFinding(reference, ModelState.MISSING, fix)
    return ModelFinding(reference, ModelState.MISSING, f"Put the file into {models.target(folder)}.")


def _compare_names(found: str, names: Sequence[str]) -> ModelState | None:
    """Say in what a file's name differs from the wanted ones (with `/`); None when in more than its spelling."""
    if found in names:
        return ModelState.SEPARATOR
    if to_nfc(found) in map(to_nfc, names):
        return ModelState.NORMALISATION
    return ModelState.CASE if to_nfc(found.lower()) in (to_nfc(name.lower()) for name in names) else None


def _build_near_finding(
    reference: Reference, state: ModelState, matches: Sequence[InstalledModel], target: str
) -> ModelFinding:
    found = _pick_loadable(matches) or matches[0]
    if found.problem is not None:
        return _judge_exact_match(reference, found)
    if state is ModelState.SUBFOLDER and len(matches) > 1:
        names = ", ".join(sorted(match.name for match in matches))
        return ModelFinding(reference, state, f"Choose one of these in the node: {names}.", None)
    if state is ModelState.WRONG_FOLDER:
        wanted = f"{target}/{_to_posix(reference.value)}"
        fix = f"A file of this name lies in {found.folder}; if it is the same model, move or link it to {wanted}."
    elif state is ModelState.NORMALISATION:
        fix = (
            f"This host has {found.name}, which looks the same but is written with other code points (composed and "
            "decomposed accents, as on macOS): choose it in the node again, or rename the file."
        )
    else:
        fix = f"This host has it as {found.name}; choose that name in the node, or rename the file."
    return ModelFinding(reference, state, fix, found.path)


def _explain_unresolvable(unknown_classes: Sequence[str]) -> str:
    if not unknown_classes:
        return "The value is no file name; open the workflow and choose a model in this node."
    named = ", ".join(unknown_classes[:3])
    return f"The value is no file name, perhaps because node classes are missing ({named}): install those first."


def _is_file_name(value: str) -> bool:
    return (
        len(value.encode("utf-8", "replace")) <= LONGEST_NAME_BYTES
        and value.isprintable()
        and not value.isdigit()
        and value.strip() != ""
    )


def _to_posix(name: str) -> str:
    return name.replace("\\", "/")


def _basename(name: str) -> str:
    return name.rpartition("/")[2]
