"""No exit code, status or suggested pin depends on a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from comfywatchman.cli.gov.main import gov
from tests import rewording
from tests.governance.contexts import Site, build_site

pytestmark = pytest.mark.slow

# Left out are modules with formats in which spaces count: pyproject.toml, uv's messages, programs, `node <id>`.
MODULES = (
    "comfywatchman.cli.gov.",
    "comfywatchman.governance.conflicts.",
    "comfywatchman.governance.environments.access",
    "comfywatchman.governance.environments.commit",
    "comfywatchman.governance.environments.integrity",
    "comfywatchman.governance.environments.migrate",
    "comfywatchman.governance.environments.rollback",
    "comfywatchman.governance.environments.snapshot",
    "comfywatchman.governance.environments.staging",
    "comfywatchman.governance.status",
    "comfywatchman.governance.store.uv_lock",
    "comfywatchman.governance.store.records",
    "comfywatchman.governance.store.status_policy",
    "comfywatchman.governance.uv.overrides",
)
FACTS = ("code", "status", "kind", "confidence", "suggestions", "detected_packages", "resolution_pins", "pending")


class _Scenario:
    """Commands on one governed root, and the facts of their results."""

    def __init__(self, site: Site) -> None:
        self._options = ["--root", str(site.root), "--home", str(site.folder / "home"), "--comfyui", str(site.comfyui)]
        self.facts: list[Any] = []

    def call(self, *arguments: str) -> Any:
        result = CliRunner().invoke(gov, [*self._options, *arguments, "--json"])
        assert result.stdout, repr(result.exception)
        envelope = orjson.loads(result.stdout)
        answer = envelope.get("result", envelope.get("error"))
        self.facts.append([arguments[0], result.exit_code, *_select(answer)])
        return answer

    def try_node(self, name: str) -> str:
        self.call("node", "add", "--adopt", name)
        return str(self.call("tx", "run", name)["txid"])


def _select(answer: Any) -> list[Any]:
    """Return the facts of an answer; ids and times differ between runs."""
    parts = [answer, answer.get("transaction") or {}, answer.get("conflict") or {}, answer.get("status") or {}]
    parts = [part for part in parts if isinstance(part, dict)]
    found = [{name: part[name] for name in FACTS if isinstance(part.get(name), str | int | list)} for part in parts]
    checks = [[check["name"], check["status"]] for check in answer.get("checks", ())]
    return [*found, *checks]


def run_commands(folder: Path) -> list[Any]:
    """Try two nodes that conflict, resolve that, go back, and call what is refused."""
    site = build_site(folder, init=False)
    for name, requirement in (("old", "oldlet"), ("new", "newlet")):
        pack = site.comfyui / "custom_nodes" / name
        pack.mkdir()
        (pack / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
        (pack / "requirements.txt").write_text(requirement)
    scenario = _Scenario(site)
    call = scenario.call
    call("status")
    call("init")
    call("tx", "promote", scenario.try_node("old"))
    txid = scenario.try_node("new")
    call("tx", "promote", txid)
    conflict = call("tx", "inspect", txid)["conflict"]
    call("check")
    call("tx", "promote", txid)
    call("resolve", txid, "--pin", "numlet")
    call("resolve", txid, "--pin", conflict["suggestions"][0])
    call("tx", "promote", txid)
    call("tx", "abort", txid)
    call("node", "remove", "new")
    snapshots = call("snapshot", "list")["snapshots"]
    call("rollback", snapshots[-1]["id"])
    call("rollback", "nonsense")
    operations = call("op", "list")["operations"]
    call("undo", operations[-1]["op_id"])
    call("undo", operations[0]["op_id"])
    (site.layout.snapshots / snapshots[0]["id"] / "uv.lock").write_text("changed")
    call("snapshot", "inspect", snapshots[0]["id"])
    call("migrate")
    call("status")
    site.configure(tx={"timeout_seconds": -1})
    call("status")
    return scenario.facts


@pytest.mark.timeout(900)
def test_rewording_changes_no_fact(tmp_path: Path) -> None:
    facts, _count = rewording.run("tests.governance.test_rewording:run_commands", tmp_path / "plain" / "site")
    reworded, count = rewording.run(
        "tests.governance.test_rewording:run_commands", tmp_path / "reworded" / "site", MODULES
    )
    assert count > 100
    assert _exit_codes(facts) == {0, 1, 2}
    assert reworded == facts


def _exit_codes(facts: Sequence[Any]) -> set[int]:
    return {fact[1] for fact in facts}
