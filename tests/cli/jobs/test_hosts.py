from __future__ import annotations

import pytest

from comfywatchman.app.jobs import JobAgent
from comfywatchman.app.session import Session
from tests.cli.jobs.calls import JobsHome

pytestmark = pytest.mark.slow


def test_queue_without_an_agent_says_how_to_start_one(home: JobsHome) -> None:
    assert home("hosts").stdout == f"No agent has run yet. Start one: {home.format_command('start')}\n"


def test_each_worker_shows_what_it_does(home: JobsHome) -> None:
    agent = JobAgent(Session(home.folder, home.folder / "config.toml"))
    with agent.open_store() as store:
        busy = store.register_worker("gpu-1", version="1")
        store.beat(busy, progress={"job": "T2I_x.yaml", "running": True, "node": "3", "value": 4, "maximum": 20})
        waiting = store.register_worker("gpu-2", version="1")
        store.beat(waiting, progress={"reason": "The queue is paused."})
        store.register_worker("gpu-3", version="1")
        store.publish_readiness("gpu-2", {"flux": False}, {"flux": "flux.safetensors is missing"})
        text = home("hosts").stdout
        content = home.json("hosts")
    assert "T2I_x: node 3, step 4 of 20" in text
    assert "The queue is paused." in text
    assert "waits for jobs" in text
    assert "gpu-2 cannot run flux: flux.safetensors is missing" in text
    assert [host["host"] for host in content["hosts"]] == ["gpu-1", "gpu-2", "gpu-3"]
    assert content["hosts"][0]["workers"][0]["progress"]["value"] == 4
