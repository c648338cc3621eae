"""Facts of one workflow."""

from __future__ import annotations

import json

import msgspec
import pytest

from comfywatchman.comfyui.loaders.table import LoaderInput, load_builtin_table
from comfywatchman.readiness.workflow_facts import WorkflowFacts, build_knowledge_key, read_workflow_facts
from tests.hosts import CHECKPOINT, graph

TABLE = load_builtin_table()


def test_facts_contain_references_and_classes() -> None:
    facts = read_workflow_facts(graph(lora="a.safetensors", lora_muted=True), container="json", table=TABLE)
    assert (facts.format, facts.failure) == ("ui-0.4", None)
    assert [(reference.value, reference.active) for reference in facts.references] == [
        (CHECKPOINT, True),
        ("a.safetensors", False),
    ]
    assert len(facts.classes["CLIPTextEncode"].node_paths) == 2
    assert facts.classes["LoraLoader"].node_paths == ()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"1", b'"x"', b"\xff\xfe\x00", b"{}", b"[" * 5000])
def test_other_content_gives_a_failure(content: bytes) -> None:
    facts = read_workflow_facts(content, container="png", table=TABLE)
    assert (facts.format, facts.container) == (None, "png")
    assert facts.failure is not None
    assert facts.failure.code.startswith("workflow-")
    assert facts.failure.message


def test_facts_contain_the_pack_of_each_class() -> None:
    workflow = json.loads(graph(last="MyNode"))
    workflow["nodes"][-1]["properties"] |= {"cnr_id": "my-pack", "ver": "1.2.3"}
    use = read_workflow_facts(json.dumps(workflow).encode(), container="json", table=TABLE).classes["MyNode"]
    assert (use.cnr_id, use.aux_id, use.version) == ("my-pack", None, "1.2.3")


def test_prompt_is_told_from_a_file_of_the_editor() -> None:
    node = {"class_type": "Old", "inputs": {}}
    for others, expected in (([], True), ([node], False)):
        nodes = [{**node, "_meta": {}}, *others]
        content = json.dumps({str(number): entry for number, entry in enumerate(nodes)}).encode()
        facts = read_workflow_facts(content, container="json", table=TABLE)
        assert facts.classes["Old"].in_prompt is expected
    assert not read_workflow_facts(graph(), container="json", table=TABLE).classes["KSampler"].in_prompt


def test_facts_survive_encoding() -> None:
    for content in (graph(lora="a.safetensors"), b"{", graph(last="MyNode")):
        facts = read_workflow_facts(content, container="json", table=TABLE)
        assert msgspec.json.decode(msgspec.json.encode(facts), type=WorkflowFacts) == facts


def test_knowledge_key_depends_on_loader_table_and_size_limit() -> None:
    more = TABLE.merge([LoaderInput("MyLoader", "x", "loras", 0, "a pack", "high")])
    key = build_knowledge_key(TABLE, max_bytes=1)
    assert build_knowledge_key(more, max_bytes=1) != key
    assert build_knowledge_key(TABLE, max_bytes=2) != key
    assert build_knowledge_key(load_builtin_table(), max_bytes=1) == key
