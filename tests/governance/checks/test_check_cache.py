from __future__ import annotations

import os
from pathlib import Path

from comfywatchman.governance.checks.check_cache import CheckCache, CheckCacheFile, list_names, stamp_files


def test_saved_updates_are_read_again_and_replace_older_facts(tmp_path: Path) -> None:
    path = tmp_path / "checks.json"
    first = CheckCache.read(path)
    first.updates["sizes"] = {"/envs/a": 10, "/envs/gone": 20}
    first.save()
    second = CheckCache.read(path)
    assert second.stored.sizes == {"/envs/a": 10, "/envs/gone": 20}
    second.updates["sizes"] = {"/envs/a": 11}
    second.save()
    assert CheckCache.read(path).stored.sizes == {"/envs/a": 11}


def test_damaged_cache_counts_as_empty_and_stays_in_place(tmp_path: Path) -> None:
    path = tmp_path / "checks.json"
    path.write_bytes(b"{")
    assert CheckCache.read(path).stored == CheckCacheFile()
    assert path.read_bytes() == b"{"


def test_unwritable_cache_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = CheckCache.read(tmp_path / "file" / "checks.json")
    cache.updates["fresh"] = {"key": True}
    cache.save()
    assert (tmp_path / "file").read_bytes() == b""


def test_stamp_changes_with_content_time_replacement_and_absence(tmp_path: Path) -> None:
    path = tmp_path / "file"
    stamps = [stamp_files([path])]
    path.write_bytes(b"one")
    stamps.append(stamp_files([path]))
    path.write_bytes(b"three")
    stamps.append(stamp_files([path]))
    os.utime(path, ns=(1, 1))
    stamps.append(stamp_files([path]))
    other = tmp_path / "other"
    other.write_bytes(b"three")
    os.utime(other, ns=(1, 1))
    other.replace(path)
    stamps.append(stamp_files([path]))
    assert len(set(stamps)) == len(stamps)
    assert stamp_files([path]) == stamps[-1]


def test_names_are_sorted_and_none_for_an_absent_folder(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).touch()
    assert list_names(tmp_path) == ["a", "b"]
    assert list_names(tmp_path / "absent") == []
