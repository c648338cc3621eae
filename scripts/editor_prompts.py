"""What ComfyUI's own editor sends for small workflows, for tests of the workflow reader.

    python -m scripts.editor_prompts PROMPTS.json [--frontend 1.58.1]

PROMPTS.json holds `workflows` by name; `prompts` is written anew: what `app.graphToPrompt()` returns after
`app.loadGraphData()` in a headless Chromium beside the ComfyUI of `scripts/real_comfyui.py`, or null where the editor
raises an error. Needs `chromium`; the editor comes from the package `comfyui-frontend-package`.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import json
import shutil
import subprocess
import tempfile
import threading
import zipfile
from pathlib import Path
from typing import Any, Final

from scripts import real_comfyui

PACKAGE: Final = "comfyui-frontend-package"
LIMIT_SECONDS: Final = 300

_SCRIPT: Final = """
<script type="module">
const known = () => window.app?.graph && window.LiteGraph?.registered_node_types?.CheckpointLoaderSimple;
while (!known()) await new Promise(done => setTimeout(done, 200));
await new Promise(done => setTimeout(done, 3000));
const workflows = await (await fetch("workflows.json")).json();
const prompts = {};
for (const [name, workflow] of Object.entries(workflows)) {
  try {
    await window.app.loadGraphData(workflow);
    await new Promise(done => setTimeout(done, 100));
    prompts[name] = (await window.app.graphToPrompt()).output;
  } catch (error) {
    console.error(name, error);
    prompts[name] = null;
  }
}
await fetch("RESULT_URL", {method: "POST", mode: "no-cors", body: JSON.stringify(prompts)});
</script>
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Write what the editor sends for the workflows of a file.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--frontend", default="1.58.1", help="version of the package (default: %(default)s)")
    options = parser.parse_args()
    content = json.loads(options.file.read_text("utf-8"))
    prompts = ask_editor(content["workflows"], options.frontend)
    content["frontend"] = f"{PACKAGE}=={options.frontend}"
    content["prompts"] = {name: _strip(prompts[name]) for name in content["workflows"]}
    options.file.write_text(_format(content), "utf-8")
    print(f"{len(prompts)} prompts")


def ask_editor(workflows: dict[str, Any], version: str) -> dict[str, Any]:
    """Return what the editor sends for each workflow; None where it raises an error."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        static = _download_editor(folder, version)
        (static / "workflows.json").write_text(json.dumps(workflows), "utf-8")
        result = _Result()
        with _listening(result) as result_url:
            page = static / "index.html"
            script = _SCRIPT.replace("RESULT_URL", result_url)
            page.write_text(page.read_text("utf-8").replace("</body>", f"{script}</body>"), "utf-8")
            arguments = ["--front-end-root", str(static)]
            with real_comfyui.running(folder / "base", arguments=arguments) as server:
                _browse(server.url, folder / "profile", result)
        return dict(json.loads(result.body))


def _strip(prompt: dict[str, Any] | None) -> dict[str, Any] | None:
    """Leave out titles: the server does not read them."""
    if prompt is None:
        return None
    return {path: {"class_type": node.get("class_type"), "inputs": node["inputs"]} for path, node in prompt.items()}


def _format(content: dict[str, Any]) -> str:
    """Write one line for each workflow and prompt, so that a difference shows which one changed."""
    parts = [f'"frontend": {json.dumps(content["frontend"])}']
    for key in ("workflows", "prompts"):
        lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in content[key].items()]
        parts.append(f'"{key}": {{\n' + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


class _Result:
    """The answer of the page, once it has come."""

    def __init__(self) -> None:
        self.body = b""
        self.has_come = threading.Event()


@contextlib.contextmanager
def _listening(result: _Result) -> Any:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            result.body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()
            result.has_come.set()

        def log_message(self, *_: object) -> None:
            """Print nothing for a request."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def _download_editor(folder: Path, version: str) -> Path:
    python = real_comfyui.installed().python
    command = [str(python), "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    subprocess.run([*command, f"{PACKAGE}=={version}"], check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder)
    return folder / "comfyui_frontend_package" / "static"


def _browse(url: str, profile: Path, result: _Result) -> None:
    browser = shutil.which("chromium") or "chromium"
    switches = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    process = subprocess.Popen(
        [browser, *switches, f"--user-data-dir={profile}", "--remote-debugging-port=0", url],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        if not result.has_come.wait(LIMIT_SECONDS):
            raise SystemExit(f"The editor did not answer within {LIMIT_SECONDS} seconds.")
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
