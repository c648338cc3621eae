"""How a governed root is governed: its own `config.toml`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular

LinkMode = Literal["clone", "hardlink", "copy"]
ConfiguredLinkMode = Literal["auto", "clone", "hardlink", "copy"]
CORE_PACKAGES: Final = (
    *("torch", "torchvision", "torchaudio", "torchsde", "xformers", "triton", "numpy", "onnxruntime"),
    *("onnxruntime-gpu", "transformers", "tokenizers", "safetensors", "nvidia-*", "comfyui-*"),
)
"""The packages that a node may not change unless a person approves."""

_MAX_BYTES: Final = 1 << 20
_Count = Annotated[int, msgspec.Meta(ge=1)]
_Seconds = Annotated[float, msgspec.Meta(gt=0)]


class _GovTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file; a key that nobody knows is an error, not silence."""


class PathsTable(_GovTable, frozen=True):
    """`[paths]`: which ComfyUI is governed; empty for the one that comfywatchman is configured with."""

    comfyui_dir: str = ""


class RuntimeTable(_GovTable, frozen=True):
    """`[runtime]`: how environments are made.

    Attributes:
        python: The interpreter; empty for that of production, before the first one that of ComfyUI's own environment,
            else the one that runs this program.
        link_mode: How files come from uv's cache; `auto` clones where the filesystem can, else links.
        keep_generations: How many environments of the newest snapshots stay on disk.
    """

    python: str = ""
    link_mode: ConfiguredLinkMode = "auto"
    keep_generations: _Count = 5


class TxTable(_GovTable, frozen=True):
    """`[tx]`: how a node is tried.

    Attributes:
        timeout_seconds: How long a start of ComfyUI, or the smoke test, may take.
        smoke_test_cmd: A shell command that must end well in a new environment; `python` is the environment's own.
        probe: Whether a server that came up is asked to run a minimal prompt.
    """

    timeout_seconds: _Seconds = 120.0
    smoke_test_cmd: str = ""
    probe: bool = True


class PolicyTable(_GovTable, frozen=True):
    """`[policy]`: what needs approval, and what is refused or let through whatever the deny list says."""

    core_packages: tuple[str, ...] = CORE_PACKAGES
    deny: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()


class RollbackTable(_GovTable, frozen=True):
    """`[rollback]`: how many snapshots are kept."""

    snapshot_retention: _Count = 50


class RunTable(_GovTable, frozen=True):
    """`[run]`: how ComfyUI is started.

    Attributes:
        extra_args: Arguments for its main.py, before those of the command line.
        environment: Names of further variables that it gets; the usual ones of GPU, network and terminal it has.
    """

    extra_args: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()


class NetworkTable(_GovTable, frozen=True):
    """`[network]`: where packages come from.

    Attributes:
        offline: Whether uv may only use its cache.
        cache_dir: uv's cache; empty for uv's own choice. On the filesystem of the root, or files must be copied.
        index_url: The package index in place of uv's default; credentials belong into a keyring or netrc file.
        no_index: Whether only `find_links` is searched.
        find_links: Folders or pages with wheels.
    """

    offline: bool = False
    cache_dir: str = ""
    index_url: str = ""
    no_index: bool = False
    find_links: tuple[str, ...] = ()


class GovSettings(_GovTable, frozen=True):
    """The whole file."""

    paths: PathsTable = PathsTable()
    runtime: RuntimeTable = RuntimeTable()
    tx: TxTable = TxTable()
    policy: PolicyTable = PolicyTable()
    rollback: RollbackTable = RollbackTable()
    run: RunTable = RunTable()
    network: NetworkTable = NetworkTable()


def read_settings(path: Path) -> GovSettings:
    """Read a governed root's `config.toml`; a file that is not there means the defaults.

    Raises:
        Failure: `config-unreadable`, or `config-wrong-type` for a value or key that cannot be.
    """
    try:
        tree = tomllib.loads(read_regular(path, max_bytes=_MAX_BYTES).decode("utf-8"))
        return msgspec.convert(tree, GovSettings)
    except msgspec.ValidationError as error:
        raise Failure(
            "config-wrong-type",
            f"{printable_path(path)} cannot be used: {error}.",
            hint="Correct that key of the file.",
        ) from error
    except (Failure, ValueError) as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return GovSettings()
        reason = error.message if isinstance(error, Failure) else f"{printable_path(path)} is no TOML: {error}."
        raise Failure("config-unreadable", reason, hint="Correct the file, or delete it for the defaults.") from error


def render_default_config() -> str:
    """Return the `config.toml` that `gov init` writes."""
    core = "\n".join(f'    "{name}",' for name in CORE_PACKAGES)
    return f"""\
# How `gov` governs this Python environment. Every key may be left out; these are the defaults.

[paths]
# The folder with ComfyUI's main.py; empty: the ComfyUI that comfywatchman is configured with.
comfyui_dir = ""

[runtime]
# The Python that environments are made with; empty: that of production, before the first one that of ComfyUI's own
# environment, else the one that runs gov.
python = ""
# auto (clone where the filesystem can, else hardlink), clone, hardlink or copy.
link_mode = "auto"
# How many environments of the newest snapshots stay on disk, so that a rollback to them needs no network.
keep_generations = 5

[tx]
# How long ComfyUI may take to start in a candidate, and the smoke test in a new environment, in seconds.
timeout_seconds = 120.0
# A shell command that must end well in a new environment before it is used, such as: python -c "import torch"
smoke_test_cmd = ""
# Whether a ComfyUI that came up in a candidate is asked to run a minimal prompt.
probe = true

[policy]
# Packages that a node may not add, remove or change without --approve-core; * stands for any characters.
core_packages = [
{core}
]
# Nodes or packages to refuse, and ones to let through although the built-in deny list names them.
deny = []
allow = []

[rollback]
# How many snapshots are kept.
snapshot_retention = 50

[run]
# Arguments for ComfyUI's main.py, such as: ["--listen", "127.0.0.1"]
extra_args = []
# Names of variables that ComfyUI and its nodes get beside the usual ones, such as: ["HF_TOKEN"]
environment = []

[network]
# true: uv uses nothing but its cache.
offline = false
# uv's cache; empty: uv's own choice.
cache_dir = ""
# A package index in place of uv's default, and further folders or pages with wheels.
index_url = ""
find_links = []
# true: only find_links is searched.
no_index = false
"""
