from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.environments import generation, snapshot
from comfywatchman.governance.environments import init as environment_init
from comfywatchman.governance.environments.staging import read_registry
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.records import NodeRegistry, Operation
from comfywatchman.governance.store.settings import GovSettings, read_default_config, read_settings
from tests.governance import changes
from tests.governance.contexts import DEFAULT_SETTINGS, Site, build_site
from tests.governance.wheels import add_wheel


def replace_paths(settings: GovSettings) -> GovSettings:
    """Return settings without what they say of folders."""
    return msgspec.structs.replace(settings, paths=DEFAULT_SETTINGS.paths)


def init(site: Site) -> Operation | None:
    with site.opened("init") as context:
        return environment_init.init(context)


@pytest.mark.slow
def test_init_creates_layout_lock_and_production(tmp_path: Path) -> None:
    site = build_site(tmp_path, init=False)
    site.layout.config.unlink()
    site.configure(network={"no_index": True, "find_links": [str(site.wheels)]})
    operation = init(site)
    assert operation is not None
    assert (operation.kind, operation.pre_snapshot) == ("init", None)
    for folder in (site.layout.candidates, site.layout.snapshots, site.layout.transactions, site.layout.conflicts):
        assert folder.is_dir()
    assert os.readlink(site.layout.production).startswith("envs/")
    assert site.layout.uv_lock.is_file()
    assert read_registry(site.layout) == NodeRegistry()
    assert [one.reason for one in snapshot.read_all(site.layout)] == ["init"]
    assert site.run_in_production("import corelet; print(corelet.__version__)") == "1.0"


@pytest.mark.slow
def test_second_init_changes_nothing(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    before = snapshot.read_root_files(site.layout)
    assert init(site) is None
    assert snapshot.read_root_files(site.layout) == before
    assert len(snapshot.read_all(site.layout)) == 1


@pytest.mark.slow
def test_init_writes_a_commented_config(tmp_path: Path) -> None:
    site = build_site(tmp_path, requirements=(), init=False)
    site.layout.config.unlink()
    init(site)
    assert site.layout.config.read_text() == read_default_config()


@pytest.mark.slow
def test_comfyui_without_requirements(tmp_path: Path) -> None:
    site = build_site(tmp_path, init=False)
    (site.comfyui / "requirements.txt").unlink()
    init(site)
    assert truth.parse_groups(site.layout.pyproject.read_text()) == {"base": ()}


def test_folder_without_comfyui_is_refused(tmp_path: Path) -> None:
    site = build_site(tmp_path, init=False)
    (site.comfyui / "main.py").unlink()
    with pytest.raises(Failure, match="no ComfyUI") as caught:
        init(site)
    assert caught.value.code == "comfyui-not-found"
    assert not site.layout.pyproject.exists()


@pytest.mark.slow
def test_unmounted_comfyui_changes_nothing(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    shutil.rmtree(site.comfyui)
    with pytest.raises(Failure, match="no ComfyUI"):
        init(site)
    assert site.run_in_production("import corelet; print(corelet.__version__)") == "1.0"


@pytest.mark.slow
def test_comfyui_dir_is_stored_once(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    before = read_settings(site.layout.config)
    with site.opened("init") as context:
        environment_init.store_comfyui_dir(context.layout.config, context.comfyui)
        environment_init.store_comfyui_dir(context.layout.config, tmp_path / "other")
    after = read_settings(site.layout.config)
    assert after.paths.comfyui_dir == str(site.comfyui)
    assert replace_paths(after) == replace_paths(before)


@pytest.mark.slow
def test_root_made_by_hand_has_no_damaged_snapshot(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    text = site.layout.pyproject.read_text()
    config = site.layout.config.read_text()
    shutil.rmtree(site.root)
    site.root.mkdir()
    site.layout.pyproject.write_text(text)
    site.layout.config.write_text(config)
    operation = init(site)
    assert operation is not None
    assert operation.pre_snapshot is None
    for meta in snapshot.read_all(site.layout):
        snapshot.read_contents(site.layout, meta.id)


@pytest.mark.slow
def test_updated_requirements_of_comfyui_are_locked(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    (site.comfyui / "requirements.txt").write_text("# needed\n\ncorelet==2.0 # new\n--extra-index-url https://host\n")
    operation = init(site)
    assert operation is not None
    assert operation.pre_snapshot is not None
    assert site.run_in_production("import corelet; print(corelet.__version__)") == "2.0"


@pytest.mark.slow
def test_nodes_stay_when_comfyui_is_updated(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    with site.opened() as context:
        changes.promote(context, "a", ["oldlet"])
    (site.comfyui / "requirements.txt").write_text("corelet==2.0\n")
    init(site)
    assert site.run_in_production("import corelet, oldlet; print(corelet.__version__)") == "2.0"
    assert set(read_registry(site.layout).plugins) == {"a"}


@pytest.mark.slow
def test_manual_edit_is_locked_and_built(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    text = site.layout.pyproject.read_text()
    site.layout.pyproject.write_text(truth.set_group(text, "mine", ["plainlet"]))
    assert init(site) is not None
    assert site.run_in_production("import plainlet; print('well')") == "well"


@pytest.mark.slow
def test_group_named_overrides_is_converted(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    text = truth.set_group(site.layout.pyproject.read_text(), "mine", ["oldlet", "newlet"])
    site.layout.pyproject.write_text(truth.set_group(text, "overrides", ["numlet==1.0"]))
    init(site)
    assert truth.parse_overrides(site.layout.pyproject.read_text()) == ("numlet==1.0",)
    assert site.run_in_production("import numlet; print(numlet.__version__)") == "1.0"


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["gone", "modified"])
def test_damaged_environment_is_rebuilt(tmp_path: Path, harm: str) -> None:
    site = build_site(tmp_path)
    production = site.layout.production.resolve()
    if harm == "gone":
        shutil.rmtree(production)
    else:
        next(production.glob("lib/python*/site-packages/corelet/__init__.py")).write_text("poison = True\n")
    init(site)
    assert site.run_in_production("import corelet; print(corelet.__version__)") == "1.0"


@pytest.mark.slow
def test_unresolvable_requirements_change_nothing(tmp_path: Path) -> None:
    site = build_site(tmp_path, requirements=("oldlet", "newlet"), init=False)
    with pytest.raises(Failure, match="No solution found") as caught:
        init(site)
    assert caught.value.code == "gov-lock-failed"
    assert not os.path.lexists(site.layout.production)
    assert not site.layout.pyproject.exists()


@pytest.mark.slow
def test_uninstallable_requirements_change_nothing(tmp_path: Path) -> None:
    site = build_site(tmp_path, requirements=("plainlet",), init=False)
    wheel = next(site.wheels.glob("plainlet*"))
    wheel.write_bytes(wheel.read_bytes()[:-200].replace(b"Root-Is-Purelib", b"Root-Is-Nothing"))
    with pytest.raises(Failure) as caught:
        init(site)
    assert caught.value.code in {"gov-lock-failed", "gov-environment-failed"}
    assert generation.current_key(site.layout) is None


def test_invalid_requirement_line_is_reported(tmp_path: Path) -> None:
    site = build_site(tmp_path, requirements=("corelet ==== 1",), init=False)
    with pytest.raises(Failure, match="corelet ==== 1"):
        init(site)


@pytest.mark.parametrize("name", ["pyproject.toml", "plugins.json"])
@pytest.mark.slow
def test_lost_truth_file_is_not_replaced(tmp_path: Path, name: str) -> None:
    site = build_site(tmp_path)
    site.layout.truth_file(name).unlink()
    with pytest.raises(Failure, match=r"missing.*gov rollback") as caught:
        init(site)
    assert caught.value.code == "gov-truth-damaged"
    assert not site.layout.truth_file(name).exists()


@pytest.mark.slow
def test_package_that_needs_this_patch_version_of_python_is_locked(tmp_path: Path) -> None:
    site = build_site(tmp_path, requirements=("soupsievelet",), init=False)
    add_wheel(site.wheels, "soupsievelet", "1.0", requires_python=f">={platform.python_version()}")
    init(site)
    assert site.run_in_production("import soupsievelet; print('well')") == "well"


def test_url_without_a_package_name_is_refused(tmp_path: Path) -> None:
    site = build_site(tmp_path, requirements=("git+https://host/some/repository",), init=False)
    with pytest.raises(Failure, match="without a package name"):
        init(site)


def test_built_in_manager_is_known_from_the_start_arguments(tmp_path: Path) -> None:
    site = build_site(tmp_path, init=False)
    assert not environment_init.has_manager_option(read_settings(site.layout.config))
    site.configure(run={"extra_args": ["--enable-manager"]})
    assert environment_init.has_manager_option(read_settings(site.layout.config))
