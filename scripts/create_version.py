#!/usr/bin/env python3
"""Record the state of a ComfyUI as a version: `comfywatchman version create`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.lib.program import note, run_comfywatchman

READ_FROM_THE_HOST = {
    "comfy_repo": "the repository is that of the checkout",
    "requirements": "the packages are those that are installed",
    "custom_node": "the custom nodes are those in custom_nodes",
    "wheel_url": "the address of a wheel is the one that its installer recorded",
    "pretty": "locks are always indented",
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="name of the version")
    parser.add_argument("--comfy-path", help="folder of ComfyUI")
    parser.add_argument("--venv", help="Python environment of ComfyUI")
    parser.add_argument("--workflow", action="append", default=[], help="workflow, or folder of workflows")
    parser.add_argument("--models-spec", help="JSON file with models: path, sources, checksum")
    parser.add_argument("--models-dir", help="the models folder")
    parser.add_argument("--output", help="the lock file")
    parser.add_argument("--offline", action="store_true", help="do not ask the package index for hashes")
    parser.add_argument("--require-ready", action="store_true", help="refuse when a workflow is not READY")
    parser.add_argument("--replace", action="store_true", help="replace a version with another content")
    for name in ("--comfy-repo", "--requirements"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    for name in ("--custom-node", "--wheel-url"):
        parser.add_argument(name, action="append", help=argparse.SUPPRESS)
    parser.add_argument("--pretty", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    given = parse_arguments()
    for name, explanation in READ_FROM_THE_HOST.items():
        if getattr(given, name):
            note(f"--{name.replace('_', '-')} is not used: {explanation}.")
    command = []
    if given.comfy_path:
        command += ["--comfyui", given.comfy_path]
    command += ["version", "create", given.name]
    if given.models_dir:
        os.environ["COMFYWATCHMAN_COMFYUI__MODELS_DIRECTORY"] = str(Path(given.models_dir).absolute())
    for name in ("venv", "output", "models_spec"):
        value = getattr(given, name)
        if value:
            command += [f"--{name.replace('_', '-')}", value]
    for workflow in given.workflow:
        command += ["--workflow", workflow]
    for name in ("offline", "require_ready", "replace"):
        if getattr(given, name):
            command.append(f"--{name.replace('_', '-')}")
    run_comfywatchman(command)


if __name__ == "__main__":
    main()
