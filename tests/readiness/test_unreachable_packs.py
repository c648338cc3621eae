"""Node packs and Python packages that could not be looked at: their classes are unknown, and nothing is installed."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import orjson
import pytest

from comfywatchman.readiness.report.render import render_markdown
from comfywatchman.readiness.report.troubles import TroubleKind, list_troubles
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.readiness.status import MasterStatus
from tests.closed_paths import close_paths
from tests.hosts import PACK, Host, graph, needs_refusals
from tests.model_files import put


def with_node(class_type: str, **properties: str) -> bytes:
    """Return a ready workflow with one more node, fed by the picture that is saved."""
    workflow = orjson.loads(graph())
    saved = next(node for node in workflow["nodes"] if node["type"] == "SaveImage")
    link = next(link for link in workflow["links"] if link[0] == saved["inputs"][0]["link"])
    workflow["links"].append([999, link[1], link[2], 999, 0, "IMAGE"])
    node = {"id": 999, "type": class_type, "mode": 0, "properties": properties, "widgets_values": []}
    node["inputs"] = [{"name": "images", "type": "IMAGE", "link": 999}]
    workflow["nodes"].append(node)
    return orjson.dumps(workflow)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Return a host with a workflow that needs a pack, and a list of node classes that names another one for it."""
    host = Host(tmp_path)
    catalogue = put(tmp_path / "map/extension-node-map.json", b'{"https://github.com/x/y": [["Ink", "Other"], {}]}')
    host.set(nodes__class_map=catalogue)
    host.write("a.json", with_node("Ink"))
    return host


@pytest.fixture
def pack(host: Host) -> Path:
    """Return the pack of the workflow, which was read once."""
    pack = host.pack("Ink")
    assert host.entry("a.json").status is WorkflowStatus.READY
    return pack


def assert_unknown(host: Host, path: Path, class_type: str = "Ink") -> MasterStatus:
    """Check that a class is unknown because of a path, in the cycle, `scan` and `explain`; return the report."""
    status = host.status()
    entry = next(entry for entry in status.workflows if entry.path.endswith("/a.json"))
    (node,) = entry.missing_nodes
    assert (entry.status, node.class_type, node.state) == (WorkflowStatus.UNCERTAIN, class_type, "unknown")
    assert node.obstacle is not None
    assert node.obstacle.path == str(path)
    assert node.packages == ()
    assert "nstall" not in (node.fix or "")
    trouble = list_troubles(status)[0]
    assert (trouble.kind, trouble.subject) == (TroubleKind.UNREACHABLE, str(path))
    assert f"- **Couldn't read** `{path}`: " in render_markdown(status)
    assert host.history()[-1].resolved == 0
    host.report()
    scanned = json.loads(host.invoke("scan", "--json", host.workflows / "a.json").stdout)["workflows"][0]
    explained = json.loads(host.invoke("explain", "--json", host.workflows / "a.json").stdout)
    assert scanned["status"] == explained["judged"]["status"] == "UNCERTAIN"
    assert scanned["missing_nodes"][0]["obstacle"]["path"] == str(path)
    return status


def assert_back(host: Host) -> None:
    status = host.status()
    assert (status.workflows[0].status, status.problems) == (WorkflowStatus.READY, ())
    assert host.history()[-1].resolved == 0


@pytest.mark.slow
def test_pack_behind_a_link_to_a_disk_that_is_not_mounted(host: Host, pack: Path, tmp_path: Path) -> None:
    pack.rename(tmp_path / "disk")
    pack.symlink_to(tmp_path / "mnt/disk")
    assert_unknown(host, pack)
    pack.unlink()
    (tmp_path / "disk").rename(pack)
    assert_back(host)


@pytest.mark.slow
@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_pack_folder_that_cannot_be_listed(host: Host, pack: Path, error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as closed:
        close_paths(closed, pack, error=error)
        status = assert_unknown(host, pack)
        assert any(problem.startswith(f"{pack}: ") for problem in status.problems)
    assert_back(host)


@pytest.mark.slow
def test_pack_that_was_never_read(host: Host, tmp_path: Path) -> None:
    link = host.comfyui / "custom_nodes/some-pack"
    link.symlink_to(tmp_path / "mnt/disk")
    host.write("a.json", with_node("Ink", cnr_id="quite-another-pack"))
    assert_unknown(host, link)


@pytest.mark.slow
def test_pack_that_was_read_before_hides_only_its_own_classes(host: Host, pack: Path, tmp_path: Path) -> None:
    pack.rename(tmp_path / "disk")
    pack.symlink_to(tmp_path / "mnt/disk")
    host.write("b.json", with_node("Other"))
    status = host.status()
    states = {Path(entry.path).name: [node.state for node in entry.missing_nodes] for entry in status.workflows}
    assert states == {"a.json": ["unknown"], "b.json": ["missing"]}


@pytest.mark.slow
def test_another_pack_with_the_class_is_enough(host: Host, pack: Path, tmp_path: Path) -> None:
    put(host.comfyui / "custom_nodes/other/__init__.py", PACK.format(name="Ink").encode())
    pack.rename(tmp_path / "disk")
    pack.symlink_to(tmp_path / "mnt/disk")
    assert host.entry("a.json").status is WorkflowStatus.READY


@pytest.mark.slow
def test_disabled_pack_hides_nothing(host: Host, tmp_path: Path) -> None:
    (host.comfyui / "custom_nodes/some-pack.disabled").symlink_to(tmp_path / "mnt/disk")
    assert host.entry("a.json").missing_nodes[0].state == "missing"


def test_deleted_pack_is_missing(host: Host, pack: Path) -> None:
    shutil.rmtree(pack)
    entry = host.entry("a.json")
    assert (entry.status, entry.missing_nodes[0].state) == (WorkflowStatus.MISSING, "missing")
    assert entry.missing_nodes[0].obstacle is None


@pytest.mark.slow
def test_part_of_a_pack_that_cannot_be_listed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = host.comfyui / "custom_nodes/pack-Ink"
    put(pack / "__init__.py", b"from .inner.nodes import NODE_CLASS_MAPPINGS\n")
    put(pack / "inner/nodes.py", PACK.format(name="Ink").encode())
    host.write("a.json", with_node("Ink", cnr_id="pack-Ink"))
    assert host.entry("a.json").status is WorkflowStatus.READY
    with monkeypatch.context() as closed:
        close_paths(closed, pack / "inner", pack / "inner/nodes.py", calls=("scandir", "open"))
        assert_unknown(host, pack / "inner")
    assert_back(host)


@pytest.fixture
def packages(host: Host) -> Path:
    """Return the site-packages of a Python beside ComfyUI that has all that a pack imports."""
    environment = host.comfyui / "venv"
    put(environment / "pyvenv.cfg", b"home = /usr/bin\nversion = 3.12.3\n")
    packages = environment / "lib/python3.12/site-packages"
    for name in ("torch", "inkpot"):
        put(packages / name / "__init__.py", b"")
    folder = host.pack("Ink")
    put(folder / "__init__.py", b"import inkpot\n" + PACK.format(name="Ink").encode())
    assert host.entry("a.json").status is WorkflowStatus.READY
    return packages


@pytest.mark.slow
def test_python_package_behind_a_broken_link(host: Host, packages: Path, tmp_path: Path) -> None:
    path = packages / "inkpot"
    path.rename(tmp_path / "disk")
    path.symlink_to(tmp_path / "mnt/disk")
    status = assert_unknown(host, path)
    assert status.start_problems == ()
    path.unlink()
    (tmp_path / "disk").rename(path)
    assert_back(host)


@pytest.mark.slow
def test_python_packages_that_cannot_be_listed(host: Host, packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as closed:
        close_paths(closed, packages, error=errno.EIO)
        status = assert_unknown(host, packages)
        assert status.start_problems == ()
        assert any(problem.startswith(f"{packages}: ") for problem in status.problems)
    assert_back(host)


@pytest.mark.slow
def test_folder_of_a_pth_file_behind_a_broken_link(host: Host, packages: Path, tmp_path: Path) -> None:
    (packages / "inkpot").rename(tmp_path / "inkpot")
    (packages / "far").symlink_to(tmp_path / "mnt/disk")
    put(packages / "far.pth", b"far\n")
    assert_unknown(host, packages / "far")


@pytest.mark.slow
def test_python_package_that_is_certainly_missing(host: Host, packages: Path) -> None:
    shutil.rmtree(packages / "inkpot")
    entry = host.entry("a.json")
    assert (entry.status, entry.missing_nodes[0].state) == (WorkflowStatus.MISSING, "import_failed")


@pytest.mark.slow
def test_folder_of_comfyui_that_cannot_be_listed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    core = host.comfyui / "comfy"
    put(core / "samplers.py", b"KSampler = 1\n")
    folder = host.pack("Ink")
    put(folder / "__init__.py", b"import comfy.samplers\n" + PACK.format(name="Ink").encode())
    close_paths(monkeypatch, core, calls=("listdir",))
    assert host.entry("a.json").missing_nodes == ()


@pytest.mark.slow
def test_folder_of_all_packs_behind_a_broken_link(host: Host, pack: Path, tmp_path: Path) -> None:
    folder = pack.parent
    shutil.rmtree(folder)
    folder.symlink_to(tmp_path / "mnt/packs")
    status = host.status()
    (node,) = status.workflows[0].missing_nodes
    assert (status.workflows[0].status, node.state, node.packages) == (WorkflowStatus.UNCERTAIN, "unknown", ())
    trouble = list_troubles(status)[0]
    assert (trouble.kind, trouble.subject) == (TroubleKind.START, str(folder))
    assert trouble.next_step.startswith(f"Mount the disk of {tmp_path}/mnt/packs")


@pytest.mark.slow
@needs_refusals
@pytest.mark.parametrize("closed", ["pack", "packages", "venv"])
def test_refusal_by_the_kernel(host: Host, packages: Path, closed: str) -> None:
    folders = {
        "pack": host.comfyui / "custom_nodes/pack-Ink",
        "packages": packages,
        "venv": host.comfyui / "venv",
    }
    report = host.report_without_permission(folders[closed])
    (entry,) = report["workflows"]
    assert entry["status"] == "UNCERTAIN"
    if closed == "venv":
        # Then nothing is known of ComfyUI's Python, so the package may be there or not.
        assert "import inkpot" in entry["missing_nodes"][0]["evidence"]
    else:
        assert entry["missing_nodes"][0]["obstacle"]["path"] == str(folders[closed])
