from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.environments import generation, integrity, staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.records import GenerationMark, SnapshotMeta
from comfywatchman.governance.uv.client import UvResult
from tests.governance.contexts import KeptSite, Site
from tests.governance.wheels import add_wheel


@pytest.fixture
def site(kept_root: KeptSite) -> Site:
    return kept_root.restore()


@contextmanager
def working(site: Site, *lines: str) -> Iterator[tuple[GovContext, Path]]:
    """A resolved work folder with these lines for a node."""
    with site.opened() as context, staging.open_staging(context.layout) as work:
        work.edit_project(lambda text: truth.set_group(text, "node-a", lines))
        assert work.lock(context.uv, context.python).is_success
        yield context, work.folder


def build(site: Site, *lines: str) -> GenerationMark:
    with working(site, *lines) as (context, folder):
        mark = generation.build(context, folder)
        assert isinstance(mark, GenerationMark)
        return mark


def module(site: Site, key: str, name: str = "numlet") -> Path:
    return next((site.layout.generations / key).glob(f"lib/python*/site-packages/{name}/__init__.py"))


def built(site: Site) -> list[str]:
    return sorted(path.name for path in site.layout.generations.iterdir())


@pytest.mark.slow
def test_build_creates_a_marked_environment_beside_production(site: Site) -> None:
    before = generation.current_key(site.layout)
    mark = build(site, "oldlet")
    assert [f"{one.name}=={one.version}" for one in mark.packages] == ["corelet==1.0", "numlet==1.0", "oldlet==1.0"]
    assert generation.read_mark(site.layout, mark.key) == mark
    assert generation.current_key(site.layout) == before
    assert mark.python.startswith("3.")
    assert mark.uv_version.split(".")[0].isdigit()


@pytest.mark.slow
def test_same_truth_reuses_the_environment_without_uv(site: Site) -> None:
    first = build(site, "oldlet")
    facts = (site.layout.generations / first.key).stat()
    assert build(site, "oldlet") == first
    assert (site.layout.generations / first.key).stat().st_ino == facts.st_ino


@pytest.mark.slow
def test_failed_build_leaves_nothing(site: Site) -> None:
    before = built(site)
    with working(site, "oldlet") as (context, folder):
        for wheel in site.wheels.glob("numlet*"):
            wheel.unlink()
        result = generation.build(context, folder)
    assert isinstance(result, UvResult)
    assert result.status != 0
    assert built(site) == before


@pytest.mark.slow
def test_stale_lock_builds_nothing(site: Site) -> None:
    with working(site, "oldlet") as (context, folder):
        text = (folder / "pyproject.toml").read_text()
        (folder / "pyproject.toml").write_text(truth.set_group(text, "node-a", ["newlet"]))
        assert isinstance(generation.build(context, folder), UvResult)


@pytest.mark.slow
def test_failed_smoke_test_leaves_nothing(site: Site) -> None:
    before = built(site)
    site.configure(tx={"smoke_test_cmd": "echo no such thing >&2; exit 3"})
    with pytest.raises(Failure, match="status 3: no such thing") as caught:
        build(site, "oldlet")
    assert caught.value.code == "gov-smoke-failed"
    assert built(site) == before


@pytest.mark.slow
def test_smoke_test_runs_python_of_the_new_environment(site: Site) -> None:
    site.configure(tx={"smoke_test_cmd": "python -c 'import oldlet, numlet; assert numlet.__version__ == \"1.0\"'"})
    build(site, "oldlet")


@pytest.mark.slow
def test_modified_cache_is_cleaned(site: Site) -> None:
    first = build(site, "oldlet")
    poisoned = module(site, first.key)
    with poisoned.open("a") as stream:  # in place, so that uv's cache changes with it
        stream.write("poison = True\n")
    second = build(site, "oldlet", "plainlet")
    assert "poison" not in module(site, second.key).read_text()


@pytest.mark.slow
def test_package_with_a_wrong_record_is_accepted(site: Site) -> None:
    add_wheel(site.wheels, "sloppy", "1.0", files={"sloppy/x.py": "x = 1\n"}, misrecorded=["sloppy/x.py"])
    mark = build(site, "sloppy")
    assert mark.unverifiable == ("lib/python3.11/site-packages/sloppy/x.py",)
    assert generation.is_unmodified(site.layout, mark)
    environment = site.layout.generations / mark.key
    assert integrity.verify(environment, mark.packages).status == "modified"
    assert integrity.verify(environment, mark.packages, known=mark.unverifiable).status == "verified"


@pytest.mark.slow
def test_failed_cache_cleaning_fails_the_build(site: Site) -> None:
    poisoned = module(site, build(site, "oldlet").key)
    with poisoned.open("a") as stream:
        stream.write("poison = True\n")
    with working(site, "oldlet", "plainlet") as (context, folder):
        uv = dataclasses.replace(context.uv, path=site.folder / "uv")
        uv.path.write_text(f'#!/bin/sh\ncase " $* " in *" cache clean "*) exit 2;; esac\nexec {context.uv.path} "$@"\n')
        uv.path.chmod(0o755)
        assert isinstance(generation.build(dataclasses.replace(context, uv=uv), folder), UvResult)


@pytest.mark.slow
def test_modified_environment_is_rebuilt_unless_in_use(site: Site) -> None:
    mark = build(site, "oldlet")
    module(site, mark.key).write_text("poison = True\n")
    python = site.layout.generations / mark.key / "bin" / "python"
    with subprocess.Popen([python, "-c", "input()"], stdin=subprocess.PIPE) as user:
        successor = build(site, "oldlet")
        assert successor.key == f"{mark.key}-2"
        assert "poison" in module(site, mark.key).read_text()
        user.communicate(b"\n")
    healed = build(site, "oldlet")
    assert healed.key == mark.key
    assert "poison" not in module(site, healed.key).read_text()


@pytest.mark.slow
def test_use_is_detected_by_program_folder_and_libraries(site: Site) -> None:
    mark = build(site, "oldlet")
    folder = site.layout.generations / mark.key
    assert mark.key not in generation.find_in_use(site.layout)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, cwd=folder) as user:
        assert generation.find_in_use(site.layout) == {mark.key}
        user.communicate(b"\n")


@pytest.mark.slow
def test_process_started_through_the_link_protects_all(site: Site) -> None:
    build(site, "oldlet")
    python = site.layout.production / "bin" / "python"
    with subprocess.Popen([python, "-c", "input()"], stdin=subprocess.PIPE) as user:
        assert generation.find_in_use(site.layout) == set(built(site))
        user.communicate(b"\n")


def snapshots(*keys: str | None) -> list[SnapshotMeta]:
    return [SnapshotMeta(id="", created_at="", reason="", ref="", generation=key) for key in keys]


@pytest.mark.slow
def test_prune_keeps_production_used_and_newest(site: Site) -> None:
    production = generation.current_key(site.layout)
    keys = [build(site, *lines).key for lines in (["oldlet"], ["newlet"], ["plainlet"], ["deeplet"])]
    with (
        subprocess.Popen([site.layout.generations / keys[0] / "bin" / "python", "-c", "input()"], stdin=-1) as user,
        site.opened(),
    ):
        gone = generation.prune(
            site.layout,
            snapshots(keys[1], keys[2], None, keys[3], keys[3]),
            keep=2,
        )
        user.communicate(b"\n")
    assert gone == (keys[1],)
    assert set(built(site)) == {production, keys[0], keys[2], keys[3]}
    with site.opened():
        assert generation.prune(site.layout, snapshots(keys[3]), keep=1, spare=[keys[2]]) == (keys[0],)


@pytest.mark.slow
def test_only_unfinished_builds_are_deleted(site: Site) -> None:
    mark = build(site, "oldlet")
    unfinished = site.layout.generations / "0123456789abcdef"
    unfinished.mkdir()
    (site.root / ".venv-prod.new").symlink_to("nowhere")
    with site.opened():
        assert not unfinished.exists()
        assert not os.path.lexists(site.root / ".venv-prod.new")
        assert generation.read_mark(site.layout, mark.key)


@pytest.mark.parametrize("key", [None, "", "..", "../x", "nothing"])
def test_other_folders_have_no_mark(site: Site, key: str | None) -> None:
    assert generation.read_mark(site.layout, key) is None


@pytest.mark.slow
def test_copied_mark_is_ignored(site: Site) -> None:
    mark = build(site, "oldlet")
    (site.layout.generations / mark.key).rename(site.layout.generations / "moved")
    assert generation.read_mark(site.layout, "moved") is None


@pytest.mark.slow
def test_link_leads_to_production(site: Site) -> None:
    mark = build(site, "oldlet")
    generation.switch_production(site.layout, mark.key)
    assert os.readlink(site.layout.production) == f"envs/{mark.key}"
    assert generation.environment_dir(site.layout, mark.key) == site.layout.production.resolve()
    site.layout.production.unlink()
    assert generation.current_key(site.layout) is None
    site.layout.production.symlink_to("/usr")
    assert generation.current_key(site.layout) is None


def test_broken_interpreter_is_reported(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 7\n")
    broken.chmod(0o755)
    for path, output in ((broken, "status 7"), (tmp_path / "nothing", "does not run")):
        with pytest.raises(Failure, match=output) as caught:
            generation.read_python_version(path)
        assert caught.value.code == "gov-python-missing"


@pytest.mark.parametrize("mode", ["copy", "clone", "hardlink"])
@pytest.mark.slow
def test_configured_link_mode_is_used(site: Site, mode: str) -> None:
    site.configure(runtime={"link_mode": mode})
    assert build(site, "oldlet").link_mode == mode


@pytest.mark.slow
def test_full_disk_leaves_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from comfywatchman.base import failpoints

    before = built(site)
    monkeypatch.setattr(failpoints, "_parse_actions", lambda: {"gov.build_before_mark": (0, "raise:ENOSPC")})
    with pytest.raises(Failure, match="No space left") as caught:
        build(site, "oldlet")
    assert caught.value.code == "gov-environment-failed"
    assert built(site) == before
