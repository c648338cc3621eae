from __future__ import annotations

import sys
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.supervisor.process.guarded import run_guarded
from tests.supervisor.programs import FAMILY, is_running, wait_until

pytestmark = pytest.mark.slow


def test_output_and_status_are_returned() -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    result = run_guarded([sys.executable, "-c", code], timeout_seconds=60)
    assert (result.status, sorted(result.output.split())) == (3, [b"err", b"out"])


def test_program_that_cannot_be_started_has_status_127() -> None:
    assert run_guarded(["/no/such/program"], timeout_seconds=60).status == 127


@pytest.mark.parametrize("then", ["sys.exit(0)", "time.sleep(600)"])
def test_no_descendant_is_left(tmp_path: Path, then: str) -> None:
    record = tmp_path / "pids"
    code = FAMILY.format(
        then=f"open({str(record)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}} {{daemon.pid}}'); {then}"
    )
    argv = [sys.executable, "-c", code]
    if then == "sys.exit(0)":
        assert run_guarded(argv, timeout_seconds=60).status == 0
    else:
        for limit_seconds in (2, 20, 60):
            with pytest.raises(Failure, match=f"did not end within {limit_seconds} seconds"):
                run_guarded(argv, timeout_seconds=limit_seconds)
            # A slow machine may not have started them by then.
            if record.exists() and record.read_text():
                break
    pids = [int(word) for word in record.read_text().split()]
    assert len(pids) == 3
    assert wait_until(lambda: not any(is_running(pid) for pid in pids))


def test_cancelled_program_is_ended_with_its_descendants(tmp_path: Path) -> None:
    record = tmp_path / "pids"
    code = FAMILY.format(
        then=f"open({str(record)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}} {{daemon.pid}}\\n'); time.sleep(600)"
    )
    with pytest.raises(Failure) as caught:
        run_guarded(
            [sys.executable, "-c", code],
            timeout_seconds=600,
            is_cancelled=lambda: record.exists() and record.read_text().endswith("\n"),
        )
    assert caught.value.code == "child-cancelled"
    pids = [int(word) for word in record.read_text().split()]
    assert wait_until(lambda: not any(is_running(pid) for pid in pids))
