from __future__ import annotations

from packaging.markers import default_environment

from comfywatchman.governance.transactions.plan import (
    are_unnamed_declared,
    build_plan,
    find_closure,
    find_version_differences,
    pin_tried_versions,
)
from comfywatchman.governance.uv.requirement_files import NodeRequirements

HERE = {**{name: str(value) for name, value in default_environment().items()}, "sys_platform": "linux"}
COMMIT = "a" * 40


def test_declared_lines_are_planned_as_written() -> None:
    found = build_plan(
        NodeRequirements(lines=("scipy>=1", "einops")),
        pre=["numpy==2.0"],
        post=["numpy==2.0", "scipy==1.15", "einops==0.8"],
        known={"scipy", "einops", "numpy"},
    )
    assert found.direct_additions == ("einops", "scipy>=1")
    assert found.runtime_additions == ()


def test_dependencies_of_declared_packages_are_not_planned() -> None:
    found = build_plan(
        NodeRequirements(lines=("pandas",)), pre=[], post=["pandas==2", "pytz==2025.1"], known={"pandas", "pytz"}
    )
    assert found.direct_additions == ("pandas",)


def test_runtime_additions_are_pinned_to_the_tried_version() -> None:
    found = build_plan(NodeRequirements(), pre=["numpy==2.0"], post=["Left_Pad==1.0", "numpy==1.26.4"], known=())
    assert found.runtime_additions == ("Left_Pad==1.0", "numpy==1.26.4")
    assert found.direct_additions == found.runtime_additions


def test_earlier_runtime_additions_stay_while_installed() -> None:
    now = ["kept==1.0", "moved==2.0", "numpy==2.0"]
    found = build_plan(
        NodeRequirements(lines=("numpy",)),
        pre=["kept==1.0", "moved==1.0", "numpy==2.0", "gone==1.0"],
        post=now,
        known={"numpy"},
        earlier=["Kept==1.0", "moved==1.0", "gone==1.0", "numpy==2.0"],
    )
    assert found.runtime_additions == ("Kept==1.0", "moved==2.0")
    assert found.direct_additions == ("Kept==1.0", "moved==2.0", "numpy")


def test_other_requirement_files_bound_runtime_additions() -> None:
    found = build_plan(
        NodeRequirements(hints=("onnxruntime-gpu>=1.18", "unused")), pre=[], post=["onnxruntime_gpu==1.20"], known=()
    )
    assert found.direct_additions == ("onnxruntime-gpu>=1.18",)
    assert found.runtime_additions == ("onnxruntime-gpu>=1.18",)


def test_branch_is_pinned_to_the_tried_commit() -> None:
    post = [
        f"sam-2 @ git+https://github.com/facebookresearch/sam2@{COMMIT}",
        f"bee @ git+https://github.com/a/b@{COMMIT}#subdirectory=x",
    ]
    wanted = NodeRequirements(
        lines=("bee[extra] @ git+https://github.com/a/b.git@v1#subdirectory=x",),
        unnamed=("git+https://github.com/facebookresearch/sam2@main", "git+https://github.com/a/absent"),
    )
    found = build_plan(wanted, pre=[], post=post, known=())
    assert found.direct_additions == (
        f"bee[extra] @ git+https://github.com/a/b.git@{COMMIT}#subdirectory=x",
        f"sam-2 @ git+https://github.com/facebookresearch/sam2@{COMMIT}",
    )
    assert found.runtime_additions == ()
    assert [line.split(" (")[0] for line in found.unparseable] == ["git+https://github.com/a/absent"]


def test_ssh_user_is_kept_when_pinning_a_commit() -> None:
    wanted = NodeRequirements(
        lines=("bee @ git+ssh://git@github.com/a/b@main",), unnamed=("git+ssh://git@github.com/a/Sea.git",)
    )
    post = [f"bee @ git+ssh://github.com/a/b@{COMMIT}", f"sea @ git+ssh://github.com/a/Sea.git@{COMMIT}"]
    assert build_plan(wanted, pre=[], post=post, known=()).direct_additions == (
        f"bee @ git+ssh://git@github.com/a/b@{COMMIT}",
        f"sea @ git+ssh://git@github.com/a/Sea.git@{COMMIT}",
    )


def test_package_from_another_repository_keeps_its_declared_url() -> None:
    line = "bee @ git+https://github.com/a/b"
    found = build_plan(
        NodeRequirements(lines=(line,)), pre=[], post=[f"bee @ git+https://github.com/other/b@{COMMIT}"], known=()
    )
    assert found.direct_additions == (line,)


def test_unlockable_and_removed_packages_are_reported() -> None:
    found = build_plan(
        NodeRequirements(unparseable=("requirements.txt: ./x (a path of this machine)",)),
        pre=["opencv-python==4.1", "numpy==1"],
        post=["numpy==1", "-e file:///srv/editable", "here @ file:///srv/here-1.0-py3-none-any.whl"],
        known=(),
    )
    assert found.direct_additions == ()
    assert [line.split(" ")[0] for line in found.unparseable] == [
        "requirements.txt:",
        "-e",
        "here",
        "opencv-python==4.1",
    ]


def test_overrides_of_an_earlier_promotion_are_kept() -> None:
    assert build_plan(
        NodeRequirements(), pre=[], post=[], known=(), overrides=["numpy==1.26.4"]
    ).override_additions == ("numpy==1.26.4",)


def test_closure_follows_extras_and_markers_and_ends_on_cycles() -> None:
    requires = {
        "a": ("B_b[fast]>=1", 'c; sys_platform == "win32"', "nonsense >>"),
        "b-b": ('d; extra == "fast"', 'e; extra == "slow"', "a"),
    }
    assert find_closure(["A"], requires, HERE) == {"a", "b-b", "d"}
    assert find_closure([], requires, HERE) == frozenset()
    assert find_closure(["x"], {"x": ('y; extra == ""', 'z; extra != ""')}, HERE) == {"x", "y"}


def test_pins_leave_out_packages_that_a_user_pinned() -> None:
    post = ["Foo_Bar==1.0", "numpy==2.0", f"x @ git+https://github.com/a/b@{COMMIT}"]
    assert pin_tried_versions(post, but={"numpy"}) == ("foo-bar==1.0",)


def test_versions_that_differ_from_the_trial_are_listed() -> None:
    post = ["foo==1.0", "numpy==2.0"]
    assert find_version_differences(post, {"foo": "1.1", "numpy": "2.0", "new": "1"}) == ("foo 1.0 -> 1.1",)


def test_url_without_a_name_is_declared_at_any_commit() -> None:
    requirements = NodeRequirements(unnamed=("git+https://github.com/a/b@main",))
    assert are_unnamed_declared(requirements, [f"bee @ git+https://github.com/a/b@{COMMIT}", "rich"])
    assert not are_unnamed_declared(requirements, [f"sea @ git+https://github.com/a/c@{COMMIT}", "rich"])
    assert are_unnamed_declared(NodeRequirements(), [])
