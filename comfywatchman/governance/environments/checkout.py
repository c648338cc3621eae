"""The commit of ComfyUI's checkout, which `gov comfyui update` and its undo change together with the environment.

The change is written beside the record of its operation before the commit point, and made by the commit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.base.git import is_dirty, read_head, read_working_tree
from comfywatchman.base.git_clone import checkout_commit, query_git
from comfywatchman.base.settings import NeededPath
from comfywatchman.base.state.state_file import CorruptFile, describe_corrupt_file, read_state, write_state
from comfywatchman.base.text import shorten_list
from comfywatchman.governance.environments.interrupted_checkout import prepare_forced_checkout
from comfywatchman.governance.store.layout import GovLayout

GIT_SECONDS: Final = 120.0
CHECKOUT_SECONDS: Final = 3600.0
"""The limit of a checkout after the commit point: git that is ended in between leaves a half-written working copy."""


class CheckoutChange(msgspec.Struct, frozen=True, kw_only=True):
    """`state/checkouts/<op_id>.json`: the commits of ComfyUI before and after an operation.

    Attributes:
        folder: The folder of ComfyUI.
        before: The commit before.
        before_branch: The branch that was checked out; empty for none.
        after: The commit after.
        after_branch: The branch that is checked out then; empty for none.
    """

    schema_version: int = 1
    folder: NeededPath
    before: str
    before_branch: str = ""
    after: str
    after_branch: str = ""

    def reverse(self) -> CheckoutChange:
        """Return the change back."""
        return CheckoutChange(
            folder=self.folder,
            before=self.after,
            before_branch=self.after_branch,
            after=self.before,
            after_branch=self.before_branch,
        )


def read_branch(folder: Path) -> str:
    """Return the branch that is checked out; empty for none."""
    return query_git(folder, "symbolic-ref", "--quiet", "--short", "HEAD", timeout_seconds=GIT_SECONDS) or ""


def save(layout: GovLayout, op_id: str, change: CheckoutChange) -> None:
    """Write the change of an operation that is about to be committed.

    Raises:
        Failure: `state-unwritable`.
    """
    write_state(layout.checkouts / f"{op_id}.json", change)


def read(layout: GovLayout, op_id: str) -> CheckoutChange | None:
    """Return the change of ComfyUI's checkout that an operation made; None when it made none.

    Raises:
        Failure: `gov-checkout-unreadable`.
    """
    change = read_state(layout.checkouts / f"{op_id}.json", CheckoutChange, only_look=True)
    if isinstance(change, CorruptFile):
        # As "no change", it would let packages move without ComfyUI.
        raise Failure(
            "gov-checkout-unreadable",
            f"{describe_corrupt_file(change)}.",
            hint="Restore it from a backup, or delete it: then only packages change, and ComfyUI stays at its commit.",
        )
    return change


def apply(layout: GovLayout, op_id: str) -> None:
    """Check out what an operation changes; it may be repeated, also after git was killed.

    Raises:
        Failure: `git-missing`, `git-failed`, `child-timeout`, `gov-checkout-unreadable`, or `gov-comfyui-changed` where
            it would lose something.
    """
    change = read(layout, op_id)
    if change is None:
        return
    folder = Path(change.folder)
    head = read_head(folder)
    if head == change.after:
        return
    try:
        checkout_commit(folder, change.after, change.after_branch, timeout_seconds=CHECKOUT_SECONDS)
    except Failure as failure:
        if failure.code != "git-failed" or head != change.before:
            raise
        # `require_changeable` held before the commit point, so these may be the files of a checkout that was killed.
        command = f"git -C {printable_path(folder)} checkout --force --detach {change.after}"
        prepare_forced_checkout(folder, change.before, change.after, command=command)
        checkout_commit(folder, change.after, change.after_branch, timeout_seconds=CHECKOUT_SECONDS, force=True)


def require_changeable(change: CheckoutChange) -> None:
    """Require that a checkout is at the commit before, without local changes, and that no file is in the way.

    Raises:
        Failure: `gov-comfyui-changed`.
    """
    folder = Path(change.folder)
    shown = printable_path(folder)
    if read_head(folder) != change.before:
        raise _changed_failure(f"{shown} is at another commit than {change.before[:12]}.", "Check it out, or leave it.")
    if is_dirty(folder, timeout_seconds=GIT_SECONDS) is not False:
        tree = read_working_tree(folder, timeout_seconds=GIT_SECONDS)
        names = shorten_list(tree.changed_files) if tree is not None else "unknown, git cannot read them"
        raise _changed_failure(
            f"{shown} has local changes, which would be lost: {names}.",
            f"Keep them first: git -C {shown} stash, or commit them on a branch of your own.",
        )
    # A dry run of the checkout: it fails where an untracked file would be overwritten.
    dry_run = ("read-tree", "--dry-run", "-m", "-u", change.before, change.after)
    if query_git(folder, *dry_run, timeout_seconds=GIT_SECONDS) is None:
        raise _changed_failure(
            f"{shown} has untracked files where the other version has files of its own.",
            f"See which: git -C {shown} checkout {change.after[:12]}",
        )


def _changed_failure(message: str, hint: str) -> Failure:
    return Failure("gov-comfyui-changed", message, hint=f"Nothing was changed. {hint}")
