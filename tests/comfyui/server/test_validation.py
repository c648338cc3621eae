"""What a running server refuses beside models and classes: only what is certain is said."""

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


def entry(*, output: object = False, module: str = "nodes", optional: Any = None, **required: Any) -> dict[str, Any]:
    inputs = {"required": required, "optional": optional or {}}
    return {"input": inputs, "python_module": module, "output_node": output}


OBJECT_INFO: dict[str, Any] = {
    "Load": entry(),
    "Sample": entry(**SAMPLER),
    "Save": entry(output=True, images=["IMAGE", {}]),
    "Pack": entry(module="custom_nodes.pack"),
}


def rules(*unchecked: str, **more: Any) -> ValidationRules:
    return keep_server_checked_lists(read_rules(OBJECT_INFO | more, "0.33.0"), {"Load", "Sample", "Save", *unchecked})


def wired(*nodes: Any, **more: Any) -> tuple[WiredNode, ...]:
    return build_wiring(read(graph(*nodes, **more)), ())


def chain(sampler: str = "euler", *, load_mode: int = 0, **more: Any) -> tuple[WiredNode, ...]:
    """Return load -> sample -> save, as the editor's file has it."""
    sample = [slot("model", 1, widget=False, kind="MODEL"), slot("sampler_name"), slot("steps")]
    return wired(
        node(1, "Load", mode=load_mode, outputs=[{"type": "MODEL"}]),
        node(2, "Sample", [sampler, 20], inputs=sample),
        node(3, "Save", inputs=[slot("images", 2, widget=False, kind="IMAGE")]),
        links=[[1, 1, 0, 2, 0, "MODEL"], [2, 2, 0, 3, 0, "IMAGE"]],
        **more,
    )


def said(nodes: tuple[WiredNode, ...], known: ValidationRules) -> list[tuple[str, str, str | None]]:
    return [(one.node.path, one.input, one.value) for one in validate_prompt(nodes, known).inputs]


def test_a_whole_workflow_is_not_refused() -> None:
    assert validate_prompt(chain(), rules()).inputs == ()
    assert not has_no_output(chain(), rules())


def test_a_value_that_the_list_does_not_hold_is_refused_with_what_is_offered() -> None:
    found = validate_prompt(chain("no_such"), rules())
    (one,) = found.inputs
    assert (one.node.path, one.input, one.value, one.offered) == ("2", "sampler_name", "no_such", ("euler", "dpm"))
    assert found.is_whole


def test_a_class_that_checks_by_itself_is_left_to_it() -> None:
    assert said(chain("no_such"), keep_server_checked_lists(read_rules(OBJECT_INFO, "0.33.0"), {"Save"})) == []


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
def test_lists_that_are_not_the_same_for_everybody_refuse_nothing(spec: Any) -> None:
    other = {"Sample": entry(**{**SAMPLER, "sampler_name": spec})}
    assert said(chain("no_such"), rules(**other)) == []


def test_an_optional_list_refuses_too() -> None:
    info = entry(model=["MODEL", {}], steps=["INT", {}], optional={"sampler_name": ["COMBO", {"options": ["euler"]}]})
    assert said(chain("no_such"), rules(Sample=info)) == [("2", "sampler_name", "no_such")]
    for older in ("0.3.75", "unknown", None):
        known = keep_server_checked_lists(read_rules(OBJECT_INFO | {"Sample": info}, older), {"Sample"})
        assert said(chain("no_such"), known) == []


def test_nodes_that_lead_to_no_output_are_not_looked_at() -> None:
    loose = node(9, "Sample", ["no_such", 20], inputs=[slot("sampler_name"), slot("steps")])
    assert said((*chain(), *wired(loose)), rules()) == []


def test_what_only_a_muted_node_feeds_is_refused() -> None:
    assert said(chain(load_mode=2), rules()) == [("2", "model", None)]
    assert validate_prompt(chain(load_mode=2), rules()).is_whole


def test_what_nothing_is_linked_to_is_refused() -> None:
    assert said(wired(node(3, "Save", inputs=[slot("images", widget=False)])), rules()) == [("3", "images", None)]


@pytest.mark.parametrize(("kind", "refusals"), [("MODEL", []), ("VAE", [("3", "model", None)]), ("*", [])])
def test_a_bypassed_node_passes_on_what_fits_its_type(kind: str, refusals: list[Any]) -> None:
    nodes = wired(
        node(1, "Load", outputs=[{"type": "MODEL"}]),
        node(2, "Load", mode=4, inputs=[slot("in", 1, widget=False, kind=kind)], outputs=[{"type": "MODEL"}]),
        node(3, "Sample", ["euler", 1], inputs=[slot("model", 2, widget=False, kind="MODEL"), slot("sampler_name")]),
        node(4, "Save", inputs=[slot("images", 3, widget=False)]),
        links=[[1, 1, 0, 2, 0, "*"], [2, 2, 0, 3, 0, "MODEL"], [3, 3, 0, 4, 0, "IMAGE"]],
    )
    assert said(nodes, rules()) == refusals


def test_an_input_that_is_not_required_or_has_a_widget_may_stay_open() -> None:
    open_ = [slot("mask", widget=False), slot("images", 1, widget=False)]
    nodes = wired(node(1, "Load"), node(3, "Save", inputs=open_), links=[[1, 1, 0, 3, 1, "IMAGE"]])
    for spec in (["INT", {}], ["COMFY_AUTOGROW_V3", {}]):
        assert said(nodes, rules(Save=entry(output=True, images=["IMAGE", {}], mask=spec))) == []
    forced = ["INT", {"forceInput": True}]
    info = entry(output=True, images=["IMAGE", {}], mask=forced)
    assert said(nodes, rules(Save=info)) == [("3", "mask", None)]


def test_an_open_input_counts_only_where_no_extension_may_feed_it() -> None:
    with_pack = (*chain(load_mode=2), *wired(node(8, "Pack")))
    assert said(with_pack, rules()) == []
    assert said(chain(load_mode=2, extra={"ue_links": [{"downstream": 2}]}), rules()) == []


def test_the_servers_own_format_has_to_give_every_required_input() -> None:
    prompt = {
        "1": {"class_type": "Load", "inputs": {}},
        "2": {"class_type": "Sample", "inputs": {"model": ["1", 0], "sampler_name": "euler"}},
        "3": {"class_type": "Save", "inputs": {"images": ["2", 0]}},
    }
    assert said(build_wiring(read(prompt), ()), rules()) == [("2", "steps", None)]
    growing = {"Sample": entry(model=["MODEL", {}], images=["COMFY_AUTOGROW_V3", {}])}
    assert said(build_wiring(read(prompt), ()), rules(**growing)) == []


def test_while_one_output_is_whole_the_server_runs_that_one() -> None:
    nodes = (*chain("no_such"), *wired(node(7, "Other")))
    info = {"Other": entry(output=True)}
    found = validate_prompt(nodes, rules(**info))
    assert ([one.input for one in found.inputs], found.is_whole) == (["sampler_name"], False)


def test_nothing_is_said_of_workflows_with_classes_that_the_server_does_not_list() -> None:
    nodes = (*chain("no_such"), *wired(node(7, "Unheard")))
    assert said(nodes, rules()) == []
    assert not has_no_output(wired(node(7, "Unheard")), rules())
    assert has_no_output(wired(node(1, "Load")), rules())
    assert not has_no_output(wired(node(1, "Load")), rules(Load=entry(output=None)))


def test_links_between_ids_that_stand_twice_are_not_followed() -> None:
    assert wired(node(1, "Save", inputs=[slot("images", widget=False)]), node(1, "Load")) == ()


def test_long_texts_and_names_of_models_are_not_kept_as_choices() -> None:
    texts = [slot("a"), slot("b"), slot("c"), slot("d")]
    content = read(graph(node(1, "Load", ["x" * 65, "two\nlines", "m.safetensors", "euler"], inputs=texts)))
    (one,) = build_wiring(content, {("1", "c")})
    assert one.texts == {"d": "euler"}


@pytest.mark.parametrize(
    "payload", [None, [], {"X": None}, {"X": {"input": []}}, {"X": {"input": {"required": {"a": 1}}}}]
)
def test_an_answer_of_an_unknown_shape_gives_no_rule(payload: object) -> None:
    found = read_rules(payload, None)
    assert (found.outputs, found.required, found.lists) == ({}, {}, {})


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
def test_values_without_names_are_told_by_their_place(values: list[Any], names: list[Any], refusals: list[Any]) -> None:
    nodes = wired(
        node(1, "Load", outputs=[{"type": "MODEL"}, {"type": "STRING"}]),
        node(2, "Sample", values, inputs=[slot("model", 1, widget=False, kind="MODEL"), *names]),
        node(3, "Save", inputs=[slot("images", 2, widget=False, kind="IMAGE")]),
        links=[[1, 1, 0, 2, 0, "MODEL"], [2, 2, 0, 3, 0, "IMAGE"], [3, 1, 1, 2, 1, "STRING"]],
    )
    assert said(nodes, rules()) == refusals


def test_places_are_not_told_where_an_input_takes_an_unknown_number_of_them() -> None:
    bare = wired(
        node(2, "Sample", ["no_such", 20]),
        node(3, "Save", inputs=[slot("images", 1, widget=False)]),
        links=[[1, 2, 0, 3, 0, "IMAGE"]],
    )
    curve = {"Sample": entry(sampler_name=[["euler"], {}], steps=["INT", {}], curve=["CURVE", {}])}
    plain = {"Sample": entry(sampler_name=[["euler"], {}], steps=["INT", {}])}
    assert said(bare, rules(**plain)) == [("2", "sampler_name", "no_such")]
    assert said(bare, rules(**curve)) == []
