from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.adoption import adopt as adoption
from comfywatchman.governance.adoption.adopt import Adoption, adopt, inspect_environment
from comfywatchman.governance.adoption.installed_wheel import MAX_RECORD_BYTES
from comfywatchman.governance.adoption.old_environment import read_old_environment
from comfywatchman.governance.environments.staging import read_registry
from comfywatchman.governance.nodes.registry import list_nodes
from comfywatchman.governance.store import truth
from tests.governance import changes
from tests.governance.adoption.old_environments import (
    hash_folder,
    install,
    install_lost_wheel,
    make_environment,
    write_editable_project,
    write_pack,
)
from tests.governance.contexts import Site, build_site
from tests.governance.wheels import add_wheel
from tests.servers.folder import serve_folder

pytestmark = pytest.mark.slow


def run_adoption(site: Site, environment: Path) -> Adoption:
    with site.opened("init") as context:
        old = read_old_environment(environment / "bin" / "python")
        return adopt(context, inspect_environment(context, old))


def test_existing_environment_is_governed_with_the_same_packages(tmp_path: Path) -> None:
    site = build_site(tmp_path, requirements=("corelet",), init=False)
    environment = make_environment(site, "corelet==1.0", "oldlet", "plainlet")
    install_lost_wheel(site, environment, "lostlet", "1.0+cpu")
    install(environment, "--no-index", "--editable", str(write_editable_project(tmp_path / "editlet")))
    add_wheel(tmp_path / "served", "urllet", "3.0")
    write_pack(site, "a", "plainlet\nabsentlet\n")
    write_pack(site, "b", "numlet>=2\n")
    write_pack(site, "old.disabled")
    (site.comfyui / "custom_nodes" / "single.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
    (site.comfyui / "custom_nodes" / "websocket_image_save.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
    with serve_folder(tmp_path / "served") as url:
        install(environment, "--no-index", f"{url}/urllet-3.0-py3-none-any.whl")
        before = hash_folder(environment)
        adoption = run_adoption(site, environment)
    assert hash_folder(environment) == before
    assert set(adoption.packages["same"]) == {
        "corelet", "oldlet", "numlet", "plainlet", "lostlet", "editlet", "urllet"
    }  # fmt: skip
    assert {adoption.packages[outcome] for outcome in ("moved", "missing", "added")} == {()}
    assert (adoption.wheels, adoption.unkept) == (("lostlet",), {})
    assert adoption.nodes == ("a", "b", "single.py")
    assert adoption.unmet_lines == {"a": ("absentlet",), "b": ("numlet>=2",)}
    groups = truth.parse_groups(site.layout.pyproject.read_text())
    assert groups["node-a"] == ("plainlet",)
    assert "node-b" not in groups
    assert read_registry(site.layout).plugins.keys() == {"a", "b", "single.py"}
    assert [(one.plugin.id, one.code) for one in list_nodes(site.layout, site.comfyui / "custom_nodes")] == [
        ("a", "as-recorded"), ("b", "as-recorded"), ("single.py", "as-recorded")
    ]  # fmt: skip
    (site.comfyui / "custom_nodes" / "single.py").write_text("NODE_CLASS_MAPPINGS = {}  # changed\n")
    assert list_nodes(site.layout, site.comfyui / "custom_nodes")[2].code == "changed"
    code = "import corelet, lostlet, editlet, urllet, numlet; print(corelet.__version__, lostlet.__version__)"
    assert site.run_in_production(code) == "1.0 1.0+cpu"


def test_versions_that_contradict_each_other_are_kept(tmp_path: Path) -> None:
    site = build_site(tmp_path, requirements=("corelet",), init=False)
    environment = make_environment(site, "corelet", "oldlet")
    install(environment, "--no-index", "--find-links", str(site.wheels), "--no-deps", "numlet==2.0")
    install(environment, "--no-index", "--find-links", str(site.wheels), "--no-deps", "deeplet")
    adoption = run_adoption(site, environment)
    assert {adoption.packages[outcome] for outcome in ("moved", "missing", "added")} == {()}
    assert adoption.dropped_lines == {"deeplet": ("plainlet",), "oldlet": ("numlet<2",)}
    assert site.run_in_production("import numlet; print(numlet.__version__)") == "2.0"
    with site.opened() as context:
        changes.promote(context, "new", ["newlet", "plainlet"])
    assert site.run_in_production("import newlet, plainlet, numlet; print(numlet.__version__)") == "2.0"


def test_version_that_contradicts_comfyui_moves(tmp_path: Path) -> None:
    site = build_site(tmp_path, requirements=("corelet>=2",), init=False)
    adoption = run_adoption(site, make_environment(site, "corelet==1.0", "plainlet"))
    assert adoption.packages["moved"] == ("corelet 1.0 -> 2.0",)
    assert adoption.packages["same"] == ("plainlet",)


def test_modified_package_without_an_index_is_named(tmp_path: Path) -> None:
    site = build_site(tmp_path, requirements=("corelet",), init=False)
    environment = make_environment(site, "corelet")
    install_lost_wheel(site, environment, "lostlet", "1.0")
    next(environment.glob("lib/python3*/site-packages/lostlet/__init__.py")).write_text("changed = True\n")
    adoption = run_adoption(site, environment)
    assert adoption.packages["missing"] == ("lostlet 1.0",)
    assert "lostlet/__init__.py was changed" in adoption.unkept["lostlet"]


def test_adopted_root_takes_a_node_and_gives_it_back(tmp_path: Path) -> None:
    site = build_site(tmp_path, requirements=("corelet",), init=False)
    environment = make_environment(site, "corelet==1.0", "numlet==1.0")
    install_lost_wheel(site, environment, "lostlet", "1.0")
    run_adoption(site, environment)
    before = site.layout.uv_lock.read_bytes()
    with site.opened() as context:
        operation = changes.promote(context, "deep", ["deeplet"])
    assert site.run_in_production("import deeplet, numlet, lostlet; print(numlet.__version__)") == "1.0"
    changes.run(site, "undo")
    assert operation.kind == "promote"
    assert site.layout.uv_lock.read_bytes() == before
    assert site.run_in_production("import lostlet; print('well')") == "well"


def test_unreachable_index_changes_nothing(tmp_path: Path) -> None:
    site = build_site(tmp_path, requirements=("corelet",), init=False)
    environment = make_environment(site, "corelet")
    site.configure(network={"no_index": False, "find_links": [], "index_url": "http://127.0.0.1:9/simple"})
    with pytest.raises(Failure) as caught:
        run_adoption(site, environment)
    assert caught.value.code == "gov-lock-failed"
    assert not site.layout.pyproject.exists()


def test_files_are_measured_by_a_readable_record_only(tmp_path: Path) -> None:
    assert adoption._measure_files(tmp_path) == 0
    record = tmp_path / "RECORD"
    record.write_text(f"a.py,sha256=x,5\nb.py,sha256=x,7\nc.py,,\nd.py,,\u00b2\ne.py,,{'9' * 5000}\n", "utf-8")
    assert adoption._measure_files(tmp_path) == 12
    os.truncate(record, MAX_RECORD_BYTES + 1)
    assert adoption._measure_files(tmp_path) == 0
    record.unlink()
    os.mkfifo(record)
    assert adoption._measure_files(tmp_path) == 0
