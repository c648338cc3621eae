from __future__ import annotations

import os
import signal
import threading
import time

from comfywatchman.base.stop import StopEvent, wait_for_any


def test_a_notice_is_not_given_until_somebody_gives_it() -> None:
    with StopEvent() as stop:
        assert not stop.is_set()
        assert not stop.wait(0.01)


def test_a_given_notice_stays_given_for_everybody() -> None:
    with StopEvent() as stop:
        stop.set()
        assert stop.is_set()
        assert stop.wait(60)
        assert wait_for_any([stop.fileno()], 60) == {stop.fileno()}


def test_a_notice_may_be_given_more_often_than_a_pipe_holds() -> None:
    with StopEvent() as stop:
        for _ in range(70_000):
            stop.set()
        assert stop.is_set()


def test_a_signal_gives_the_notice_and_wakes_whoever_waits() -> None:
    with StopEvent() as stop:
        stop.set_on_signals(signal.SIGUSR1)
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        began = time.monotonic()
        assert stop.wait(30)
        assert time.monotonic() - began < 5
        assert stop.signal == signal.SIGUSR1


def test_the_handlers_are_as_before_when_the_notice_is_over() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with StopEvent() as stop:
        stop.set_on_signals(signal.SIGUSR1)
        assert signal.getsignal(signal.SIGUSR1) != before
    assert signal.getsignal(signal.SIGUSR1) == before


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopEvent() as stop:
            stop.set_on_signals(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
