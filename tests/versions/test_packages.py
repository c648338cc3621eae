from __future__ import annotations

import json
import os
import subprocess
import zipfile
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from comfywatchman.governance.uv.client import find_uv
from comfywatchman.versions.lockfile import LockedPackage
from comfywatchman.versions.packages import (
    find_ambiguous_packages,
    find_torch_backend,
    read_packages,
    record_origins,
)


def install(site: Path, name: str, *, version: str = "1.0", origin: object = None, record: str = "") -> Path:
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / "RECORD").write_text(record)
    if origin is not None:
        (folder / "direct_url.json").write_text(origin if isinstance(origin, str) else json.dumps(origin))
    return folder


def only(site: Path) -> LockedPackage:
    (package,) = read_packages([site])
    return package


def test_package_of_an_index_has_name_and_version(tmp_path: Path) -> None:
    install(tmp_path, "My_Package.x", version="2.0+cu126", record="a.py,sha256=AA,1\n")
    package = only(tmp_path)
    assert (package.name, package.version, package.source) == ("my-package-x", "2.0+cu126", "index")
    assert package.installed_sha256 == sha256(b"a.py\0sha256=AA\n").hexdigest()


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (
            {"url": "https://u:p@example.org/a.whl?token=1", "archive_info": {"hashes": {"sha256": "ab"}}},
            ("url", "https://example.org/a.whl", None, ("ab",)),
        ),
        (
            {"url": "https://example.org/a.whl", "archive_info": {"hash": "sha256=cd"}},
            ("url", "https://example.org/a.whl", None, ("cd",)),
        ),
        (
            {"url": "https://example.org/a.whl", "archive_info": {"hash": "md5=cd"}},
            ("url", "https://example.org/a.whl", None, ()),
        ),
        (
            {"url": "https://u:p@example.org/r.git", "vcs_info": {"vcs": "git", "commit_id": "c" * 40}},
            ("git", "https://example.org/r.git", "c" * 40, ()),
        ),
        ({"url": "file:///home/me/r", "dir_info": {"editable": True}}, ("editable", None, None, ())),
        ({"url": "file:///home/me/r", "dir_info": {}}, ("path", None, None, ())),
        (
            {"url": "file:///home/me/a.whl", "archive_info": {"hashes": {"sha256": "ef"}}},
            ("path", None, None, ("ef",)),
        ),
        (
            {"url": "ssh://git@example.org/r.git", "subdirectory": "s", "vcs_info": {"commit_id": "c" * 40}},
            ("git", "ssh://git@example.org/r.git#subdirectory=s", "c" * 40, ()),
        ),
        ("{", ("path", None, None, ())),
        ({"url": "http://[", "archive_info": {}}, ("path", None, None, ())),
        ({"url": 1}, ("path", None, None, ())),
    ],
)
def test_origin_is_read_without_credentials_and_paths(tmp_path: Path, origin: object, expected: object) -> None:
    install(tmp_path, "a", origin=origin)
    package = only(tmp_path)
    assert (package.source, package.url, package.commit, package.hashes) == expected


def test_record_hash_is_the_same_for_every_installer(tmp_path: Path) -> None:
    files = 'a.py,sha256=AA,1\n"b, c.py",sha256=BB,2\n'
    install(
        tmp_path / "pip", "a", record=f"../../bin/a,sha256=X,1\n{files}a.pyc,,\na-1.0.dist-info/INSTALLER,sha256=Y,4\n"
    )
    install(tmp_path / "uv", "a", record="".join(reversed(files.splitlines(keepends=True))))
    assert only(tmp_path / "pip").installed_sha256 == only(tmp_path / "uv").installed_sha256
    install(tmp_path / "changed", "a", record=files.replace("BB", "CC"))
    assert only(tmp_path / "changed").installed_sha256 != only(tmp_path / "uv").installed_sha256


def test_package_without_usable_record_has_no_hash(tmp_path: Path) -> None:
    folder = install(tmp_path, "a", record="a.pyc,,\n\n")
    assert only(tmp_path).installed_sha256 is None
    (folder / "RECORD").unlink()
    assert only(tmp_path).installed_sha256 is None


def test_remains_of_a_package_are_no_package(tmp_path: Path) -> None:
    (tmp_path / "gone-1.0.dist-info").mkdir()
    assert read_packages([tmp_path, tmp_path / "none"]) == ()


def test_first_of_two_copies_counts(tmp_path: Path) -> None:
    install(tmp_path / "first", "a", version="1.0")
    install(tmp_path / "second", "a", version="2.0")
    install(tmp_path / "second", "b")
    packages = read_packages([tmp_path / "first", tmp_path / "second"])
    assert [(package.name, package.version) for package in packages] == [("a", "1.0"), ("b", "1.0")]


def test_metadata_that_is_not_text_is_survived(tmp_path: Path) -> None:
    folder = install(tmp_path, "odd", record="a.py,sha256=AA,1\n")
    (folder / "METADATA").write_bytes(b"Name: odd\nVersion: 1.0\nAuthor: Ren\xe9\n")
    (folder / "RECORD").write_bytes(b"a\xe9.py,sha256=AA,1\n")
    (folder / "direct_url.json").write_bytes(b"\xff")
    package = only(tmp_path)
    assert (package.name, package.version, package.source) == ("odd", "1.0", "path")
    assert package.installed_sha256 is None
    (folder / "RECORD").write_text("a" * 200_000 + ",sha256=AA,1\n")
    assert only(tmp_path).installed_sha256 is None


def test_interrupted_update_is_ambiguous_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("2.0", "1.0", "3.0"):
        install(tmp_path, "a", version=version)
    install(tmp_path, "b")
    assert find_ambiguous_packages([tmp_path, tmp_path]) == ("a",)
    list_names = os.listdir
    found = {read_packages([tmp_path])}
    monkeypatch.setattr(os, "listdir", lambda path: sorted(list_names(path), reverse=True))
    os.utime(tmp_path, (1, 1))
    found.add(read_packages([tmp_path]))
    assert len(found) == 1


def test_hash_that_uv_checked_is_recorded(tmp_path: Path) -> None:
    install(tmp_path, "My_Wheel", origin={"url": "https://example.org/a.whl", "archive_info": {}})
    install(tmp_path, "other", origin={"url": "https://example.org/b.whl", "archive_info": {}})
    locked = LockedPackage(name="my-wheel", version="1.0", source="url", hashes=("a" * 64,))
    record_origins([tmp_path], [locked])
    assert [package.hashes for package in read_packages([tmp_path])] == [("a" * 64,), ()]


def test_develop_installation_is_editable(tmp_path: Path) -> None:
    folder = tmp_path / "source" / "old.egg-info"
    folder.mkdir(parents=True)
    (folder / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: old\nVersion: 1.0\n")
    assert only(tmp_path / "source").source == "editable"


@pytest.mark.parametrize(("version", "backend"), [("2.9.0+cu126", "cu126"), ("2.9.0", None), ("2.9.0+x y", None)])
def test_torch_backend_is_the_local_version(version: str, backend: str | None) -> None:
    packages = [LockedPackage(name="other", version="1+cpu"), LockedPackage(name="torch", version=version)]
    assert find_torch_backend(packages) == backend
    assert find_torch_backend(packages[:1]) is None


@pytest.mark.slow
def test_environment_made_by_uv_is_read(tmp_path: Path) -> None:
    wheel = tmp_path / "tiny-1.5-py3-none-any.whl"
    files = {"tiny.py": b"X = 1\n", "tiny-1.5.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny\nVersion: 1.5\n"}
    files["tiny-1.5.dist-info/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = ""
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
            digest = urlsafe_b64encode(sha256(content).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(content)}\n"
        archive.writestr("tiny-1.5.dist-info/RECORD", record)
    uv = [str(find_uv()), "--no-config", "--offline"]
    subprocess.run([*uv, "venv", "-q", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([*uv, "pip", "install", "-q", "--python", str(python), str(wheel)], check=True)
    (site,) = (tmp_path / "venv" / "lib").glob("*/site-packages")
    package = only(site)
    assert (package.name, package.version, package.source) == ("tiny", "1.5", "path")
    assert package.installed_sha256 == only_hash(record)


def only_hash(record: str) -> str:
    lines = sorted("\0".join(line.split(",")[:2]) + "\n" for line in record.splitlines())
    return sha256("".join(lines).encode()).hexdigest()


def test_origin_of_packages_from_a_wheelhouse_is_recorded(tmp_path: Path) -> None:
    install(tmp_path, "from_git")
    install(tmp_path, "from_url")
    install(tmp_path, "from_index")
    locked = (
        LockedPackage(
            name="from-git", version="1.0", source="git", url="https://example.org/g#subdirectory=sub", commit="c" * 40
        ),
        LockedPackage(
            name="from-url", version="1.0", source="url", url="https://example.org/a.whl", hashes=("a" * 64,)
        ),
    )
    record_origins([tmp_path], locked)
    found = {package.name: package for package in read_packages([tmp_path])}
    for package in locked:
        actual = found[package.name]
        expected = (package.source, package.url, package.commit, package.hashes)
        assert (actual.source, actual.url, actual.commit, actual.hashes) == expected
    assert found["from-index"].source == "index"
