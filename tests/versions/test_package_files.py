from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.versions.package_files import PackageFile, list_package_files, sum_sizes

START = 'lock-version = "1.0"\ncreated-by = "uv"\n'
DIGEST = "a" * 64


def make_wheel(name: str, size: str = ", size = 10") -> str:
    return f'{{ url = "https://example.org/{name}"{size}, hashes = {{ sha256 = "{DIGEST}" }} }}'


def make_package(name: str, *wheels: str, more: str = "") -> str:
    return f'[[packages]]\nname = "{name}"\nversion = "1.0"\nwheels = [{", ".join(wheels)}]\n{more}'


def test_file_of_the_interpreter_is_chosen() -> None:
    wheels = [make_wheel(f"a-1.0-cp3{minor}-cp3{minor}-linux_x86_64.whl") for minor in (10, 11, 12)]
    any_wheels = [make_wheel("a-1.0-py3-none-any.whl"), *wheels]
    text = START + make_package("a", *any_wheels)
    (file,) = list_package_files(text, "3.11.9")
    assert file.version == "1.0"
    assert file.sha256 == DIGEST
    assert file.filename in {"a-1.0-cp311-cp311-linux_x86_64.whl", "a-1.0-py3-none-any.whl"}
    assert not list_package_files(text, "3.12.1")[0].filename.startswith("a-1.0-cp311")


def test_packages_of_other_platforms_are_left_out() -> None:
    other = make_package("b", make_wheel("b-1.0-py3-none-any.whl"), more="marker = \"sys_platform == 'win32'\"\n")
    later = make_package("c", make_wheel("c-1.0-py3-none-any.whl"), more="marker = \"python_version >= '3.12'\"\n")
    assert list_package_files(START + other + later, "3.11.9") == ()
    assert [file.name for file in list_package_files(START + other + later, "3.12.0")] == ["c"]


def test_size_of_a_local_file_is_measured(tmp_path: Path) -> None:
    wheel = tmp_path / "a b-1.0-py3-none-any.whl"
    wheel.write_bytes(b"12345")
    address = wheel.as_uri()
    text = START + make_package("ab", f'{{ url = "{address}", name = "ab-1.0-py3-none-any.whl", hashes = {{}} }}')
    assert [
        file.size for file in list_package_files(text.replace("hashes = {}", 'hashes = { md5 = "0" }'), "3.11.9")
    ] == [5]


def test_repositories_have_no_file_and_no_size() -> None:
    commit = "b" * 40
    vcs = f'[[packages]]\nname = "g"\nvcs = {{ type = "git", url = "https://example.org/g", commit-id = "{commit}" }}\n'
    assert list_package_files(START + vcs, "3.11.9") == (PackageFile("g", "", "", None, None),)


@pytest.mark.parametrize("text", ["nonsense", 'lock-version = "1.0"\n', "= ="])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(Failure) as caught:
        list_package_files(text, "3.11.9")
    assert caught.value.code == "version-environment-failed"


def test_package_without_a_fitting_file_is_refused() -> None:
    text = START + make_package("a", make_wheel("a-1.0-cp39-cp39-win_amd64.whl"))
    with pytest.raises(Failure, match="resolved"):
        list_package_files(text, "3.11.9")


def test_unknown_sizes_are_counted() -> None:
    files = [PackageFile("a", "1", "a", None, size) for size in (3, None, 4, 0)]
    assert sum_sizes(files) == (7, 1)
