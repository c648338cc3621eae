from __future__ import annotations

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.store.records import InstalledPackage
from comfywatchman.governance.store.uv_lock import parse_file_hashes, parse_freeze_lines, parse_packages

LOCK = """
version = 1

[[package]]
name = "comfy-env"
version = "0"
source = { virtual = "." }

[[package]]
name = "Num_Let"
version = "2.0+cu128"
source = { registry = "wheels" }

[[package]]
name = "from-git"
version = "1.0"
source = { git = "https://example.org/a?rev=main#0123" }
"""


def test_packages_without_the_project() -> None:
    assert parse_packages(LOCK) == (InstalledPackage("from-git", "1.0"), InstalledPackage("num-let", "2.0+cu128"))
    assert parse_packages("version = 1\n") == ()


def test_freeze_lines_have_versions_or_addresses() -> None:
    lock = (
        LOCK
        + """
[[package]]
name = "local"
source = { editable = "../local" }
"""
    )
    assert parse_freeze_lines(lock) == (
        "Num_Let==2.0+cu128",
        "from-git @ https://example.org/a?rev=main#0123",
        "local @ ../local",
    )
    assert [package.name for package in parse_packages(lock)] == ["from-git", "num-let"]


def test_invalid_lock_is_reported() -> None:
    with pytest.raises(Failure) as caught:
        parse_packages("<<<<<<< HEAD")
    assert caught.value.code == "gov-truth-damaged"


def test_file_hashes_are_those_of_wheels_and_source() -> None:
    lock = (
        LOCK
        + """
[[package]]
name = "hashed"
version = "1.0"
source = { registry = "x" }
sdist = { url = "a.tar.gz", hash = "sha256:bb" }
wheels = [{ url = "a.whl", hash = "sha256:cc" }, { url = "b.whl", hash = "sha256:aa" }, { url = "c.whl" }]

[[package]]
name = "local"
source = { editable = "../local" }
wheels = [{ url = "a.whl", hash = "sha256:cc" }]
"""
    )
    assert parse_file_hashes(lock) == {InstalledPackage("hashed", "1.0"): ("aa", "bb", "cc")}
