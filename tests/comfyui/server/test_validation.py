from __future__ import annotations

from typing import Any

import pytest

from comfywatchman.comfyui.server.active_nodes import WiredNode, build_wiring
from comfywatchman.comfyui.server.validation import (
    ValidationRules,
    has_no_output,
    keep_server_checked_lists,
    read_rules,
    validate_prompt,
)
from tests.comfyui.workflow.samples import graph, node, read, slot

SAMPLER: dict[str, Any] = {"model": ["MODEL", {}], "sampler_name": [["euler", "dpm"], {}], "steps": ["INT", {}]}


def build_entry(
    *, output: object = False, module: str = "nodes", optional: Any = None, **required: Any
) -> dict[str, Any]:
    inputs = {"required": required, "optional": optional or {}}
    return {"input": inputs, "python_module": module, "output_node": output}


OBJECT_INFO: dict[str, Any] = {
    "Load": build_entry(),
    "Sample": build_entry(**SAMPLER),
    "Save": build_entry(output=True, images=["IMAGE", {}]),
    "Pack": build_entry(module="custom_nodes.pack"),
}


def build_rules(*unchecked: str, **more: Any) -> ValidationRules:
    return keep_server_checked_lists(read_rules(OBJECT_INFO | more, "0.33.0"), {"Load", "Sample", "Save", *unchecked})


def wire(*nodes: Any, **more: Any) -> tuple[WiredNode, ...]:
    return build_wiring(read(graph(*nodes, **more)), ())


def wire_chain(sampler: str = "euler", *, load_mode: int = 0, **more: Any) -> tuple[WiredNode, ...]:
    """Return load -> sample -> save, as the editor's file has it."""
    sample = [slot("model", 1, widget=False, kind="MODEL"), slot("sampler_name"), slot("steps")]
    return wire(
        node(1, "Load", mode=load_mode, outputs=[{"type": "MODEL"}]),
        node(2, "Sample", [sampler, 20], inputs=sample),
        node(3, "Save", inputs=[slot("images", 2, widget=False, kind="IMAGE")]),
        links=[[1, 1, 0, 2, 0, "MODEL"], [2, 2, 0, 3, 0, "IMAGE"]],
        **more,
    )


def list_rejected(nodes: tuple[WiredNode, ...], known: ValidationRules) -> list[tuple[str, str, str | None]]:
    return [(rejected.node.path, rejected.input, rejected.value) for rejected in validate_prompt(nodes, known).inputs]


def test_complete_workflow_is_not_rejected() -> None:
    assert validate_prompt(wire_chain(), build_rules()).inputs == ()
    assert not has_no_output(wire_chain(), build_rules())


def test_value_outside_the_choices_is_rejected_with_the_choices() -> None:
    validation = validate_prompt(wire_chain("no_such"), build_rules())
    (rejected,) = validation.inputs
    assert (rejected.node.path, rejected.input, rejected.value, rejected.offered) == (
        "2",
        "sampler_name",
        "no_such",
        ("euler", "dpm"),
    )
    assert validation.is_whole


def test_class_with_own_checks_is_not_validated() -> None:
    assert (
        list_rejected(wire_chain("no_such"), keep_server_checked_lists(read_rules(OBJECT_INFO, "0.33.0"), {"Save"}))
        == []
    )


@pytest.mark.parametrize(
    "spec",
    [
        [[], {}],
        [["euler", 1], {}],
        ["COMBO", {"options": ["euler"], "remote": {"route": "/x"}}],
        ["COMBO", {"options": ["euler"], "multi_select": True}],
        ["COMBO", {"options": ["euler"], "image_upload": True}],
        ["COMBO", {"options": ["euler"], "file_upload": True}],
        ["COMBO", {}],
        ["COMFY_DYNAMICCOMBO_V3", {"options": ["euler"]}],
        ["STRING", {}],
    ],
)
def test_dynamic_lists_reject_nothing(spec: Any) -> None:
    other = {"Sample": build_entry(**{**SAMPLER, "sampler_name": spec})}
    assert list_rejected(wire_chain("no_such"), build_rules(**other)) == []


def test_optional_combo_is_validated() -> None:
    info = build_entry(
        model=["MODEL", {}], steps=["INT", {}], optional={"sampler_name": ["COMBO", {"options": ["euler"]}]}
    )
    assert list_rejected(wire_chain("no_such"), build_rules(Sample=info)) == [("2", "sampler_name", "no_such")]
    for older in ("0.3.75", "unknown", None):
        known = keep_server_checked_lists(read_rules(OBJECT_INFO | {"Sample": info}, older), {"Sample"})
        assert list_rejected(wire_chain("no_such"), known) == []


def test_nodes_without_an_output_behind_them_are_ignored() -> None:
    loose = node(9, "Sample", ["no_such", 20], inputs=[slot("sampler_name"), slot("steps")])
    assert list_rejected((*wire_chain(), *wire(loose)), build_rules()) == []


def test_input_fed_by_a_muted_node_is_rejected() -> None:
    assert list_rejected(wire_chain(load_mode=2), build_rules()) == [("2", "model", None)]
    assert validate_prompt(wire_chain(load_mode=2), build_rules()).is_whole


def test_unlinked_required_input_is_rejected() -> None:
    assert list_rejected(wire(node(3, "Save", inputs=[slot("images", widget=False)])), build_rules()) == [
        ("3", "images", None)
    ]


@pytest.mark.parametrize(("kind", "refusals"), [("MODEL", []), ("VAE", [("3", "model", None)]), ("*", [])])
def test_bypassed_node_passes_on_a_matching_type(kind: str, refusals: list[Any]) -> None:
    nodes = wire(
        node(1, "Load", outputs=[{"type": "MODEL"}]),
        node(2, "Load", mode=4, inputs=[slot("in", 1, widget=False, kind=kind)], outputs=[{"type": "MODEL"}]),
        node(3, "Sample", ["euler", 1], inputs=[slot("model", 2, widget=False, kind="MODEL"), slot("sampler_name")]),
        node(4, "Save", inputs=[slot("images", 3, widget=False)]),
        links=[[1, 1, 0, 2, 0, "*"], [2, 2, 0, 3, 0, "MODEL"], [3, 3, 0, 4, 0, "IMAGE"]],
    )
    assert list_rejected(nodes, build_rules()) == refusals


def test_optional_and_widget_inputs_may_stay_open() -> None:
    open_ = [slot("mask", widget=False), slot("images", 1, widget=False)]
    nodes = wire(node(1, "Load"), node(3, "Save", inputs=open_), links=[[1, 1, 0, 3, 1, "IMAGE"]])
    for spec in (["INT", {}], ["COMFY_AUTOGROW_V3", {}]):
        assert list_rejected(nodes, build_rules(Save=build_entry(output=True, images=["IMAGE", {}], mask=spec))) == []
    forced = ["INT", {"forceInput": True}]
    info = build_entry(output=True, images=["IMAGE", {}], mask=forced)
    assert list_rejected(nodes, build_rules(Save=info)) == [("3", "mask", None)]


def test_open_input_counts_only_among_core_nodes() -> None:
    with_pack = (*wire_chain(load_mode=2), *wire(node(8, "Pack")))
    assert list_rejected(with_pack, build_rules()) == []
    assert list_rejected(wire_chain(load_mode=2, extra={"ue_links": [{"downstream": 2}]}), build_rules()) == []


def test_api_format_needs_every_required_input() -> None:
    prompt = {
        "1": {"class_type": "Load", "inputs": {}},
        "2": {"class_type": "Sample", "inputs": {"model": ["1", 0], "sampler_name": "euler"}},
        "3": {"class_type": "Save", "inputs": {"images": ["2", 0]}},
    }
    assert list_rejected(build_wiring(read(prompt), ()), build_rules()) == [("2", "steps", None)]
    growing = {"Sample": build_entry(model=["MODEL", {}], images=["COMFY_AUTOGROW_V3", {}])}
    assert list_rejected(build_wiring(read(prompt), ()), build_rules(**growing)) == []


def test_prompt_with_one_valid_output_is_not_refused_whole() -> None:
    nodes = (*wire_chain("no_such"), *wire(node(7, "Other")))
    info = {"Other": build_entry(output=True)}
    validation = validate_prompt(nodes, build_rules(**info))
    assert ([rejected.input for rejected in validation.inputs], validation.is_whole) == (["sampler_name"], False)


def test_unlisted_class_means_no_validation() -> None:
    nodes = (*wire_chain("no_such"), *wire(node(7, "Unheard")))
    assert list_rejected(nodes, build_rules()) == []
    assert not has_no_output(wire(node(7, "Unheard")), build_rules())
    assert has_no_output(wire(node(1, "Load")), build_rules())
    assert not has_no_output(wire(node(1, "Load")), build_rules(Load=build_entry(output=None)))


@pytest.mark.parametrize(
    "payload", [None, [], {"X": None}, {"X": {"input": []}}, {"X": {"input": {"required": {"a": 1}}}}]
)
def test_payload_of_unknown_shape_gives_no_rules(payload: object) -> None:
    rules = read_rules(payload, None)
    assert (rules.outputs, rules.required, rules.lists) == ({}, {}, {})


@pytest.mark.parametrize(
    ("values", "names", "refusals"),
    [
        (["no_such", 20], [], [("2", "sampler_name", "no_such")]),
        (["euler", 20], [], []),
        (["no_such", 20], [slot("sampler_name", 3, kind="STRING")], []),
        (["no_such", 20, "more"], [], []),
        (["no_such"], [], []),
    ],
)
def test_unnamed_values_are_found_by_index(values: list[Any], names: list[Any], refusals: list[Any]) -> None:
    nodes = wire(
        node(1, "Load", outputs=[{"type": "MODEL"}, {"type": "STRING"}]),
        node(2, "Sample", values, inputs=[slot("model", 1, widget=False, kind="MODEL"), *names]),
        node(3, "Save", inputs=[slot("images", 2, widget=False, kind="IMAGE")]),
        links=[[1, 1, 0, 2, 0, "MODEL"], [2, 2, 0, 3, 0, "IMAGE"], [3, 1, 1, 2, 1, "STRING"]],
    )
    assert list_rejected(nodes, build_rules()) == refusals


def test_indexes_are_unknown_with_an_input_of_unknown_width() -> None:
    bare = wire(
        node(2, "Sample", ["no_such", 20]),
        node(3, "Save", inputs=[slot("images", 1, widget=False)]),
        links=[[1, 2, 0, 3, 0, "IMAGE"]],
    )
    curve = {"Sample": build_entry(sampler_name=[["euler"], {}], steps=["INT", {}], curve=["CURVE", {}])}
    plain = {"Sample": build_entry(sampler_name=[["euler"], {}], steps=["INT", {}])}
    assert list_rejected(bare, build_rules(**plain)) == [("2", "sampler_name", "no_such")]
    assert list_rejected(bare, build_rules(**curve)) == []
