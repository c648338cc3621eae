"""Paths of the readiness area's files below the home folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from comfywatchman.base.config import Home


@dataclass(frozen=True, slots=True)
class ReadinessLayout:
    """The files of the readiness area."""

    home: Home

    @property
    def database(self) -> Path:
        """Cache of facts read from files; may be deleted at any time."""
        return self.home.state / "index.sqlite"

    @property
    def cycle_lock(self) -> Path:
        """Held while a cycle runs."""
        return self.home.state / "cycle.lock"

    @property
    def scheduler_lock(self) -> Path:
        """Held while a scheduler runs."""
        return self.home.state / "scheduler.lock"

    @property
    def scheduler(self) -> Path:
        """Next run and last outcomes."""
        return self.home.state / "scheduler.json"

    @property
    def awake(self) -> Path:
        """When the machine last slept, as far as known."""
        return self.home.state / "awake.json"

    @property
    def running_cycle(self) -> Path:
        """Mark of the running cycle, left behind by one that is killed."""
        return self.home.state / "running_cycle.json"

    @property
    def hung_gpu_probe(self) -> Path:
        """A query of the NVIDIA driver that cannot be killed."""
        return self.home.state / "hung_gpu_probe.json"

    @property
    def class_map(self) -> Path:
        """ComfyUI-Manager's map from node classes to packages in compact form."""
        return self.home.state / "class_map.msgpack"

    @property
    def class_map_folder(self) -> Path:
        """Folder of a downloaded copy of ComfyUI-Manager's map."""
        return self.home.state / "class_map"

    @property
    def server_nodes(self) -> Path:
        """What the running ComfyUI last answered about its nodes, in compact form."""
        return self.home.state / "server_nodes.msgpack"

    @property
    def known_workflows(self) -> Path:
        """The workflows acknowledged so far."""
        return self.home.state / "workflows.json"

    @property
    def intake_log(self) -> Path:
        """Acknowledgements of new, updated, renamed and removed workflows, append-only."""
        return self.home.state / "intake_log.jsonl"

    @property
    def history(self) -> Path:
        """Metrics of each cycle, one line each."""
        return self.home.state / "history.jsonl"

    @property
    def model_cache(self) -> Path:
        """Models by folder, for people and other programs."""
        return self.home.state / "model_cache.json"

    @property
    def pack_cache(self) -> Path:
        """Custom node packs, for people and other programs."""
        return self.home.state / "custom_nodes_cache.json"

    @property
    def model_catalogue(self) -> Path:
        """Models known to installed templates and ComfyUI-Manager, in compact form."""
        return self.home.state / "model_catalogue.msgpack"

    @property
    def decisions(self) -> Path:
        """Which candidates a person has chosen for missing models."""
        return self.home.state / "decisions.json"

    @property
    def status_json(self) -> Path:
        """The master status for programs."""
        return self.home.output / "reports" / "status" / "master_status.json"

    @property
    def status_markdown(self) -> Path:
        """The master status for people."""
        return self.status_json.with_suffix(".md")

    @property
    def sample(self) -> Path:
        """The sample host of a first run without a ComfyUI."""
        return self.home.state / "sample"
