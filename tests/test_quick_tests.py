"""`scripts/quick_tests.py` runs every quick test once and reports failures."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.quick_tests import (
    CHECKOUT,
    NO_TESTS,
    combine_statuses,
    find_memory,
    find_test_files,
    print_progress,
    split_files,
)


def test_each_file_is_in_one_part_and_the_parts_are_alike() -> None:
    files = find_test_files(CHECKOUT / "tests")
    parts = split_files(files, 3)
    assert sorted(path for part in parts for path in part) == sorted(files)
    loads = [sum(files[path] for path in part) for part in parts]
    assert max(loads) < 1.05 * min(loads)
    assert all(part == sorted(part) for part in parts)


def test_few_files_make_few_parts() -> None:
    assert split_files({Path("test_a.py"): 1}, 3) == [[Path("test_a.py")]]
    assert split_files({}, 3) == []


@pytest.mark.parametrize(
    ("statuses", "status"),
    [((0, 0, 0), 0), ((0, NO_TESTS), 0), ((NO_TESTS,), NO_TESTS), ((), NO_TESTS), ((0, 1), 1), ((1, 2, NO_TESTS), 2)],
)
def test_one_failed_process_fails_the_run(statuses: tuple[int, ...], status: int) -> None:
    assert combine_statuses(statuses) == status


def test_summary_is_printed_in_one_piece(capsys: pytest.CaptureFixture[str]) -> None:
    lock = threading.Lock()

    def lines() -> Iterator[str]:
        yield "...F\n"
        assert capsys.readouterr().out == "...F\n"
        yield "=== FAILURES ===\n"
        yield "reason\n"
        assert capsys.readouterr().out == ""

    print_progress(lines(), lock)
    assert capsys.readouterr().out == "=== FAILURES ===\nreason\n"


def test_memory_is_used_if_it_has_room(tmp_path: Path) -> None:
    assert find_memory(tmp_path, needed=1) == tmp_path
    assert find_memory(tmp_path, needed=2**63) is None
    assert find_memory(tmp_path / "absent", needed=1) is None


@pytest.mark.slow
def test_temporary_files_of_a_run_are_removed(tmp_path: Path) -> None:
    place = "from pathlib import Path\ndef test_place(tmp_path):\n    (tmp_path / 'x').touch()\n"
    (tmp_path / "test_a.py").write_text(f"{place}    Path(r'{tmp_path}', 'place').write_text(str(tmp_path))\n")
    options = ["--folder", str(tmp_path), "-c", str(CHECKOUT / "pyproject.toml"), "-p", "no:cacheprovider"]
    subprocess.run([sys.executable, "-m", "scripts.quick_tests", *options], cwd=CHECKOUT, check=True)
    place_of_files = Path((tmp_path / "place").read_text())
    assert "quick-tests-" in str(place_of_files)
    assert not place_of_files.exists()


@pytest.mark.slow
def test_every_quick_test_runs_once_and_failures_are_reported(tmp_path: Path) -> None:
    slow = "import pytest\n@pytest.mark.slow\ndef test_slow(): assert False\n"
    (tmp_path / "test_a.py").write_text(f"{slow}def test_first(): pass\n")
    (tmp_path / "test_b.py").write_text("def test_second(): assert 1 == 2\ndef test_third(): pass\n")
    (tmp_path / "test_c.py").write_text(slow)
    options = ["--folder", str(tmp_path), "-c", str(CHECKOUT / "pyproject.toml"), "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "scripts.quick_tests", *options]
    result = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "E   assert 1 == 2" in result.stdout
    for summary in ("1 passed, 1 deselected", "1 failed, 1 passed", "1 deselected"):
        assert f"\n{summary} in " in result.stdout
