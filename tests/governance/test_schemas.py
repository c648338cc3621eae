"""The files that governance writes keep to the schemas that are shipped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jsonschema
import orjson
import pytest

from comfywatchman.base.gpu.driver import GpuDriver
from comfywatchman.governance.checks.runner import run_checks
from comfywatchman.governance.conflicts import report
from comfywatchman.governance.environments import access, rollback, snapshot
from comfywatchman.governance.nodes import add
from comfywatchman.governance.transactions import promotion
from comfywatchman.governance.transactions.gates import Consent
from comfywatchman.governance.transactions.run import run_transaction
from tests.governance.contexts import build_site

SCHEMAS = Path(__file__).parents[2] / "docs" / "reference" / "schemas"
PLACES: Mapping[str, str] = {
    "gov_plugins": "state/plugins.json",
    "gov_transaction": "state/transactions/*.json",
    "gov_conflict": "state/conflicts/*.json",
    "gov_operation": "state/operations/*.json",
    "gov_snapshot": "snapshots/*/meta.json",
    "gov_snapshots_index": "state/snapshots_index.json",
    "gov_generation": "envs/*/.gov-complete",
    "gov_checks": "state/checks.json",
    "gov_comfyui": "state/comfyui.json",
    "lock": "state/.lock",
}


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a governed root with every kind of file: nodes tried, promoted, in conflict, and gone back."""
    site = build_site(tmp_path_factory.mktemp("schemas"))
    for name, requirement in (("old", "oldlet"), ("new", "newlet")):
        folder = site.comfyui / "custom_nodes" / name
        folder.mkdir()
        (folder / "requirements.txt").write_text(requirement)
        with site.opened() as opened:
            add.adopt_node(opened, name)
            tried = run_transaction(opened, name)
            promotion.promote(opened, tried.txid, Consent(), report=report.report_conflict)
    with site.opened() as opened:
        operation = rollback.rollback(opened, snapshot.read_all(opened.layout)[0].id)
        rollback.undo(opened, operation.op_id)
    looked = access.read_context(site.root, comfyui=site.comfyui, clock=site.clock, network={})
    run_checks(looked, driver=GpuDriver(present=False), budget_seconds=None)
    return site.root


def validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(orjson.loads((SCHEMAS / f"{name}.schema.json").read_bytes()))


@pytest.mark.parametrize("name", PLACES)
def test_files_match_their_schema(root: Path, name: str) -> None:
    files = sorted(root.glob(PLACES[name]))
    assert files
    for file in files:
        validator(name).validate(orjson.loads(file.read_bytes()))


def test_every_json_file_has_a_schema(root: Path) -> None:
    known = {file for place in PLACES.values() for file in root.glob(place)}
    written = {*root.glob("state/**/*.json"), *root.glob("snapshots/**/*.json"), *root.glob("envs/*/.gov-complete")}
    assert {file for file in written if file.name not in {"baseline.json", "plugins.json"}} <= known
