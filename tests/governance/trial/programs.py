"""Programs that stand in for ComfyUI's main.py, and a bench to judge them on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from comfywatchman.governance.store.records import Judgement, RunLogs
from comfywatchman.governance.trial.evaluate import evaluate
from comfywatchman.governance.trial.spec import TrialSpec

SERVER = """
import json, os, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OPTIONS = dict(part.partition("=")[::2] for part in sys.argv[1:])
BASE = OPTIONS["--base-directory"]
PACKS = sorted(os.listdir(os.path.join(BASE, "custom_nodes")))
CORE = ["EmptyImage", "PreviewImage", "PreviewAny"]
HISTORY = {}
INTERRUPTED = []

def module(name):
    return {"python_module": name, "input": {"required": {}}}

def names(folder):
    return sorted(os.listdir(os.path.join(BASE, "models", folder)))

def nodes():
    found = {name: module("nodes") for name in CORE}
    for pack in PACKS:
        found["Of_" + pack] = module("custom_nodes." + pack)
    return found

def history():
    return HISTORY

def prompt(body):
    HISTORY[body["prompt_id"]] = {"status": {"status_str": "success", "completed": True, "messages": []}}
    return 200, {"prompt_id": body["prompt_id"], "number": 0, "node_errors": {}}

def stats():
    return {"system": {"comfyui_version": "0.0.1", "argv": sys.argv}, "devices": []}

def log_imports(failed=()):
    print("Import times for custom nodes:", file=sys.stderr)
    for pack in PACKS:
        word = " (IMPORT FAILED)" if pack in failed else ""
        print(f"   0.0 seconds{word}: {BASE}/custom_nodes/{pack}", file=sys.stderr)
    print("", file=sys.stderr)

def folders():
    return None

def get(path):
    if path == "/system_stats":
        return 200, stats()
    if path == "/object_info":
        return 200, nodes()
    if path.startswith("/history/"):
        return 200, history()
    if path == "/internal/folder_paths" and folders():
        return 200, folders()
    return 404, {}

class Handler(BaseHTTPRequestHandler):
    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(*get(self.path))
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/interrupt":
            INTERRUPTED.append(body)
            print("interrupted", body["prompt_id"], flush=True)
            return self.answer(200, {})
        self.answer(*prompt(body))
    def log_message(self, *args):
        pass

def serve(port=None):
    server = ThreadingHTTPServer(("127.0.0.1", int(port or OPTIONS["--port"])), Handler)
    server.serve_forever(0.01)

CHANGES

log_imports(FAILED if "FAILED" in globals() else ())
serve()
"""
"""A server with the four routes that a trial asks; `server` puts changes before it begins."""


def build_server(changes: str = "") -> str:
    """Return the program of a server; changes replace functions of it or run before it listens."""
    return SERVER.replace("CHANGES", changes)


class TrialSite:
    """A ComfyUI folder whose main.py a test writes, with nodes `mine` (under trial) and `other`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.comfyui = folder / "ComfyUI"
        self.comfyui.mkdir()
        self.nodes = {name: folder / "nodes" / name for name in ("mine", "other")}
        for path in self.nodes.values():
            path.mkdir(parents=True)
            (path / "__init__.py").touch()

    @property
    def stdout(self) -> Path:
        return self.folder / "logs" / "stdout.log"

    @property
    def stderr(self) -> Path:
        return self.folder / "logs" / "stderr.log"

    @property
    def scratch(self) -> Path:
        return self.folder / "scratch"

    def build_spec(self, **changes: Any) -> TrialSpec:
        """Return the facts of a trial in the Python that runs the tests, with no production to compare with."""
        bench = TrialSpec(
            comfyui=self.comfyui,
            node_id="mine",
            nodes=self.nodes,
            python=Path(sys.executable),
            baseline_python=None,
            baseline_key="production",
            baseline_file=self.folder / "baseline.json",
            scratch=self.scratch,
            stdout=self.stdout,
            stderr=self.stderr,
            timeout_seconds=60,
        )
        return replace(bench, **changes)

    def evaluate(self, program: str | None, **changes: Any) -> tuple[Judgement, RunLogs]:
        """Judge a program in the place of main.py; None for none."""
        if program is not None:
            (self.comfyui / "main.py").write_text(program)
        return evaluate(self.build_spec(**changes))

    def evaluate_with_baseline(self, program: str | None, **changes: Any) -> Judgement:
        """Judge a program, compared with a start of the same in production."""
        return self.evaluate(program, baseline_python=Path(sys.executable), **changes)[0]


def statuses(judgement: Judgement) -> dict[str, str]:
    """Return the worst status of each finding's name."""
    found: dict[str, str] = {}
    for finding in judgement.findings:
        found.setdefault(finding.name, finding.status)
    return found


def details(judgement: Judgement, name: str) -> str:
    """Return what is said under a name, one finding on each line."""
    return "\n".join(finding.detail for finding in judgement.findings if finding.name == name)


def ports(*numbers: int) -> Callable[[], int]:
    """Return a chooser that gives these ports in turn."""
    left = iter(numbers)
    return lambda: next(left)
