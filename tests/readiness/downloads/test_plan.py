from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from markdown_it import MarkdownIt

from comfywatchman.base.config import Home
from comfywatchman.base.errors import Failure
from comfywatchman.readiness.downloads.plan import (
    DownloadPlan,
    PlanDisk,
    PlanItem,
    PlanRules,
    build_plan,
    check_item,
    reason_not_automatic,
    select_items,
)
from comfywatchman.readiness.downloads.plan_files import (
    format_item_size,
    plans_folder,
    read_newest_plan,
    read_plan,
    render_markdown,
    write_plan,
)
from comfywatchman.readiness.downloads.run import split_plan
from comfywatchman.readiness.search.results import HubIds, SearchCandidate, SearchResult, SearchStatus
from comfywatchman.sources.download.redirects import HostPolicy
from tests.readiness.downloads.test_target import MODELS, folders

SHA = "a" * 64
URL = "https://huggingface.co/o/r/resolve/main/a.safetensors"
NOW = "2026-11-20T14:00:00Z"


def rules(**changes: Any) -> PlanRules:
    facts: dict[str, Any] = {
        "folders": folders(MODELS),
        "allowed": HostPolicy(),
        "allow_pickle": False,
        "local_copies": {},
        "find_disk": lambda directory: (directory.parts[1], 10 << 30),
    }
    return PlanRules(**{**facts, **changes})


def found(name: str = "a.safetensors", folder: str | None = "loras", **changes: Any) -> SearchResult:
    plain = SearchResult(SearchStatus.FOUND, name, folder, NOW, "huggingface", HubIds(repo="o/r"), URL, 1 << 30, SHA)
    return msgspec.structs.replace(plain, **changes)


def plan_of(*results: SearchResult, **changes: Any) -> DownloadPlan:
    return build_plan(results, rules(**changes), cycle="c1", made_at=NOW)


def test_what_was_found_becomes_an_item_with_its_place_and_size() -> None:
    plan = plan_of(
        found(base_model="Wan"),
        found(),
        found("b.safetensors", "unet", size=None),
        found(
            "c.safetensors", status=SearchStatus.UNCERTAIN, candidates=(SearchCandidate("civitai", "x.safetensors"),)
        ),
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
def test_what_cannot_be_fetched_is_in_the_plan_with_its_reason(changes: dict[str, Any], code: str) -> None:
    plan = plan_of(found(**changes))
    assert plan.items[0].code == code
    assert plan.items[0].blocked
    assert (plan.total_bytes, plan.disks) == (0, ())
    assert reason_not_automatic(plan.items[0]) == plan.items[0].blocked


def test_a_pickle_may_be_fetched_when_that_was_chosen_but_never_automatically() -> None:
    plan = plan_of(found("a.ckpt"), allow_pickle=True)
    assert plan.items[0].blocked is None
    assert "run code" in (reason_not_automatic(plan.items[0]) or "")


def test_without_a_hash_nothing_is_fetched_automatically() -> None:
    plan = plan_of(found(), found("b.safetensors", sha256=None))
    taken, waiting = split_plan(plan)
    assert [item.filename for item in taken] == ["a.safetensors"]
    assert [(item.filename, "hash" in reason) for item, reason in waiting] == [("b.safetensors", True)]


def test_what_is_here_already_is_linked_and_takes_no_room() -> None:
    plan = plan_of(found(), local_copies={SHA: "/here/x.safetensors"})
    assert plan.items[0].same_as == "/here/x.safetensors"
    assert (plan.total_bytes, plan.disks) == (0, ())
    assert "will be linked" in render_markdown(plan)


def test_what_a_person_wrote_into_a_plan_is_judged_anew() -> None:
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
    assert [item.filename for item in select_items(plan, ["a.safetensors", "wan\\a.safetensors"])] == [
        "wan\\a.safetensors"
    ]
    assert len(select_items(plan, ["b.safetensors"])) == 2
    with pytest.raises(Failure, match="not in the plan"):
        select_items(plan, ["c.safetensors"])


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
    assert select_items(DownloadPlan("c", "t", (item,), 0), [name]) == (item,)


def test_a_plan_is_kept_and_read_again_and_old_ones_go(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert read_newest_plan(home) is None
    for number in range(25):
        path = write_plan(home, msgspec.structs.replace(plan_of(found()), cycle=f"c{number:02}"))
    assert read_plan(path).cycle == "c24"
    assert (read_newest_plan(home) or plan_of()).cycle == "c24"
    assert len(list(plans_folder(home).glob("*.json"))) == len(list(plans_folder(home).glob("*.md"))) == 20


@pytest.mark.parametrize("content", [b"", b"[]", b'{"cycle":5}', b"\xff", b"[" * 5000])
def test_what_is_no_plan_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(Failure) as raised:
        read_plan(tmp_path / "x.json")
    assert raised.value.code == "download-plan-invalid"


@pytest.mark.parametrize(
    "edited", [{"size": -5}, {"about_bytes": -1}, {"sha256": "zz"}, {"sha256": SHA.upper()}, {"sha256": SHA + "\n"}]
)
def test_a_size_or_hash_that_no_file_has_is_said_before_anything_is_fetched(
    tmp_path: Path, edited: dict[str, Any]
) -> None:
    path = write_plan(Home(tmp_path), plan_of(found()))
    plan = orjson.loads(path.read_bytes())
    plan["items"][0] |= edited
    path.write_bytes(orjson.dumps(plan))
    with pytest.raises(Failure, match=next(iter(edited))) as raised:
        read_plan(path)
    assert raised.value.code == "download-plan-invalid"


def test_markdown_lists_model_source_size_and_folder() -> None:
    civitai = "https://civitai.com/api/download/models/12?fileId=34"
    page = render_markdown(
        plan_of(
            found(base_model="Wan 2.2"),
            found("c.safetensors", url=civitai, sha256="c" * 64, size=None, source="civitai"),
            found("b.ckpt"),
            found("d.safetensors", status=SearchStatus.UNCERTAIN, candidates=(SearchCandidate("civitai", "x"),)),
        )
    )
    html = MarkdownIt().enable("table").render(page)
    for text in ("a.safetensors", "1.00 GiB", "/mnt/big/loras/a.safetensors", "Wan 2.2", SHA, "unknown", "9.00 GiB"):
        assert text in html
    assert "https://huggingface.co/o/r/resolve/main/a.safetensors" in html
    assert "models/12?fileId=34" in html
    assert "b.ckpt: Files of this kind can run code" in html
    assert "<li>d.safetensors</li>" in html


def test_a_page_obeys_no_name_and_shows_no_secret() -> None:
    item = PlanItem(
        "<script>|`x`](http://evil)\n# b.safetensors",
        "loras",
        "https://user:pw@evil/x?token=sesame",
        target="/x",
        licence="<b>",
    )
    other = msgspec.structs.replace(item, url="https://evil/x?token=sesame")
    page = render_markdown(DownloadPlan("c", NOW, (item, other), 0))
    html = MarkdownIt().enable("table").render(page)
    assert "<script>" not in html
    assert "<b>" not in html
    assert "href" not in html
    assert html.count("<h1>") == 1
    assert "sesame" not in page
    assert "pw" not in page


def test_too_little_room_is_visible() -> None:
    assert "too little: 1.00 GiB more are needed" in render_markdown(plan_of(found(size=11 << 30)))


def test_a_size_that_is_not_sure_is_said_to_be_so() -> None:
    item = plan_of(found(size=3 << 30)).items[0]
    unsure = msgspec.structs.replace(item, size=None, about_bytes=5 << 20)
    unknown = msgspec.structs.replace(unsure, about_bytes=None)
    assert [format_item_size(one) for one in (item, unsure, unknown)] == ["3.00 GiB", "about 5.0 MiB", "unknown"]
