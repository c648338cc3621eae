#!/usr/bin/env python3
"""Resolve a requirements file to exact versions with hashes: `comfywatchman version pin`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.lib.program import note, run_comfywatchman, split_pip_arguments

UNUSED = {
    "lock": "`version create` records the packages that are installed",
    "wheel_url": "write `name @ https://…` into the requirements",
    "pretty": "the output is always one package a line",
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requirements", required=True, help="the requirements file")
    parser.add_argument("--python", help="the interpreter to pin for")
    parser.add_argument("--offline", action="store_true", help="use only --wheels-dir and uv's cache")
    parser.add_argument("--wheels-dir", help="folder with wheels")
    parser.add_argument("--pip-extra-args", default="", help="--index-url URL and --find-links PLACE")
    parser.add_argument("--output", help="file for the pins")
    parser.add_argument("--in-place", action="store_true", help="replace the requirements file")
    parser.add_argument("--lock", help=argparse.SUPPRESS)
    parser.add_argument("--wheel-url", action="append", help=argparse.SUPPRESS)
    parser.add_argument("--pretty", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    given = parse_arguments()
    for name, explanation in UNUSED.items():
        if getattr(given, name):
            note(f"--{name.replace('_', '-')} is not used: {explanation}.")
    command = ["version", "pin", given.requirements]
    output = given.requirements if given.in_place else given.output
    if output:
        command += ["--output", output]
    if given.python:
        command += ["--python", given.python]
    if given.wheels_dir:
        command += ["--find-links", given.wheels_dir]
    if given.offline:
        command.append("--offline")
    run_comfywatchman([*command, *split_pip_arguments(given.pip_extra_args)])


if __name__ == "__main__":
    main()
