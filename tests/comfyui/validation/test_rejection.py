from __future__ import annotations

import pytest

from comfywatchman.comfyui.validation.rejection import LinkedOutput, RejectedInput, RejectionReason
from comfywatchman.comfyui.validation.rules import ServerChecks
from comfywatchman.comfyui.validation.validate import validate_prompt
from tests.comfyui.validation.classes import build_api_prompt, build_chain, build_entry, build_rules

LOAD = {"class_type": "Load", "inputs": {}}


def find_rejected(model: object, **sample: object) -> RejectedInput:
    """Return the one rejected input of load -> sample -> save."""
    inputs = {"model": model, "sampler_name": "euler", "steps": 1, **sample}
    nodes = build_api_prompt(
        a=LOAD,
        b={"class_type": "Sample", "inputs": inputs},
        c={"class_type": "Save", "inputs": {"images": ["b", 0]}},
    )
    (rejected,) = validate_prompt(nodes, build_rules()).inputs
    return rejected


def test_value_that_is_not_offered_carries_the_choices() -> None:
    rejected = find_rejected(["a", 0], sampler_name="gone")
    assert rejected.reason is RejectionReason.NOT_OFFERED
    assert (rejected.value, rejected.offered, rejected.output) == ("gone", ("euler", "dpm"), None)


def test_link_of_a_wrong_type_carries_both_types() -> None:
    rejected = find_rejected(["a", 1])
    assert (rejected.reason, rejected.wanted) == (RejectionReason.WRONG_TYPE, "MODEL")
    assert rejected.output == LinkedOutput("a", 1, "Load", "STRING", count=2)


def test_output_that_a_class_lacks_carries_their_number() -> None:
    rejected = find_rejected(["a", 7])
    assert rejected.reason is RejectionReason.NO_SUCH_OUTPUT
    assert rejected.output is not None
    assert (rejected.output.slot, rejected.output.count) == (7, 2)


def test_link_to_a_missing_node_has_no_class() -> None:
    rejected = find_rejected(["gone", 0])
    assert rejected.reason is RejectionReason.NO_SUCH_NODE
    assert rejected.output is not None
    assert (rejected.output.path, rejected.output.class_type, rejected.output.count) == ("gone", None, 0)


@pytest.mark.parametrize(
    ("steps", "reason", "limit"), [(0, RejectionReason.TOO_SMALL, 1), (99, RejectionReason.TOO_LARGE, 9)]
)
def test_number_beyond_a_limit_carries_the_limit(steps: int, reason: RejectionReason, limit: int) -> None:
    limited = build_entry(
        returns=["IMAGE"], model=["MODEL", {}], sampler_name=[["euler"], {}], steps=["INT", {"min": 1, "max": 9}]
    )
    (rejected,) = validate_prompt(build_chain(steps=steps), build_rules(Sample=limited)).inputs
    assert (rejected.reason, rejected.value, rejected.limit, rejected.is_certain) == (reason, steps, limit, True)


def test_rejection_by_an_unknown_check_is_not_certain() -> None:
    combo = ["COMBO", {"options": ["euler"]}]
    newer = build_entry(returns=["IMAGE"], model=["MODEL", {}], sampler_name=combo, steps=["INT", {}])
    rules = build_rules(checks=ServerChecks(lists_feed_combos=True), Sample=newer)
    (doubtful,) = validate_prompt(build_chain("gone"), rules).doubtful
    assert (doubtful.node.path, doubtful.input, doubtful.offered) == ("2", "sampler_name", ("euler",))
    assert not doubtful.is_certain
