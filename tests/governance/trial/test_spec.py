from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.governance.trial.programs import TrialSite


@pytest.fixture
def site(tmp_path: Path) -> TrialSite:
    return TrialSite(tmp_path)


def test_other_nodes_keep_their_order_and_folders(site: TrialSite) -> None:
    nodes = {name: Path("/nodes", name) for name in ("z", "mine", "a")}
    spec = site.build_spec(nodes=nodes)
    assert list(spec.other_nodes.items()) == [("z", Path("/nodes/z")), ("a", Path("/nodes/a"))]
    assert list(spec.nodes) == ["z", "mine", "a"]


def test_other_nodes_are_found_by_id_and_not_by_folder(site: TrialSite) -> None:
    shared = Path("/nodes/shared")
    assert site.build_spec(nodes={"mine": shared, "Mine": shared}).other_nodes == {"Mine": shared}
    assert site.build_spec(nodes={"mine": shared}).other_nodes == {}


def test_trial_leaves_the_gpu_alone_unless_told(site: TrialSite) -> None:
    assert site.build_spec().use_cpu()
    assert not site.build_spec(use_cpu=lambda: False).use_cpu()


def test_chosen_port_is_free_on_the_loopback(site: TrialSite) -> None:
    port = site.build_spec().choose_port()
    with socket.create_server(("127.0.0.1", port)) as listener:
        assert listener.getsockname() == ("127.0.0.1", port)
        assert site.build_spec().choose_port() != port
