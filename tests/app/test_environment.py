"""The governed environment in the readiness report, through the program."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import orjson
import pytest

from comfywatchman.base.files import to_json
from comfywatchman.base.filesystem import read_creation_time_ns
from comfywatchman.governance.checks.runner import CHECKS
from comfywatchman.governance.environments import generation
from comfywatchman.governance.environments import init as environment_init
from comfywatchman.governance.store.records import Judgement, Transaction
from comfywatchman.readiness.sample.workflows import build_text_to_image
from tests.governance.contexts import Site
from tests.governance.wheels import add_wheel
from tests.hosts import Host

pytestmark = pytest.mark.slow


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path, governance__root=str(tmp_path / "env"))


@pytest.fixture
def site(host: Host) -> Site:
    site = Site(host.folder)
    add_wheel(site.wheels, "corelet", "1.0")
    (site.comfyui / "requirements.txt").write_text("corelet==1.0\n")
    site.configure(
        network={"no_index": True, "find_links": [str(site.wheels)], "cache_dir": str(host.folder / "uv-cache")}
    )
    site.init()
    return site


def cycle(host: Host) -> None:
    assert host.invoke("--run-cycle").exit_code == 0


def test_report_shows_how_to_create_a_governed_root(host: Host) -> None:
    host.write("a.json")
    cycle(host)
    assert host.report()["environment"]["state"] == "not governed"
    assert "no governed environment (run gov --home " in host.layout.status_markdown.read_text("utf-8").replace(
        "\\", ""
    )


def test_healthy_environment_is_in_the_report(host: Host, site: Site) -> None:
    host.write("a.json")
    cycle(host)
    report = host.report()
    assert report["environment"]["state"] == "ok"
    assert report["environment"]["root"] == str(site.root)
    assert [check["name"] for check in report["environment"]["checks"]] == [check.name for check in CHECKS]
    assert report["summary"]["ready"] == 1


def test_missing_packages_make_ready_workflows_uncertain(host: Host, site: Site) -> None:
    host.write("a.json")
    key = generation.current_key(site.layout)
    assert key is not None
    (facts,) = generation.environment_dir(site.layout, key).glob("lib/python3*/site-packages/corelet-1.0.dist-info")
    facts.rename(host.folder / "away")
    cycle(host)
    report = host.report()
    assert (report["environment"]["state"], report["summary"]["ready"]) == ("fail", 0)
    shown = host.invoke("status").output
    assert "a.json\tUNCERTAIN\ta sound Python environment" in host.invoke("status", "--all").output
    assert "Repair the Python environment (production)" in shown
    markdown = host.layout.status_markdown.read_text("utf-8")
    assert markdown.index("environment checks failed") < markdown.index("<details>")


def test_missing_node_with_known_pack_is_offered_as_a_command(host: Host, site: Site) -> None:
    assert site.layout.pyproject.exists()
    graph = build_text_to_image(last="DepthNode")
    graph["nodes"][-1]["properties"] = {"aux_id": "owner/depth-pack"}
    host.write("a.json", orjson.dumps(graph))
    cycle(host)
    (entry,) = host.report()["workflows"]
    assert entry["missing_nodes"][0]["fix"] == "Try it aside: gov node add https://github.com/owner/depth-pack"


def test_broken_gov_configuration_does_not_end_the_cycle(host: Host, site: Site) -> None:
    host.write("a.json")
    site.layout.config.write_text("[paths]\nnonsense = 1\n")
    cycle(host)
    environment = host.report()["environment"]
    assert environment["state"] == "unknown"
    assert "nonsense" in environment["checks"][0]["evidence"]


def test_cycle_and_scan_use_observed_loaders(host: Host, site: Site) -> None:
    host.pack("OddSave")
    host.model("odd/thing.onnx", b"x")
    graph = build_text_to_image(last="OddSave")
    graph["nodes"][-1]["widgets_values"] = ["thing.onnx"]
    workflow = host.write("a.json", orjson.dumps(graph))
    assert host.invoke("scan", str(workflow)).exit_code == 1
    judgement = Judgement(
        how="server",
        exit_code=0,
        model_folders={"OddSave": {"odd": "odd_things"}},
        widget_places={"OddSave": {"odd": 0}},
        model_directories={"odd_things": ("odd",)},
    )
    txid = "20260101T000000Z-00000001"
    transaction = Transaction(txid=txid, node_id="pack-OddSave", started_at=txid, judgement=judgement)
    site.layout.transactions.mkdir(parents=True, exist_ok=True)
    (site.layout.transactions / f"{txid}.json").write_bytes(to_json(transaction))
    assert host.invoke("scan", str(workflow)).exit_code == 0
    cycle(host)
    assert host.report()["summary"]["ready"] == 1


def test_packages_of_production_decide_which_packs_can_be_imported(host: Host, site: Site) -> None:
    folder = host.pack("Mine")
    (folder / "__init__.py").write_text("import corelet\n" + (folder / "__init__.py").read_text())
    host.write("a.json", last="Mine")
    cycle(host)
    assert host.report()["summary"]["ready"] == 1
    (folder / "__init__.py").write_text("import not_in_the_lock\n" + (folder / "__init__.py").read_text())
    cycle(host)
    (node,) = host.report()["workflows"][0]["missing_nodes"]
    assert node["state"] == "import_failed"
    assert str(site.layout.generations) in node["evidence"]


def other_host(host: Host) -> Host:
    """Return a second ComfyUI with the same home and governed root, and a pack that is registered nowhere."""
    other = Host(host.folder / "second", governance__root=str(host.folder / "env"))
    other.home = host.home
    other.pack("Elsewhere")
    other.write("b.json")
    return other


def break_production(host: Host, site: Site) -> None:
    key = generation.current_key(site.layout)
    assert key is not None
    (facts,) = generation.environment_dir(site.layout, key).glob("lib/python3*/site-packages/corelet-1.0.dist-info")
    facts.rename(host.folder / "away")


def test_checks_of_another_comfyui_are_not_reported(host: Host, site: Site) -> None:
    other = other_host(host)
    break_production(host, site)
    cycle(other)
    environment = other.report()["environment"]
    assert (environment["state"], environment["checks"]) == ("not governed", [])
    assert (environment["cause"], environment["governs"]) == ("other-comfyui", str(host.comfyui))
    assert other.report()["summary"]["ready"] == 1
    expected = f"Environment: not governed: root {site.root} governs {host.comfyui}"
    assert expected in other.invoke("status").output
    host.write("a.json")
    cycle(host)
    assert host.report()["summary"]["ready"] == 0


def test_configured_folder_of_the_root_counts_too(host: Host, site: Site) -> None:
    other = other_host(host)
    site.configure(paths={"comfyui_dir": str(other.comfyui)})
    for one in (host, other):
        cycle(one)
        assert one.report()["environment"]["cause"] == "other-comfyui"
    with site.opened("init") as context:
        environment_init.init(context)
    cycle(other)
    assert other.report()["environment"]["checks"]


def test_another_comfyui_at_the_same_path_is_not_governed(host: Host, site: Site) -> None:
    if read_creation_time_ns(host.comfyui) is None:
        return
    host.comfyui.rename(host.folder / "away")
    shutil.copytree(host.folder / "away", host.comfyui)
    cycle(host)
    assert host.report()["environment"]["cause"] == "replaced-comfyui"
    assert "governs the ComfyUI that was in" in host.invoke("status").output
    site.init()
    cycle(host)
    assert host.report()["environment"]["checks"]


def test_moved_comfyui_is_still_governed(host: Host, site: Site) -> None:
    if read_creation_time_ns(host.comfyui) is None:
        return
    host.comfyui = host.comfyui.rename(host.folder / "moved")
    host.variables["COMFYUI_ROOT"] = str(host.comfyui)
    cycle(host)
    assert host.report()["environment"]["state"] == "ok"
    shown = json.loads(host.invoke("env", "--root", site.root, "status", "--json").stdout)
    assert shown["result"]["comfyui"] == str(host.comfyui)


def test_root_of_an_older_version_is_bound_by_init(host: Host, site: Site) -> None:
    site.layout.comfyui.unlink()
    cycle(host)
    environment = host.report()["environment"]
    assert (environment["state"], environment["cause"]) == ("not governed", "not-recorded")
    site.init()
    cycle(host)
    assert host.report()["environment"]["state"] == "ok"


def test_scan_takes_nothing_from_the_environment_of_another(host: Host, site: Site) -> None:
    other = other_host(host)
    assert site.layout.comfyui.is_file()
    folder = other.pack("Mine")
    (folder / "__init__.py").write_text("import not_in_the_lock\n" + (folder / "__init__.py").read_text())
    workflow = other.write("a.json", last="Mine")
    told = json.loads(other.invoke("scan", str(workflow), "--json").stdout)
    assert str(site.layout.generations) not in json.dumps(told)
