from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

from comfywatchman.governance.selftest.wheels import add_wheel


def test_record_holds_the_hash_and_size_of_every_other_file(tmp_path: Path) -> None:
    add_wheel(tmp_path, "corelet", "1.0", requires=["numlet>=2"])
    with zipfile.ZipFile(tmp_path / "corelet-1.0-py3-none-any.whl") as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    record = contents.pop("corelet-1.0.dist-info/RECORD").decode().splitlines()
    rows = {path: (digest, size) for path, digest, size in (line.split(",") for line in record)}
    assert rows.pop("corelet-1.0.dist-info/RECORD") == ("", "")
    assert rows.keys() == contents.keys()
    for path, content in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        assert rows[path] == (f"sha256={digest}", str(len(content)))
    assert b"Requires-Dist: numlet>=2" in contents["corelet-1.0.dist-info/METADATA"]


def test_same_wheel_has_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        add_wheel(tmp_path / folder, "corelet", "1.0", requires=[])
    name = "corelet-1.0-py3-none-any.whl"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
