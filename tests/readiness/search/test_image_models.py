from __future__ import annotations

from typing import Any

import pytest

from comfywatchman.readiness.models.index import FileHashes
from comfywatchman.readiness.models.inventory import ModelFile
from comfywatchman.readiness.search.image_models import (
    HostModels,
    Presence,
    ResourceVersion,
    UsedModel,
    compare_with_host,
    index_host_models,
    match_versions,
    merge_resources,
)
from comfywatchman.sources.civitai.images import ImageResource
from comfywatchman.sources.civitai.schema import CivitaiFile, CivitaiVersion, VersionModel

SHA = "a1" * 32
V2 = SHA[:10]
V3 = "0c1d2e3f4a5b"
OTHER = FileHashes("b2" * 32, "c3" * 6, "d4" * 32)


def compare(resource: ImageResource, known: CivitaiVersion | None, here: HostModels | None) -> UsedModel:
    return compare_with_host(ResourceVersion(resource, known), here)


def model_file(name: str, folder: str = "loras", *, inode: int = 1, problem: str | None = None) -> ModelFile:
    return ModelFile(folder, name, f"/models/{folder}/{name}", 10, 5, 1, inode, "safetensors", problem, problem)


def host(*files: ModelFile, hashes: FileHashes | None = None) -> HostModels:
    return index_host_models(files, {file.key: hashes for file in files} if hashes else {})


def version(*files: CivitaiFile, **changes: Any) -> CivitaiVersion:
    facts: dict[str, Any] = {
        "id": 7,
        "model_id": 3,
        "name": "v1",
        "model": VersionModel("Detail", "LORA"),
        "files": files,
    }
    return CivitaiVersion(**{**facts, **changes})


def civitai_file(name: str, sha256: str = SHA, *, autov3: str = V3, type: str | None = "Model") -> CivitaiFile:  # noqa: A002
    return CivitaiFile(name=name, type=type, hashes={"SHA256": sha256.upper(), "AutoV2": sha256[:10], "AutoV3": autov3})


@pytest.mark.parametrize(("digest", "by"), [(SHA, "SHA-256"), (V2, "AutoV2"), (V3, "AutoV3")])
def test_a_model_with_the_hash_of_the_picture_is_here_whatever_its_name(digest: str, by: str) -> None:
    here = host(model_file("renamed.safetensors", "vae"), hashes=FileHashes(SHA, V3, "e5" * 32))
    used = compare(ImageResource("lora", "detail_tweaker", digest), None, here)
    assert (used.state, used.found_by, used.path) == (Presence.HERE, by, "/models/vae/renamed.safetensors")
    assert (used.hash, used.hash_kind) == (digest, by)


def test_a_version_is_here_by_the_hash_of_its_file() -> None:
    here = host(model_file("renamed.safetensors"), hashes=FileHashes(SHA, None, "e5" * 32))
    used = compare(ImageResource("model", version_id=7), version(civitai_file("detail_v1.safetensors")), here)
    assert (used.state, used.found_by) == (Presence.HERE, "SHA-256")
    assert (used.type, used.model, used.model_id, used.version_id) == ("lora", "Detail v1", 3, 7)
    assert used.files == ("detail_v1.safetensors",)


def test_a_hash_that_only_civitai_knows_leads_to_one_that_can_be_compared() -> None:
    file = CivitaiFile(name="a_file.safetensors", hashes={"AutoV1": "12345678", "SHA256": SHA})
    here = host(model_file("x.safetensors"), hashes=FileHashes(SHA, None, "e5" * 32))
    used = compare(ImageResource("lora", hash="12345678"), version(file), here)
    assert (used.state, used.hash_kind) == (Presence.HERE, None)


def test_a_version_whose_file_has_short_hashes_only_is_compared_by_those() -> None:
    file = CivitaiFile(name="x.safetensors", hashes={"AutoV2": V2.upper(), "AutoV3": None})
    here = host(model_file("renamed.safetensors"), hashes=FileHashes(SHA, None, "e5" * 32))
    assert compare(ImageResource("lora", version_id=7), version(file), here).found_by == "AutoV2"


def test_a_file_of_a_version_that_lacks_the_hash_of_the_picture_is_not_meant() -> None:
    here = host(model_file("x.safetensors"), hashes=FileHashes(SHA, V3, "e5" * 32))
    used = compare(ImageResource("lora", hash="f" * 10, version_id=7), version(civitai_file("x.safetensors")), here)
    assert (used.state, used.files) == (Presence.NOT_HERE, ())


def test_the_vae_of_a_version_does_not_stand_for_its_checkpoint() -> None:
    files = (civitai_file("real.safetensors", "b" * 64, autov3="b" * 12), civitai_file("vae_of_it.pt", type="VAE"))
    here = host(model_file("x.safetensors", "vae"), hashes=FileHashes(SHA, None, "e5" * 32))
    assert compare(ImageResource("model", version_id=7), version(*files), here).state is Presence.NOT_HERE
    assert compare(ImageResource("model", version_id=7), version(files[1]), here).state is Presence.HERE


@pytest.mark.parametrize("name", ["detail_tweaker.safetensors", "Detail_Tweaker", "XL\\detail_tweaker.safetensors"])
def test_a_name_alone_is_said_to_be_a_name_alone(name: str) -> None:
    used = compare(ImageResource("lora", name), None, host(model_file("sub/detail_tweaker.safetensors")))
    assert (used.state, used.found_by) == (Presence.BY_NAME, "file name")
    assert used.path == "/models/loras/sub/detail_tweaker.safetensors"


def test_a_file_of_the_name_with_other_bytes_is_not_it() -> None:
    here = host(model_file("detail_tweaker.safetensors"), hashes=OTHER)
    used = compare(ImageResource("lora", "detail_tweaker", V2), None, here)
    assert (used.state, used.path) == (Presence.NOT_HERE, "/models/loras/detail_tweaker.safetensors")
    unlike_kind = compare(ImageResource("lora", "detail_tweaker", "12345678"), None, here)
    assert unlike_kind.state is Presence.BY_NAME


def test_after_a_file_with_other_bytes_another_of_the_name_may_still_be_it() -> None:
    files = [
        model_file("a/detail_tweaker.pt"),
        model_file("detail_tweaker.pt", inode=2),
        model_file("c/detail_tweaker.pt"),
    ]
    here = index_host_models(files, {files[0].key: OTHER})
    assert compare(ImageResource("lora", "detail_tweaker.pt", V2), None, here).path == "/models/loras/detail_tweaker.pt"
    both_other = index_host_models(files, {files[0].key: OTHER, files[1].key: OTHER})
    assert compare(ImageResource("lora", "detail_tweaker.pt", V2), None, both_other).path == files[0].path


@pytest.mark.parametrize(
    ("resource", "state"),
    [
        (ImageResource("lora", hash=V2), Presence.NOT_HERE),
        (ImageResource("lora", "absent_lora.safetensors"), Presence.NOT_HERE),
        (ImageResource("lora", "A Fine Title"), Presence.UNKNOWN),
        (ImageResource("lora", hash="12345678"), Presence.UNKNOWN),
        (ImageResource("lora", version_id=7), Presence.UNKNOWN),
        (ImageResource("lora", "model.safetensors"), Presence.UNKNOWN),
        (ImageResource("lora", "folder/"), Presence.UNKNOWN),
        (ImageResource("checkpoint", "detail_tweaker"), Presence.UNKNOWN),
        (ImageResource("wonder", "detail_tweaker"), Presence.BY_NAME),
        (ImageResource("lora", "broken_lora.safetensors"), Presence.NOT_HERE),
    ],
)
def test_what_cannot_be_compared_is_unknown_and_what_was_compared_is_not_here(
    resource: ImageResource, state: Presence
) -> None:
    files = (
        model_file("detail_tweaker.safetensors"),
        model_file("model.safetensors", inode=2),
        model_file("broken_lora.safetensors", inode=3, problem="cut off"),
    )
    assert compare(resource, None, host(*files)).state is state


def test_without_a_host_nothing_is_compared() -> None:
    used = compare(ImageResource("lora", hash=V2), version(civitai_file("a.safetensors"), model=None, name=None), None)
    assert (used.state, used.files, used.model) == (Presence.UNKNOWN, ("a.safetensors",), None)


def test_models_without_a_hash_are_counted_once_for_each_file() -> None:
    twice = [model_file("a.safetensors"), model_file("a.safetensors", "vae"), model_file("b.safetensors", inode=2)]
    assert host(*twice).not_hashed == 2
    assert host(*twice, hashes=OTHER).not_hashed == 0


def test_what_a_picture_says_of_one_model_in_several_places_is_one_entry() -> None:
    given = (
        ImageResource("model", "dreamshaper_8", V2.upper()),
        ImageResource("checkpoint", None, SHA),
        ImageResource("lora", "detail", None, None, 0.8),
        ImageResource("lora", "detail.safetensors", V3, 9),
        ImageResource("model", version_id=9, weight=0.5),
        ImageResource("embed", "easynegative", "no hash"),
        ImageResource("vae", "detail"),
        ImageResource("lora", hash="12345678"),
        ImageResource("lora", hash="1234567"),
    )
    assert merge_resources(given) == (
        ImageResource("checkpoint", "dreamshaper_8", SHA),
        ImageResource("lora", "detail.safetensors", V3, 9, 0.8),
        ImageResource("embedding", "easynegative"),
        ImageResource("vae", "detail"),
        ImageResource("lora", hash="12345678"),
        ImageResource("lora", hash="1234567"),
    )
    assert merge_resources(
        [ImageResource("lora", "x"), ImageResource("lora", version_id=1), ImageResource("lora", "y")]
    ) == (
        ImageResource("lora", "x"),
        ImageResource("lora", version_id=1),
        ImageResource("lora", "y"),
    )


@pytest.mark.parametrize(
    ("named", "own"),
    [
        (ImageResource("lora", hash=V2), None),
        (ImageResource("lora", "Detail_v1.safetensors"), None),
        (ImageResource("lora", hash="12345678"), version(civitai_file("detail_v1.safetensors"))),
    ],
)
def test_a_bare_version_joins_the_entry_that_names_a_file_of_it(
    named: ImageResource, own: CivitaiVersion | None
) -> None:
    told = version(civitai_file("detail_v1.safetensors"))
    (joined,) = match_versions(
        [ResourceVersion(ImageResource("model", version_id=7, weight=0.5), told), ResourceVersion(named, own)]
    )
    resource = joined.resource
    assert (resource.version_id, resource.weight, resource.type, joined.version) == (7, 0.5, "lora", told)


@pytest.mark.parametrize(
    ("named", "own"),
    [
        (ImageResource("lora", hash="f" * 10), None),
        (ImageResource("lora", "model.safetensors"), None),
        (ImageResource("lora", "other.safetensors"), None),
        (ImageResource("lora", "detail_v1.safetensors"), version(id=8)),
    ],
)
def test_a_bare_version_of_something_else_stays_an_entry_of_its_own(
    named: ImageResource, own: CivitaiVersion | None
) -> None:
    told = version(civitai_file("detail_v1.safetensors"), civitai_file("model.safetensors"))
    bare = ImageResource("model", version_id=7)
    assert match_versions([ResourceVersion(named, own), ResourceVersion(bare, told)]) == [
        ResourceVersion(named, own),
        ResourceVersion(bare, told),
    ]
    assert match_versions([ResourceVersion(bare), ResourceVersion(named)]) == [
        ResourceVersion(named),
        ResourceVersion(bare),
    ]


def test_of_a_version_with_several_files_the_named_one_is_meant() -> None:
    files = (civitai_file("detail_fp32.safetensors"), civitai_file("detail_fp16.safetensors", "b" * 64))
    used = compare(ImageResource("lora", "detail_fp16.safetensors", version_id=7), version(*files), None)
    assert used.files == ("detail_fp16.safetensors",)
