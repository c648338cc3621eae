from __future__ import annotations

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.store.lock_file import packages_in
from comfywatchman.governance.store.records import Package

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


def test_the_packages_of_a_lock_are_read_without_its_project() -> None:
    assert packages_in(LOCK) == (Package("from-git", "1.0"), Package("num-let", "2.0+cu128"))
    assert packages_in("version = 1\n") == ()


def test_a_lock_that_is_no_toml_is_said() -> None:
    with pytest.raises(Failure) as caught:
        packages_in("<<<<<<< HEAD")
    assert caught.value.code == "gov-truth-damaged"
