"""The requests of a serving handler: one runs at a time, and each idempotency key runs once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from comfywatchman.base.errors import Failure
from comfywatchman.handler.handle import HandlerOptions
from comfywatchman.handler.request import HandlerRequest
from comfywatchman.handler.result import describe_failure
from comfywatchman.jobs.execution.run_states import RunProgress

MAX_WAITING: Final = 32
"""How many requests wait or run at most; ComfyUI runs one prompt at a time."""

MAX_KEPT: Final = 100
MAX_KEPT_BYTES: Final = 512 << 20
"""How many results are kept for their keys, and how much they may hold in all."""

Handle = Callable[[HandlerRequest, "RequestEntry"], dict[str, Any]]
"""Runs a request and returns its result; raises `Failure`."""


@dataclass(slots=True)
class RequestEntry:
    """One request that waits, runs or has ended.

    Attributes:
        request: The request.
        cancelled: Set when it is to stop.
        done: Set when it has ended.
        progress: How far it is.
        result: Its result after its end.
    """

    request: HandlerRequest
    cancelled: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    progress: RunProgress = field(default_factory=RunProgress)
    result: dict[str, Any] | None = None

    def show_progress(self, progress: RunProgress) -> None:
        """Note how far the request is."""
        self.progress = progress


class RequestLedger:
    """Runs requests one after the other; used by several threads.

    A request whose key is known waits for the result of the first one. Only successes are kept: after an error the same
    key runs again.

    Args:
        handle: Runs a request.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._active: list[RequestEntry] = []
        self._kept: OrderedDict[str, RequestEntry] = OrderedDict()
        self._is_closed = False

    def run(self, request: HandlerRequest) -> dict[str, Any]:
        """Return the result of a request, which is that of an earlier one with the same key.

        Raises:
            Failure: `handler-key-reused` for another request with a known key, `handler-busy`, or why it failed.
        """
        entry, is_new = self._enter(request)
        if not is_new:
            entry.done.wait()
            if entry.result is None:
                raise Failure("handler-server-lost", "The first request with this key ended without a result.")
            return entry.result
        try:
            with self._turn:
                entry.result = self._handle(request, entry)
        except Failure as failure:
            entry.result = describe_failure(failure)
            raise
        finally:
            self._leave(entry)
        return entry.result

    def find(self, key: str) -> RequestEntry | None:
        """Return the request with a key; None when there is none."""
        with self._lock:
            return self._find(key)

    def cancel(self, key: str) -> RequestEntry | None:
        """Let the request with a key stop, and return it; None when there is none."""
        entry = self.find(key)
        if entry is not None:
            entry.cancelled.set()
        return entry

    def close(self) -> None:
        """Let all requests stop, and refuse further ones."""
        with self._lock:
            self._is_closed = True
            for entry in self._active:
                entry.cancelled.set()

    def _enter(self, request: HandlerRequest) -> tuple[RequestEntry, bool]:
        with self._lock:
            known = self._find(request.key) if request.key else None
            if known is not None:
                if known.request.fingerprint != request.fingerprint:
                    message = f"Another request had the idempotency key {request.key}."
                    raise Failure("handler-key-reused", message, hint="Give each request a key of its own.")
                return known, False
            if self._is_closed or len(self._active) >= MAX_WAITING:
                message = "The handler is stopping." if self._is_closed else f"{MAX_WAITING} requests wait already."
                raise Failure("handler-busy", message, hint="Send the request again later.")
            entry = RequestEntry(request)
            self._active.append(entry)
            return entry, True

    def _find(self, key: str) -> RequestEntry | None:
        for entry in self._active:
            if entry.request.key == key:
                return entry
        return self._kept.get(key)

    def _leave(self, entry: RequestEntry) -> None:
        with self._lock:
            self._active.remove(entry)
            # Inputs may take 128 MiB for each of the results that are kept, and the key is a secret.
            entry.request = replace(entry.request, workflow={}, inputs=(), api_key=None)
            key = entry.request.key
            if key is not None and entry.result is not None and entry.result["status"] == "success":
                self._kept[key] = entry
                while len(self._kept) > MAX_KEPT or self._count_kept_bytes() > MAX_KEPT_BYTES:
                    self._kept.popitem(last=False)
        entry.done.set()

    def _count_kept_bytes(self) -> int:
        results = [entry.result or {} for entry in self._kept.values()]
        return sum(len(output["data"]) for result in results for output in result.get("outputs", []))


def build_entry_options(options: HandlerOptions, entry: RequestEntry) -> HandlerOptions:
    """Return options with which a request can be cancelled and shows its progress."""
    return replace(options, is_cancelled=entry.cancelled.is_set, show_progress=entry.show_progress)
