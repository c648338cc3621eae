from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.gpu.query import GpuDevice, GpuReading
from comfywatchman.governance.environments import generation
from comfywatchman.governance.store.settings import NetworkTable
from comfywatchman.governance.trial.evaluate import evaluate
from comfywatchman.governance.trial.trial import (
    build_installer_variables,
    build_trial_spec,
    find_production_interpreter,
    needs_cpu,
)
from tests.governance.contexts import DEFAULT_SETTINGS, build_site
from tests.governance.trial.programs import build_server, details

GIB = 1 << 30


def network(**keys: object) -> NetworkTable:
    return msgspec.structs.replace(DEFAULT_SETTINGS.network, **keys)


def card(free: int | None, total: int = 24 * GIB) -> GpuReading:
    return GpuReading("ok", (GpuDevice(0, "GPU-a", "card", total, free, None),))


@pytest.mark.parametrize(
    ("reading", "cpu"),
    [
        (card(23 * GIB), False),
        (card(12 * GIB), True),
        (card(None), True),
        (card(GIB, total=GIB), True),
        (GpuReading("none"), True),
        (GpuReading("unknown", reason="it hung"), True),
    ],
    ids=["idle", "computing", "silent", "small", "none", "unknown"],
)
def test_trial_uses_the_cpu_while_the_gpu_is_busy(reading: GpuReading, *, cpu: bool) -> None:
    assert needs_cpu(reading) is cpu


@pytest.mark.slow
def test_candidate_is_evaluated_with_the_settings_of_its_root(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    site.configure(run={"extra_args": ["--fast"]})
    (site.comfyui / "main.py").write_text(
        build_server("print(*sys.argv, os.environ['PIP_FIND_LINKS'], sys.executable)")
    )
    nodes = {name: site.comfyui / "custom_nodes" / name for name in ("mine", "other")}
    for folder in nodes.values():
        folder.mkdir()
        (folder / "__init__.py").touch()
    candidate = tmp_path / "candidate"
    (candidate / "bin").mkdir(parents=True)
    (candidate / "bin" / "python").symlink_to(sys.executable)
    with site.opened() as context:
        spec = build_trial_spec(
            context, txid="tx", node_id="mine", environment=candidate, nodes=nodes, read_gpu=lambda: GpuReading("none")
        )
        judgement, logs = evaluate(spec)
    assert (judgement.how, judgement.exit_code) == ("server", 0), judgement.findings
    assert judgement.classes_added == {"mine": ("Of_mine",)}
    assert logs.stdout == str(site.layout.logs / "tx.stdout.log")
    said = Path(logs.stdout).read_text()
    assert "--fast" in said
    assert "--cpu" in said
    assert f"{site.wheels} {candidate}/bin/python" in said
    assert (site.layout.root / "state" / "baseline.json").is_file()
    assert list(site.layout.work.iterdir()) == []


@pytest.mark.slow
def test_configured_time_limit_is_used(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    site.configure(tx={"timeout_seconds": 0.5})
    (site.comfyui / "main.py").write_text("import time; time.sleep(600)")
    key = generation.current_key(site.layout)
    assert key is not None
    with site.opened() as context:
        environment = generation.environment_dir(site.layout, key)
        judgement, _ = evaluate(build_trial_spec(context, txid="tx", node_id="mine", environment=environment, nodes={}))
    assert judgement.exit_code == 124
    assert "within 0.5 seconds" in details(judgement, "start")
    assert find_production_interpreter(site.layout) == environment / "bin" / "python"


@pytest.mark.slow
def test_changed_node_code_invalidates_the_baseline(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    (site.comfyui / "main.py").write_text(
        build_server("open(BASE + '/../../../../starts', 'a').write(f'{len(PACKS)}\\n')")
    )
    nodes = {name: site.comfyui / "custom_nodes" / name for name in ("mine", "other")}
    for folder in nodes.values():
        folder.mkdir()
    environment = site.layout.production.resolve()
    with site.opened() as context:
        for content in ("one", "one", "two"):
            code = nodes["other"] / "__init__.py"
            if not code.exists() or code.read_text() != content:
                code.write_text(content)
                os.utime(code, (len(content), 1 if content == "one" else 2))
            evaluate(build_trial_spec(context, txid="tx", node_id="mine", environment=environment, nodes=nodes))
    assert (site.layout.root / "starts").read_text().split() == ["1", "2", "2", "1", "2"]


def test_install_scripts_use_the_configured_index() -> None:
    variables = build_installer_variables(network(offline=True, index_url="https://pypi.example/simple"))
    assert variables["PIP_INDEX_URL"] == variables["UV_DEFAULT_INDEX"] == "https://pypi.example/simple"
    assert (variables["PIP_NO_INDEX"], variables["UV_OFFLINE"]) == ("1", "1")
    assert "PIP_FIND_LINKS" not in variables


def test_install_scripts_may_be_kept_from_the_index_while_online() -> None:
    variables = build_installer_variables(network(no_index=True, find_links=("/a", "/b c")))
    assert variables["PIP_NO_INDEX"] == "1"
    assert "UV_OFFLINE" not in variables
    assert (variables["PIP_FIND_LINKS"], variables["UV_FIND_LINKS"]) == (
        "file:///a file:///b%20c",
        "file:///a,file:///b%20c",
    )
