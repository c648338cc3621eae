"""Apply a lock in the image: build the version (nodes, packages, models), or compare what is there with the lock.

Example:
    python docker/handler/resolver.py --lock lockfiles/comfy-2026-11.lock.json --target /comfy --skip-models
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from main import NOT_FOUND, PROGRAM

MARKER: Final = ".comfywatchman-version.json"
"""What `version clone` leaves in a folder that it completed."""


def build_commands(options: argparse.Namespace) -> list[list[str]]:
    """Return the commands that make the target what the lock says; each must succeed."""
    lock, target = str(options.lock.absolute()), options.target.absolute()
    accepted = ["--accept-licences"] if options.accept_licences else []
    commands = []
    if not (target / MARKER).is_file():
        clone = ["version", "clone", lock, str(target), "--no-start", *accepted]
        commands.append([*clone, "--skip-models"] if options.skip_models or options.restore else clone)
    if not options.skip_models:
        verify = ["--comfyui", str(target / "ComfyUI"), "version", "verify", lock, "--quick"]
        commands.append([*verify, "--restore", *accepted] if options.restore else verify)
    return commands


def main(arguments: Sequence[str]) -> int:
    """Apply the lock; return the exit code of the first command that failed."""
    parser = argparse.ArgumentParser(description="Apply a version lock, or end with an error.")
    parser.add_argument("--lock", type=Path, required=True, help="the lock file")
    parser.add_argument("--target", type=Path, required=True, help="the folder of the version")
    parser.add_argument("--skip-models", action="store_true", help="leave the models out")
    parser.add_argument("--restore", action="store_true", help="fetch missing models")
    parser.add_argument("--accept-licences", action="store_true", help="accept licences that restrict the use")
    for command in build_commands(parser.parse_args(arguments)):
        try:
            status = subprocess.run([PROGRAM, *command], stdout=sys.stderr, check=False).returncode
        except FileNotFoundError:
            sys.stderr.write(f"{PROGRAM} is not on PATH.\n")
            return NOT_FOUND
        if status != 0:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
