"""Read global_config.yaml, the job agent's settings in YAML, also as one layer of the configuration."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypedDict

from comfywatchman.base.config_schema import ConfigOrigin, Layer
from comfywatchman.jobs.files.near_names import suggest_name
from comfywatchman.jobs.files.problems import JobFileError, JobFileProblem
from comfywatchman.jobs.files.reading import find_base_folder, read_yaml_file
from comfywatchman.jobs.files.yaml_text import YamlDocument
from comfywatchman.jobs.records import MAX_PRIORITY, MIN_PRIORITY

_MAX_POLL_MS: Final = 3_600_000
_MIN_POLL_MS: Final = 10
_MAX_SECONDS: Final = 366 * 86400.0
_MAX_RETRIES: Final = 1000


class JobPaths(TypedDict):
    """`paths` of global_config.yaml."""

    jobs_processing: str
    jobs_finished: str
    database: str


class ComfyUIAccess(TypedDict):
    """`comfyui` of global_config.yaml."""

    api_base_url: str
    timeout_seconds: float


class GlobalConfig(TypedDict):
    """The content of global_config.yaml, with defaults."""

    default_priority: int
    retry_limit: int
    poll_interval_ms: int
    paths: JobPaths
    comfyui: ComfyUIAccess


def load_global_config(path: str | os.PathLike[str]) -> GlobalConfig:
    """Read global_config.yaml and add the defaults of the fields that it leaves out.

    Args:
        path: The file. Relative paths in it start from the folder that holds config/, or from the file's folder.

    Raises:
        JobFileError: It is not valid YAML, or a field that has no default is missing. It is a `ValueError`.
    """
    document = _read_checked(Path(path))
    value, base = document.value, find_base_folder(Path(path))
    paths, comfyui = value["paths"], value["comfyui"]
    return GlobalConfig(
        default_priority=value.get("default_priority", 50),
        retry_limit=value.get("retry_limit", 2),
        poll_interval_ms=value.get("poll_interval_ms", 1000),
        paths=JobPaths(
            jobs_processing=_make_absolute(paths["jobs_processing"], base),
            jobs_finished=_make_absolute(paths["jobs_finished"], base),
            database=_make_absolute(paths["database"], base),
        ),
        comfyui=ComfyUIAccess(
            api_base_url=comfyui["api_base_url"], timeout_seconds=float(comfyui.get("timeout_seconds", 300))
        ),
    )


def read_config_layer(path: Path) -> Layer:
    """Read global_config.yaml as a layer of the configuration: only the fields that it gives.

    Raises:
        JobFileError: As `load_global_config`.
    """
    document = _read_checked(path)
    base = find_base_folder(path)
    values: dict[str, Any] = {
        f"jobs.{name}": document.value[name]
        for name in ("default_priority", "retry_limit", "poll_interval_ms")
        if name in document.value
    }
    paths, comfyui = document.value["paths"], document.value["comfyui"]
    values["jobs.processing"] = _make_absolute(paths["jobs_processing"], base)
    values["jobs.finished"] = _make_absolute(paths["jobs_finished"], base)
    values["jobs.database"] = _build_database_url(paths["database"], base)
    values["jobs.comfyui_url"] = comfyui["api_base_url"]
    if "timeout_seconds" in comfyui:
        values["jobs.job_timeout_seconds"] = float(comfyui["timeout_seconds"])
    return ConfigOrigin(str(path), base), values


def _read_checked(path: Path) -> YamlDocument:
    document = read_yaml_file(path)
    problems = list(_find_problems(document))
    if problems:
        raise JobFileError(problems, source=os.fspath(path))
    return document


def _is_whole(low: float, high: float) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return check


def _is_positive(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and 0 < value <= _MAX_SECONDS  # type: ignore[arg-type, operator]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


_Check = tuple[Callable[[object], bool], str, bool]
"""The test of a field, its description, and whether it must be there."""

_FIELDS: Final[Mapping[str, Mapping[str, _Check]]] = {
    "": {
        "default_priority": (_is_whole(MIN_PRIORITY, MAX_PRIORITY), "a whole number from 1 to 999", False),
        "retry_limit": (_is_whole(0, _MAX_RETRIES), f"a whole number from 0 to {_MAX_RETRIES}", False),
        "poll_interval_ms": (_is_whole(_MIN_POLL_MS, _MAX_POLL_MS), "a whole number of milliseconds from 10", False),
        "paths": (lambda value: isinstance(value, dict), "a list of paths", True),
        "comfyui": (lambda value: isinstance(value, dict), "the address of ComfyUI", True),
    },
    "paths": {
        "jobs_processing": (_is_text, "a folder", True),
        "jobs_finished": (_is_text, "a folder", True),
        "database": (_is_text, "a file, or the URL of a database", True),
    },
    "comfyui": {
        "api_base_url": (_is_text, "an address such as http://127.0.0.1:8188", True),
        "timeout_seconds": (_is_positive, "a number of seconds", False),
    },
}


def _find_problems(document: YamlDocument) -> Iterator[JobFileProblem]:
    for section, fields in _FIELDS.items():
        content = document.value.get(section) if section else document.value
        if not isinstance(content, dict):
            continue
        for name in content:
            if name not in fields:
                path = f"{section}.{name}" if section else name
                yield JobFileProblem(f"There is no such field.{suggest_name(name, fields)}", document.lines[path], path)
        for name, (is_valid, description, is_needed) in fields.items():
            path = f"{section}.{name}" if section else name
            if name not in content:
                if is_needed:
                    yield JobFileProblem(f"This field is missing: {description}.", document.lines.get(section), path)
            elif not is_valid(content[name]):
                yield JobFileProblem(f"This must be {description}.", document.lines[path], path)


def _make_absolute(text: str, base: Path) -> str:
    return text if "://" in text else str(base / os.path.expanduser(text))


def _build_database_url(text: str, base: Path) -> str:
    return text if "://" in text else f"sqlite:///{_make_absolute(text, base)}"
