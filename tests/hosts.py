"""Small ComfyUI-shaped hosts on disk, and ways to run the program on them: in this process and as a child."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from click.testing import CliRunner, Result

from comfywatchman.base.config import Home, load
from comfywatchman.cli.main import main
from comfywatchman.comfyui.install.install import Installation, find_installation
from comfywatchman.readiness.context import CycleRequest
from comfywatchman.readiness.cycle import CycleResult, run_cycle
from comfywatchman.readiness.history import CycleRecord, read_records
from comfywatchman.readiness.layout import ReadinessLayout
from comfywatchman.readiness.report.write import json_schema
from comfywatchman.readiness.sample.host import build_program_files
from comfywatchman.readiness.sample.workflows import build_text_to_image
from comfywatchman.readiness.status import MasterStatus, WorkflowEntry
from comfywatchman.readiness.workflows.discovery import WatchedRoot, find_default_roots
from comfywatchman.readiness.workflows.intake_log import Acknowledgement, read_log
from tests.fakes import FakeClock
from tests.model_files import put, safetensors

CHECKOUT = Path(__file__).parents[1]
CHECKPOINT = "sample_model.safetensors"
QUIET = {
    "COMFYWATCHMAN_COMFYUI__URL": "",
    "COMFYWATCHMAN_NODES__ASK_REGISTRY": "false",
    "COMFYWATCHMAN_NODES__CLASS_MAP_URL": "",
    "COMFYWATCHMAN_SEARCH__BUDGET_SECONDS": "0",
    "COMFYWATCHMAN_LLM__DRIVER": "none",
    "COMFYWATCHMAN_SCHEDULE__MIN_VRAM_GB": "0",
}
"""Settings with which a cycle asks nobody else and no gate looks at the GPU."""

OTHER_USER = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
"""Prefix of a command that takes from root the right to read what its permissions forbid."""

needs_refusals = pytest.mark.skipif(
    os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root may read everything"
)

PACK = """
class {name}:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    @classmethod
    def INPUT_TYPES(cls):
        return {{"required": {{"images": ("IMAGE",)}}}}
NODE_CLASS_MAPPINGS = {{"{name}": {name}}}
"""


def graph(**changes: Any) -> bytes:
    """Return a text-to-image workflow as the editor saves it; see `text_to_image` for what can be changed."""
    return orjson.dumps(build_text_to_image(**changes))


@cache
def schema() -> jsonschema.Draft202012Validator:
    """Return the schema of the report, ready to hold reports against."""
    return jsonschema.Draft202012Validator(json.loads(json_schema()))


class Host:
    """A ComfyUI with one checkpoint, a home, and settings as environment variables."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.comfyui = folder / "ComfyUI"
        self.workflows = self.comfyui / "user" / "default" / "workflows"
        self.variables = {**QUIET, "COMFYUI_ROOT": str(self.comfyui)}
        self.clock = FakeClock(wall=datetime.now(UTC).replace(microsecond=0))
        self.roots: tuple[WatchedRoot, ...] | None = None
        self.is_sample = False
        for name, content in build_program_files().items():
            put(self.comfyui / name, content)
        self.model(f"checkpoints/{CHECKPOINT}")
        for directory in (self.comfyui / "custom_nodes", self.workflows, self.home):
            directory.mkdir(parents=True, exist_ok=True)
        self.set(**settings)

    @property
    def layout(self) -> ReadinessLayout:
        return ReadinessLayout(Home(self.home))

    @property
    def installation(self) -> Installation:
        found = find_installation([("the test", self.comfyui)])
        assert found is not None
        return found

    def set(self, **settings: object) -> None:
        """Set configuration keys, written as `section__key`."""
        for name, value in settings.items():
            text = json.dumps(value) if isinstance(value, (bool, list)) else str(value)
            self.variables[f"COMFYWATCHMAN_{name.upper()}"] = text

    def model(self, name: str, content: bytes | None = None) -> Path:
        """Write a model file, by its path below `models`."""
        return put(self.comfyui / "models" / name, safetensors() if content is None else content)

    def pack(self, class_type: str) -> Path:
        """Install a custom node pack that brings one class; return its folder."""
        folder = self.comfyui / "custom_nodes" / f"pack-{class_type}"
        put(folder / "__init__.py", PACK.format(name=class_type).encode())
        return folder

    def write(self, name: str | bytes, content: bytes | None = None, **changes: Any) -> Path:
        """Write a workflow file; without content one that is ready, but for the named changes."""
        path = self.workflows / os.fsdecode(name)
        return put(path, graph(**changes) if content is None else content)

    def request(self, **changes: Any) -> CycleRequest:
        facts: dict[str, Any] = {
            "trigger": "manual",
            "settings": load(folder=self.home, environment={**self.variables, "HOME": str(self.home)}).settings,
            "layout": self.layout,
            "installation": self.installation,
            "roots": self.roots if self.roots is not None else tuple(find_default_roots(self.comfyui)),
            "sample": self.is_sample,
            "clock": self.clock,
            "log": logging.getLogger("tests.cycle"),
        }
        return CycleRequest(**{**facts, **changes})

    def cycle(self, *, pass_seconds: float = 60.0, **changes: Any) -> CycleResult:
        """Let time pass and run one cycle in this process."""
        self.clock.advance(awake=pass_seconds)
        return run_cycle(self.request(**changes))

    def status(self, **changes: Any) -> MasterStatus:
        """Run one cycle and return its report."""
        status = self.cycle(**changes).status
        assert status is not None
        return status

    def entry(self, name: str, **changes: Any) -> WorkflowEntry:
        """Run one cycle and return what the report says of one workflow, by the end of its path."""
        (entry,) = (one for one in self.status(**changes).workflows if one.path.endswith(f"/{name}"))
        return entry

    def report(self) -> dict[str, Any]:
        """Return the report on disk, which must keep to the schema and have its Markdown beside it."""
        report: dict[str, Any] = json.loads(self.layout.status_json.read_bytes())
        schema().validate(report)
        assert self.layout.status_markdown.read_text("utf-8").startswith("# ")
        return report

    def report_after_cycle(self) -> dict[str, Any]:
        """Run one cycle and return the report on disk."""
        self.cycle()
        return self.report()

    def intake(self) -> list[Acknowledgement]:
        return list(read_log(self.layout.intake_log))

    def history(self) -> list[CycleRecord]:
        """Return the records of all cycles, oldest first."""
        return read_records(self.layout.history, limit=10_000)[::-1]

    def command(self, *arguments: str | bytes) -> list[str | bytes]:
        return [sys.executable, "-m", "comfywatchman", "--home", str(self.home), *arguments]

    def environment(self, **variables: str) -> dict[str, str]:
        own = {"PATH": os.environ["PATH"], "HOME": str(self.home), "PYTHONPATH": str(CHECKOUT)}
        return {**own, **self.variables, **variables}

    def measured(self, **variables: str) -> dict[str, str]:
        """Return an environment in which a child's lines count for coverage; not for one that will be killed."""
        own = {name: text for name, text in os.environ.items() if name.startswith("COVERAGE_PROCESS_")}
        return (
            self.environment(**variables)
            if "kill" in "".join(variables.values())
            else self.environment(**own, **variables)
        )

    def invoke(self, *arguments: str | Path) -> Result:
        """Call the command line in this process."""
        environment = {**self.variables, "HOME": str(self.home), "XDG_CONFIG_HOME": None}
        return CliRunner().invoke(main, ["--home", str(self.home), *map(str, arguments)], env=environment)

    def program(self, *arguments: str | bytes, **variables: str) -> subprocess.CompletedProcess[bytes]:
        """Run the program as a child."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.measured(**variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=250,
            check=False,
        )

    def report_without_permission(self, path: Path) -> dict[str, Any]:
        """Run one cycle as a child to which the kernel refuses a path; return the report on disk."""
        mode = path.stat().st_mode
        path.chmod(0)
        try:
            prefix = OTHER_USER if os.geteuid() == 0 else ()
            result = subprocess.run(
                [*prefix, *self.command("--run-cycle")],
                env=self.environment(),
                capture_output=True,
                timeout=250,
                check=False,
            )
        finally:
            path.chmod(mode)
        assert result.returncode == 0, result.stderr
        return self.report()

    @contextmanager
    def started(self, *arguments: str, measured: bool = False, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start the program as a child that the block may signal; it is killed at the end if it still runs."""
        process = subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.measured(**variables) if measured else self.environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def tree(*folders: Path) -> Mapping[str, tuple[int, int, int, str]]:
    """Return every name below folders with kind, inode, time of change and content hash."""
    found = {}
    for folder in folders:
        for place, names, files in os.walk(folder):
            for name in (*names, *files):
                path = Path(place, name)
                status = path.lstat()
                content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
                found[str(path)] = (status.st_mode, status.st_ino, status.st_mtime_ns, content)
    return found
