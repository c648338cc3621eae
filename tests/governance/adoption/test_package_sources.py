"""An adopted environment with packages of an index of their own: indexes on this machine, real uv."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from comfywatchman.governance.adoption.adopt import adopt, inspect_environment
from comfywatchman.governance.adoption.old_environment import read_old_environment
from comfywatchman.governance.environments import generation
from comfywatchman.governance.store.settings import read_settings
from tests.governance import changes
from tests.governance.adoption.old_environments import install, make_environment, write_pack
from tests.governance.contexts import Site, build_site
from tests.governance.uv.test_torch_index import serve_builds
from tests.governance.wheels import add_wheel
from tests.servers.folder import serve_folder

pytestmark = pytest.mark.slow


@pytest.fixture
def builds(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """An index with builds of torch for one version of CUDA: its folder, and its address."""
    folder = tmp_path / "builds"
    add_wheel(folder / "torch", "torch", "2.9.0+cu126")
    add_wheel(folder / "torchvision", "torchvision", "0.24.0+cu126")
    with serve_folder(folder) as url:
        yield folder, url


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = build_site(tmp_path / "site", requirements=("torch", "plainlet"), init=False)
    add_wheel(site.folder / "default" / "plainlet", "plainlet", "1.0")
    add_wheel(site.folder / "default" / "torch", "torch", "2.15.0")
    add_wheel(site.folder / "default" / "torchvision", "torchvision", "0.30.0")
    with serve_folder(site.folder / "default") as default:
        site.configure(
            network={"no_index": False, "find_links": [], "index_url": default}, policy={"core_packages": []}
        )
        site.network = {"HTTPS_PROXY": "http://127.0.0.1:9", "UV_HTTP_RETRIES": "0"}
        yield site


def make_old_environment(site: Site, builds: Path) -> Path:
    environment = make_environment(site, "plainlet")
    install(environment, "--no-index", "--find-links", str(builds / "torch"), "torch==2.9.0+cu126")
    return environment / "bin" / "python"


def test_index_that_a_requirements_file_names_is_taken_for_its_packages(site: Site, builds: tuple[Path, str]) -> None:
    folder, url = builds
    python = make_old_environment(site, folder)
    write_pack(site, "vision", f"--extra-index-url {url}\n")
    with site.opened("init") as context:
        inspection = inspect_environment(context, read_old_environment(python))
        assert inspection.indexes == {url: ("torch", "torchvision")}
        adoption = adopt(context, inspection)
    assert adoption.packages["same"] == ("plainlet", "torch")
    assert adoption.wheels == ()
    assert read_settings(site.layout.config).network.indexes == {url: ("torch", "torchvision")}
    write_pack(site, "later", "torchvision\n")
    with site.opened() as context:
        changes.add_and_promote(context, "later")
    assert site.run_in_production("import torch, torchvision; print(torch.__version__, torchvision.__version__)") == (
        "2.9.0+cu126 0.24.0+cu126"
    )


def test_index_of_torch_is_known_to_uv(site: Site, tmp_path: Path) -> None:
    with serve_builds(tmp_path / "torch", "cu126") as (uv, wheel):
        site.network = uv.network
        environment = make_environment(site, "plainlet")
        install(environment, "--no-index", "--find-links", str(wheel.parent), "torch==2.9.0+cu126")
        with site.opened("init") as context:
            inspection = inspect_environment(context, read_old_environment(environment / "bin" / "python"))
            adoption = adopt(context, inspection)
    assert list(inspection.indexes.values()) == [("torch",)]
    assert next(iter(inspection.indexes)).endswith("/cu126")
    assert adoption.packages["same"] == ("plainlet", "torch")


def test_without_an_index_the_build_is_kept_as_a_wheel(site: Site, builds: tuple[Path, str]) -> None:
    folder, _url = builds
    python = make_old_environment(site, folder)
    write_pack(site, "vision", "--extra-index-url http://127.0.0.1:9/simple\n")
    with site.opened("init") as context:
        inspection = inspect_environment(context, read_old_environment(python))
        adoption = adopt(context, inspection)
    assert (inspection.indexes, adoption.wheels) == ({}, ("torch",))
    mark = generation.read_mark(site.layout, generation.current_key(site.layout))
    assert mark is not None
    assert mark.unverifiable == ()
