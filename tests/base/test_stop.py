from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from comfywatchman.base.stop import StopEvent, wait_for_any


def test_new_event_is_not_set() -> None:
    with StopEvent() as stop:
        assert not stop.is_set()
        assert not stop.wait(0.01)


def test_event_stays_set_for_all_waiters() -> None:
    with StopEvent() as stop:
        stop.set()
        assert stop.is_set()
        assert stop.wait(60)
        assert wait_for_any([stop.fileno()], 60) == {stop.fileno()}


@pytest.mark.slow
def test_event_can_be_set_more_often_than_a_pipe_holds() -> None:
    with StopEvent() as stop:
        for _ in range(70_000):
            stop.set()
        assert stop.is_set()


def test_signal_sets_the_event_and_wakes_waiters() -> None:
    with StopEvent() as stop:
        stop.set_on_signals(signal.SIGUSR1)
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        began = time.monotonic()
        assert stop.wait(30)
        assert time.monotonic() - began < 25
        assert stop.signal == signal.SIGUSR1


def test_previous_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with StopEvent() as stop:
        stop.set_on_signals(signal.SIGUSR1)
        assert signal.getsignal(signal.SIGUSR1) != before
    assert signal.getsignal(signal.SIGUSR1) == before


def test_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopEvent() as stop:
            stop.set_on_signals(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
