"""Make uv fail in every way that we tell apart, and keep its words: `produce.py VERSION PATH_OF_UV …` (pairs).

Writes `texts.json` beside this file: scene → version → exit status and text. Packages are tiny ones of our own; the
servers are ones on 127.0.0.1 that refuse; folders and ports are written as /data, 9 and 8000.
"""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

PYTHON = Path(sys.executable).resolve()
LOCAL = ("--no-index", "--find-links", "{links}")
LOCK = ("lock", *LOCAL)
CLASH = {"node-a": ["numpy<2"], "node-b": ["numpy>=2"]}
IMPACT = {"node-ComfyUI-Impact-Pack": ["opencv-python-headless>=4.12"]}
LONG = "node-very-long-name-of-a-custom-node-that-wraps-at-eighty-columns"
A_NUMPY = {"node-a": ["numpy>=2"]}
FORKED = [
    "opencv-python-headless>=4.12",
    "torch==2.7.0; sys_platform == 'win32'",
    "torch==2.8.0; sys_platform != 'win32'",
]
FEW = ["torch==2.7.0", "numpy!=1.26.4", "numpy!=2.1.0", "opencv-python-headless!=4.12.0", "torchvision>=0.22"]
SCOPED = '[{ package = { name = "opencv-python-headless" }, dependencies = ["numpy>=1.26"] }]'
BACKEND = "def build_wheel(*a, **k):\n    raise RuntimeError('no compiler here')\n"


def project(
    base: Sequence[str] = (),
    groups: Mapping[str, Sequence[str]] | None = None,
    *,
    uv: str = "",
    python: str = "==3.11.*",
) -> str:
    """Return a pyproject.toml."""
    lists = "\n".join(f"{name} = {json.dumps(lines)}" for name, lines in (groups or {}).items())
    return f"""\
[project]
name = "comfy-env"
version = "0"
requires-python = "{python}"
dependencies = {json.dumps(list(base))}

[dependency-groups]
{lists}

[tool.uv]
package = false
{uv}
"""


def index(kind: str) -> tuple[str, ...]:
    """Return a lock against a site that answers in one way."""
    return ("lock", "--index-url", f"http://127.0.0.1:{{port}}/{kind}/simple")


SCENES: dict[str, tuple[str, Sequence[str]]] = {
    "two_nodes": (project(groups=CLASH), LOCK),
    "node_against_base": (project(["numpy<2"], IMPACT), LOCK),
    "node_against_base_colour": (project(["numpy<2"], IMPACT), (*LOCK, "--color", "always")),
    "base_group": (project([], {"base": ["numpy<2", "torch"], **IMPACT}), LOCK),
    "deep": (project(["numpy<2"], {LONG: ["deep-a"]}), LOCK),
    "exact_pair": (project(["torch==2.7.0"], {"node-a": ["torchvision==0.23.0"]}), LOCK),
    "three_nodes": (
        project(["numpy"], {"node-a": ["torch==2.8.0"], "node-b": ["torchvision<0.23"], "node-c": ["extra-ful[fast]"]}),
        LOCK,
    ),
    "extras": (project(["numpy<2"], {"node-a": ["extra-ful[fast]"]}), LOCK),
    "split": (project(["numpy<2; python_version < '3.12'"], {"node-a": FORKED}, python=">=3.10"), LOCK),
    "constraint": (
        project([], {"node-a": ["opencv-python-headless>=4.12"]}, uv='constraint-dependencies = ["numpy==1.26.4"]'),
        LOCK,
    ),
    "many_roots": (project(FEW, {"node-a": ["numpy<2.2", "deep-a"]}), LOCK),
    "excluded": (project(["numpy!=2.1.0", "numpy!=1.26.4"], {"node-a": ["numpy<2.2"]}), LOCK),
    "within_a_node": (project([], {"node-a": ["numpy<2", "opencv-python-headless>=4.12"]}), LOCK),
    "within_base": (project(["numpy<2", "numpy>=2"]), LOCK),
    "two_urls": (
        project(
            ["numpy @ file://{links}/numpy-2.1.0-py3-none-any.whl"],
            {"node-a": ["numpy @ file://{links}/numpy-2.2.6-py3-none-any.whl"]},
        ),
        LOCK,
    ),
    "offline_conflict": (project(["numpy<2"], {"node-a": ["numpy>=2", "torch"]}), ("lock", "--offline")),
    "compile": ("", ("pip", "compile", *LOCAL, "in.txt")),
    "override": (
        project([], {"node-a": ["opencv-python-headless>=4.12"]}, uv='override-dependencies = ["numpy==9.9"]'),
        LOCK,
    ),
    "not_found": (project([], {"node-a": ["nosuch-package"]}), LOCK),
    "version_not_found": (project([], {"node-a": ["numpy==9.9"]}), LOCK),
    "python_too_new": (project([], {"node-a": ["future-only"]}), LOCK),
    "platform": (project([], {"node-a": ["windows-only"]}, uv="environments = [\"sys_platform == 'linux'\"]"), LOCK),
    "index_not_found": (project([], A_NUMPY), index("404")),
    "missing_url": (
        project([], {"node-a": ["numpy @ http://127.0.0.1:{port}/404/numpy-1.0-py3-none-any.whl"]}),
        LOCK,
    ),
    "missing_file": (project([], {"node-a": ["numpy @ file://{root}/numpy-1.0-py3-none-any.whl"]}), LOCK),
    "git_no_repository": (project([], {"node-a": ["something @ git+file://{root}/no/repository"]}), LOCK),
    "offline": (project([], A_NUMPY), ("lock", "--offline")),
    "offline_no_metadata": (
        project([], {"node-a": ["numpy @ http://127.0.0.1:{port}/404/numpy-1.0-py3-none-any.whl"]}),
        (*LOCK, "--offline"),
    ),
    "refused": (project([], A_NUMPY), ("lock", "--index-url", "http://127.0.0.1:{closed}/simple")),
    "no_such_host": (project([], A_NUMPY), ("lock", "--index-url", "http://index.invalid/simple")),
    "unauthorized": (project([], A_NUMPY), index("401")),
    "forbidden": (project([], A_NUMPY), index("403")),
    "server_error": (project([], A_NUMPY), index("500")),
    "slow_server": (project([], A_NUMPY), index("slow")),
    "broken_page": (project([], A_NUMPY), index("page")),
    "git_unreachable": (project([], {"node-a": ["something @ git+http://127.0.0.1:{closed}/a/b"]}), LOCK),
    "build_failed": (project([], {"node-a": ["broken-build @ file://{root}/broken"]}), LOCK),
    "stale_lock": (project([], A_NUMPY), ("sync", "--locked", *LOCAL)),
    "no_lock": (project([], A_NUMPY), ("sync", "--locked", *LOCAL)),
    "bad_toml": (project() + "[[[", LOCK),
    "bad_requirement": (project([], {"node-a": ["numpy >= two"]}), LOCK),
    "old_uv_wanted": (project(uv='required-version = ">=99"'), LOCK),
    "wrong_python": (project(python="==3.9.*"), LOCK),
    "no_interpreter": (project(), (*LOCK, "-p", "{root}/no/python")),
    "unknown_option": (project(), ("lock", "--no-such-option")),
    "declared_conflict": (
        project(groups=CLASH, uv='conflicts = [[{ group = "node-a" }, { group = "node-b" }]]'),
        ("sync", "--all-groups", *LOCAL),
    ),
    "missing_folder": (project([], A_NUMPY), ("lock", "--no-index", "--find-links", "{root}/nowhere")),
    "scoped_override": (project(["numpy<2"], IMPACT, uv=f"override-dependencies = {SCOPED}"), LOCK),
}


class Site(http.server.BaseHTTPRequestHandler):
    """A package index that gives no package."""

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        if kind == "slow":
            threading.Event().wait(8)
            return
        body = b"hello" if kind == "page" else b""
        self.send_response(200 if kind == "page" else int(kind))
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep silent."""


def wheel(
    folder: Path, name: str, version: str, requires: Sequence[str] = (), *, more: str = "", tag: str = "py3-none-any"
) -> None:
    """Build a wheel without a module."""
    stem = f"{name.replace('-', '_')}-{version}"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *(more.splitlines())]
    lines += [f"Requires-Dist: {line}" for line in requires]
    with zipfile.ZipFile(folder / f"{stem}-{tag}.whl", "w") as archive:
        archive.writestr(f"{stem}.dist-info/METADATA", "\n".join([*lines, ""]))
        archive.writestr(f"{stem}.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{stem}.dist-info/RECORD", "")


def fill(root: Path) -> None:
    """Build the packages."""
    links = root / "links"
    links.mkdir()
    for version in ("1.26.4", "2.1.0", "2.2.6"):
        wheel(links, "numpy", version)
    for version, wants in (("4.10.0", "numpy>=1.21"), ("4.12.0", "numpy>=2,<2.3"), ("4.13.0", "numpy>=2")):
        wheel(links, "opencv-python-headless", version, [wants])
    for torch, vision in (("2.7.0", "0.22.0"), ("2.8.0", "0.23.0")):
        wheel(links, "torch", torch, ["numpy"])
        wheel(links, "torchvision", vision, [f"torch=={torch}"])
    wheel(links, "future-only", "1.0", more="Requires-Python: >=3.99")
    wheel(links, "windows-only", "1.0", tag="cp311-cp311-win_amd64")
    wheel(links, "extra-ful", "1.0", ['numpy>=2; extra == "fast"'], more="Provides-Extra: fast")
    for name, wants in (("deep-a", "deep-b>=1"), ("deep-b", "deep-c>=1"), ("deep-c", "numpy>=2")):
        wheel(links, name, "1.0", [wants])
    broken = root / "broken"
    broken.mkdir()
    (broken / "backend.py").write_text(BACKEND)
    lines = ["[build-system]", "requires = []", 'build-backend = "backend"', 'backend-path = ["."]']
    (broken / "pyproject.toml").write_text("\n".join(lines))


def run(uv: str, folder: Path, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run uv with a cache of its own and a short patience."""
    variables = {"PATH": os.environ["PATH"], "HOME": str(folder), "UV_CACHE_DIR": str(folder / "cache")}
    variables |= {"UV_PYTHON_DOWNLOADS": "never", "UV_HTTP_TIMEOUT": "1", "UV_HTTP_RETRIES": "1"}
    variables["UV_PYTHON"] = str(PYTHON)
    return subprocess.run(
        [uv, *argv], cwd=folder, env=variables, capture_output=True, text=True, timeout=90, check=False
    )


def texts_of(uv: str, root: Path, places: Mapping[str, str]) -> dict[str, tuple[int, str]]:
    """Play every scene with one uv."""

    def filled(text: str) -> str:
        return re.sub(r"\{(links|root|port|closed)\}", lambda found: places[found[1]], text)

    said = {}
    for name, (text, argv) in SCENES.items():
        folder = root / "scenes" / name
        folder.mkdir(parents=True)
        (folder / "in.txt").write_text("numpy<2\nopencv-python-headless>=4.12\n")
        if text:
            (folder / "pyproject.toml").write_text(filled(text))
        if name == "stale_lock":
            run(uv, folder, [filled(word) for word in LOCK])
            (folder / "pyproject.toml").write_text(project([], {"node-a": ["numpy<2"]}))
        ended = run(uv, folder, [filled(word) for word in argv])
        said[name] = (ended.returncode, _neutral(ended.stderr, root, places))
    shutil.rmtree(root / "scenes")
    return said


def _neutral(text: str, root: Path, places: Mapping[str, str]) -> str:
    text = text.replace(str(root), "/data").replace(str(PYTHON), "/python/bin/python3.11")
    text = text.replace(str(PYTHON.parents[1]), "/python").replace(f"port {places['closed']}", "port 9")
    text = text.replace(f":{places['closed']}", ":9").replace(f":{places['port']}", ":8000")
    return re.sub(r"^Using .*\n", "", text, flags=re.MULTILINE)


def main(pairs: Sequence[str]) -> None:
    """Ask each uv, and write the texts."""
    root = Path(tempfile.mkdtemp())
    fill(root)
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    found: dict[str, dict[str, tuple[int, str]]] = {name: {} for name in SCENES}
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        places = {"links": str(root / "links"), "root": str(root), "port": str(site.server_port)}
        places["closed"] = str(closed.getsockname()[1])
        for version, uv in zip(pairs[::2], pairs[1::2], strict=True):
            for name, said in texts_of(uv, root, places).items():
                found[name][version] = said
    shutil.rmtree(root)
    target = Path(__file__).with_name("texts.json")
    target.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
