"""The settings of a governed root (`config.toml`): interpreter, package indexes, core packages, limits, retention."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from comfywatchman.base.config import GOV_PREFIX, load_file
from comfywatchman.base.config_schema import ConfigSchema
from comfywatchman.base.settings import PathText, Section

LinkMode = Literal["clone", "hardlink", "copy"]
ConfiguredLinkMode = Literal["auto", "clone", "hardlink", "copy"]
_Count = Annotated[int, msgspec.Meta(ge=1)]
_Seconds = Annotated[float, msgspec.Meta(gt=0)]
_IndexUrl = Annotated[str, msgspec.Meta(pattern=r"^(https?|file)://[^@\s]+$")]
_PackageName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")]


class PathsTable(Section, frozen=True):
    """`[paths]`: the governed ComfyUI; empty for the one that comfywatchman is configured with."""

    comfyui_dir: PathText


class RuntimeTable(Section, frozen=True):
    """`[runtime]`: how environments are built.

    Attributes:
        python: The interpreter; empty for the default (`access.find_interpreter`).
        link_mode: How files come from uv's cache; `auto` clones where the filesystem supports it, else links.
        keep_generations: The number of newest snapshots whose environments are kept.
    """

    python: PathText
    link_mode: ConfiguredLinkMode
    keep_generations: _Count


class TxTable(Section, frozen=True):
    """`[tx]`: how a node is tried.

    Attributes:
        timeout_seconds: The time limit for a start of ComfyUI, and for the smoke test.
        smoke_test_cmd: A shell command that must succeed in a new environment; `python` is the environment's own.
        probe: Whether a minimal prompt is run when ComfyUI has started.
    """

    timeout_seconds: _Seconds
    smoke_test_cmd: str
    probe: bool


class PolicyTable(Section, frozen=True):
    """`[policy]`: the packages that need approval, and additions to and exceptions from the deny list."""

    core_packages: tuple[str, ...]
    deny: tuple[str, ...]
    allow: tuple[str, ...]


class RollbackTable(Section, frozen=True):
    """`[rollback]`: the number of snapshots that are kept."""

    snapshot_retention: _Count


class RunTable(Section, frozen=True):
    """`[run]`: how ComfyUI is started.

    Attributes:
        extra_args: Arguments for its main.py, before those of the command line.
        environment: Names of environment variables that it inherits beside those for GPU, network and terminal.
    """

    extra_args: tuple[str, ...]
    environment: tuple[str, ...]


class NetworkTable(Section, frozen=True):
    """`[network]`: where packages come from.

    Attributes:
        offline: Whether uv uses only its cache.
        cache_dir: uv's cache; empty for uv's default.
        index_url: The package index instead of uv's default; credentials belong in a keyring or netrc file.
        no_index: Whether only `find_links` is searched.
        find_links: Folders or pages with wheels.
        indexes: Further package indexes by URL, each with the packages that come from it and from no other one.
    """

    offline: bool
    cache_dir: PathText
    index_url: str
    no_index: bool
    find_links: tuple[str, ...]
    indexes: dict[_IndexUrl, tuple[_PackageName, ...]] = msgspec.field(default_factory=dict)


class GovSettings(msgspec.Struct, frozen=True):
    """The settings of a governed root."""

    paths: PathsTable
    runtime: RuntimeTable
    tx: TxTable
    policy: PolicyTable
    rollback: RollbackTable
    run: RunTable
    network: NetworkTable


_SCHEMA: Final = ConfigSchema(
    GovSettings, prefix=GOV_PREFIX, help="docs/reference/governance.md lists each key with its default."
)


def read_settings(path: Path, environment: Mapping[str, str] | None = None) -> GovSettings:
    """Read the settings of a governed root: the defaults, its `config.toml` if it exists, the environment.

    Args:
        path: The `config.toml`; relative paths in it start at its folder.
        environment: The process's variables.

    Raises:
        Failure: `config-unreadable`, `config-unknown-key` or `config-wrong-type`.
    """
    settings, _origins = load_file(_SCHEMA, path, defaults=read_default_config(), environment=environment)
    return settings


def read_default_config() -> str:
    """Return the `config.toml` that `gov init` writes: every key with its default."""
    return resources.files("comfywatchman.governance.store").joinpath("default.toml").read_text("utf-8")
