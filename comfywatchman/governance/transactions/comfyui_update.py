"""`gov comfyui update`: another version of ComfyUI, with the packages that it requires, as one transaction."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.version import InvalidVersion, Version

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.base.git import read_head, read_origin
from comfywatchman.base.git_clone import Repository, clone_repository, fetch_origin, query_git
from comfywatchman.governance.environments import checkout
from comfywatchman.governance.environments import init as environment_init
from comfywatchman.governance.environments.checkout import GIT_SECONDS, CheckoutChange
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.staging import StagingDir
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.ids import make_transaction_id
from comfywatchman.governance.store.records import Journal
from comfywatchman.governance.transactions.locked_change import ChangeOutcome, LockedChange, try_change
from comfywatchman.governance.transactions.run import EvaluateTrial
from comfywatchman.governance.trial.evaluate import evaluate

_FETCH_SECONDS: Final = 1800.0
_REF: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,100}")


@dataclass(frozen=True, slots=True)
class ComfyUIUpdate:
    """The outcome of an update.

    Attributes:
        before: The commit before.
        after: The commit of the other version.
        version: The tag, branch or commit that was asked for, or the newest release.
        outcome: The change of packages; None when ComfyUI stays at its commit.
        is_ahead: Whether ComfyUI stays because it contains the newest release already.
    """

    before: str
    after: str
    version: str
    outcome: ChangeOutcome | None
    is_ahead: bool = False


def update_comfyui(
    context: GovContext,
    version: str = "",
    *,
    network: Mapping[str, str],
    approve_core: bool = False,
    evaluate_trial: EvaluateTrial = evaluate,
) -> ComfyUIUpdate:
    """Fetch a version of ComfyUI, start it aside with its packages and all nodes, and promote both or leave both.

    Args:
        context: The governed root; its lock must be held.
        version: A tag, branch or commit; empty for the newest release, unless ComfyUI is ahead of it.
        network: Variables for network access.
        approve_core: Whether core packages may change.
        evaluate_trial: Starts ComfyUI in a candidate and judges the start.

    Raises:
        Failure: `gov-comfyui-changed`, `gov-bad-ref`, `git-…`, or as `try_change`: nothing changed.
    """
    folder = context.comfyui
    before = read_head(folder)
    if before is None:
        raise Failure(
            "gov-comfyui-changed",
            f"{printable_path(folder)} is not a git checkout, so it cannot be updated here.",
            hint="Update it as it was installed, then run: gov init",
        )
    context.uv.progress("Fetching ComfyUI")
    _fetch(context, network)
    name = version or _find_newest_release(folder)
    change = CheckoutChange(
        folder=str(folder), before=before, before_branch=checkout.read_branch(folder), after=_find_commit(folder, name)
    )
    if change.after == before:
        return ComfyUIUpdate(before, before, name, None)
    if not version and _is_ancestor(folder, change.after, before):
        # A checkout of a development branch is never moved back without being asked to.
        return ComfyUIUpdate(before, before, name, None, is_ahead=True)
    checkout.require_changeable(change)
    aside = context.layout.candidates / f"{make_transaction_id(context.clock)}-comfyui"
    try:
        repository = Repository(str(folder), is_local=True)
        clone_repository(
            repository,
            aside,
            ref=change.after,
            timeout_seconds=_FETCH_SECONDS,
            progress=context.uv.progress,
            pass_on=context.pass_on,
        )
        outcome = _try_version(context, change, name, aside, approve_core=approve_core, evaluate_trial=evaluate_trial)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return ComfyUIUpdate(before, change.after, name, outcome)


def _try_version(
    context: GovContext,
    change: CheckoutChange,
    name: str,
    aside: Path,
    *,
    approve_core: bool,
    evaluate_trial: EvaluateTrial,
) -> ChangeOutcome:
    environment_init.require_comfyui(aside)
    manager = environment_init.has_manager_option(context.settings)
    base = environment_init.read_base_requirements(aside, with_manager=manager)

    def edit(work: StagingDir) -> None:
        if base:
            work.edit_project(lambda text: truth.set_group(text, truth.BASE_GROUP, base))

    def complete_journal(journal: Journal) -> Journal:
        # Nothing may have been edited while ComfyUI was started aside.
        checkout.require_changeable(change)
        checkout.save(context.layout, journal.operation.op_id, change)
        return journal

    return try_change(
        context,
        LockedChange(
            kind="comfyui_update",
            ref=name,
            note=f"ComfyUI moved from {change.before[:12]} to {change.after[:12]} ({name})",
            edit=edit,
            approve_core=approve_core,
            comfyui=aside,
            complete_journal=complete_journal,
        ),
        evaluate_trial=evaluate_trial,
    )


def _fetch(context: GovContext, network: Mapping[str, str]) -> None:
    origin = read_origin(context.comfyui) or ""
    repository = Repository(origin, is_local="://" not in origin, network=network)
    fetch_origin(repository, context.comfyui, timeout_seconds=_FETCH_SECONDS, pass_on=context.pass_on)


def _find_newest_release(folder: Path) -> str:
    """Return the tag of the newest release."""
    tags = (query_git(folder, "tag", "--list", "v*", timeout_seconds=GIT_SECONDS) or "").splitlines()
    versions = []
    for tag in tags:
        try:
            parsed = Version(tag.removeprefix("v"))
        except InvalidVersion:
            continue
        if not parsed.is_prerelease:
            versions.append((parsed, tag))
    if not versions:
        raise Failure("gov-bad-ref", "The origin of ComfyUI has no release tag.", hint="Name a version with --to.")
    return max(versions)[1]


def _is_ancestor(folder: Path, ancestor: str, commit: str) -> bool:
    arguments = ("merge-base", "--is-ancestor", ancestor, commit)
    return query_git(folder, *arguments, timeout_seconds=GIT_SECONDS) is not None


def _find_commit(folder: Path, name: str) -> str:
    """Return the commit of a tag, of a branch of the origin, or of a hash."""
    if _REF.fullmatch(name):
        for ref in (f"refs/tags/{name}", f"refs/tags/v{name}", f"refs/remotes/origin/{name}", name):
            verify = ("rev-parse", "--quiet", "--verify", "--end-of-options", f"{ref}^{{commit}}")
            commit = query_git(folder, *verify, timeout_seconds=GIT_SECONDS)
            if commit:
                return commit
    raise Failure(
        "gov-bad-ref",
        f"ComfyUI has no version {name[:100]!r}.",
        hint=f"List its versions: git -C {printable_path(folder)} tag",
    )
