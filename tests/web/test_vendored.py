from __future__ import annotations

import hashlib
import tomllib

import pytest

from comfywatchman.web.application import STATIC

VENDORED = tomllib.loads((STATIC / "VENDORED.toml").read_text("utf-8"))


@pytest.mark.parametrize("name", VENDORED)
def test_vendored_file_is_the_listed_one(name: str) -> None:
    entry = VENDORED[name]
    assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == entry["sha256"]
    assert entry["version"]
    assert entry["licence"]
    assert (STATIC / entry["licence_file"]).stat().st_size > 100


def test_each_minified_script_is_listed() -> None:
    assert {path.name for path in STATIC.glob("*.min.js")} == set(VENDORED)
