"""`gov` as a person and a program meet it: what it prints, its exit codes, its one envelope."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import jsonschema
import orjson
import pytest
from click.testing import CliRunner, Result

from comfywatchman.base.files import to_json, write_atomic
from comfywatchman.base.lock import hold_lock
from comfywatchman.cli.gov.main import COMMANDS, gov
from comfywatchman.cli.main import main
from comfywatchman.governance.environments import generation
from comfywatchman.governance.selftest import acceptance
from comfywatchman.governance.store.records import ConflictReport, RequirementEdge, Transaction, TransactionStatus
from tests.governance.contexts import KeptSite, Site, build_site

pytestmark = pytest.mark.slow

SCHEMAS = Path(__file__).parents[3] / "docs" / "reference" / "schemas"
TXID = "20261120T120000Z-0000000a"


class Gov:
    """A governed root, and calls of `gov` on it."""

    def __init__(self, site: Site, *, measures: bool = True) -> None:
        self.site = site
        self.measures = measures
        self.environment = {
            "COMFYUI_ROOT": str(site.comfyui),
            "COMFYWATCHMAN_HOME": str(site.folder / "home"),
            "COMFYWATCHMAN_GOVERNANCE__ROOT": str(site.root),
            "HOME": str(site.folder),
        }

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(gov, list(arguments), env=self.environment)

    def program(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run it as a child, as the console script does."""
        return subprocess.run(
            self.command(*arguments),
            env=self.child_environment(**variables),
            cwd=self.site.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-c", "from comfywatchman.cli.main import run_gov; run_gov()", *arguments]

    def child_environment(self, **variables: str) -> dict[str, str]:
        own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[3])}
        measured = {name: text for name, text in os.environ.items() if name.startswith("COVERAGE_PROCESS_")}
        is_measured = self.measures and "kill" not in "".join(variables.values())
        return {**self.environment, **own, **variables, **(measured if is_measured else {})}

    def on_a_terminal(self, *arguments: str, typed: str) -> str:
        """Run it on a terminal on which a person types; return what is on the screen afterwards."""
        near, far = pty.openpty()
        os.write(near, typed.encode())
        child = subprocess.Popen(
            self.command(*arguments),
            env=self.child_environment(TERM="xterm", COLUMNS="120"),
            stdin=far,
            stdout=far,
            stderr=far,
            cwd=self.site.folder,
        )
        os.close(far)
        screen = b""
        with contextlib.suppress(OSError):  # the kernel's word for "nobody writes there any more"
            while block := os.read(near, 65536):
                screen += block
        os.close(near)
        child.wait(timeout=60)
        return screen.decode()

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Return what a command answers a program, held against the envelope."""
        result = self(*arguments, "--json")
        assert result.exit_code == code, result.output
        envelope: Mapping[str, Any] = json.loads(result.stdout)
        assert envelope["schema_version"] == 1
        assert envelope["command"] == " ".join(arguments[: 1 if arguments[0] in COMMANDS_ALONE else 2])
        assert envelope.keys() == {"schema_version", "command", "error" if "error" in envelope else "result"}
        return envelope.get("result", envelope.get("error"))

    def pack(self, name: str, requirement: str = "plainlet") -> None:
        folder = self.site.comfyui / "custom_nodes" / name
        folder.mkdir()
        (folder / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
        (folder / "requirements.txt").write_text(f"{requirement}\n")

    def record(self, status: TransactionStatus, **facts: Any) -> None:
        transaction = Transaction(txid=TXID, node_id="depth", started_at="2026-11-20T12:00:00Z", status=status, **facts)
        write_atomic(self.site.layout.transactions / f"{TXID}.json", to_json(transaction))


COMMANDS_ALONE = {name for name in COMMANDS if name not in {"node", "tx", "snapshot", "op"}}


@pytest.fixture
def gov_on(kept_root: KeptSite) -> Gov:
    return Gov(kept_root.restore())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Gov:
    """Return one root for every test that changes nothing of it."""
    return Gov(build_site(tmp_path_factory.mktemp("shared")))


def test_help_names_every_command_and_the_exit_codes() -> None:
    result = CliRunner().invoke(gov, ["--help"], terminal_width=100)
    assert result.exit_code == 0
    assert CliRunner().invoke(gov, [], terminal_width=100).output == result.output
    for words in (*(f"\n  {name} " for name in COMMANDS), "Exit codes", "\n  gov init  ", "\n  gov tx promote TXID"):
        assert words in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_of_its_own(name: str) -> None:
    result = CliRunner().invoke(gov, [name, "--help"])
    assert result.exit_code == 0, result.output
    command = gov.get_command(click.Context(gov), name)
    assert isinstance(command, click.Group) or "\n  gov" in result.output or name in {"status", "migrate"}


def test_comfywatchman_env_is_the_same_group(shared: Gov) -> None:
    result = CliRunner().invoke(main, ["env", "status", "--json"], env=shared.environment)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["result"]["prod_env_exists"] is True


def test_options_before_the_command_win(shared: Gov) -> None:
    result = shared("--root", str(shared.site.folder / "other"), "status", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["code"] == "gov-not-initialised"
    assert "Run: gov init" in result.stderr


def test_mistyped_command_suggests_the_nearest_one() -> None:
    assert "Did you mean 'promote'?" in CliRunner().invoke(gov, ["tx", "promot"]).output


def test_init_of_a_complete_root_reports_nothing_to_do(shared: Gov) -> None:
    assert "The environment is complete" in shared("init").stdout
    assert shared.json("init")["operation"] is None


def test_init_prints_the_environment_in_production(tmp_path: Path) -> None:
    fresh = Gov(build_site(tmp_path, init=False))
    result = fresh("init")
    assert result.exit_code == 0, result.output
    assert "1 package, all of their files verified" in result.stdout


def test_status_json_keeps_the_fields_of_the_first_gov(gov_on: Gov) -> None:
    gov_on.record("completed")
    found = gov_on.json("status")
    assert (found["prod_env_exists"], found["lock_exists"]) == (True, True)
    assert (found["transactions_total"], found["pending"]) == (1, 1)
    assert [one["txid"] for one in found["recent"]] == [TXID]
    text = gov_on("status").stdout
    assert "Nodes:      none registered. Register one: gov node add URL" in text
    assert TXID in text


def test_status_without_production_suggests_init(gov_on: Gov) -> None:
    gov_on.site.layout.production.unlink()
    gov_on.site.layout.uv_lock.unlink()
    assert gov_on("status").stdout.count("Run: gov init") == 2


def test_check_exits_with_1_only_after_a_failure(gov_on: Gov) -> None:
    assert gov_on.json("check")["state"] == "ok"
    assert "What to do" not in gov_on("check").stdout
    gov_on.record("needs_resolution")
    result = gov_on("check")
    assert (result.exit_code, f"gov resolve {TXID}" in result.stdout) == (0, True)
    gov_on.site.layout.uv_lock.unlink()
    assert gov_on.json("check", code=1)["state"] == "fail"


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


def test_rollback_prints_how_to_undo_it(gov_on: Gov) -> None:
    gov_on.pack("depth")
    gov_on("node", "add", "--adopt", "depth")
    first = gov_on.json("snapshot", "list")["snapshots"][-1]["id"]
    result = gov_on("rollback", first)
    assert result.exit_code == 0, result.output
    (operation,) = (one for one in gov_on.json("op", "list")["operations"] if one["kind"] == "rollback")
    assert f"gov undo {operation['op_id']}" in result.stdout
    assert "plugins.json: changed" in gov_on("op", "inspect", operation["op_id"]).stdout
    assert gov_on.json("op", "inspect", operation["op_id"])["kind"] == "rollback"
    assert gov_on.json("undo", operation["op_id"])["kind"] == "undo"
    assert gov_on.json("undo", operation["op_id"], code=1)["code"] == "gov-undo-refused"
    assert first in gov_on("snapshot", "list").stdout
    assert operation["op_id"] in gov_on("op", "list").stdout


def test_inspecting_a_damaged_snapshot_reports_it(gov_on: Gov) -> None:
    (snapshot,) = gov_on.json("snapshot", "list")["snapshots"]
    assert "unchanged" in gov_on("snapshot", "inspect", snapshot["id"]).stdout
    (gov_on.site.layout.snapshots / snapshot["id"] / "uv.lock").write_text("changed")
    assert "uv.lock changed" in gov_on.json("snapshot", "inspect", snapshot["id"], code=1)["trouble"]


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


def test_conflict_exits_with_2_and_suggests_pins(gov_on: Gov) -> None:
    for name, requirement in (("old", "oldlet"), ("new", "newlet")):
        gov_on.pack(name, requirement)
        gov_on("node", "add", "--adopt", name)
        gov_on("tx", "run", name)
        txid = gov_on.json("tx", "list")["transactions"][0]["txid"]
        result = gov_on("tx", "promote", txid)
    assert result.exit_code == 2, result.output
    assert f"Try: gov resolve {txid} --pin numlet==" in result.stdout
    unsolved = gov_on.json("resolve", txid, "--pin", "numlet==9.0", code=2)
    assert (unsolved["transaction"]["status"], unsolved["conflict"]["txid"]) == ("needs_resolution", txid)
    assert "Conflict (" in gov_on("tx", "inspect", txid).stdout
    solved = gov_on("resolve", txid, "--pin", "numlet==2.0")
    assert (solved.exit_code, "Resolved with numlet==2.0." in solved.stdout) == (0, True)
    assert "Accepted, because you pinned it" in gov_on("tx", "promote", txid).stdout


def test_resolve_on_a_terminal_prompts_for_pins(gov_on: Gov) -> None:
    gov_on.record("needs_resolution")
    report = ConflictReport(
        txid=TXID,
        node_id="depth",
        created_at="2026-11-20T12:00:00Z",
        kind="conflict",
        confidence="verified",
        summary="They clash.",
        clash=(
            RequirementEdge(source="node old", requirement="numlet<2"),
            RequirementEdge(source="node new", requirement="numlet>=2"),
        ),
        suggestions=("numlet==2.0",),
    )
    write_atomic(gov_on.site.layout.conflicts / f"{TXID}.json", to_json(report))
    screen = gov_on.on_a_terminal("resolve", TXID, typed="7\n1\n\n")
    assert "node old requires numlet<2" in screen
    assert "1: numlet==2.0; overrules numlet<2 (node old)" in screen
    assert "There is no 7." in screen
    assert "gov-transaction-state" in screen


def test_resolve_on_a_terminal_reports_a_missing_report(gov_on: Gov) -> None:
    gov_on.record("needs_resolution")
    assert "no conflict report" in gov_on.on_a_terminal("resolve", TXID, typed="")


def test_progress_on_a_terminal_leaves_a_clean_line(shared: Gov) -> None:
    screen = shared.on_a_terminal("init", typed="")
    assert "Resolving packages" in screen
    assert "The environment is complete" in screen


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["tx", "--help"]])
def test_gov_starts_fast(shared: Gov, arguments: list[str]) -> None:
    unmeasured = Gov(shared.site, measures=False)
    unmeasured.program(*arguments)
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert unmeasured.program(*arguments).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.15


def test_abort_reports_that_production_never_changed(gov_on: Gov) -> None:
    gov_on.record("completed")
    assert "production never changed" in gov_on("tx", "abort", TXID).stdout
    assert gov_on.json("tx", "abort", TXID, code=1)["code"] == "gov-transaction-state"


def test_conflict_report_without_requirements_is_printed(gov_on: Gov) -> None:
    gov_on.record("needs_resolution", core_impact=("numpy 1.0 -> 2.0",), error="It clashes.")
    report = ConflictReport(
        txid=TXID,
        node_id="depth",
        created_at="2026-11-20T12:00:00Z",
        kind="offline_cache_miss",
        confidence="unparsed",
        summary="No network.",
        edges=(RequirementEdge(source="base", requirement="numpy"),),
        raw_log="/logs/x",
    )
    write_atomic(gov_on.site.layout.conflicts / f"{TXID}.json", to_json(report))
    result = gov_on("tx", "inspect", TXID)
    assert "Conflict (offline cache miss, unparsed): No network." in result.stdout
    assert "Core package: numpy 1.0 -> 2.0" in result.stdout
    assert "It clashes." in result.stderr


def test_migrate_prints_its_changes(gov_on: Gov) -> None:
    assert "Every file has the current format." in gov_on("migrate").stdout
    gov_on.site.layout.plugins.write_text('{"plugins": []}')
    assert "gov undo" in gov_on("migrate").stdout
    assert gov_on.json("migrate")["changed"] == []


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


def test_run_starts_comfyui_from_the_real_environment_folder(gov_on: Gov) -> None:
    (gov_on.site.comfyui / "main.py").write_text("import sys; print(sys.prefix, sys.argv[1:]); sys.exit(7)\n")
    ended = gov_on.program("run", "--", "--port", "8190")
    key = generation.current_key(gov_on.site.layout)
    assert ended.returncode == 7, ended.stderr
    assert f"/envs/{key} " in ended.stdout
    assert "['--port', '8190']" in ended.stdout


def test_selftest_passes_and_leaves_the_root_unchanged(gov_on: Gov) -> None:
    result = gov_on("test", "--keep")
    rows = [line.split("\t") for line in result.stdout.splitlines()[1:-1]]
    folder = Path(result.stdout.splitlines()[-1].removeprefix("The scratch copy is in ").removesuffix("."))
    assert (result.exit_code, [row for row in rows if row[1] != "ok"]) == (0, [])
    assert len(rows) == 13
    assert (folder / "env" / "uv.lock").exists()
    shutil.rmtree(folder)
    assert list(gov_on.site.layout.transactions.iterdir()) == []


def test_failed_selftest_exits_with_1_and_leaves_no_folder(shared: Gov, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = []

    def fail(folder: Path, **_facts: object) -> tuple[acceptance.SelftestStep, ...]:
        folders.append(folder)
        return (
            acceptance.SelftestStep("init", ok=False, detail="no disk"),
            acceptance.SelftestStep("tx run", ok=None, detail=""),
        )

    monkeypatch.setattr(acceptance, "run_selftest", fail)
    assert [step["ok"] for step in shared.json("test", code=1)["steps"]] == [False, None]
    assert "not run" in shared("test").stdout
    assert [folder for folder in folders if folder.exists()] == []
