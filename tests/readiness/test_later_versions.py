"""State files of a later version of this program: never changed, and no reason to stop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.readiness.downloads.plan import PlanItem
from comfywatchman.readiness.downloads.queue import add_items
from tests.hosts import Host
from tests.torture.test_state_values import build_host

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def kept_host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return build_host(tmp_path_factory.mktemp("later"))


def set_later_version(path: Path) -> bytes:
    document = json.loads(path.read_bytes())
    content = json.dumps({**document, "schema_version": 2, "unknown_to_us": [1]}).encode()
    path.write_bytes(content)
    return content


@pytest.mark.parametrize(
    "name", ["awake.json", "workflows.json", "decisions.json", "model_cache.json", "custom_nodes_cache.json"]
)
def test_cycle_goes_on_beside_a_file_of_a_later_version(kept_host: Host, name: str) -> None:
    path = kept_host.layout.home.state / name
    before = path.read_bytes()
    content = set_later_version(path)
    kept_host.write(f"for-{name}")
    kept_host.model(f"loras/{name}.safetensors")
    kept_host.pack(f"For{name[:3]}")
    result = kept_host.cycle()
    assert result.record.success
    assert result.status is not None
    assert path.read_bytes() == content
    if name != "decisions.json":
        assert any(str(path) in problem and "later version" in problem for problem in result.status.problems)
    path.write_bytes(before)


def test_report_of_a_later_version_is_set_aside(kept_host: Host) -> None:
    path = kept_host.layout.status_json
    content = set_later_version(path)
    assert kept_host.cycle().record.success
    assert path.with_name("master_status.json.later-1").read_bytes() == content
    assert json.loads(path.read_bytes())["schema_version"] == 1


def test_download_queue_of_a_later_version_is_not_changed(kept_host: Host) -> None:
    path = kept_host.layout.home.state / "downloads.json"
    content = set_later_version(path)
    with pytest.raises(Failure) as caught:
        add_items(path, [PlanItem("a", "loras", "https://x")], "c", clock=kept_host.clock)
    assert caught.value.code == "state-newer"
    assert path.read_bytes() == content
