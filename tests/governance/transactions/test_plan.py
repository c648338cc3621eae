from __future__ import annotations

from packaging.markers import default_environment

from comfywatchman.governance.nodes.requirements import Requirements
from comfywatchman.governance.transactions.plan import closure, differences, pins_of_tried, plan, read_freeze

HERE = {**{name: str(value) for name, value in default_environment().items()}, "sys_platform": "linux"}
COMMIT = "a" * 40


def test_the_declared_lines_are_planned_as_they_were_written() -> None:
    found = plan(
        Requirements(lines=("scipy>=1", "einops")),
        pre=["numpy==2.0"],
        post=["numpy==2.0", "scipy==1.15", "einops==0.8"],
        known={"scipy", "einops", "numpy"},
    )
    assert found.direct_additions == ("einops", "scipy>=1")
    assert found.runtime_additions == ()


def test_what_comes_with_a_declared_package_is_not_planned() -> None:
    found = plan(Requirements(lines=("pandas",)), pre=[], post=["pandas==2", "pytz==2025.1"], known={"pandas", "pytz"})
    assert found.direct_additions == ("pandas",)


def test_what_the_node_installed_by_itself_is_planned_in_the_version_that_was_tried() -> None:
    found = plan(Requirements(), pre=["numpy==2.0"], post=["Left_Pad==1.0", "numpy==1.26.4"], known=())
    assert found.runtime_additions == ("Left_Pad==1.0", "numpy==1.26.4")
    assert found.direct_additions == found.runtime_additions


def test_what_the_node_installed_by_itself_before_stays_while_it_is_there() -> None:
    now = ["kept==1.0", "moved==2.0", "numpy==2.0"]
    found = plan(
        Requirements(lines=("numpy",)),
        pre=["kept==1.0", "moved==1.0", "numpy==2.0", "gone==1.0"],
        post=now,
        known={"numpy"},
        earlier=["Kept==1.0", "moved==1.0", "gone==1.0", "numpy==2.0"],
    )
    assert found.runtime_additions == ("Kept==1.0", "moved==2.0")
    assert found.direct_additions == ("Kept==1.0", "moved==2.0", "numpy")


def test_another_requirement_file_of_the_node_gives_the_bounds_of_what_it_installed_by_itself() -> None:
    found = plan(
        Requirements(hints=("onnxruntime-gpu>=1.18", "unused")), pre=[], post=["onnxruntime_gpu==1.20"], known=()
    )
    assert found.direct_additions == ("onnxruntime-gpu>=1.18",)
    assert found.runtime_additions == ("onnxruntime-gpu>=1.18",)


def test_a_branch_is_planned_as_the_commit_that_was_tried() -> None:
    post = [
        f"sam-2 @ git+https://github.com/facebookresearch/sam2@{COMMIT}",
        f"bee @ git+https://github.com/a/b@{COMMIT}#subdirectory=x",
    ]
    wanted = Requirements(
        lines=("bee[extra] @ git+https://github.com/a/b.git@v1#subdirectory=x",),
        unnamed=("git+https://github.com/facebookresearch/sam2@main", "git+https://github.com/a/absent"),
    )
    found = plan(wanted, pre=[], post=post, known=())
    assert found.direct_additions == (
        f"bee[extra] @ git+https://github.com/a/b.git@{COMMIT}#subdirectory=x",
        f"sam-2 @ git+https://github.com/facebookresearch/sam2@{COMMIT}",
    )
    assert found.runtime_additions == ()
    assert [line.split(" (")[0] for line in found.unparseable] == ["git+https://github.com/a/absent"]


def test_the_user_that_ssh_needs_is_kept() -> None:
    wanted = Requirements(
        lines=("bee @ git+ssh://git@github.com/a/b@main",), unnamed=("git+ssh://git@github.com/a/Sea.git",)
    )
    post = [f"bee @ git+ssh://github.com/a/b@{COMMIT}", f"sea @ git+ssh://github.com/a/Sea.git@{COMMIT}"]
    assert plan(wanted, pre=[], post=post, known=()).direct_additions == (
        f"bee @ git+ssh://git@github.com/a/b@{COMMIT}",
        f"sea @ git+ssh://git@github.com/a/Sea.git@{COMMIT}",
    )


def test_a_package_that_another_repository_brought_keeps_its_declared_address() -> None:
    line = "bee @ git+https://github.com/a/b"
    found = plan(Requirements(lines=(line,)), pre=[], post=[f"bee @ git+https://github.com/other/b@{COMMIT}"], known=())
    assert found.direct_additions == (line,)


def test_what_cannot_be_locked_and_what_was_removed_is_told() -> None:
    found = plan(
        Requirements(unparseable=("requirements.txt: ./x (a path of this machine)",)),
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


def test_the_overrides_of_an_earlier_promotion_stay() -> None:
    assert plan(Requirements(), pre=[], post=[], known=(), overrides=["numpy==1.26.4"]).override_additions == (
        "numpy==1.26.4",
    )


def test_the_closure_follows_extras_and_markers_and_does_not_turn_in_circles() -> None:
    requires = {
        "a": ("B_b[fast]>=1", 'c; sys_platform == "win32"', "nonsense >>"),
        "b-b": ('d; extra == "fast"', 'e; extra == "slow"', "a"),
    }
    assert closure(["A"], requires, HERE) == {"a", "b-b", "d"}
    assert closure([], requires, HERE) == frozenset()


def test_a_freeze_is_read_by_normalised_names() -> None:
    found = read_freeze(["Foo_Bar==1.0", f"x @ git+https://github.com/a/b@{COMMIT}", "-e file:///srv/My_Pack", "?"])
    assert {name: one.version for name, one in found.items()} == {"foo-bar": "1.0", "x": "", "my-pack": ""}


def test_pins_for_the_lock_are_what_was_tried_but_for_what_a_person_pinned() -> None:
    post = ["Foo_Bar==1.0", "numpy==2.0", f"x @ git+https://github.com/a/b@{COMMIT}"]
    assert pins_of_tried(post, but={"numpy"}) == ("foo-bar==1.0",)


def test_a_lock_that_holds_other_versions_than_were_tried_is_told() -> None:
    post = ["foo==1.0", "numpy==2.0"]
    assert differences(post, {"foo": "1.1", "numpy": "2.0", "new": "1"}) == ("foo 1.0 -> 1.1",)
