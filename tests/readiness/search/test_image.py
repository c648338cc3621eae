from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.install.folders import resolve_folders
from comfywatchman.readiness.database import open_database
from comfywatchman.readiness.models.hashing import hash_within_budget
from comfywatchman.readiness.models.index import ModelIndex
from comfywatchman.readiness.models.inventory import build_inventory
from comfywatchman.readiness.models.scan import scan_models
from comfywatchman.readiness.search.image import MAX_RESOURCES, ImageLookup, look_up_image, read_host_models
from comfywatchman.readiness.search.image_models import HostModels, Presence, index_host_models
from tests.hosts import Host, tree
from tests.model_files import put, safetensors
from tests.readiness.search.servers import CANARIES, SearchServers, search_servers
from tests.servers.base import Reply
from tests.servers.civitai import CivitaiServer, file_json, image_json, model_json, version_json

WANTED = 96712457
NOTHING = index_host_models((), {})


@pytest.fixture
def made() -> Iterator[SearchServers]:
    with search_servers() as running:
        yield running


def look(made: SearchServers, host: HostModels | None = NOTHING, **search: Any) -> ImageLookup:
    return look_up_image(WANTED, made.settings(search=search), host, made.clock)


def show(made: SearchServers, **meta: Any) -> None:
    made.civitai.feed.append(image_json(WANTED, nsfw_level="X", meta=meta))


def test_a_picture_is_told_with_models_and_settings(made: SearchServers) -> None:
    version = version_json([file_json("detail.safetensors")])
    made.civitai.models = [model_json("Detail", [version])]
    show(
        made,
        civitaiResources=[{"type": "lora", "modelVersionId": version["id"], "weight": 0.7}],
        sampler="Euler\na",
        steps=20,
        seed=1 << 70,
        cfgScale="",
        Size=["x"],
    )
    picture = look(made).picture
    assert picture is not None
    (used,) = picture.models
    assert (used.model, used.weight, used.files) == ("Detail v1.0", 0.7, ("detail.safetensors",))
    assert used.state is Presence.NOT_HERE
    assert picture.settings == {"sampler": "Euler a", "steps": 20}
    assert (picture.has_metadata, picture.has_workflow) == (True, False)


@pytest.mark.parametrize(
    ("meta", "has"),
    [
        ({"comfy": '{"workflow": {"nodes": []}}'}, True),
        ({"comfy": '{"workflow": {}}'}, False),
        ({"workflow": {"nodes": []}}, True),
        ({"workflow": "txt2img"}, False),
        ({"comfy": ""}, False),
    ],
)
def test_a_workflow_in_the_metadata_is_noticed(made: SearchServers, meta: dict[str, Any], *, has: bool) -> None:
    show(made, **meta)
    picture = look(made).picture
    assert picture is not None
    assert picture.has_workflow is has


def test_local_hash_needs_no_request(made: SearchServers, tmp_path: Path) -> None:
    file = file_json("detail_tweaker.safetensors")
    made.civitai.models = [model_json("Detail", [version_json([file])])]
    show(made, hashes={"lora:anything": file["hashes"]["AutoV1"]})
    picture = look(made).picture
    assert picture is not None
    assert picture.models[0].files == ("detail_tweaker.safetensors",)
    made.civitai.by_hash_lies = {file["hashes"]["AutoV1"]}
    picture = look(made).picture
    assert picture is not None
    assert picture.models[0].files == ()
    made.civitai.asked.clear()
    known = HostModels({file["hashes"]["AutoV1"].lower(): _any_file(tmp_path)}, {}, {}, 0)
    look(made, known)
    assert len(made.civitai.asked) == 1


def _any_file(folder: Path) -> Any:
    host = Host(folder)
    return next(iter(read_host_models(host.layout.database, resolve_folders(host.installation)[0]).by_name.values()))[0]


def test_trouble_with_a_model_hides_neither_the_picture_nor_other_models(made: SearchServers) -> None:
    show(made, civitaiResources=[{"modelVersionId": 5}, {"modelVersionId": 6}], resources=[{"name": "a_lora"}])

    def limited(asked: Any, handler: Any) -> Reply:
        made.civitai.pages = {}
        reply = made.civitai.answer(asked, handler)
        assert reply is not None
        made.civitai.limited = 1
        return reply

    made.civitai.pages = {"/api/v1/images": limited}
    found = look(made)
    assert found.picture is not None
    assert [one.state for one in found.picture.models] == [Presence.UNKNOWN] * 3
    assert any("limits the number of requests" in problem for problem in found.problems)


def test_a_picture_that_names_too_many_models_is_cut_short(made: SearchServers) -> None:
    show(made, models=[f"model_{number}.safetensors" for number in range(MAX_RESOURCES + 5)])
    found = look(made)
    assert found.picture is not None
    assert len(found.picture.models) == MAX_RESOURCES
    assert "55 models" in found.problems[0]


def test_the_other_address_is_asked_for_what_the_first_does_not_show(made: SearchServers) -> None:
    with CivitaiServer() as second:
        second.feed.append(image_json(WANTED))
        assert look(made, civitai_fallback_url=second.url).answer.status == "FOUND"
        assert second.asked[0].headers["authorization"] == f"Bearer {CANARIES['civitai_api_key']}"
        made.civitai.pages = {"/api/v1/images": Reply(b"", 503)}
        assert look(made, civitai_fallback_url=second.url).answer.status == "FOUND"
        second.feed.clear()
        with pytest.raises(Failure) as caught:
            look(made, civitai_fallback_url=second.url)
        assert caught.value.code == "source-unavailable"
        made.civitai.pages = {}
        assert look(made, civitai_fallback_url=second.url).answer.status == "NOT_FOUND"


def test_a_key_is_sent_to_no_address_that_civitai_redirects_to(made: SearchServers) -> None:
    made.civitai.pages = {"/api/v1/images": Reply(b"", 307, {"Location": f"{made.evil.url}/api/v1/images"})}
    with pytest.raises(Failure):
        look(made)
    assert made.evil.asked == []


def test_reading_the_models_of_a_host_changes_nothing(tmp_path: Path) -> None:
    host = Host(tmp_path)
    put(host.comfyui / "models" / "loras" / "a_lora.safetensors", safetensors(3))
    folders = resolve_folders(host.installation)[0]
    before = tree(host.home, host.comfyui)
    assert read_host_models(host.layout.database, folders).not_hashed == 2
    assert tree(host.home, host.comfyui) == before
    opened = open_database(host.layout.database)
    index = ModelIndex(opened)
    inventory = build_inventory(scan_models(folders), index)
    files = [file for models in inventory.folders.values() for file in models.values()]
    hash_within_budget(files, index, budget_seconds=60, monotonic=host.clock.monotonic)
    kept = tree(host.home, host.comfyui)
    while_open = read_host_models(host.layout.database, folders)
    assert tree(host.home, host.comfyui).keys() == kept.keys()
    opened.close()
    closed = tree(host.home, host.comfyui)
    assert read_host_models(host.layout.database, folders) == while_open
    assert while_open.not_hashed == 0
    assert tree(host.home, host.comfyui) == closed
