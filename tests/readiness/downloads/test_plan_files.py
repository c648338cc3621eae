from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from markdown_it import MarkdownIt

from comfywatchman.base.config import Home
from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.install.identity import identify_comfyui
from comfywatchman.readiness.downloads.plan import (
    DownloadPlan,
    PlanItem,
)
from comfywatchman.readiness.downloads.plan_files import (
    format_item_size,
    plans_folder,
    read_newest_plan,
    read_plan,
    render_markdown,
    write_plan,
)
from comfywatchman.readiness.search.results import SearchStatus
from tests.readiness.downloads.plans import CHOOSABLE, NOW, SHA, found, plan_of


def test_plan_is_read_back_and_old_plans_are_deleted(tmp_path: Path) -> None:
    home = Home(tmp_path)
    comfyui = identify_comfyui(tmp_path)
    assert read_newest_plan(home, comfyui) is None
    for number in range(25):
        path = write_plan(home, msgspec.structs.replace(plan_of(found()), cycle=f"c{number:02}", comfyui=comfyui))
    assert read_plan(path).cycle == "c24"
    assert (read_newest_plan(home, comfyui) or plan_of()).cycle == "c24"
    assert len(list(plans_folder(home).glob("*.json"))) == len(list(plans_folder(home).glob("*.md"))) == 20


def test_newest_plan_is_that_of_the_watched_comfyui(tmp_path: Path) -> None:
    home, watched = Home(tmp_path), identify_comfyui(tmp_path)
    other = msgspec.structs.replace(watched, id="other")
    for cycle, comfyui in (("c1", watched), ("c2", other), ("c3", None)):
        path = write_plan(home, msgspec.structs.replace(plan_of(found()), cycle=cycle, comfyui=comfyui))
        os.utime(path, (int(cycle[1]), int(cycle[1])))
    newest = read_newest_plan(home, watched)
    assert newest is not None
    assert newest.cycle == "c1"
    assert read_newest_plan(home, None) is None


@pytest.mark.parametrize("content", [b"", b"[]", b'{"cycle":5}', b"\xff", b"[" * 5000])
def test_invalid_plan_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(Failure) as raised:
        read_plan(tmp_path / "x.json")
    assert raised.value.code == "download-plan-invalid"


@pytest.mark.parametrize(
    "edited", [{"size": -5}, {"about_bytes": -1}, {"sha256": "zz"}, {"sha256": SHA.upper()}, {"sha256": SHA + "\n"}]
)
def test_impossible_size_or_hash_is_refused(tmp_path: Path, edited: dict[str, Any]) -> None:
    path = write_plan(Home(tmp_path), plan_of(found()))
    plan = orjson.loads(path.read_bytes())
    plan["items"][0] |= edited
    path.write_bytes(orjson.dumps(plan))
    with pytest.raises(Failure, match=next(iter(edited))) as raised:
        read_plan(path)
    assert raised.value.code == "download-plan-invalid"


def test_commands_in_the_markdown_are_completed(tmp_path: Path) -> None:
    def complete(text: str) -> str:
        return text.replace("comfywatchman ", "comfywatchman --home /srv/cw ")

    path = write_plan(Home(tmp_path), plan_of(found()), complete_commands=complete)
    page = path.with_suffix(".md").read_text("utf-8")
    assert f"    comfywatchman --home /srv/cw download --plan {path.name}\n" in page
    assert "comfywatchman download" not in page
    assert read_plan(path).items


def test_markdown_lists_model_source_size_and_folder() -> None:
    civitai = "https://civitai.com/api/download/models/12?fileId=34"
    page = render_markdown(
        plan_of(
            found(base_model="Wan 2.2"),
            found("c.safetensors", url=civitai, sha256="c" * 64, size=None, source="civitai"),
            found("b.ckpt"),
            found("d.safetensors", status=SearchStatus.UNCERTAIN, candidates=(CHOOSABLE,)),
        )
    )
    html = MarkdownIt().enable("table").render(page)
    for text in ("a.safetensors", "1.00 GiB", "/mnt/big/loras/a.safetensors", "Wan 2.2", SHA, "unknown", "9.00 GiB"):
        assert text in html
    assert "https://huggingface.co/o/r/resolve/main/a.safetensors" in html
    assert "models/12?fileId=34" in html
    assert "b.ckpt: Files of this kind can run code" in html
    assert "<li>d.safetensors</li>" in html


def test_markdown_escapes_names_and_shows_no_secret() -> None:
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


def test_markdown_shows_lack_of_disk_space() -> None:
    assert "too little: 1.00 GiB more are needed" in render_markdown(plan_of(found(size=11 << 30)))


def test_markdown_marks_uncertain_sizes() -> None:
    item = plan_of(found(size=3 << 30)).items[0]
    unsure = msgspec.structs.replace(item, size=None, about_bytes=5 << 20)
    unknown = msgspec.structs.replace(unsure, about_bytes=None)
    assert [format_item_size(one) for one in (item, unsure, unknown)] == ["3.00 GiB", "about 5.0 MiB", "unknown"]
