"""Calls of `gov` on a governed root."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from comfywatchman.base.files import to_json, write_atomic
from comfywatchman.cli.gov.main import COMMANDS, gov
from comfywatchman.governance.store.records import Transaction, TransactionStatus
from tests.governance.contexts import Site

TXID = "20261120T120000Z-0000000a"

COMMANDS_ALONE = {name for name in COMMANDS if name not in {"node", "tx", "package", "comfyui", "snapshot", "op"}}


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
            timeout=250,
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
        child.wait(timeout=250)
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
