"""The sections and keys of the configuration: one struct per section of default.toml."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Text = Annotated[str, Meta()]
PathText = Annotated[str, Meta(extra={"path": True}, pattern=r"^[^\x00]*$")]
NeededPath = Annotated[str, Meta(extra={"path": True}, pattern=r"^[^\x00]+$")]
Secret = Annotated[str, Meta(extra={"secret": True})]
A_YEAR_IN_SECONDS = 366 * 86400.0
NotNegative = Annotated[float, Meta(ge=0, le=A_YEAR_IN_SECONDS)]
Positive = Annotated[float, Meta(gt=0, le=A_YEAR_IN_SECONDS)]
Count = Annotated[int, Meta(ge=0)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base class of the sections. The keys are documented in default.toml."""


class ComfyUISection(Section, frozen=True):
    """`[comfyui]`: the watched installation."""

    root: PathText
    base_directory: PathText
    models_directory: PathText
    input_directory: PathText
    extra_model_paths: tuple[NeededPath, ...]
    python: PathText
    url: Text
    timeout_seconds: Positive


class WorkflowRoot(Section, frozen=True):
    """One entry of `[[workflows.roots]]`."""

    path: NeededPath
    label: Annotated[str, Meta(min_length=1)]


class WorkflowsSection(Section, frozen=True):
    """`[workflows]`: the watched files."""

    roots: tuple[WorkflowRoot, ...]
    media: bool
    max_file_mb: Annotated[int, Meta(ge=1, le=4096)]
    require_inputs: bool


class ScheduleSection(Section, frozen=True):
    """`[schedule]`: when cycles run, and the gates that skip them."""

    interval_minutes: Annotated[float, Meta(ge=1, le=A_YEAR_IN_SECONDS / 60)]
    min_vram_gb: NotNegative
    gpu_policy: Literal["any", "all", "index"]
    gpu_index: Count
    no_gpu: Literal["run", "skip"]
    unknown_gpu: Literal["run", "skip"]
    max_gpu_memory_used_percent: Annotated[float, Meta(ge=0, le=100)]
    resume_grace_seconds: NotNegative
    cycle_deadline_minutes: Positive
    grace_minutes: NotNegative


class ModelsSection(Section, frozen=True):
    """`[models]`: work on model files."""

    hash_budget_seconds: NotNegative


class NodesSection(Section, frozen=True):
    """`[nodes]`: finding the pack of a missing node class."""

    ask_registry: bool
    registry_url: Text
    registry_budget_seconds: NotNegative
    class_map: PathText
    class_map_url: Text
    class_map_days: Positive


class SearchSection(Section, frozen=True):
    """`[search]`: searching for missing models."""

    backend_order: tuple[Literal["qwen", "civitai", "huggingface", "civarchive"], ...]
    budget_seconds: NotNegative
    budget_requests: Count
    parallel: Annotated[int, Meta(ge=1, le=16)]
    timeout_seconds: Positive
    civitai_url: Text
    civitai_fallback_url: Text
    huggingface_url: Text
    civarchive_url: Text
    web_search: Literal["none", "tavily", "searxng"]
    web_search_url: Text


class LlmSection(Section, frozen=True):
    """`[llm]`: the language model behind the backend `qwen`."""

    driver: Literal["none", "openai", "qwen-cli"]
    base_url: Text
    model: Text
    command: Text
    timeout_seconds: Positive
    rounds: Annotated[int, Meta(ge=1, le=5)]


class DownloadsSection(Section, frozen=True):
    """`[downloads]`: downloading missing models."""

    auto: bool
    parallel: Annotated[int, Meta(ge=1, le=16)]
    max_mib_per_second: NotNegative
    keep_free_gb: NotNegative
    link: Literal["hard", "reflink", "symlink", "off"]
    allow_pickle: bool
    hosts: tuple[Text, ...]
    local_hosts: tuple[Text, ...]
    stall_seconds: Positive


class GovernanceSection(Section, frozen=True):
    """`[governance]`: the Python environment that `gov` changes."""

    root: PathText


class ReportSection(Section, frozen=True):
    """`[report]`: the length of lists in the report."""

    intake_entries: Count
    history_entries: Annotated[int, Meta(ge=1)]


class LogSection(Section, frozen=True):
    """`[log]`: the structured log."""

    level: Literal["debug", "info", "warning", "error"]
    max_mb: Positive
    backups: Count


class SecretsSection(Section, frozen=True):
    """`[secrets]`: keys of services; never shown, logged or passed on."""

    civitai_api_key: Secret
    hf_token: Secret
    llm_api_key: Secret
    tavily_api_key: Secret


class Settings(Section, frozen=True):
    """The effective configuration."""

    comfyui: ComfyUISection
    workflows: WorkflowsSection
    schedule: ScheduleSection
    models: ModelsSection
    nodes: NodesSection
    search: SearchSection
    llm: LlmSection
    downloads: DownloadsSection
    governance: GovernanceSection
    report: ReportSection
    log: LogSection
    secrets: SecretsSection
