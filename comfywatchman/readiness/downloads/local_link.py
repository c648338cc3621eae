"""Links a file of this host to the place where a workflow expects a model, without a download."""

from __future__ import annotations

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.base.settings import Settings
from comfywatchman.comfyui.install.folders import ModelFolders
from comfywatchman.readiness.downloads.links import LinkMethod, link_file
from comfywatchman.readiness.downloads.pickles import build_file_check
from comfywatchman.readiness.downloads.plan import PlanItem
from comfywatchman.readiness.downloads.queue import DownloadOutcome
from comfywatchman.readiness.downloads.target import decide_target, open_folder
from comfywatchman.readiness.models.inventory import ModelFile


def link_model(item: PlanItem, source: ModelFile, settings: Settings, folders: ModelFolders) -> DownloadOutcome:
    """Link a file under the name that a workflow uses; no file is replaced.

    Args:
        item: The model, as the workflow names it.
        source: The file of this host.
        settings: The effective settings; where the configured link is not possible, a symbolic one is made.
        folders: The model folders of this ComfyUI.

    Raises:
        Failure: `download-name-unsafe`, `download-target-taken`, `download-no-source`, `state-unwritable`, or the
            failure of the check of its header.
    """
    target = decide_target(item.filename, item.folder, folders)
    configured = settings.downloads.link
    methods: tuple[LinkMethod, ...] = ("symlink",) if configured in {"off", "symlink"} else (configured, "symlink")
    # The file is here already, so it is not a new risk.
    check = build_file_check(allow_pickle=True)
    with open_folder(target) as folder:
        for method in methods:
            if link_file(source, folder, target.name, method=method, check=check):
                return DownloadOutcome(
                    item.id,
                    item.filename,
                    printable_path(target.path),
                    how="linked",
                    size=source.size,
                    message=f"Linked to {printable_path(source.path)}.",
                )
    message = f"{printable_path(source.path)} could not be linked to {printable_path(target.path)}."
    raise Failure("download-no-source", message, hint="Copy or move the file there.")
