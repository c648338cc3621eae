"""Calls of `comfywatchman jobs` on a home folder with workflows and a fake ComfyUI."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from comfywatchman.cli.main import main
from tests.jobs.execution.sites import GRAPHS, build_name
from tests.servers.comfyui import FakeComfyUI


@dataclass
class JobsHome:
    """A home folder.

    Attributes:
        folder: Its path.
        server: The ComfyUI of its agent.
    """

    folder: Path
    server: FakeComfyUI

    @property
    def processing(self) -> Path:
        return self.folder / "jobs" / "processing"

    @property
    def finished(self) -> Path:
        return self.folder / "jobs" / "finished"

    def __call__(self, *arguments: str) -> Result:
        """Call `comfywatchman jobs`; expected failures are raised."""
        options = ["--home", str(self.folder), "--config", str(self.folder / "config.toml")]
        return CliRunner().invoke(main, [*options, "jobs", *arguments], catch_exceptions=False)

    def format_command(self, *arguments: str) -> str:
        """Return a call of `comfywatchman jobs` as its messages name it."""
        options = ["--home", str(self.folder), "--config", str(self.folder / "config.toml")]
        return shlex.join(["comfywatchman", *options, "jobs", *arguments])

    def json(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Return the JSON of a call."""
        result = self(*arguments, "--json")
        assert result.exit_code == code, result.output
        content: dict[str, Any] = json.loads(result.stdout)
        return content

    def drop(self, workflow_id: str = "picture", number: int = 1, text: str = "") -> str:
        """Write a job file; return the job's name without `.yaml`."""
        name = build_name(number)
        path = self.processing / "image" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = f"job_type: T2I\nworkflow_id: {workflow_id}\ninputs: {{}}\noutputs:\n  file_path: image\n{text}"
        path.write_text(content, "utf-8")
        return path.stem


def prepare_home(folder: Path, server: FakeComfyUI) -> JobsHome:
    """Write the configuration and the workflows of a home folder."""
    (folder / "config").mkdir(parents=True)
    lines: list[str] = []
    for workflow_id, graph in GRAPHS.items():
        template = folder / "config" / f"{workflow_id}.json"
        template.write_text(json.dumps(graph), "utf-8")
        lines += [f"{workflow_id}:", f"  template_path: {template}", "  required_inputs: []"]
    (folder / "config" / "workflows.yaml").write_text("\n".join(lines), "utf-8")
    settings = [
        "[jobs]",
        f'comfyui_url = "{server.url}"',
        "poll_interval_ms = 50",
        "min_free_disk_gb = 0.0",
        "retry_limit = 0",
    ]
    (folder / "config.toml").write_text("\n".join(settings) + "\n", "utf-8")
    return JobsHome(folder, server)
