"""Return one file as the handler returns outputs: as base64, or as an object in Google Cloud Storage.

The first line of standard output is the link, or the content as base64. Settings: docs/reference/handler.md.

Example:
    GCS_BUCKET=pictures python docker/handler/output.py image.png --output gcs
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.handler.gcs import GcsSettings, GcsStore
from comfywatchman.handler.result import MAX_INLINE_BYTES, guess_type


def store_file(path: Path, run_name: str) -> str:
    """Store a file in the bucket of the variables; return its link.

    Raises:
        Failure: A `gcs-…` code, or `file-…`.
    """
    settings = GcsSettings(
        bucket=os.environ.get("GCS_BUCKET", ""),
        prefix=os.environ.get("GCS_PREFIX", "comfy/outputs"),
        project=os.environ.get("GOOGLE_CLOUD_PROJECT") or os.environ.get("GCS_PROJECT"),
        signed_seconds=int(os.environ.get("GCS_SIGNED_URL_TTL") or 0),
    )
    store = GcsStore(settings)
    sha256 = hashlib.sha256(read_regular(path, max_bytes=sys.maxsize)).hexdigest()
    media_type = guess_type(path.name)
    return store.store(path, run_name=run_name, filename=path.name, media_type=media_type, sha256=sha256).link


def main(arguments: Sequence[str]) -> int:
    """Print the link or the content of a file."""
    parser = argparse.ArgumentParser(description="Return a file as base64, or store it in Google Cloud Storage.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--output", choices=("base64", "gcs"), default="base64")
    parser.add_argument("--run", default="manual", help="the name of the run, a part of the object's name")
    options = parser.parse_args(arguments)
    try:
        if options.output == "gcs":
            sys.stdout.write(f"{store_file(options.file, options.run)}\n")
        else:
            content = read_regular(options.file, max_bytes=MAX_INLINE_BYTES)
            sys.stdout.write(f"{base64.b64encode(content).decode()}\n")
    except Failure as failure:
        sys.stderr.write(f"Error ({failure.code}): {failure}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
