"""`gov` as people and programs meet it: output, exit codes, JSON envelope."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import jsonschema
import orjson
import pytest
from click.testing import CliRunner

from comfywatchman.base.lock import hold_lock
from comfywatchman.cli.gov.main import COMMANDS, gov
from comfywatchman.cli.main import main
from tests.children import measure_cpu_seconds
from tests.cli.gov.calls import TXID, Gov

pytestmark = pytest.mark.slow

SCHEMAS = Path(__file__).parents[3] / "docs" / "reference" / "schemas"


def test_help_names_every_command_and_the_exit_codes() -> None:
    result = CliRunner().invoke(gov, ["--help"], terminal_width=100)
    assert result.exit_code == 0
    assert CliRunner().invoke(gov, [], terminal_width=100).output == result.output
    for words in (
        *(f"\n  {name} " for name in COMMANDS),
        "Exit codes",
        "\n  gov init --adopt  ",
        "\n  gov tx promote TXID",
    ):
        assert words in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_of_its_own(name: str) -> None:
    result = CliRunner().invoke(gov, [name, "--help"])
    assert result.exit_code == 0, result.output
    command = gov.get_command(click.Context(gov), name)
    assert isinstance(command, click.Group) or "Examples:\n    gov" in result.output


def test_comfywatchman_env_is_the_same_group(shared: Gov) -> None:
    result = CliRunner().invoke(main, ["env", "status", "--json"], env=shared.environment)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["result"]["prod_env_exists"] is True


def test_options_before_the_command_win(shared: Gov) -> None:
    other = shared.site.folder / "other"
    result = shared("--root", str(other), "status", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["code"] == "gov-not-initialised"
    assert f"Run: gov --root {other} init" in result.stderr


def test_mistyped_command_suggests_the_nearest_one() -> None:
    assert "Did you mean 'promote'?" in CliRunner().invoke(gov, ["tx", "promot"]).output


def test_node_is_adopted_tried_promoted_and_removed(gov_on: Gov) -> None:
    gov_on.pack("depth")
    assert "gov node add --adopt depth" in gov_on("node", "list").stdout
    assert "gov tx run depth" in gov_on("node", "add", "--adopt", "depth").stdout
    tried = gov_on("tx", "run", "depth")
    assert tried.exit_code == 0, tried.output
    assert "+ plainlet==1.0" in tried.stdout
    txid = gov_on.json("tx", "list")["transactions"][0]["txid"]
    assert f"Next: gov tx promote {txid}" in tried.stdout
    promoted = gov_on("tx", "promote", txid)
    assert promoted.exit_code == 0, promoted.output
    assert "To undo this: gov rollback" in promoted.stdout
    assert gov_on.site.run_in_production("import plainlet; print(plainlet.__version__)") == "1.0"
    assert gov_on.json("tx", "inspect", txid)["transaction"]["status"] == "promoted"
    assert gov_on.json("node", "list")["nodes"][0]["code"] == "as-recorded"
    removed = gov_on("node", "remove", "depth")
    assert "ComfyUI loads it" in removed.stdout
    assert gov_on.json("op", "list")["operations"][0]["kind"] == "remove"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("tx", "inspect", "nonsense"), "gov-transaction-unknown"),
        (("tx", "abort", "nonsense"), "gov-transaction-unknown"),
        (("tx", "promote", "nonsense"), "gov-transaction-unknown"),
        (("tx", "run", "nobody"), "gov-node-unknown"),
        (("resolve", "nonsense"), "gov-transaction-unknown"),
        (("node", "remove", "nobody"), "gov-node-unknown"),
        (("rollback", "nonsense"), "gov-snapshot-unknown"),
        (("snapshot", "inspect", "nonsense"), "gov-snapshot-unknown"),
        (("undo", "nonsense"), "gov-operation-unknown"),
        (("op", "inspect", "nonsense"), "gov-operation-unknown"),
    ],
)
def test_unknown_ids_exit_with_2_and_a_json_error(shared: Gov, arguments: tuple[str, ...], code: str) -> None:
    error = shared.json(*arguments, code=2)
    assert error["code"] == code
    result = shared(*arguments)
    assert f"Error ({code})" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("tx", "promote", TXID, "--approve-core"),
        ("node", "add", "--adopt", "depth", "--ref", "main"),
        ("tx", "run", "depth", "--timeout", "0"),
        ("tx", "promote"),
    ],
)
def test_wrong_usage_exits_with_2_and_changes_nothing(shared: Gov, arguments: tuple[str, ...]) -> None:
    assert shared(*arguments).exit_code == 2


def test_refused_url_suggests_a_valid_one(shared: Gov) -> None:
    result = shared("node", "add", "ext::sh")
    assert (result.exit_code, "gov-bad-url" in result.stderr) == (1, True)


def test_unreachable_registry_suggests_a_url(gov_on: Gov) -> None:
    gov_on.environment["COMFYWATCHMAN_NODES__REGISTRY_URL"] = "http://127.0.0.1:9"
    error = gov_on.json("node", "add", "some-pack", code=1)
    assert error["code"] == "http-unreachable"
    assert "gov node add https://" in error["hint"]


def test_failed_trial_exits_with_1_and_names_its_logs(gov_on: Gov) -> None:
    gov_on.pack("depth")
    gov_on("node", "add", "--adopt", "depth")
    (gov_on.site.comfyui / "main.py").write_text("raise SystemExit(3)\n")
    result = gov_on("tx", "run", "depth")
    assert result.exit_code == 1
    assert "Output of ComfyUI" in result.stdout
    assert "--allow-failed-run" in result.stdout
    assert gov_on.json("tx", "list")["transactions"][0]["status"] == "failed"


def test_progress_on_a_terminal_leaves_a_clean_line(shared: Gov) -> None:
    screen = shared.on_a_terminal("init", typed="")
    assert "Resolving packages" in screen
    assert "The environment is complete" in screen


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["tx", "--help"]])
def test_gov_starts_fast(shared: Gov, arguments: list[str]) -> None:
    unmeasured = Gov(shared.site, measures=False)
    unmeasured.program(*arguments)
    # The aim is 0.15 s. Slow or shared cores need more for Python and click alone, of which it is about twice the time.
    seconds, floor = measure_cpu_seconds(
        lambda: unmeasured.program(*arguments),
        lambda: subprocess.run([sys.executable, "-c", "import click"], check=True),
    )
    assert seconds < max(0.15, 4 * floor)


def test_abort_reports_that_production_never_changed(gov_on: Gov) -> None:
    gov_on.record("completed")
    assert "production never changed" in gov_on("tx", "abort", TXID).stdout
    assert gov_on.json("tx", "abort", TXID, code=1)["code"] == "gov-transaction-state"


def test_next_command_reports_a_finished_commit(gov_on: Gov) -> None:
    gov_on.pack("d")
    child = gov_on.program("node", "add", "--adopt", "d", COMFYWATCHMAN_FAILPOINTS="gov.after_journal=kill")
    assert child.returncode == -9
    schema = orjson.loads((SCHEMAS / "gov_journal.schema.json").read_bytes())
    jsonschema.Draft202012Validator(schema).validate(orjson.loads(gov_on.site.layout.journal.read_bytes()))
    result = gov_on("status")
    assert "was finished" in result.stderr
    assert "d" in [one["id"] for one in gov_on.json("status")["nodes"]]


def test_holder_of_the_lock_is_printed_while_waiting(gov_on: Gov) -> None:
    with hold_lock(gov_on.site.layout.process_lock, command="gov tx run depth", clock=gov_on.site.clock):
        gov_on.site.layout.journal.write_text("{}")
        result = gov_on("status")
    assert "gov tx run depth" in result.stderr
