"""ComfyUI moves to another version together with its packages, or not at all: real git, real uv."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.git import read_head, read_origin
from comfywatchman.governance.environments import snapshot
from comfywatchman.governance.environments.checkout import read_branch
from comfywatchman.governance.environments.rollback import rollback, undo
from comfywatchman.governance.transactions.comfyui_update import ComfyUIUpdate, update_comfyui
from tests.base.test_git import git
from tests.governance import changes
from tests.governance.contexts import Site, build_site
from tests.governance.packs import commit_files

pytestmark = pytest.mark.slow

MAIN = "import numlet\nprint(numlet.__version__)\n"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A checkout at v0.1.0, which needs numlet 1; the origin has v0.2.0 with numlet 2, and a branch that is broken."""
    origin = tmp_path / "origin"
    origin.mkdir()
    git(origin, "init", "-q", "-b", "master")
    commit_files(origin, {"main.py": MAIN, "requirements.txt": "corelet\nnumlet<2\n", ".gitignore": "custom_nodes/\n"})
    git(origin, "tag", "v0.1.0")
    site = build_site(tmp_path / "site", init=False)
    for path in (site.comfyui / "main.py", site.comfyui / "requirements.txt"):
        path.unlink()
    (site.comfyui / "custom_nodes").rmdir()
    site.comfyui.rmdir()
    git(tmp_path, "clone", "-q", str(origin), str(site.comfyui))
    (site.comfyui / "custom_nodes").mkdir()
    commit_files(origin, {"requirements.txt": "corelet\nnumlet>=2\n", "new.py": "new = True\n"})
    git(origin, "tag", "v0.2.0")
    git(origin, "tag", "v0.3.0-rc1")
    commit_files(origin, {"main.py": "import absentlet\n"})
    git(origin, "branch", "broken")
    site.init()
    return site


def update(site: Site, version: str = "") -> ComfyUIUpdate:
    with site.opened() as context:
        return update_comfyui(context, version, network={})


def read_version(site: Site) -> str:
    return site.run_in_production("import numlet; print(numlet.__version__)")


def test_checkout_and_environment_move_together_and_back(site: Site) -> None:
    before = read_head(site.comfyui)
    moved = update(site)
    assert (moved.version, moved.before) == ("v0.2.0", before)
    assert moved.outcome is not None
    assert moved.outcome.operation is not None
    assert moved.outcome.diff.added == ("numlet==2.0",)
    assert (read_head(site.comfyui), read_version(site)) == (moved.after, "2.0")
    assert (site.comfyui / "new.py").is_file()
    assert list(site.layout.candidates.iterdir()) == []
    assert update(site, "0.2.0").outcome is None
    with site.opened() as context:
        undone = undo(context, moved.outcome.operation.op_id)
    assert (read_head(site.comfyui), read_version(site), read_branch(site.comfyui)) == (before, "1.0", "master")
    assert not (site.comfyui / "new.py").exists()
    with site.opened() as context:
        undo(context, undone.op_id)
    assert (read_head(site.comfyui), read_version(site)) == (moved.after, "2.0")
    changes.assert_consistent(site)


def test_version_that_does_not_start_changes_nothing(site: Site) -> None:
    before = read_head(site.comfyui)
    moved = update(site, "broken")
    assert moved.outcome is not None
    assert moved.outcome.operation is None
    assert "absentlet" in Path(moved.outcome.logs.stderr).read_text()
    assert (read_head(site.comfyui), read_version(site)) == (before, "1.0")


def test_local_changes_are_seen_and_stay(site: Site) -> None:
    main = site.comfyui / "main.py"
    main.write_text(MAIN + "# mine\n")
    with pytest.raises(Failure, match=r"main\.py") as caught:
        update(site)
    assert caught.value.code == "gov-comfyui-changed"
    assert main.read_text().endswith("# mine\n")
    main.write_text(MAIN)
    mine = site.comfyui / "new.py"
    mine.write_text("mine\n")
    with pytest.raises(Failure, match="untracked"):
        update(site)
    assert (mine.read_text(), read_version(site)) == ("mine\n", "1.0")


def test_undo_keeps_a_change_that_came_later(site: Site) -> None:
    moved = update(site)
    assert moved.outcome is not None
    assert moved.outcome.operation is not None
    (site.comfyui / "new.py").write_text("mine\n")
    with site.opened() as context, pytest.raises(Failure, match=r"new\.py"):
        undo(context, moved.outcome.operation.op_id)
    assert (read_version(site), (site.comfyui / "new.py").read_text()) == ("2.0", "mine\n")


def test_rollback_over_an_update_names_the_way_back(site: Site) -> None:
    before = read_head(site.comfyui)
    (at_init,) = snapshot.read_all(site.layout)
    moved = update(site)
    with site.opened() as context:
        operation = rollback(context, at_init.id)
    assert f"ComfyUI stays at {moved.after[:12]}" in operation.note
    assert f"`gov comfyui update --to {before}`" in operation.note
    update(site, before or "")
    assert (read_head(site.comfyui), read_version(site)) == (before, "1.0")
    with site.opened() as context:
        assert rollback(context, at_init.id).note == ""


def test_rollback_over_an_update_without_packages_names_its_undo(site: Site) -> None:
    origin = Path(read_origin(site.comfyui) or "")
    git(origin, "checkout", "-q", "-b", "docs", "v0.1.0")
    commit_files(origin, {"README.md": "New text\n"})
    (at_init,) = snapshot.read_all(site.layout)
    moved = update(site, "docs")
    assert moved.outcome is not None
    assert moved.outcome.operation is not None
    op_id = moved.outcome.operation.op_id
    with site.opened() as context:
        assert f"`gov undo {op_id}`" in rollback(context, at_init.id).note
        undo(context, op_id)
    assert read_head(site.comfyui) == moved.before


def test_damaged_record_of_the_checkout_is_no_missing_one(site: Site) -> None:
    (at_init,) = snapshot.read_all(site.layout)
    moved = update(site)
    assert moved.outcome is not None
    assert moved.outcome.operation is not None
    op_id = moved.outcome.operation.op_id
    (site.layout.checkouts / f"{op_id}.json").write_text("{")
    with site.opened() as context:
        with pytest.raises(Failure) as caught:
            undo(context, op_id)
        assert caught.value.code == "gov-checkout-unreadable"
        assert (read_head(site.comfyui), read_version(site)) == (moved.after, "2.0")
        assert op_id in rollback(context, at_init.id).note


@pytest.mark.parametrize("failpoint", ["gov.after_journal", "gov.after_flip"])
def test_killed_update_is_finished_by_the_next_command(site: Site, failpoint: str) -> None:
    before = read_head(site.comfyui)
    assert changes.run(site, "update", failpoint=f"{failpoint}=kill") == -signal.SIGKILL
    with site.opened():
        pass
    assert read_head(site.comfyui) != before
    assert read_version(site) == "2.0"
    changes.assert_consistent(site)


def test_folder_without_git_and_unknown_versions_are_refused(site: Site, tmp_path: Path) -> None:
    for version in ("v9.9", "--upload-pack=x"):
        with pytest.raises(Failure, match="has no version") as caught:
            update(site, version)
        assert caught.value.code == "gov-bad-ref"
    plain = build_site(tmp_path / "plain")
    with pytest.raises(Failure, match="not a git checkout"):
        update(plain)


def test_checkout_ahead_of_the_newest_release_stays(site: Site) -> None:
    from tests.cli.gov.calls import Gov

    git(site.comfyui, "pull", "-q", "--tags")
    before = read_head(site.comfyui)
    result = Gov(site)("comfyui", "update")
    assert result.exit_code == 0, result.output
    assert "newer than the newest release (v0.2.0) already" in result.stdout
    assert "To move back: gov comfyui update --to v0.2.0" in result.stdout
    assert read_head(site.comfyui) == before


def test_command_updates_and_names_the_undo(site: Site) -> None:
    from tests.cli.gov.calls import Gov

    gov = Gov(site)
    result = gov("comfyui", "update", "--to", "broken")
    assert result.exit_code == 1
    assert "Not updated: production is unchanged." in result.stderr
    result = gov("comfyui", "update")
    assert result.exit_code == 0, result.output
    assert "ComfyUI is at v0.2.0" in result.stdout
    assert "To undo this: gov undo" in result.stdout
    assert "already" in gov("comfyui", "update").stdout
