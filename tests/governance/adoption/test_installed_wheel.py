from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.utils import parse_wheel_filename
from packaging.version import Version

from comfywatchman.governance.adoption.installed_wheel import UnverifiableError, build_wheel
from comfywatchman.governance.adoption.old_environment import OldPackage

PROGRAM = b"\x7fELF program"


def encode(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def install(prefix: Path, files: dict[str, bytes], *, unhashed: tuple[str, ...] = ()) -> OldPackage:
    """Write a package as an installer does; the names are relative to site-packages."""
    site_packages = prefix / "lib" / "python3.11" / "site-packages"
    info = "lost_let-1.0+cpu.dist-info"
    content = {
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: lost-let\nVersion: 1.0+cpu\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py2-none-any\nTag: py3-none-any\n",
        f"{info}/INSTALLER": b"pip",
        **files,
    }
    rows = []
    for name, body in content.items():
        path = Path(os.path.normpath(site_packages / name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        rows.append(f"{name},," if name in unhashed else f"{name},{encode(body)},{len(body)}")
    (site_packages / info / "RECORD").write_text("\n".join([*rows, f"{info}/RECORD,,"]) + "\n")
    return OldPackage("lost-let", "1.0+cpu", site_packages / info)


def test_wheel_holds_the_files_that_an_installer_does_not_make(tmp_path: Path) -> None:
    files = {
        "lost_let/__init__.py": b"x = 1\n",
        "lost_let/__pycache__/__init__.cpython-311.pyc": b"compiled",
        "lost_let-1.0+cpu.dist-info/entry_points.txt": b"[console_scripts]\nLost-Let = lost_let:main\n",
        "../../../bin/Lost-Let": b"#!/old/bin/python\n",
        "../../../bin/program": PROGRAM,
        "../../../share/man/lost.1": b"manual",
    }
    package = install(tmp_path / "old", files)
    wheel = build_wheel(package, tmp_path / "wheels")
    assert wheel.name == "lost_let-1.0+cpu-py2.py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        assert archive.read("lost_let-1.0+cpu.data/scripts/program") == PROGRAM
        assert set(archive.namelist()) == {
            "lost_let-1.0+cpu.dist-info/METADATA",
            "lost_let-1.0+cpu.dist-info/WHEEL",
            "lost_let-1.0+cpu.dist-info/entry_points.txt",
            "lost_let-1.0+cpu.dist-info/RECORD",
            "lost_let/__init__.py",
            "lost_let-1.0+cpu.data/scripts/program",
            "lost_let-1.0+cpu.data/data/share/man/lost.1",
        }
        record = archive.read("lost_let-1.0+cpu.dist-info/RECORD").decode()
    assert f"lost_let/__init__.py,{encode(b'x = 1' + bytes([10]))},6" in record
    before = wheel.read_bytes()
    assert build_wheel(package, tmp_path / "wheels").read_bytes() == before
    assert [path.name for path in (tmp_path / "wheels").iterdir()] == [wheel.name]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"../../../bin/script": b"#!/old/bin/python\n"}, "script bin/script belongs to the old environment"),
        ({"../../../../outside": b"x"}, "outside of the environment"),
    ],
)
def test_files_of_other_places_are_refused(tmp_path: Path, files: dict[str, bytes], reason: str) -> None:
    package = install(tmp_path / "old", files)
    with pytest.raises(UnverifiableError, match=reason):
        build_wheel(package, tmp_path / "wheels")


@pytest.mark.parametrize("harm", ["changed", "missing", "unhashed", "no RECORD", "no WHEEL"])
def test_unverifiable_package_leaves_no_wheel(tmp_path: Path, harm: str) -> None:
    unhashed = ("lost_let/__init__.py",) if harm == "unhashed" else ()
    package = install(tmp_path / "old", {"lost_let/__init__.py": b"x = 1\n"}, unhashed=unhashed)
    module = package.info.parent / "lost_let" / "__init__.py"
    if harm == "changed":
        module.write_text("x = 2\n")
    elif harm == "missing":
        module.unlink()
    elif harm.startswith("no "):
        (package.info / harm.removeprefix("no ")).unlink()
    with pytest.raises(UnverifiableError):
        build_wheel(package, tmp_path / "wheels")
    assert not list(tmp_path.glob("wheels/*"))


@pytest.mark.parametrize(
    ("version", "in_name"),
    [("1.0-1", "1.0.post1"), ("1.0-beta", "1.0b0"), ("1.0+ubuntu-1", "1.0+ubuntu.1"), ("2024.01.02", "2024.1.2")],
)
def test_version_is_normalised_in_the_name(tmp_path: Path, version: str, in_name: str) -> None:
    package = replace(install(tmp_path / "old", {}), version=version)
    wheel = build_wheel(package, tmp_path / "wheels")
    assert parse_wheel_filename(wheel.name)[:2] == ("lost-let", Version(in_name))
    assert wheel.name == f"lost_let-{in_name}-py2.py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        assert {name.partition("/")[0] for name in archive.namelist()} == {f"lost_let-{in_name}.dist-info"}


@pytest.mark.parametrize("version", ["", "../1.0", "1.0 final", "unknown"])
def test_invalid_version_is_refused(tmp_path: Path, version: str) -> None:
    package = replace(install(tmp_path / "old", {}), version=version)
    with pytest.raises(UnverifiableError, match="version"):
        build_wheel(package, tmp_path / "wheels")
    assert not (tmp_path / "wheels").exists()


@pytest.mark.parametrize("tag", ["py3-none", "py3", "py3-none-any-more", "py3-none-/any", "py3--any", "py3-none-a ny"])
def test_malformed_tag_is_refused(tmp_path: Path, tag: str) -> None:
    wheel = f"Wheel-Version: 1.0\nTag: py3-none-any\nTag: {tag}\n".encode()
    package = install(tmp_path / "old", {"lost_let-1.0+cpu.dist-info/WHEEL": wheel})
    with pytest.raises(UnverifiableError, match="invalid tag"):
        build_wheel(package, tmp_path / "wheels")
    assert not (tmp_path / "wheels").exists()
