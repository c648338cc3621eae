"""The configuration: TOML files and environment variables with their origins, and what child processes inherit."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import msgspec

from comfywatchman.base.address import mask_passwords
from comfywatchman.base.config_schema import (
    DEFAULT_LABEL,
    MASK,
    ConfigOrigin,
    ConfigSchema,
    Layer,
    SettingsT,
    expand_user,
    user_home,
)
from comfywatchman.base.errors import Failure
from comfywatchman.base.settings import Settings

PREFIX: Final = "COMFYWATCHMAN_"
RESERVED: Final = frozenset({"COMFYWATCHMAN_HOME", "COMFYWATCHMAN_FAILPOINTS", "COMFYWATCHMAN_TEST_COMFYUI"})
SHORTHANDS: Final = {
    "COMFYUI_ROOT": "comfyui.root",
    "CIVITAI_API_KEY": "secrets.civitai_api_key",
    "HF_TOKEN": "secrets.hf_token",
    "TAVILY_API_KEY": "secrets.tavily_api_key",
}
_MAX_TOKEN_CHARS: Final = 512
GOV_PREFIX: Final = "COMFYWATCHMAN_GOV__"
"""The prefix of the variables that set keys of a governed root's config.toml."""

SCHEMA: Final = ConfigSchema(Settings, prefix=PREFIX, reserved=RESERVED, reserved_prefixes=(GOV_PREFIX,))
_SUPERVISION_VARIABLES: Final = ("COMFYGIT_SUPERVISED", "COMFYGIT_CG_RUN_SUPERVISOR")
_CONNECTION_VARIABLES: Final = frozenset(
    {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"}
)
_NETWORK_VARIABLES: Final = _CONNECTION_VARIABLES | frozenset(
    {
        "REQUESTS_CA_BUNDLE",
        "NETRC",
        "SSH_AUTH_SOCK",
        "XDG_CACHE_HOME",
        "UV_CACHE_DIR",
    }
)
_CREDENTIAL_VARIABLES: Final = frozenset({"SSH_AUTH_SOCK", "NETRC"})
_COMFYUI_VARIABLES: Final = frozenset(
    {
        "TERM",
        "COLORTERM",
        "USER",
        "LOGNAME",
        "SHELL",
        "TZ",
        "DISPLAY",
        "WAYLAND_DISPLAY",
        "LC_CTYPE",
        "HF_HOME",
        "HF_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "HF_ENDPOINT",
        "TRANSFORMERS_OFFLINE",
    }
)
_COMFYUI_PREFIXES: Final = (
    "CUDA_",
    "NVIDIA_",
    "NCCL_",
    "HIP_",
    "ROCM_",
    "ROCR_",
    "HSA_",
    "MIOPEN_",
    "ONEAPI_",
    "SYCL_",
    "ZE_",
    "PYTORCH_",
    "TORCH_",
    "TORCHINDUCTOR_",
    "TRITON_",
    "OMP_",
    "MKL_",
    "NUMBA_",
)


@dataclass(frozen=True, slots=True)
class Configuration:
    """The effective settings and the origin of each key (`schedule.min_vram_gb`)."""

    settings: Settings
    origins: Mapping[str, ConfigOrigin]

    def rows(self) -> Iterator[tuple[str, Any, str]]:
        """Yield key, effective value (secrets masked) and origin, in the order of default.toml."""
        for key, origin in self.origins.items():
            section, name = key.split(".")
            value = msgspec.to_builtins(getattr(getattr(self.settings, section), name))
            yield key, MASK if value and SCHEMA.is_secret(key) else mask_passwords(value), origin.label


@dataclass(frozen=True, slots=True)
class Home:
    """The folder that holds state/, output/ and log/."""

    folder: Path

    @property
    def state(self) -> Path:
        """State files of the program."""
        return self.folder / "state"

    @property
    def output(self) -> Path:
        """Reports and plans, for people and programs."""
        return self.folder / "output"

    @property
    def log(self) -> Path:
        """The structured log."""
        return self.folder / "log"


def load(
    *,
    explicit: Path | None = None,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    read_named_file: Callable[[Settings], Layer | None] | None = None,
) -> Configuration:
    """Read all layers: defaults, the user's file, ./config.toml, the explicit file, a named file, the environment.

    Args:
        explicit: File of `--config`; must exist.
        folder: The current folder.
        environment: The process's variables.
        read_named_file: Reads one more file, which the settings of the other layers may name; it overrides the TOML
            files, and the environment overrides it.

    Raises:
        Failure: `config-unreadable`, `config-unknown-key`, `config-wrong-type` or `config-secret-exposed`.
    """
    environment = _or_process_environment(environment)
    folder = folder or _current_folder()
    files = list(_read_files(explicit, folder, environment))
    variables = list(_read_environment(folder, environment))
    settings, origins = SCHEMA.build([*files, *variables], environment)
    named = read_named_file(settings) if read_named_file else None
    if named:
        settings, origins = SCHEMA.build([*files, named, *variables], environment)
    return Configuration(settings=settings, origins=origins)


def check_layer(layer: Layer, environment: Mapping[str, str] | None = None) -> None:
    """Check the values of one origin.

    Args:
        layer: The origin and its values.
        environment: The process's variables, for `~`.

    Raises:
        Failure: `config-wrong-type`.
    """
    SCHEMA.check_layer(layer, _or_process_environment(environment))


def load_file(
    schema: ConfigSchema[SettingsT],
    path: Path,
    *,
    defaults: str,
    environment: Mapping[str, str] | None = None,
) -> tuple[SettingsT, dict[str, ConfigOrigin]]:
    """Read a configuration of one file: its defaults, the file if it exists, the environment.

    Args:
        schema: The sections and keys.
        path: The file.
        defaults: The default of every key, as TOML.
        environment: The process's variables.

    Raises:
        Failure: `config-unreadable`, `config-unknown-key` or `config-wrong-type`.
    """
    environment = _or_process_environment(environment)
    layers: list[Layer] = [(ConfigOrigin(DEFAULT_LABEL, path.parent), schema.parse(defaults, "the defaults"))]
    if os.path.lexists(path):
        if not path.is_file():
            # Reading a pipe would wait without end.
            raise Failure("config-unreadable", f"{path} is not a regular file.", hint="Replace it, or delete it.")
        layers.append(schema.read_file(path))
    layers.extend(schema.read_variables(environment, _current_folder()))
    return schema.build(layers, environment)


def find_home(
    explicit: Path | None, *, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> Home:
    """Choose the home: `--home`, COMFYWATCHMAN_HOME, the current folder when it is one, else the user's data folder.

    The current folder is a home when it holds a config.toml or is a checkout of this repository.

    Raises:
        Failure: `config-wrong-type` when the path begins with `~NAME` and there is no such user.
    """
    environment = _or_process_environment(environment)
    folder = folder or _current_folder()
    named = str(explicit) if explicit else environment.get("COMFYWATCHMAN_HOME")
    if named:
        return Home((folder / expand_user(named, environment)).resolve())
    if (folder / "config.toml").is_file() or _is_checkout(folder):
        return Home(folder.resolve())
    return Home(_xdg_folder(environment, "XDG_DATA_HOME", ".local/share") / "comfywatchman")


def find_version_home(explicit: Path | None, *, environment: Mapping[str, str] | None = None) -> Path | None:
    """Return the folder that `version init` is given: `--path`, else COMFY_HOME; None when neither names one."""
    environment = _or_process_environment(environment)
    named = str(explicit) if explicit else environment.get("COMFY_HOME")
    return (_current_folder() / expand_user(named, environment)).resolve() if named else None


def user_config_file(environment: Mapping[str, str] | None = None) -> Path:
    """Return the path of the user's configuration file."""
    environment = _or_process_environment(environment)
    return _xdg_folder(environment, "XDG_CONFIG_HOME", ".config") / "comfywatchman" / "config.toml"


def variables_for_children(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables that this program reads, secrets included, for a child process that is this program."""
    environment = _or_process_environment(environment)
    names = {*SHORTHANDS, "XDG_CONFIG_HOME", "XDG_DATA_HOME"}
    return {name: text for name, text in environment.items() if name in names or name.startswith(PREFIX)}


def network_variables(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the user's variables for network access: proxies, certificates, credentials, and uv's cache."""
    environment = _or_process_environment(environment)
    # Proxy variables are in use in upper and lower case, and programs differ in which one they read.
    return {name: text for name, text in environment.items() if name.upper() in _NETWORK_VARIABLES and text}


def connection_variables(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables for proxies and certificates that our own connections follow; they may hold passwords."""
    environment = _or_process_environment(environment)
    # Empty ones are kept: an empty lower-case variable overrides the one in upper case.
    return {name: text for name, text in environment.items() if name.upper() in _CONNECTION_VARIABLES}


def comfyui_variables(further: Collection[str] = (), environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables that a ComfyUI started by us inherits: those of the GPU and the network, but no keys.

    Args:
        further: Names of more variables to pass on, as configured.
        environment: The environment; that of this process when None.
    """
    environment = _or_process_environment(environment)
    inherited = {
        name: text
        for name, text in environment.items()
        if name in _COMFYUI_VARIABLES or name in further or name.startswith(_COMFYUI_PREFIXES)
    }
    # Custom nodes run code of strangers: nothing that unlocks other machines is passed on, unless it is configured.
    network = {name: text for name, text in network_variables(environment).items() if name not in _CREDENTIAL_VARIABLES}
    return {**network, **inherited}


def active_environment(environment: Mapping[str, str] | None = None) -> str:
    """Return the folder of the Python environment that is active in the shell; empty without one."""
    environment = _or_process_environment(environment)
    return environment.get("VIRTUAL_ENV") or environment.get("CONDA_PREFIX") or ""


def named_workspace(environment: Mapping[str, str] | None = None) -> Path | None:
    """Return the workspace that `COMFYGIT_HOME` names; None when it is not set."""
    environment = _or_process_environment(environment)
    named = environment.get("COMFYGIT_HOME")
    return expand_user(named, environment) if named else None


def default_workspace(environment: Mapping[str, str] | None = None) -> Path:
    """Return the workspace of a user who names none: `~/comfygit`."""
    return user_home(_or_process_environment(environment)) / "comfygit"


def is_supervised(environment: Mapping[str, str] | None = None) -> bool:
    """Return whether a supervisor started this process: ours, or comfygit's `cg run`."""
    environment = _or_process_environment(environment)
    return any(environment.get(name) == "1" for name in _SUPERVISION_VARIABLES)


def systemd_user_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Return the folder where systemd looks for the user's units."""
    return user_config_file(environment).parents[1] / "systemd" / "user"


def notify_socket_address(environment: Mapping[str, str] | None = None) -> str | None:
    """Return the socket for sd_notify(3) messages; None when this process is not a systemd service."""
    environment = _or_process_environment(environment)
    return environment.get("NOTIFY_SOCKET") or None


def read_default_text() -> str:
    """Return default.toml as shipped."""
    return resources.files("comfywatchman.base").joinpath("default.toml").read_text("utf-8")


def _or_process_environment(environment: Mapping[str, str] | None) -> Mapping[str, str]:
    return os.environ if environment is None else environment


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise Failure(
            "config-unreadable",
            f"The current folder cannot be used: {error.strerror}.",
            hint="Change to a folder that exists, then run the command again.",
        ) from error


def _xdg_folder(environment: Mapping[str, str], name: str, default: str) -> Path:
    # The XDG Base Directory Specification requires relative values to be ignored.
    named = Path(environment.get(name) or "")
    if named.is_absolute():
        return named
    return user_home(environment) / default


def _is_checkout(folder: Path) -> bool:
    return (folder / "comfywatchman" / "base" / "default.toml").is_file() and (folder / "pyproject.toml").is_file()


def _read_files(explicit: Path | None, folder: Path, environment: Mapping[str, str]) -> Iterator[Layer]:
    yield ConfigOrigin(DEFAULT_LABEL, folder), SCHEMA.parse(read_default_text(), "default.toml")
    yield from _read_hub_login(environment)
    for path in (user_config_file(environment), folder / "config.toml"):
        if _may_exist(path):
            yield SCHEMA.read_file(path)
    if explicit:
        yield SCHEMA.read_file(explicit)


def _read_hub_login(environment: Mapping[str, str]) -> Iterator[Layer]:
    """Yield the token that `hf auth login` has stored, which every other origin overrides."""
    cache = Path(environment.get("HF_HOME") or _xdg_folder(environment, "XDG_CACHE_HOME", ".cache") / "huggingface")
    path = Path(environment.get("HF_TOKEN_PATH") or cache / "token")
    try:
        with path.open(encoding="ascii") if path.is_file() else io.StringIO() as stream:
            token = stream.read(_MAX_TOKEN_CHARS + 2).strip()
    except (OSError, UnicodeError):
        return
    if token and token.isprintable() and len(token) <= _MAX_TOKEN_CHARS:
        yield ConfigOrigin(str(path), path.parent), {"secrets.hf_token": token}


def _read_environment(folder: Path, environment: Mapping[str, str]) -> Iterator[Layer]:
    for name, key in SHORTHANDS.items():
        if environment.get(name):
            yield ConfigOrigin(f"environment {name}", folder), {key: environment[name]}
    # After the shorthands, so that the long name of a key wins.
    yield from SCHEMA.read_variables(environment, folder)


def _may_exist(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # It cannot be looked up, but may exist; reading it reports why.
        return True


def format_value(value: object) -> str:
    """Return a value of the configuration as text for people."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ", ".join(_format_item(item) for item in value) or "(none)"
    return str(value) or "(empty)"


def _format_item(item: object) -> str:
    # A workflow root
    if isinstance(item, dict):
        return f"{item['label']}={item['path']}"
    return str(item)
