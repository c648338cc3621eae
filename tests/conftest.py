from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Let children hear SIGINT: a test run started in the background is born ignoring it, and they inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
