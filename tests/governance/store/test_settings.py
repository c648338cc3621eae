from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.store.settings import GovSettings, read_settings, render_default_config


def test_the_file_that_init_writes_holds_the_defaults_and_every_key(tmp_path: Path) -> None:
    import tomllib

    path = tmp_path / "config.toml"
    path.write_text(render_default_config())
    assert read_settings(path) == GovSettings()
    assert tomllib.loads(render_default_config()) == msgspec.json.decode(msgspec.json.encode(GovSettings()))


def test_no_file_means_the_defaults(tmp_path: Path) -> None:
    assert read_settings(tmp_path / "config.toml") == GovSettings()


@pytest.mark.parametrize(
    ("text", "code", "named"),
    [
        ("[tx]\ntimeout_secnds = 3", "config-wrong-type", "timeout_secnds"),
        ("[nonsense]", "config-wrong-type", "nonsense"),
        ("[rollback]\nsnapshot_retention = 0", "config-wrong-type", "snapshot_retention"),
        ('[runtime]\nlink_mode = "symlink"', "config-wrong-type", "symlink"),
        ("[tx", "config-unreadable", "TOML"),
        (b"\xff", "config-unreadable", "TOML"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path: Path, text: str | bytes, code: str, named: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(Failure, match=named) as caught:
        read_settings(path)
    assert caught.value.code == code
