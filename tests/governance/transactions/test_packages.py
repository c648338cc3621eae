from __future__ import annotations

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.records import NodeRegistry, RegisteredNode
from comfywatchman.governance.transactions.packages import add_packages, pin_packages, read_wanted, remove_packages

PROJECT = truth.render_project(python_version="3.11.7", marker="sys_platform == 'linux'", base=["numpy"])
NOBODY = NodeRegistry()


def test_added_and_removed_package_leaves_the_same_bytes() -> None:
    text = add_packages(add_packages(PROJECT, ["requests", "rich>=13"]), ["Requests>=2"])
    assert read_wanted(text, NOBODY).added == ("Requests>=2", "rich>=13")
    assert remove_packages(text, ["requests", "rich"], NOBODY) == PROJECT


def test_pin_replaces_a_pin_and_ends_with_remove() -> None:
    text = pin_packages(PROJECT, ["NumPy == 1.26.4"], NOBODY)
    assert read_wanted(text, NOBODY).pins == ("numpy==1.26.4",)
    text = pin_packages(text, ["numpy==2.0"], NOBODY, overrules=True)
    wanted = read_wanted(text, NOBODY)
    assert (wanted.pins, wanted.overrides) == ((), ("numpy==2.0",))
    assert remove_packages(text, ["numpy"], NOBODY) == PROJECT


def test_adopted_package_can_be_removed_and_changed() -> None:
    adopted = truth.set_group(PROJECT, truth.ADOPTED_GROUP, ["requests", "rich"])
    assert truth.parse_groups(remove_packages(adopted, ["rich"], NOBODY))["adopted"] == ("requests",)
    changed = add_packages(adopted, ["rich>=13"])
    assert truth.parse_groups(changed)["adopted"] == ("requests",)
    assert read_wanted(changed, NOBODY).added == ("requests", "rich>=13")


def test_overrides_of_nodes_are_not_the_users() -> None:
    node = RegisteredNode(id="a", git_url="", ref="", path="", group="node-a", overrides=("numpy==1.0",))
    text = truth.set_overrides(PROJECT, ["numpy==1.0", "rich==13.0"])
    assert read_wanted(text, NodeRegistry(plugins={"a": node})).overrides == ("rich==13.0",)


def test_overrides_of_nodes_and_of_keep_outlive_pins_and_removals() -> None:
    overrides = ("numpy==1.0", "pillow ; sys_platform == 'never'")
    node = RegisteredNode(id="a", git_url="", ref="", path="", group="node-a", overrides=("numpy==1.0",))
    registry = NodeRegistry(plugins={"a": node})
    text = truth.set_overrides(PROJECT, overrides)
    for name, reason in (("numpy", "numpy is pinned for a"), ("pillow", "neither added nor pinned")):
        with pytest.raises(Failure, match=reason) as caught:
            remove_packages(text, [name], registry)
        assert caught.value.code == "gov-package-unknown"
    pinned = pin_packages(text, ["numpy==2.0", "pillow==11.0"], registry)
    assert truth.parse_overrides(pinned) == overrides
    assert remove_packages(pinned, ["numpy", "pillow"], registry) == text


@pytest.mark.parametrize(
    ("name", "reason"), [("numpy", "numpy is required by base"), ("absent", "neither added nor pinned")]
)
def test_removing_what_others_require_is_refused_with_the_owner(name: str, reason: str) -> None:
    with pytest.raises(Failure, match=reason) as caught:
        remove_packages(PROJECT, [name], NOBODY)
    assert caught.value.code == "gov-package-unknown"


def test_invalid_lines_are_refused() -> None:
    with pytest.raises(Failure, match="Not a requirement"):
        add_packages(PROJECT, ["a b c"])
    with pytest.raises(Failure, match="Invalid pin"):
        pin_packages(PROJECT, ["numpy>=1"], NOBODY)
