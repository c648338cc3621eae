"""The sections and keys of the configuration: one struct per section of default.toml."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Text = Annotated[str, Meta()]
PathText = Annotated[str, Meta(extra={"path": True}, pattern=r"^[^\x00]*$")]
NeededPath = Annotated[str, Meta(extra={"path": True}, pattern=r"^[^\x00]+$")]
UrlText = Annotated[str, Meta(extra={"url": True}, pattern=r"^(https?://[^\s/?#]+\S*)?$")]
"""An address, or nothing. Without `http://`, a running server would only look unreachable later."""
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
    url: UrlText
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
    max_skips: Annotated[int, Meta(ge=1, le=100_000)]


class ModelsSection(Section, frozen=True):
    """`[models]`: work on model files."""

    hash_budget_seconds: NotNegative


class NodesSection(Section, frozen=True):
    """`[nodes]`: finding the pack of a missing node class."""

    ask_registry: bool
    registry_url: UrlText
    registry_budget_seconds: NotNegative
    class_map: PathText
    class_map_url: UrlText
    class_map_days: Positive


class SearchSection(Section, frozen=True):
    """`[search]`: searching for missing models."""

    backend_order: tuple[Literal["qwen", "civitai", "huggingface", "civarchive"], ...]
    budget_seconds: NotNegative
    budget_requests: Count
    parallel: Annotated[int, Meta(ge=1, le=16)]
    timeout_seconds: Positive
    civitai_url: UrlText
    civitai_fallback_url: UrlText
    huggingface_url: UrlText
    civarchive_url: UrlText
    web_search: Literal["none", "tavily", "searxng"]
    web_search_url: UrlText


class LlmSection(Section, frozen=True):
    """`[llm]`: the language model behind the backend `qwen`."""

    driver: Literal["auto", "none", "openai", "qwen-cli"]
    base_url: UrlText
    model: Text
    command: Text
    timeout_seconds: Positive
    rounds: Annotated[int, Meta(ge=1, le=5)]


class DownloadsSection(Section, frozen=True):
    """`[downloads]`: downloading missing models."""

    auto: bool
    parallel: Annotated[int, Meta(ge=1, le=16)]
    connections: Annotated[int, Meta(ge=1, le=16)]
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


class SupervisorSection(Section, frozen=True):
    """`[supervisor]`: how ComfyUI is kept running."""

    workspace: PathText
    port: Annotated[int, Meta(ge=1, le=65535)]
    arguments: tuple[Text, ...]
    max_starts: Annotated[int, Meta(ge=1, le=1000)]
    start_window_seconds: Positive
    stable_seconds: Positive
    backoff_first_seconds: Positive
    backoff_max_seconds: Positive
    startup_progress_seconds: Positive
    startup_limit_seconds: Positive
    proof: Literal["prompt", "connection"]
    canary_interval_seconds: Positive
    job_progress_seconds: Positive
    stop_interrupt_seconds: NotNegative
    stop_terminate_seconds: NotNegative
    on_exit: Literal["stop", "keep"]
    foreign: Literal["refuse", "adopt"]
    control_port_first: Annotated[int, Meta(ge=1, le=65535)]
    control_port_last: Annotated[int, Meta(ge=1, le=65535)]
    max_incidents: Annotated[int, Meta(ge=1, le=10000)]


class JobsSection(Section, frozen=True):
    """`[jobs]`: the job agent, its files and its database."""

    root: PathText
    processing: PathText
    finished: PathText
    input_folders: tuple[NeededPath, ...]
    allow_file_commands: bool
    database: Text
    workflows: PathText
    global_config: PathText
    extra_types: tuple[Text, ...]
    default_priority: Annotated[int, Meta(ge=1, le=999)]
    retry_limit: Annotated[int, Meta(ge=0, le=1000)]
    poll_interval_ms: Annotated[int, Meta(ge=10, le=3_600_000)]
    comfyui_url: UrlText
    job_timeout_seconds: Positive
    lease_seconds: Positive
    heartbeat_seconds: Positive
    affinity_max_passes: Annotated[int, Meta(ge=0, le=10_000)]
    affinity_max_wait_seconds: NotNegative
    pending_warning: Annotated[int, Meta(ge=0)]
    min_free_disk_gb: NotNegative
    min_free_vram_gb: NotNegative
    keep_history_days: Annotated[float, Meta(ge=0, le=36_600)]
    keep_outputs_days: Annotated[float, Meta(ge=0, le=36_600)]
    webhook: UrlText
    command: tuple[Text, ...]


class WebSection(Section, frozen=True):
    """`[web]`: the web page."""

    host: Annotated[str, Meta(min_length=1)]
    port: Annotated[int, Meta(ge=0, le=65535)]
    base_path: Annotated[str, Meta(pattern=r"^(/[A-Za-z0-9._~-]+)*$")]
    hosts: tuple[Text, ...]
    with_jobs: bool


class ReportSection(Section, frozen=True):
    """`[report]`: the length of lists in the report, and what it leaves out."""

    intake_entries: Count
    history_entries: Annotated[int, Meta(ge=1)]
    redact_inputs: bool


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
    supervisor: SupervisorSection
    jobs: JobsSection
    web: WebSection
    report: ReportSection
    log: LogSection
    secrets: SecretsSection
