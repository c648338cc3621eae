from __future__ import annotations

from comfywatchman.comfyui.workflow.document import WorkflowFormat
from tests.comfyui.workflow import samples


def test_a_prompt_gives_values_and_linked_inputs_by_name() -> None:
    found = samples.nodes_of(samples.prompt())
    assert found["2:7"].values == {"lora_name": "b.safetensors"}
    assert found["2:7"].linked == {"model"}
    assert found["1"].title == "A"
    assert all(one.active and one.positional == () for one in found.values())


def test_the_body_of_a_queue_request_is_a_prompt() -> None:
    wrapped = samples.read({"prompt": samples.prompt(), "client_id": "x"})
    assert (wrapped.format, wrapped.nodes) == (WorkflowFormat.API, samples.read(samples.prompt()).nodes)


def test_a_text_node_supplies_the_value_it_is_linked_to() -> None:
    assert samples.nodes_of(samples.prompt())["5"].values == {"vae_name": "c.safetensors"}


def test_text_nodes_are_followed_through_each_other_and_a_circle_ends() -> None:
    chain = {str(n): {"class_type": "PrimitiveString", "inputs": {"value": [n + 1, 0]}} for n in range(3)}
    raw = {**chain, "3": {"class_type": "PrimitiveString", "inputs": {"value": "end"}}}
    assert samples.nodes_of(raw)["0"].values == {"value": "end"}
    circle = {"1": {"class_type": "PrimitiveString", "inputs": {"value": ["1", 0]}}}
    assert samples.nodes_of(circle)["1"].linked == {"value"}


def test_wrapped_lists_and_pairs_that_are_not_links_are_values() -> None:
    raw = {
        "1": {
            "class_type": "X",
            "inputs": {"a": {"__value__": ["1", 0]}, "b": ["x", "y"], "c": ["1", True], "d": [1, 0]},
        }
    }
    found = samples.nodes_of(raw)["1"]
    assert found.values == {"a": ["1", 0], "b": ["x", "y"], "c": ["1", True]}
    assert found.linked == {"d"}
    assert found.malformed == {"b", "d"}


def test_links_keep_their_output_slot() -> None:
    inputs = {"a": ["2", 1], "b": ["2", -1], "c": ["3", 0]}
    raw = {"1": {"class_type": "X", "inputs": inputs}, "3": {"class_type": "PrimitiveString", "inputs": {"value": "x"}}}
    found = samples.nodes_of(raw)["1"]
    assert found.links == {"a": ("2", 1, True), "b": ("2", -1, True), "c": ("3", 0, True)}
    assert found.values == {"c": "x"}


def test_malformed_entry_is_reported_and_skipped() -> None:
    found = samples.read({"1": {"class_type": "X", "inputs": 5}, "2": {"inputs": {}}, "meta": 7})
    assert [one.path for one in found.nodes] == ["1"]
    assert [(problem.code, problem.node_path) for problem in found.problems] == [
        ("node-unreadable", "2"),
        ("node-unreadable", "meta"),
    ]


def test_the_pack_that_saved_a_node_is_kept() -> None:
    meta = {"title": "X", "cnr_id": "pack", "aux_id": "o/r", "ver": "1.0"}
    found = samples.nodes_of({"1": {"class_type": "X", "inputs": {}, "_meta": meta}})["1"]
    assert (found.cnr_id, found.aux_id, found.version, found.title) == ("pack", "o/r", "1.0", None)


def test_link_to_a_missing_node_is_reported() -> None:
    inputs = {"a": ["9", 0], "b": ["2", 0], "c": [1, 0], "d": ["1", 0], "e": "9"}
    found = samples.read({"1": {"class_type": "X", "inputs": inputs}, "2": {"inputs": {}}})
    assert [(one.code, one.node_path, one.message[:13]) for one in found.problems] == [
        ("link-to-nowhere", "1", "The input 'a'"),
        ("link-to-nowhere", "1", "The input 'b'"),
        ("link-to-nowhere", "1", "The input 'c'"),
        ("node-unreadable", "2", "The entry '2'"),
    ]
