from __future__ import annotations

import tomllib
from typing import Any

import msgspec
import pytest

from comfywatchman.base.config import SCHEMA, read_default_text
from comfywatchman.base.settings import Settings

GIVEN = "/srv/ComfyUI"


def build(section: str = "log", **changes: Any) -> Settings:
    """Return the shipped defaults with some keys of a section changed."""
    content = tomllib.loads(read_default_text())
    content[section].update(changes)
    return msgspec.convert(content, Settings)


def test_defaults_satisfy_their_own_limits() -> None:
    settings = build()
    assert msgspec.convert(msgspec.to_builtins(settings), Settings) == settings


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("supervisor", "port", 0),
        ("supervisor", "port", 65536),
        ("supervisor", "on_exit", "restart"),
        ("schedule", "interval_minutes", 0.5),
        ("schedule", "min_vram_gb", -1),
        ("search", "timeout_seconds", 0),
        ("search", "backend_order", ["bing"]),
        ("llm", "rounds", 6),
        ("downloads", "parallel", 17),
        ("comfyui", "root", "/srv/\x00"),
        ("comfyui", "extra_model_paths", [""]),
        ("workflows", "roots", [{"path": "/srv", "label": ""}]),
        ("report", "entries", 1),
    ],
)
def test_value_outside_its_limits_is_refused(section: str, key: str, value: object) -> None:
    with pytest.raises(msgspec.ValidationError, match=key):
        build(section, **{key: value})


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("supervisor", "port", 65535), ("schedule", "grace_minutes", 0), ("llm", "rounds", 5), ("comfyui", "root", "")],
)
def test_value_at_its_limit_is_accepted(section: str, key: str, value: object) -> None:
    assert getattr(getattr(build(section, **{key: value}), section), key) == value


def test_every_key_of_a_service_is_secret() -> None:
    secret = {key for key in SCHEMA.keys if SCHEMA.is_secret(key)}
    assert secret == {key for key in SCHEMA.keys if key.startswith("secrets.")}


def test_settings_are_frozen() -> None:
    settings = build("comfyui", root=GIVEN)
    with pytest.raises(AttributeError):
        settings.comfyui.root = "/other"  # type: ignore[misc]
    assert settings.comfyui.root == GIVEN
