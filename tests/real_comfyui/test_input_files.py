"""Which names of pictures a real server takes, held against what the product says of them."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING

import pytest

from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.references.input_files import InputFile, split_annotation
from comfywatchman.readiness.verdicts.input_files import resolve_input_folders

if TYPE_CHECKING:
    from scripts.real_comfyui import Server

pytestmark = [pytest.mark.real_comfyui, pytest.mark.slow]

FILES = (
    *("input/named.png", "input/named/in a folder.png", "input/caf\u00e9.png", "input/Upper.png", "input/[input]"),
    *("output/named out.png", "output/sub/deep.png", "temp/of a run.png", "input/with [brackets].png"),
)
NAMES = (
    *("named.png", "named.png [input]", "named/in a folder.png", "caf\u00e9.png", "cafe\u0301.png", "upper.png"),
    *("named out.png", "named out.png [output]", "sub/deep.png [output]", "sub/deep.png", "of a run.png [temp]"),
    *("named\\in a folder.png", "named.png [output]", "named.png[input]", "with [brackets].png", "named.png [other]"),
    *("./named.png", "named/../named.png", "named.png/x", "x" * 300, " named.png", "named.png ", "[input]"),
)


def is_taken(server: Server, class_type: str, name: str) -> bool:
    """Send a prompt that loads a picture and say whether the server takes it; what its run gives does not matter."""
    prompt = {
        "1": {"class_type": class_type, "inputs": {"image": name, "channel": "red"}},
        "2": {"class_type": "MaskToImage", "inputs": {"mask": ["1", 0 if class_type == "LoadImageMask" else 1]}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("POST", "/prompt", json.dumps({"prompt": prompt}), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status in {200, 400}
        return answer.status == 200
    finally:
        connection.close()


@pytest.mark.parametrize("class_type", ["LoadImage", "LoadImageMask", "LoadImageOutput"])
def test_what_is_called_missing_is_what_the_server_refuses(real_comfyui: Server, class_type: str) -> None:
    base = real_comfyui.base
    for file in FILES:
        path = base / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no picture")
    folders = resolve_input_folders(Installation(base, None, base), required=True)
    needed = [InputFile(name, split_annotation(name)[0], "picture", class_type, "1", "image") for name in NAMES]
    missing = {one.name for one in folders.find_missing(needed)}
    refused = {name for name in NAMES if not is_taken(real_comfyui, class_type, name)}
    # An annotation alone names the folder itself: the server takes it, and the run fails.
    assert missing == refused | {"[input]"}
    assert 0 < len(missing) < len(NAMES)
