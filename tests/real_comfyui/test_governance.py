"""The whole chain of `gov` with a real ComfyUI: add, run, conflict, resolve, promote, start, remove, roll back."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from comfywatchman.comfyui.server.api import fetch_nodes, probe_server
from comfywatchman.comfyui.server.listening import find_free_port
from comfywatchman.governance.conflicts import report, resolve
from comfywatchman.governance.environments import generation, rollback
from comfywatchman.governance.nodes import registry
from comfywatchman.governance.nodes.add import AddRequest, add_node
from comfywatchman.governance.store.records import Transaction
from comfywatchman.governance.transactions import promotion
from comfywatchman.governance.transactions.gates import Consent
from comfywatchman.governance.transactions.run import run_transaction
from comfywatchman.governance.trial.loader_inputs import read_observed_loaders
from scripts.real_comfyui import Installed
from tests.governance.contexts import Site, build_site
from tests.governance.packs import commit_files, create_repository
from tests.governance.wheels import add_wheel

pytestmark = [pytest.mark.real_comfyui, pytest.mark.slow, pytest.mark.timeout(600)]

NODE = """
import {package}
import folder_paths
class {name}:
    RETURN_TYPES, FUNCTION, CATEGORY = (), "run", "x"
    @classmethod
    def INPUT_TYPES(cls):
        return {{"required": {{"lora": (folder_paths.get_filename_list("loras"),)}}}}
NODE_CLASS_MAPPINGS = {{"{name}": {name}}}
"""


@pytest.fixture
def site(real_comfyui_installed: Installed, tmp_path: Path) -> Site:
    """A governed root over a copy of the real ComfyUI; what it requires is one wheel that leads to its packages."""
    what = real_comfyui_installed
    site = build_site(tmp_path, requirements=("comfybase==1.0",), init=False)
    shutil.copytree(what.tree, site.comfyui, dirs_exist_ok=True, ignore=shutil.ignore_patterns("custom_nodes"))
    (site.comfyui / "requirements.txt").write_text("comfybase==1.0\n")
    packages = next(what.python.parents[1].glob("lib/python3*/site-packages"))
    link = {"comfybase.pth": f"import site; site.addsitedir({str(packages)!r})\n"}
    add_wheel(site.wheels, "comfybase", "1.0", files=link)
    front_end = ["--front-end-root", str(what.front_end)] if what.front_end else []
    site.configure(run={"extra_args": front_end})
    site.init()
    return site


def add_node_to(site: Site, name: str, class_type: str, package: str, *requirements: str) -> None:
    files = {"__init__.py": NODE.format(name=class_type, package=package)}
    pack = create_repository(site.folder / "repositories" / name, *requirements, files=files)
    with site.opened() as ground:
        add_node(ground, AddRequest(str(pack), allow_local=True), find_pack=lambda _pack_id: None)


def tried(site: Site, name: str) -> Transaction:
    with site.opened() as ground:
        return run_transaction(ground, name)


def promoted(site: Site, txid: str) -> Transaction:
    with site.opened() as ground:
        return promotion.promote(ground, txid, Consent(), report=report.report_conflict)


@contextmanager
def running(site: Site) -> Iterator[frozenset[str]]:
    """Run `gov run` and give the classes of the ComfyUI that came up; SIGINT must end it well."""
    port = find_free_port()
    command = [sys.executable, "-m", "comfywatchman", "--home", str(site.folder / "home"), "env"]
    command += ["--root", str(site.root), "--comfyui", str(site.comfyui), "run", "--"]
    log = site.folder / "run.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "--cpu", "--port", str(port), "--disable-auto-launch"],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.DEVNULL,
            stderr=stream,
        )
    try:
        deadline = time.monotonic() + 300
        while (server := probe_server(f"http://127.0.0.1:{port}")) is None:
            assert process.poll() is None, log.read_text("utf-8", "replace")[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield fetch_nodes(server, {}).classes
        process.send_signal(signal.SIGINT)
        # Ctrl-C ends a supervised ComfyUI.
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()


def test_a_node_goes_in_clashes_is_resolved_starts_and_goes_away_again(site: Site) -> None:
    add_node_to(site, "older", "Older", "oldlet", "oldlet")
    done = tried(site, "older")
    assert done.status == "completed", (done.error, done.judgement)
    assert done.judgement is not None
    assert (done.judgement.how, done.judgement.classes_added) == ("server", {"older": ("Older",)})
    assert done.diff.added == ("numlet==1.0", "oldlet==1.0")
    assert promoted(site, done.txid).status == "promoted"

    add_node_to(site, "newer", "Newer", "newlet")
    failed = tried(site, "newer")
    assert failed.status == "failed"
    assert failed.judgement is not None
    assert failed.judgement.import_failures == {"newer": "ModuleNotFoundError: No module named 'newlet'"}
    commit_files(site.comfyui / "custom_nodes" / "newer", {"requirements.txt": "newlet\n"})

    done = tried(site, "newer")
    assert done.status == "completed", (done.error, done.judgement)
    done = promoted(site, done.txid)
    assert done.status == "needs_resolution"
    with site.opened() as ground:
        done = resolve.resolve(ground, done.txid, ["numlet==2.0"])
    assert done.status == "resolved"
    done = promoted(site, done.txid)
    assert done.status == "promoted", done.error

    with running(site) as classes:
        assert {"Older", "Newer", "KSampler"} <= classes
        key = generation.current_key(site.layout)
        assert key in generation.find_in_use(site.layout)

    with site.opened() as ground:
        registry.unregister(ground, "newer", purge_code=True)
    assert site.run_in_production("import numlet; print(numlet.__version__)") == "1.0"
    with running(site) as classes:
        assert "Older" in classes
        assert "Newer" not in classes

    assert done.promotion is not None
    with site.opened() as ground:
        rollback.rollback(ground, str(done.promotion.post_snapshot))
    assert site.run_in_production("import newlet, numlet; print(numlet.__version__)") == "2.0"
    assert {(one.class_type, one.folder) for one in read_observed_loaders(site.layout).inputs} == {
        ("Older", "loras"),
        ("Newer", "loras"),
    }
