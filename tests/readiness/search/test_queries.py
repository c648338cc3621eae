from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.comfyui.references.reference import Reference
from comfywatchman.comfyui.workflow.document import DeclaredModel
from comfywatchman.readiness.search.queries import build_search_items, load_local_catalogue
from comfywatchman.readiness.search.results import HubIds
from comfywatchman.readiness.search.verify import SearchPolicy
from comfywatchman.readiness.states import ModelState
from comfywatchman.readiness.status import MissingModel
from comfywatchman.readiness.workflow_facts import WorkflowFacts
from comfywatchman.sources.catalogue import Catalogue, CatalogueEntry
from tests.model_files import put

POLICY = SearchPolicy()
NAME = "wan.safetensors"
HERE = "https://huggingface.co/a/b/resolve/main/wan.safetensors"


def lacking(name: str = NAME, folder: str | None = "loras", status: ModelState = ModelState.MISSING) -> MissingModel:
    return MissingModel(name, folder, "LoraLoader", "1", "lora_name", status, None, "known", "high")


def reference(name: str, folder: str, *tries: str) -> Reference:
    return Reference(
        node_path="1",
        node_type="AnyLoader",
        input="name",
        value=name,
        folder=folder,
        active=True,
        kind="loader",
        evidence="known",
        confidence="high",
        tries=tries or (name,),
    )


LORA = (reference("other.safetensors", "loras"), reference(NAME, "loras"))


def declared(url: str | None, digest: str | None = None, name: str = NAME) -> DeclaredModel:
    return DeclaredModel(name, url, "loras", digest, "SHA256" if digest else None, "3")


@pytest.mark.parametrize("state", [one for one in ModelState if one not in {ModelState.MISSING, ModelState.INVALID}])
def test_what_lies_here_or_is_no_file_is_not_looked_for(state: ModelState) -> None:
    assert build_search_items([(WorkflowFacts("json"), lacking(status=state))], policy=POLICY) == []


def test_each_model_is_looked_for_once_with_all_that_is_said_of_it() -> None:
    one = WorkflowFacts("json", declared=(declared(HERE),))
    two = WorkflowFacts(
        "json", links=("https://civitai.com/models/1", "https://huggingface.co/c/d/blob/main/wan.safetensors")
    )
    broken = lacking(status=ModelState.INVALID)
    found = build_search_items([(one, lacking()), (two, broken), (two, lacking(folder="vae"))], policy=POLICY)
    assert [(ref.query.filename, ref.query.folder) for ref in found] == [(NAME, "loras"), (NAME, "vae")]
    assert [claim.by for claim in found[0].evidence] == ["workflow", "note", "note"]
    assert found[0].evidence[0].ids == HubIds(repo="a/b", revision="main", path=NAME)


@pytest.mark.parametrize(("other", "digest"), [("a" * 64, "a" * 64), (None, "a" * 64), ("b" * 64, None)])
def test_a_hash_counts_when_no_workflow_contradicts_it(other: str | None, digest: str | None) -> None:
    facts = [WorkflowFacts("json", references=LORA, declared=(declared(HERE, one),)) for one in ("A" * 64, other)]
    (found,) = build_search_items([(one, lacking()) for one in facts], policy=POLICY)
    assert found.query.sha256 == digest


def test_names_that_the_server_tries_are_looked_for_too() -> None:
    facts = WorkflowFacts(
        "json", references=(reference("style", "embeddings", "style", "style.safetensors", "style.pt"),)
    )
    (found,) = build_search_items([(facts, lacking("style", "embeddings"))], policy=POLICY)
    assert found.query.names == ("style", "style.safetensors", "style.pt")


def test_installed_catalogues_come_after_the_workflows() -> None:
    entry = CatalogueEntry(NAME, "https://huggingface.co/e/f/resolve/main/wan.safetensors", "the Manager's list")
    catalogue = Catalogue("", {NAME: (entry,)})
    facts = WorkflowFacts("json", declared=(declared(HERE),))
    (found,) = build_search_items([(facts, lacking())], policy=POLICY, catalogue=catalogue)
    assert [claim.by for claim in found.evidence] == ["workflow", "catalogue"]


def test_bytes_of_this_host_are_noted() -> None:
    facts = WorkflowFacts("json", references=LORA, declared=(declared(HERE, "a" * 64),))
    here = {"a" * 64: "/models/vae/x.safetensors"}
    (found,) = build_search_items([(facts, lacking())], policy=POLICY, local_models=here)
    assert found.notes == ("This host has the declared bytes as /models/vae/x.safetensors: link or copy that file.",)


def test_an_address_of_a_host_that_is_not_known_is_a_claim_without_ids() -> None:
    facts = WorkflowFacts("json", declared=(declared("https://evil.example/wan.safetensors"),))
    (found,) = build_search_items([(facts, lacking())], policy=POLICY)
    assert [claim.ids for claim in found.evidence] == [HubIds()]


def test_catalogues_are_found_where_they_are_installed(tmp_path: Path) -> None:
    template = (
        b'{"models": [{"name": "a.safetensors", "url": "https://huggingface.co/a/b/resolve/main/a.safetensors"}]}'
    )
    site = tmp_path / "ComfyUI" / ".venv" / "lib" / "python3.12" / "site-packages"
    put(site / "comfyui_workflow_templates" / "templates" / "t.json", template)
    manager = b'{"models": [{"filename": "b.pth", "url": "https://huggingface.co/a/b/resolve/main/b.pth"}]}'
    put(tmp_path / "nodes" / "comfyui-manager" / "model-list.json", manager)
    cache = tmp_path / "state" / "catalogue.msgpack"
    found = load_local_catalogue(tmp_path / "ComfyUI", [tmp_path / "nodes"], cache=cache)
    assert set(found.entries) == {"a.safetensors", "b.pth"}
    assert cache.exists()
    assert load_local_catalogue(tmp_path / "nowhere", [], cache=tmp_path / "none").entries == {}
