from __future__ import annotations

from typing import Any

import msgspec
import pytest

from comfywatchman.readiness.downloads.plan import (
    DownloadPlan,
    PlanDisk,
    PlanItem,
    check_item,
    match_items,
    reason_not_automatic,
)
from comfywatchman.readiness.downloads.plan_files import (
    render_markdown,
)
from comfywatchman.readiness.downloads.run import split_plan
from comfywatchman.readiness.search.results import FileDetails, SearchCandidate, SearchStatus
from tests.readiness.downloads.plans import CHOOSABLE, SHA, URL, found, plan_of, rules


def test_found_model_becomes_an_item_with_target_and_size() -> None:
    plan = plan_of(
        found(base_model="Wan"),
        found(),
        found("b.safetensors", "unet", size=None),
        found("c.safetensors", status=SearchStatus.UNCERTAIN, candidates=(CHOOSABLE,)),
        found("gated.safetensors", status=SearchStatus.UNCERTAIN, candidates=(SearchCandidate("huggingface", "x"),)),
        found("more.safetensors", status=SearchStatus.UNCERTAIN),
        found("d.safetensors", status=SearchStatus.NOT_FOUND),
        found("e.safetensors", url=None),
    )
    assert [(item.filename, item.target) for item in plan.items] == [
        ("a.safetensors", "/mnt/big/loras/a.safetensors"),
        ("b.safetensors", "/comfy/models/diffusion_models/b.safetensors"),
    ]
    assert plan.total_bytes == 1 << 30
    assert plan.to_choose == ("c.safetensors",)
    assert plan.disks == (
        PlanDisk("/comfy/models/diffusion_models", 10 << 30, 10 << 30),
        PlanDisk("/mnt/big/loras", 10 << 30, 9 << 30),
    )


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"filename": "../a.safetensors"}, "download-name-unsafe"),
        ({"type": None}, "download-name-unsafe"),
        ({"filename": "a.ckpt"}, "download-pickle-refused"),
        ({"url": "https://example.com/a.safetensors"}, "download-host-refused"),
        ({"url": "http://huggingface.co/o/r/resolve/main/a.safetensors"}, "download-host-refused"),
    ],
)
def test_blocked_model_is_in_the_plan_with_its_reason(changes: dict[str, Any], code: str) -> None:
    plan = plan_of(found(**changes))
    assert plan.items[0].code == code
    assert plan.items[0].blocked
    assert (plan.total_bytes, plan.disks) == (0, ())
    assert reason_not_automatic(plan.items[0]) == plan.items[0].blocked


def test_allowed_pickle_is_never_fetched_automatically() -> None:
    plan = plan_of(found("a.ckpt"), allow_pickle=True)
    assert plan.items[0].blocked is None
    assert "run code" in (reason_not_automatic(plan.items[0]) or "")


def test_without_a_hash_nothing_is_fetched_automatically() -> None:
    plan = plan_of(found(), found("b.safetensors", sha256=None))
    taken, waiting = split_plan(plan)
    assert [item.filename for item in taken] == ["a.safetensors"]
    assert [(item.filename, "hash" in reason) for item, reason in waiting] == [("b.safetensors", True)]


def test_local_copy_is_linked_and_takes_no_space() -> None:
    plan = plan_of(found(), local_copies={SHA: "/here/x.safetensors"})
    assert plan.items[0].same_as == "/here/x.safetensors"
    assert (plan.total_bytes, plan.disks) == (0, ())
    assert "will be linked" in render_markdown(plan)


def test_edited_plan_is_checked_again() -> None:
    item = PlanItem("../a.safetensors", "loras", URL, target="/etc/passwd", same_as="/etc/shadow")
    now = check_item(item, rules())
    assert (now.target, now.same_as, now.code) == (None, None, "download-name-unsafe")
    assert check_item(msgspec.structs.replace(now, filename="a.safetensors"), rules()).blocked is None


def test_another_folder_hash_or_address_is_another_item() -> None:
    one = PlanItem("a", "loras", URL)
    assert one.id == PlanItem("a", "loras", URL, size=5, licence="mit").id
    others = [
        PlanItem("b", "loras", URL),
        PlanItem("a", "vae", URL),
        PlanItem("a", "loras", "x"),
        PlanItem("a", None, URL),
    ]
    assert len({one.id, *(other.id for other in others), PlanItem("a", "loras", URL, sha256=SHA).id}) == 6
    assert PlanItem("\ud800", "loras", URL).id


def test_items_are_named_whole_or_without_their_folder() -> None:
    plan = plan_of(found("wan\\a.safetensors"), found("b.safetensors"), found("b.safetensors", "unet"))
    for name in ("a.safetensors", "wan\\a.safetensors"):
        assert [item.filename for item in match_items(plan, name)] == ["wan\\a.safetensors"]
    assert len(match_items(plan, "b.safetensors")) == 2
    assert match_items(plan, "c.safetensors") == ()
    assert [item.folder for item in match_items(plan, "loras/b.safetensors")] == ["loras"]


@pytest.mark.parametrize(
    ("name", "there", "planned"),
    [
        ("soft_negative", "Soft_Negative.safetensors", "soft_negative.safetensors"),
        ("style.v2", "style.v2.safetensors", "style.v2.safetensors"),
        ("soft.safetensors", "other.pt", "soft.safetensors"),
        ("soft_negative", "no ending", "soft_negative"),
    ],
)
def test_an_embedding_is_planned_under_its_whole_name(name: str, there: str, planned: str) -> None:
    proof = SearchCandidate("civitai", there, size=5_000, sha256=SHA)
    (item,) = plan_of(found(name, "embeddings", sha256=SHA, size=None, candidates=(proof,))).items
    assert (item.filename, item.about_bytes) == (planned, 5_000)
    assert match_items(DownloadPlan("c", "t", (item,), 0), name) == (item,)


def test_licence_of_the_found_file_is_in_the_plan() -> None:
    details = FileDetails(licence="no commercial use")
    proof = SearchCandidate("civitai", "a.safetensors", sha256=SHA, details=details)
    plan = plan_of(found(candidates=(proof,)))
    assert [item.licence for item in plan.items] == ["no commercial use"]
    assert "no commercial use" in render_markdown(plan)
