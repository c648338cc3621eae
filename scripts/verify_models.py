#!/usr/bin/env python3
"""Compare the models of a version with this host, and fetch missing ones: `comfywatchman version verify`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.lib.program import note, run_comfywatchman


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lock", required=True, help="the lock file")
    parser.add_argument("--models-dir", help="the models folder")
    parser.add_argument("--accept-licences", action="store_true", help="accept licences that restrict the use")
    parser.add_argument("--overwrite", action="store_true", help="replace models with another content")
    parser.add_argument("--timeout", type=float, default=120, help="seconds without data until a download is retried")
    parser.add_argument("--quick", action="store_true", help="compare sizes only")
    parser.add_argument("--verbose", action="store_true", help="also list models that are as the lock says")
    parser.add_argument("--cache-dir", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    given = parse_arguments()
    if given.cache_dir:
        note("--cache-dir is not used: files of this host are found by their hash, wherever they are.")
    if given.models_dir:
        os.environ["COMFYWATCHMAN_COMFYUI__MODELS_DIRECTORY"] = str(Path(given.models_dir).absolute())
    os.environ["COMFYWATCHMAN_DOWNLOADS__STALL_SECONDS"] = str(given.timeout)
    # A name without a slash would be looked for among the locks of the home.
    command = ["version", "verify", str(Path(given.lock).absolute()), "--models-only", "--restore"]
    command += [
        f"--{name}" for name in ("accept-licences", "overwrite", "quick") if getattr(given, name.replace("-", "_"))
    ]
    if given.verbose:
        command.append("--all")
    run_comfywatchman(command)


if __name__ == "__main__":
    main()
