from __future__ import annotations

import os
import tomllib
from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.config import load
from comfywatchman.base.errors import Failure
from comfywatchman.governance.store.settings import read_default_config, read_settings


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def test_default_config_has_every_key(config: Path) -> None:
    config.write_text(read_default_config())
    settings = read_settings(config, {})
    assert settings == read_settings(config.with_name("missing"), {})
    assert msgspec.json.decode(msgspec.json.encode(settings)) == tomllib.loads(read_default_config())


def test_a_file_overrides_only_its_keys(config: Path) -> None:
    config.write_text("[tx]\ntimeout_seconds = 3")
    defaults = read_settings(config.with_name("missing"), {})
    tx = msgspec.structs.replace(defaults.tx, timeout_seconds=3.0)
    assert read_settings(config, {}) == msgspec.structs.replace(defaults, tx=tx)


def test_variables_override_the_file(config: Path) -> None:
    config.write_text("[tx]\ntimeout_seconds = 3\nprobe = false")
    variables = {
        "COMFYWATCHMAN_GOV__TX__TIMEOUT_SECONDS": "5",
        "COMFYWATCHMAN_GOV__POLICY__DENY": '["a", "b"]',
        "COMFYWATCHMAN_SCHEDULE__MIN_VRAM_GB": "8",
    }
    settings = read_settings(config, variables)
    assert (settings.tx.timeout_seconds, settings.tx.probe, settings.policy.deny) == (5.0, False, ("a", "b"))


def test_variables_of_a_governed_root_are_not_keys_of_the_program(tmp_path: Path) -> None:
    variables = {"COMFYWATCHMAN_GOV__TX__TIMEOUT_SECONDS": "5", "HOME": str(tmp_path)}
    origins = load(folder=tmp_path, environment=variables).origins
    assert {origin.label for origin in origins.values()} == {"default"}


def test_paths_are_expanded(config: Path) -> None:
    config.write_text('[paths]\ncomfyui_dir = "~/ComfyUI"\n[network]\ncache_dir = "cache"')
    settings = read_settings(config, {"HOME": "/home/you"})
    assert settings.paths.comfyui_dir == "/home/you/ComfyUI"
    assert settings.network.cache_dir == str(config.parent.resolve() / "cache")
    assert settings.runtime.python == ""


@pytest.mark.parametrize(
    ("text", "code", "named"),
    [
        ("[tx]\ntimeout_secnds = 3", "config-unknown-key", r"tx\.timeout_secnds.*config\.toml"),
        ("[nonsense]", "config-unknown-key", "nonsense"),
        ("[rollback]\nsnapshot_retention = 0", "config-wrong-type", "rollback.snapshot_retention.*config.toml is 0"),
        ('[runtime]\nlink_mode = "symlink"', "config-wrong-type", "symlink"),
        ("[tx", "config-unreadable", "cannot be read"),
        (b"\xff", "config-unreadable", "cannot be read"),
    ],
)
def test_invalid_file_is_refused(config: Path, text: str | bytes, code: str, named: str) -> None:
    config.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(Failure, match=named) as caught:
        read_settings(config, {})
    assert caught.value.code == code


def test_invalid_variable_is_refused_by_name(config: Path) -> None:
    with pytest.raises(Failure, match="COMFYWATCHMAN_GOV__TX__PROBE is 'perhaps'") as caught:
        read_settings(config, {"COMFYWATCHMAN_GOV__TX__PROBE": "perhaps"})
    assert "governance.md" in str(caught.value.hint)


def test_a_pipe_is_refused_instead_of_waited_for(config: Path) -> None:
    os.mkfifo(config)
    with pytest.raises(Failure, match="not a regular file") as caught:
        read_settings(config, {})
    assert caught.value.code == "config-unreadable"


def test_indexes_of_packages_are_checked(config: Path) -> None:
    config.write_text('[network.indexes]\n"https://host.example/cu126" = ["torch", "torchvision"]')
    assert read_settings(config, {}).network.indexes == {"https://host.example/cu126": ("torch", "torchvision")}
    for text in ('"https://me:secret@host.example" = ["torch"]', '"host" = ["torch"]', '"https://h.example" = ["a b"]'):
        config.write_text(f"[network.indexes]\n{text}")
        with pytest.raises(Failure, match=r"network\.indexes") as caught:
            read_settings(config, {})
        assert "a table of addresses and names" in caught.value.message
