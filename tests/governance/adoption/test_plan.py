from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.governance.adoption.old_environment import DirectOrigin, OldEnvironment, OldPackage
from comfywatchman.governance.adoption.plan import (
    AdoptionPlan,
    KeptPackage,
    PackageMetadata,
    build_plan,
    classify_package,
    compare_packages,
)


def package(name: str, version: str = "1.0", *requires: str, origin: DirectOrigin | None = None) -> OldPackage:
    return OldPackage(name, version, Path(f"/old/{name}-{version}.dist-info"), requires, origin=origin)


def plan(
    *packages: OldPackage, base: tuple[str, ...] = (), nodes: dict[str, tuple[str, ...]] | None = None
) -> AdoptionPlan:
    old = OldEnvironment(Path("/old/bin/python"), "3.11.7", Path("/old"), {one.name: one for one in packages})
    return build_plan(old, [classify_package(one) for one in packages], base, nodes or {})


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (None, ("index", "sam==1.0", "")),
        (
            DirectOrigin("https://host/sam", {"vcs": "git", "commit_id": "ab12"}, subdirectory="python"),
            ("url", "sam @ git+https://host/sam@ab12#subdirectory=python", ""),
        ),
        (
            DirectOrigin("https://host/sam-1.0-py3-none-any.whl"),
            ("url", "sam @ https://host/sam-1.0-py3-none-any.whl", ""),
        ),
        (DirectOrigin("file:///home/you/sam", dir_info={"editable": True}), ("editable", "sam", "/home/you/sam")),
        (
            DirectOrigin("file:///home/you/my%20sam", dir_info={"editable": True}),
            ("editable", "sam", "/home/you/my sam"),
        ),
        (DirectOrigin("file:///home/you/sam", dir_info={}), ("wheel", "", "")),
        (DirectOrigin("file:///home/you/sam-1.0-py3-none-any.whl"), ("wheel", "", "")),
    ],
)
def test_origin_decides_how_a_package_is_kept(origin: DirectOrigin | None, expected: tuple[str, str, str]) -> None:
    kept = classify_package(package("sam", origin=origin))
    assert (kept.source, kept.line, kept.folder) == expected


def test_only_packages_that_nothing_requires_are_declared() -> None:
    found = plan(
        package("torch", "2.9.0", "numpy"),
        package("numpy", "1.26.4"),
        package("mine", "3.0", "helper"),
        package("helper"),
        base=("torch",),
    )
    assert found.adopted == ("mine",)
    assert found.pins == ("helper==1.0", "mine==3.0", "numpy==1.26.4", "torch==2.9.0")
    assert found.metadata == ()


def test_circle_of_packages_is_declared_once() -> None:
    assert plan(package("b", "1.0", "a"), package("a", "1.0", "b")).adopted == ("a",)


def test_packages_of_a_url_are_declared_with_it() -> None:
    origin = DirectOrigin("https://host/sam-1.0-py3-none-any.whl")
    found = plan(package("sam", origin=origin), base=("sam",))
    assert found.adopted == ("sam @ https://host/sam-1.0-py3-none-any.whl",)
    assert found.pins == ()


def test_requirements_that_were_not_satisfied_do_not_count() -> None:
    lines = ("numpy<2", "absent", "scipy; extra == 'all'", "scipy>=1")
    found = plan(package("old", "1.0", *lines), package("numpy", "2.1"), package("scipy"), base=("old", "numpy"))
    assert found.metadata == (
        PackageMetadata("old", "1.0", ("scipy; extra == 'all'", "scipy>=1"), dropped=("numpy<2", "absent")),
    )
    assert found.moved == ()
    assert found.adopted == ()


def test_version_that_comfyui_refuses_is_given_up() -> None:
    found = plan(package("old", "1.0", "numpy<2"), package("numpy", "1.26"), base=("numpy>=2", "old", "absent"))
    assert found.moved == ("numpy",)
    assert "numpy==1.26" not in found.pins
    assert found.metadata == ()


def test_node_gets_the_lines_that_were_satisfied() -> None:
    origin = DirectOrigin("https://host/sam", {"vcs": "git", "commit_id": "ab12"})
    found = plan(
        package("numpy", "1.26"),
        package("opencv-python-headless", "4.12"),
        package("sam", origin=origin),
        nodes={"a": ("numpy", "opencv-python", "sam @ git+https://host/sam", "absent"), "b": ("numpy>=2",), "c": ()},
    )
    assert found.node_lines == {"a": ("numpy", "sam @ git+https://host/sam@ab12"), "b": (), "c": ()}
    assert found.unmet_lines == {"a": ("absent",), "b": ("numpy>=2",)}


def test_folders_of_editable_packages_are_declared() -> None:
    editable = DirectOrigin("file:///home/you/sam", dir_info={"editable": True})
    found = plan(package("sam", origin=editable))
    assert (found.adopted, dict(found.editables), found.pins) == (("sam",), {"sam": "/home/you/sam"}, ())


def test_comparison_names_what_became_of_each_package() -> None:
    old = {"same": "1.0", "moved": "1.0", "gone": "1.0"}
    assert compare_packages(old, {"same": "1.0", "moved": "2.0", "new": "1.0"}) == {
        "same": ("same",),
        "moved": ("moved 1.0 -> 2.0",),
        "missing": ("gone 1.0",),
        "added": ("new 1.0",),
    }


def test_kept_package_has_no_folder_by_default() -> None:
    assert KeptPackage("a", "1.0", "index", "a==1.0").folder == ""
