from __future__ import annotations

import pytest

from comfywatchman.readiness.report.needs import ActionKind, PlannedAction
from comfywatchman.readiness.report.overview import PlannedStep, build_overview
from comfywatchman.readiness.report.step_text import (
    INSTALL_PAGE,
    UPDATE_PAGE,
    HostFacts,
    StepPart,
    describe_plan,
    describe_step,
    quote_command,
)
from tests.readiness.report.findings import entry, model
from tests.readiness.report.sample_reports import status

HOST = HostFacts("0.3.64", is_governed=False)
GOVERNED = HostFacts(None, is_governed=True)


def describe(*actions: PlannedAction, host: HostFacts = HOST) -> tuple[StepPart, ...]:
    return describe_step(PlannedStep(actions, ("/w/a.json",), (), 1), host)


def file(kind: ActionKind, name: str = "a.pt", **changes: object) -> PlannedAction:
    return PlannedAction(kind, name, folder="vae", target=f"models/vae/{name}", **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("action", "part"),
    [
        (
            file(ActionKind.DOWNLOAD, is_verified=True, size_bytes=335_000_000),
            StepPart("download VAE", "", "335 MB", ("models/vae/a.pt",), ("comfywatchman", "download", "a.pt")),
        ),
        (
            file(ActionKind.DOWNLOAD, "-a.pt"),
            StepPart(
                "download VAE",
                "link from the workflow, not verified",
                "",
                ("models/vae/-a.pt",),
                ("comfywatchman", "download", "--", "-a.pt"),
            ),
        ),
        (
            file(ActionKind.LINK, size_bytes=0),
            StepPart(
                "link VAE",
                "on disk already, nothing to download",
                "",
                ("models/vae/a.pt",),
                ("comfywatchman", "download", "a.pt"),
            ),
        ),
        (
            file(ActionKind.FIND, "-a.pt"),
            StepPart(
                "find VAE",
                "no source known yet",
                "",
                ("models/vae/-a.pt",),
                ("comfywatchman", "resolve", "--", "-a.pt"),
            ),
        ),
        (
            file(ActionKind.CHOOSE, choices=3),
            StepPart("choose VAE", "3 candidates", "", ("models/vae/a.pt",), ("comfywatchman", "resolve", "a.pt")),
        ),
        (
            file(ActionKind.REPLACE),
            StepPart(
                "replace damaged VAE",
                "delete the file first",
                "",
                ("models/vae/a.pt",),
                ("comfywatchman", "resolve", "a.pt"),
            ),
        ),
        (
            PlannedAction(ActionKind.REPAIR, "/c/extra.yaml"),
            StepPart("repair ComfyUI's configuration", paths=("/c/extra.yaml",), command=("comfywatchman", "doctor")),
        ),
        (
            PlannedAction(ActionKind.REPAIR, "production", url="gov init"),
            StepPart("repair the Python environment (production)", command=("gov", "init")),
        ),
        (
            PlannedAction(ActionKind.UPDATE, "", version="0.33.0"),
            StepPart("update ComfyUI from 0.3.64 to 0.33.0 or newer", page=UPDATE_PAGE),
        ),
        (
            PlannedAction(ActionKind.UPDATE, ""),
            StepPart("update ComfyUI from 0.3.64 to the newest version", page=UPDATE_PAGE),
        ),
        (
            PlannedAction(ActionKind.INSTALL, "Easy Use", pack="easy"),
            StepPart("install node pack Easy Use", "with ComfyUI-Manager, then restart ComfyUI", page=INSTALL_PAGE),
        ),
    ],
)
def test_action_has_a_title_a_path_and_a_command(action: PlannedAction, part: StepPart) -> None:
    assert describe(action) == (part,)


def test_governed_environment_installs_with_gov() -> None:
    action = PlannedAction(ActionKind.INSTALL, "Easy Use", pack="easy", url="https://github.com/o/easy")
    assert describe(action, host=GOVERNED)[0].command == ("gov", "node", "add", "https://github.com/o/easy")
    hostile = PlannedAction(ActionKind.INSTALL, "Easy Use", pack="$(reboot)")
    assert describe(hostile, host=GOVERNED)[0].command == ()
    update = PlannedAction(ActionKind.UPDATE, "", version="1.0")
    assert describe(update, host=GOVERNED)[0].title == "update ComfyUI to 1.0 or newer"


def test_downloads_of_a_step_share_a_command() -> None:
    verified = {"is_verified": True, "size_bytes": 1_250_000_000}
    parts = describe(
        file(ActionKind.DOWNLOAD, "a.pt", **verified),
        PlannedAction(ActionKind.UPDATE, ""),
        file(ActionKind.DOWNLOAD, "b.pt", **verified),
    )
    assert [part.title for part in parts] == ["download 2 files", "update ComfyUI from 0.3.64 to the newest version"]
    assert parts[0].command == ("comfywatchman", "download", "a.pt", "b.pt")
    assert (parts[0].size, parts[0].note) == ("2.5 GB", "")


def test_plan_sums_the_first_three_steps() -> None:
    models = [model(f"{n}.pt", answer="FOUND", size_bytes=1_000_000_000, target=f"models/vae/{n}.pt") for n in range(5)]
    entries = [entry(f"/w/{n}.json", missing_models=(one,)) for n, one in enumerate(models)]
    assert describe_plan(build_overview(status()), 0) == ("", "")
    one = build_overview(status(entries[0]))
    assert describe_plan(one, 1) == ("1 step would make 1 more ready", "")
    five = build_overview(status(*entries))
    assert describe_plan(five, 5) == (
        "3 steps would make 3 more ready",
        "all 5 steps below, 5 more (5.0 GB to download)",
    )
    assert describe_plan(five, 4)[1] == "all 4 steps below, 4 more (4.0 GB to download)"
    unknown = build_overview(status(*entries[:4], entry("/w/9.json", missing_models=(model("z.pt"),))))
    assert describe_plan(unknown, 5)[1] == "all 5 steps below, 5 more"


def test_command_is_quoted_for_a_shell() -> None:
    assert quote_command(("comfywatchman", "download", "a b.pt")) == "comfywatchman download 'a b.pt'"
