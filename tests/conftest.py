from __future__ import annotations

import gc
import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.governance.contexts import KeptSite

OURS = ("COMFYUI_ROOT", "CIVITAI_API_KEY", "HF_TOKEN", "TAVILY_API_KEY", "XDG_CONFIG_HOME", "XDG_DATA_HOME")


def pytest_configure(config: pytest.Config) -> None:
    """Give every test, and every child of one, the same start: no user's settings, keys or ComfyUI, signals heard.

    A test run started in the background is born ignoring SIGINT and SIGHUP, and its children inherit that.
    """
    # The process that only hands out tests collects none, and would never turn it on again.
    if hasattr(config, "workerinput") or not getattr(config.option, "numprocesses", None):
        gc.disable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    for name in [name for name in os.environ if name in OURS or name.startswith("COMFYWATCHMAN_")]:
        if name != "COMFYWATCHMAN_TEST_COMFYUI":
            del os.environ[name]
    _register_hypothesis_profile(is_exploring=config.option.markexpr == "torture")
    folder = tempfile.TemporaryDirectory(prefix="cw-")
    config.add_cleanup(folder.cleanup)
    os.environ["XDG_CONFIG_HOME"] = f"{folder.name}/config"
    os.environ["XDG_DATA_HOME"] = f"{folder.name}/data"
    _hide_systemd(Path(folder.name, "bin"))


def _hide_systemd(folder: Path) -> None:
    """Put a `systemd-run` that fails first on PATH: no test, and no child of one, creates scopes on this machine."""
    folder.mkdir()
    program = folder / "systemd-run"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"


def pytest_collection_finish() -> None:
    """Collect garbage from here on, without the many objects of modules and tests, which live until the end."""
    gc.collect()
    gc.freeze()
    gc.enable()


def _register_hypothesis_profile(*, is_exploring: bool) -> None:
    """Let examples be slow, as on a busy machine, and the same in each run but those of the torture suite."""
    from hypothesis import HealthCheck, settings

    settings.register_profile(
        "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=not is_exploring
    )
    settings.load_profile("patient")


@pytest.fixture(scope="session")
def kept_root(tmp_path_factory: pytest.TempPathFactory) -> KeptSite:
    """Return the governed root that every test may have as `gov init` leaves it; see `KeptSite.restore`."""
    from tests.governance.contexts import KeptSite, build_site

    return KeptSite.of(build_site(tmp_path_factory.mktemp("governed")))
