"""Values of inputs. The cases were asked of `execution.validate_prompt` of ComfyUI 0.3.75, 0.7, 0.28 and 0.33."""

from __future__ import annotations

from typing import Any

import pytest

from comfywatchman.comfyui.server.signatures import read_signatures
from comfywatchman.comfyui.validation.prompt import PromptNode
from comfywatchman.comfyui.validation.rejection import RejectedInput
from comfywatchman.comfyui.validation.rules import ServerChecks
from comfywatchman.comfyui.validation.signature import ALL_INPUTS, InputSignature, NodeSignature, Scalar
from comfywatchman.comfyui.validation.values import check_value, has_unknown_choices, may_be_refused
from tests.comfyui.validation.classes import NEWEST, build_entry

API_NODE = PromptNode("1", "N", given=("x",))
FILE_NODE = PromptNode("1", "N", unfed=())
CORE = NodeSignature(own_checks=(), has_editor_code=False)


def read_input(specification: Any) -> InputSignature:
    (signature,) = read_signatures({"N": build_entry(x=specification)})["N"].inputs
    return signature


def check(
    specification: Any,
    value: Scalar,
    *,
    node: PromptNode = API_NODE,
    owner: NodeSignature = CORE,
    checks: ServerChecks = NEWEST,
) -> str | None:
    rejected = check_value(node, owner, read_input(specification), value, checks)
    return None if rejected is None else rejected.reason.value


@pytest.mark.parametrize("value", [20, 20.6, True, "20", " 20 ", "1_0", -5])
def test_whatever_python_makes_an_integer_of_is_accepted(value: Scalar) -> None:
    assert check(["INT", {}], value) is None


@pytest.mark.parametrize("value", ["many", "1.5", "", None, "{…}"])
def test_text_that_is_no_integer_is_rejected(value: Scalar) -> None:
    assert check(["INT", {"min": 0}], value) == "not_a_number"


@pytest.mark.parametrize(("value", "reason"), [("1e3", None), ("nan", None), (5, None), ("x", "not_a_number")])
def test_text_that_is_no_number_is_rejected(value: Scalar, reason: str | None) -> None:
    assert check(["FLOAT", {}], value) == reason


def test_a_file_of_the_editor_sends_null_for_a_number() -> None:
    assert check(["INT", {}], None, node=FILE_NODE) == "not_a_number"


@pytest.mark.parametrize(
    ("value", "reason"),
    [(0, None), (-1, "too_small"), (10, None), (11, "too_large"), ("11", "too_large"), (-0.5, None), (10.9, None)],
)
def test_limits_apply_to_the_converted_number(value: Scalar, reason: str | None) -> None:
    assert check(["INT", {"min": 0, "max": 10}], value) == reason


def test_limits_of_a_union_of_types_apply_to_numbers() -> None:
    specification = ["FLOAT,INT", {"min": 1.0, "max": 2.0}]
    assert check(specification, 0.5) == "too_small"
    assert check(specification, 1.5) is None


@pytest.mark.parametrize("limit", ["0", None, True, [0]])
def test_limits_of_another_kind_are_ignored(limit: object) -> None:
    assert check(["INT", {"min": limit}], -1) is None


@pytest.mark.parametrize("kind", ["STRING", "BOOLEAN", "*", "MODEL"])
@pytest.mark.parametrize("value", [None, "x", 5])
def test_other_types_take_any_value(kind: str, value: Scalar) -> None:
    assert check([kind, {}], value) is None


@pytest.mark.parametrize("specification", [[["a", 1, None], {}], ["COMBO", {"options": ["a", 1, None]}]])
def test_a_combo_takes_its_choices_only(specification: Any) -> None:
    for value in ("a", 1, 1.0, True, None):
        assert check(specification, value) is None
    for value in ("b", "1", 2, "", "A"):
        assert check(specification, value) == "not_offered"


def test_an_empty_list_takes_nothing() -> None:
    assert check([[], {}], "a") == "not_offered"


def test_choices_in_the_newer_notation_depend_on_the_version() -> None:
    specification = ["COMBO", {"options": ["a"]}]
    assert check(specification, "b", checks=ServerChecks(new_combos=False)) is None
    signature = read_input(specification)
    rejected = check_value(API_NODE, CORE, signature, "b", ServerChecks())
    assert rejected is not None
    assert not rejected.is_certain
    assert check([["a"], {}], "b", checks=ServerChecks(new_combos=False)) == "not_offered"


@pytest.mark.parametrize(
    "specification",
    [
        [[["a"], 1], {}],
        ["COMBO", {"options": ["a"], "remote": {"route": "/x"}}],
        ["COMBO", {"options": ["a"], "multi_select": True}],
        ["COMBO", {"options": ["a"], "multiselect": True}],
        ["COMBO", {"options": ["a"], "image_upload": True}],
        ["COMBO", {"options": ["a"], "file_upload": True}],
        ["COMBO", {}],
        ["COMFY_DYNAMICCOMBO_V3", {"options": ["a"]}],
    ],
)
def test_dynamic_lists_reject_nothing(specification: Any) -> None:
    assert check(specification, "b") is None


def test_the_editor_replaces_null_by_the_first_choice() -> None:
    assert check([["a"], {}], None, node=FILE_NODE) is None
    assert check([["a"], {}], None) == "not_offered"


def test_a_model_is_judged_elsewhere() -> None:
    assert check([["a"], {}], "b", node=PromptNode("1", "N", given=("x",), models=("x",))) is None


@pytest.mark.parametrize(("choice", "reason"), [("x" * 70, None), ("y" * 70, "not_offered"), (5, "not_offered")])
def test_a_cut_text_may_be_a_long_choice(choice: object, reason: str | None) -> None:
    assert check([[choice], {}], "x" * 64 + "…") == reason


@pytest.mark.parametrize("own_checks", [None, ALL_INPUTS, ("y", "x")])
def test_a_class_with_own_checks_leaves_only_the_conversion(own_checks: tuple[str, ...] | None) -> None:
    owner = NodeSignature(own_checks=own_checks, has_editor_code=False)
    assert check([["a"], {}], "b", owner=owner) is None
    assert check(["INT", {"min": 0, "max": 5}], -1, owner=owner) is None
    assert check(["INT", {"min": 0, "max": 5}], 6, owner=owner) is None
    assert check(["INT", {}], "many", owner=owner) == "not_a_number"


def test_own_checks_of_other_inputs_do_not_count() -> None:
    assert check([["a"], {}], "b", owner=NodeSignature(own_checks=("y",), has_editor_code=False)) == "not_offered"


def find(value: Scalar, node: PromptNode, owner: NodeSignature) -> RejectedInput:
    rejected = check_value(node, owner, read_input(["INT", {"min": 0, "max": 9}]), value, NEWEST)
    assert rejected is not None
    return rejected


@pytest.mark.parametrize("value", [-1, 10, "x"])
def test_code_of_a_pack_in_the_editor_may_compute_a_number(value: Scalar) -> None:
    pack = NodeSignature(own_checks=(), has_editor_code=True)
    assert not find(value, FILE_NODE, pack).is_certain
    assert find(value, API_NODE, pack).is_certain
    assert find(value, FILE_NODE, CORE).is_certain


def test_a_rejected_number_names_its_limit_and_type() -> None:
    assert [(one.value, one.limit, one.wanted) for one in (find(v, API_NODE, CORE) for v in (-1, 10, "x"))] == [
        (-1, 0, "INT"),
        (10, 9, "INT"),
        ("x", None, "INT"),
    ]


def test_a_rejected_choice_names_what_is_offered() -> None:
    rejected = check_value(API_NODE, CORE, read_input([["a", 1], {}]), "b", NEWEST)
    assert rejected is not None
    assert (rejected.value, rejected.offered, rejected.is_certain) == ("b", ("a", 1), True)


def test_null_for_a_file_of_the_user_is_rejected() -> None:
    (signature,) = read_signatures({"LoadImage": build_entry(image=[["a.png"], {"image_upload": True}])})[
        "LoadImage"
    ].inputs
    owner = NodeSignature(own_checks=("image",), has_editor_code=False)
    rejected = check_value(API_NODE, owner, signature, None, NEWEST)
    assert rejected is not None
    assert rejected.reason.value == "not_given"
    assert check_value(FILE_NODE, owner, signature, None, NEWEST) is None
    assert check_value(API_NODE, owner, signature, "gone.png", NEWEST) is None


def test_list_that_others_may_extend_gives_a_doubt() -> None:
    owner = NodeSignature(own_checks=(), has_editor_code=False, may_offer_more=True)
    rejected = check_value(API_NODE, owner, read_input([["a"], {}]), "b", NEWEST)
    assert rejected is not None
    assert not rejected.is_certain


PICTURES = InputSignature("image", "[digest", is_file=True)
LOADER = NodeSignature(own_checks=("image",), has_editor_code=False)


@pytest.mark.parametrize(
    ("value", "reason"),
    [("a.png", None), (5, "not_a_file_name"), (0.5, "not_a_file_name"), (True, "not_a_file_name"), (None, "not_given")],
)
def test_name_of_a_file_must_be_text(value: Scalar, reason: str | None) -> None:
    rejected = check_value(API_NODE, LOADER, PICTURES, value, NEWEST)
    assert (None if rejected is None else rejected.reason.value) == reason


def test_editor_replaces_null_by_the_first_file() -> None:
    assert check_value(FILE_NODE, LOADER, PICTURES, None, NEWEST) is None


def test_code_of_a_pack_in_the_editor_leaves_a_doubt() -> None:
    with_code = NodeSignature(own_checks=("image",), has_editor_code=True)
    rejected = check_value(FILE_NODE, with_code, PICTURES, 5, NEWEST)
    assert rejected is not None
    assert not rejected.is_certain


UNREAD = InputSignature("x", None, known_choices=("none",))


@pytest.mark.parametrize("owner", [CORE, NodeSignature()])
@pytest.mark.parametrize("node", [API_NODE, FILE_NODE])
def test_value_beside_choices_that_are_not_known(owner: NodeSignature, node: PromptNode) -> None:
    assert has_unknown_choices(node, owner, UNREAD, "other", NEWEST)


@pytest.mark.parametrize(
    ("value", "owner", "node"),
    [
        ("none", CORE, API_NODE),
        (None, CORE, FILE_NODE),
        ("other", NodeSignature(own_checks=("x",)), API_NODE),
        ("other", NodeSignature(own_checks=ALL_INPUTS), API_NODE),
        ("model", CORE, PromptNode("1", "N", models=("x",))),
    ],
)
def test_value_that_needs_no_further_choices(value: Scalar, owner: NodeSignature, node: PromptNode) -> None:
    assert not has_unknown_choices(node, owner, UNREAD, value, NEWEST)


def test_lists_that_the_server_does_not_compare_leave_no_doubt() -> None:
    signature = InputSignature("x", "COMBO", known_choices=())
    assert has_unknown_choices(API_NODE, CORE, signature, "a", NEWEST)
    assert not has_unknown_choices(API_NODE, CORE, signature, "a", ServerChecks(new_combos=False))
    assert not has_unknown_choices(API_NODE, CORE, InputSignature("x", "COMBO", choices=("b",)), "a", NEWEST)


CHECKED = NodeSignature(own_checks=("cls", "x"), refusable=("x",))


@pytest.mark.parametrize(
    "signature",
    [
        InputSignature("x", "STRING"),
        InputSignature("x", None),
        InputSignature("x", "LORAS"),
        InputSignature("x", "COMBO", choices=("a",)),
        InputSignature("x", "[5f", choices=()),
        InputSignature("x", None, known_choices=("a",)),
    ],
)
@pytest.mark.parametrize("owner", [CHECKED, NodeSignature(own_checks=ALL_INPUTS, refusable=ALL_INPUTS)])
def test_function_of_a_class_may_refuse_what_it_looks_at(signature: InputSignature, owner: NodeSignature) -> None:
    assert may_be_refused(API_NODE, owner, signature, "input/gone.mp4")
    assert not may_be_refused(API_NODE, NodeSignature(own_checks=("cls", "x")), signature, "input/gone.mp4")


@pytest.mark.parametrize(
    ("signature", "value"),
    [
        (InputSignature("y", "STRING"), "other input"),
        (InputSignature("x", "STRING"), ""),
        (InputSignature("x", "STRING"), None),
        (InputSignature("x", "INT"), 5),
        (InputSignature("x", "BOOLEAN"), True),
        (InputSignature("x", "COMBO", choices=("a",)), "a"),
        (InputSignature("x", "COMBO"), "upload.png"),
        (InputSignature("x", "COMBO", is_file=True), "upload.png"),
    ],
)
def test_function_of_a_class_leaves_no_doubt_about_other_values(signature: InputSignature, value: Scalar) -> None:
    assert not may_be_refused(API_NODE, CHECKED, signature, value)


def test_models_are_looked_for_elsewhere() -> None:
    node = PromptNode("1", "N", models=("x",))
    assert not may_be_refused(node, CHECKED, InputSignature("x", "STRING"), "model")
