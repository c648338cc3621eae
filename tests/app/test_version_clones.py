from __future__ import annotations

import msgspec
import pytest

from comfywatchman.app.version_clones import choose_locked_backend
from comfywatchman.governance.store.settings import NetworkTable
from comfywatchman.versions.lockfile import LockedPackage

TABLE = NetworkTable(offline=False, cache_dir="", index_url="", no_index=False, find_links=())


def make_packages(version: str) -> tuple[LockedPackage, ...]:
    return (LockedPackage(name="numpy", version="2.0"), LockedPackage(name="torch", version=version))


@pytest.mark.parametrize(
    ("version", "backend"), [("2.9.0+cu128", "cu128"), ("2.9.0+cpu", "cpu"), ("2.9.0", None), ("2.9.0+git1a2b", None)]
)
def test_builds_of_torch_choose_their_index(version: str, backend: str | None) -> None:
    assert choose_locked_backend(make_packages(version), TABLE) == backend


@pytest.mark.parametrize(
    "named", [{"offline": True}, {"no_index": True}, {"index_url": "https://example.org"}, {"find_links": ("/wheels",)}]
)
def test_named_places_have_all_packages(named: dict[str, object]) -> None:
    network = msgspec.structs.replace(TABLE, **named)
    assert choose_locked_backend(make_packages("2.9.0+cu128"), network) is None
