"""The configuration: layers of TOML and environment, each value with the place it came from."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import inspect as types

from comfywatchman.base.errors import Failure
from comfywatchman.base.settings import Section, Settings
from comfywatchman.base.text import os_error_text
from comfywatchman.base.value_text import describe_expected

PREFIX: Final = "COMFYWATCHMAN_"
RESERVED: Final = frozenset({"COMFYWATCHMAN_HOME", "COMFYWATCHMAN_FAILPOINTS", "COMFYWATCHMAN_TEST_COMFYUI"})
SHORTHANDS: Final = {
    "COMFYUI_ROOT": "comfyui.root",
    "CIVITAI_API_KEY": "secrets.civitai_api_key",
    "HF_TOKEN": "secrets.hf_token",
    "TAVILY_API_KEY": "secrets.tavily_api_key",
}
MASK: Final = "********"
_NETWORK_VARIABLES: Final = frozenset(
    {
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
        *("NETRC", "SSH_AUTH_SOCK", "XDG_CACHE_HOME", "UV_CACHE_DIR"),
    }
)
_CREDENTIAL_VARIABLES: Final = frozenset({"SSH_AUTH_SOCK", "NETRC"})
_COMFYUI_VARIABLES: Final = frozenset(
    {
        *("TERM", "COLORTERM", "USER", "LOGNAME", "SHELL", "TZ", "DISPLAY", "WAYLAND_DISPLAY", "LC_CTYPE"),
        *("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "TRANSFORMERS_OFFLINE"),
    }
)
_COMFYUI_PREFIXES: Final = (
    *("CUDA_", "NVIDIA_", "NCCL_", "HIP_", "ROCM_", "ROCR_", "HSA_", "MIOPEN_", "ONEAPI_", "SYCL_", "ZE_"),
    *("PYTORCH_", "TORCH_", "TORCHINDUCTOR_", "TRITON_", "OMP_", "MKL_", "NUMBA_"),
)


@dataclass(frozen=True, slots=True)
class ConfigOrigin:
    """Where the effective value of a key came from: `default`, a file, or a variable."""

    label: str
    folder: Path


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
            yield key, MASK if value and _has_extra(_key_types()[key], "secret") else value, origin.label


@dataclass(frozen=True, slots=True)
class Home:
    """The folder that holds state/, output/ and log/."""

    folder: Path

    @property
    def state(self) -> Path:
        """What the program remembers."""
        return self.folder / "state"

    @property
    def output(self) -> Path:
        """What people and programs read."""
        return self.folder / "output"

    @property
    def log(self) -> Path:
        """The structured log."""
        return self.folder / "log"


def load(
    *, explicit: Path | None = None, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> Configuration:
    """Read all layers: defaults, the user's file, ./config.toml, the explicit file, the environment.

    Args:
        explicit: File of `--config`; must exist.
        folder: The current folder.
        environment: The process's variables.

    Raises:
        Failure: `config-unreadable`, `config-unknown-key`, `config-wrong-type` or `config-secret-exposed`.
    """
    environment = os.environ if environment is None else environment
    folder = folder or _current_folder()
    values: dict[str, Any] = {}
    origins: dict[str, ConfigOrigin] = {}
    for origin, layer in _read_layers(explicit, folder, environment):
        for key, value in layer.items():
            values[key] = _convert_value(key, value, origin, environment)
            origins[key] = origin
    nested: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, name = key.split(".")
        nested.setdefault(section, {})[name] = value
    return Configuration(settings=msgspec.convert(nested, Settings), origins=origins)


def find_home(
    explicit: Path | None, *, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> Home:
    """Choose the home: `--home`, COMFYWATCHMAN_HOME, the current folder when it is one, else the user's data folder.

    The current folder is a home when it holds a config.toml or is a checkout of this repository.

    Raises:
        Failure: `config-wrong-type` when the named home begins with the `~` of nobody.
    """
    environment = os.environ if environment is None else environment
    folder = folder or _current_folder()
    named = explicit or (Path(environment["COMFYWATCHMAN_HOME"]) if environment.get("COMFYWATCHMAN_HOME") else None)
    if named is not None:
        return Home((folder / _expand_user(str(named), environment)).resolve())
    if (folder / "config.toml").is_file() or _is_checkout(folder):
        return Home(folder.resolve())
    return Home(_xdg_folder(environment, "XDG_DATA_HOME", ".local/share") / "comfywatchman")


def user_config_file(environment: Mapping[str, str] | None = None) -> Path:
    """Return the place of the user's own configuration file."""
    environment = os.environ if environment is None else environment
    return _xdg_folder(environment, "XDG_CONFIG_HOME", ".config") / "comfywatchman" / "config.toml"


def variables_for_children(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables that this program itself reads, secrets among them, for a child that is this program."""
    environment = os.environ if environment is None else environment
    names = {*SHORTHANDS, "XDG_CONFIG_HOME", "XDG_DATA_HOME"}
    return {name: text for name, text in environment.items() if name in names or name.startswith(PREFIX)}


def network_variables(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables by which this machine's user reaches the network: proxies and certificates, and uv's cache.

    Both spellings of a proxy variable are in use; programs differ in which one they read.
    """
    environment = os.environ if environment is None else environment
    return {name: text for name, text in environment.items() if name.upper() in _NETWORK_VARIABLES and text}


def comfyui_variables(further: Collection[str] = (), environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what a ComfyUI that we start gets of this environment: the GPU's and the network's variables, no keys.

    What unlocks other machines (`SSH_AUTH_SOCK`, `NETRC`) is not for the code of custom nodes.

    Args:
        further: Names of more variables that a person wants it to get.
        environment: The environment; that of this process when None.
    """
    environment = os.environ if environment is None else environment
    usual = {
        name: text
        for name, text in environment.items()
        if name in _COMFYUI_VARIABLES or name in further or name.startswith(_COMFYUI_PREFIXES)
    }
    network = {name: text for name, text in network_variables(environment).items() if name not in _CREDENTIAL_VARIABLES}
    return {**network, **usual}


def systemd_user_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Return where systemd looks for the user's own units."""
    return user_config_file(environment).parents[1] / "systemd" / "user"


def notify_socket_address(environment: Mapping[str, str] | None = None) -> str | None:
    """Return where systemd listens for what a service says of itself; None outside a service."""
    environment = os.environ if environment is None else environment
    return environment.get("NOTIFY_SOCKET") or None


def read_default_text() -> str:
    """Return default.toml as shipped."""
    return resources.files("comfywatchman.base").joinpath("default.toml").read_text("utf-8")


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise Failure(
            "config-unreadable",
            f"The current folder cannot be used: {error.strerror}.",
            hint="Change to a folder that exists, then run the command again.",
        ) from error


def _user_home(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("HOME") or "/")


def _xdg_folder(environment: Mapping[str, str], name: str, default: str) -> Path:
    # The specification wants relative values ignored.
    named = Path(environment.get(name) or "")
    return named if named.is_absolute() else _user_home(environment) / default


def _expand_user(text: str, environment: Mapping[str, str]) -> Path:
    if text == "~" or text.startswith("~/"):
        return _user_home(environment) / text[2:]
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise Failure(
            "config-wrong-type",
            f"{text!r} begins with the home folder of nobody on this machine.",
            hint="Write the whole path.",
        ) from error


def _is_checkout(folder: Path) -> bool:
    return (folder / "comfywatchman" / "base" / "default.toml").is_file() and (folder / "pyproject.toml").is_file()


def _read_layers(
    explicit: Path | None, folder: Path, environment: Mapping[str, str]
) -> Iterator[tuple[ConfigOrigin, dict[str, Any]]]:
    yield ConfigOrigin("default", folder), _flatten(tomllib.loads(read_default_text()), "default.toml")
    files = [(user_config_file(environment), False), (folder / "config.toml", False)]
    files += [(explicit, True)] if explicit else []
    for path, needed in files:
        if needed or _may_exist(path):
            yield _read_file_layer(path)
    for name, key in SHORTHANDS.items():
        if environment.get(name):
            yield ConfigOrigin(f"environment {name}", folder), {key: environment[name]}
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in RESERVED:
            yield ConfigOrigin(f"environment {name}", folder), _read_variable(name, environment[name])


def _may_exist(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return True  # reading it will say why not


def _read_file_layer(path: Path) -> tuple[ConfigOrigin, dict[str, Any]]:
    try:
        layer = _flatten(tomllib.loads(path.read_text("utf-8")), str(path))
        exposed = path.stat().st_mode & 0o077
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Failure(
            "config-unreadable",
            f"{path} cannot be read: {os_error_text(error)}.",
            hint="Correct the file, or leave it out.",
        ) from error
    secret = next((key for key, value in layer.items() if value and _has_extra(_key_types().get(key), "secret")), None)
    if secret and exposed:
        raise Failure(
            "config-secret-exposed",
            f"{path} holds {secret} and can be read by other users.",
            hint=f"Run: chmod 600 {path}",
        )
    return ConfigOrigin(str(path), path.parent.resolve()), layer


def _read_variable(name: str, text: str) -> dict[str, Any]:
    key = name.removeprefix(PREFIX).lower().replace("__", ".")
    if key not in _key_types():
        known = [PREFIX + k.upper().replace(".", "__") for k in _key_types()]
        raise _unknown_key_failure(name, "the environment", [*known, *RESERVED])
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    return {key: text if isinstance(_unwrap_type(_key_types()[key]), types.StrType) else value}


def _flatten(tree: Mapping[str, Any], source: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    sections = {key.split(".")[0] for key in _key_types()}
    for section, content in tree.items():
        if section not in sections:
            raise _unknown_key_failure(section, source, sorted(sections))
        if not isinstance(content, dict):
            raise Failure(
                "config-wrong-type",
                f"{section} in {source} is a single value.",
                hint=f"It is a section: write [{section}], and its keys below.",
            )
        for name, value in content.items():
            key = f"{section}.{name}"
            if key not in _key_types():
                raise _unknown_key_failure(key, source, list(_key_types()))
            flat[key] = value
    return flat


def _convert_value(key: str, value: Any, origin: ConfigOrigin, environment: Mapping[str, str]) -> Any:
    kind = _key_types()[key]
    try:
        typed = msgspec.convert(_add_root_labels(value) if key == "workflows.roots" else value, kind)
        return _make_absolute(msgspec.to_builtins(typed), kind, origin.folder, environment)
    except (msgspec.ValidationError, Failure) as error:
        shown = MASK if _has_extra(kind, "secret") else value
        reason = error.message if isinstance(error, Failure) else f"it must be {describe_expected(kind)}."
        raise Failure(
            "config-wrong-type",
            f"{key} in {origin.label} is {shown!r}: {reason[:1].lower()}{reason[1:]}",
            hint="`comfywatchman config --defaults` shows each key with its unit and default.",
        ) from error


def _add_root_labels(roots: Any) -> Any:
    """Let a root be a bare path; its label is the path's last name."""
    if not isinstance(roots, list):
        return roots
    return [{"path": root, "label": Path(root).name or root} if isinstance(root, str) else root for root in roots]


def _make_absolute(value: Any, kind: Any, folder: Path, environment: Mapping[str, str]) -> Any:
    info = types.type_info(kind)
    if isinstance(value, str):
        return str(folder / _expand_user(value, environment)) if value and _has_extra(kind, "path") else value
    if isinstance(info, types.VarTupleType) and isinstance(value, (list, tuple)):
        return [_make_item_absolute(item, info.item_type, folder, environment) for item in value]
    return value


def _make_item_absolute(item: Any, info: types.Type, folder: Path, environment: Mapping[str, str]) -> Any:
    if isinstance(item, dict):
        return {**item, "path": str(folder / _expand_user(item["path"], environment))}
    is_path = isinstance(info, types.Metadata) and bool((info.extra or {}).get("path"))
    return str(folder / _expand_user(item, environment)) if is_path else item


def _has_extra(kind: Any, name: str) -> bool:
    info = types.type_info(kind) if kind is not None else None
    return isinstance(info, types.Metadata) and bool((info.extra or {}).get(name))


def _unwrap_type(kind: Any) -> types.Type:
    info = types.type_info(kind)
    return info.type if isinstance(info, types.Metadata) else info


@cache
def _key_types() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for section in msgspec.structs.fields(Settings):
        if isinstance(section.type, type) and issubclass(section.type, Section):
            found |= {f"{section.name}.{field.name}": field.type for field in msgspec.structs.fields(section.type)}
    return found


def _unknown_key_failure(key: str, source: str, known: list[str]) -> Failure:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0)
    return Failure(
        "config-unknown-key",
        f"{key!r} in {source} is no configuration key.",
        hint=f"The nearest known one is {close[0]!r}." if close else None,
    )
