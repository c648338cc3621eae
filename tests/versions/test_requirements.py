from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.versions.lockfile import LockedPackage
from comfywatchman.versions.requirements import find_package_gap, format_requirement, write_requirements

A = "a" * 64
PLAIN = LockedPackage(name="plain", version="1.0+cpu", hashes=(A, "b" * 64))
FROM_GIT = LockedPackage(name="from-git", version="1", source="git", url="https://example.org/r.git", commit="c" * 40)
FROM_URL = LockedPackage(name="from-url", version="1", source="url", url="https://example.org/a.whl", hashes=(A,))


def test_each_source_has_its_line() -> None:
    assert format_requirement(PLAIN) == f"plain==1.0+cpu --hash=sha256:{A} --hash=sha256:{'b' * 64}"
    assert format_requirement(FROM_GIT) == f"from-git @ git+https://example.org/r.git@{'c' * 40}"
    assert format_requirement(FROM_URL) == f"from-url @ https://example.org/a.whl --hash=sha256:{A}"


def test_packages_with_and_without_hashes_are_kept_apart(tmp_path: Path) -> None:
    hashed, others = write_requirements(tmp_path, [PLAIN, FROM_GIT, FROM_URL])
    assert hashed is not None
    assert others is not None
    assert len(hashed.read_text().splitlines()) == 2
    assert others.read_text().startswith("from-git @ ")
    assert write_requirements(tmp_path, []) == (None, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "a\n--index-url x"},
        {"name": "-r"},
        {"version": "1.0\n--pre"},
        {"version": "1.0 ; x"},
        {"hashes": ("x",)},
        {"source": "url", "url": "https://example.org/a.whl\n-e ."},
        {"source": "url", "url": "file:///etc/passwd"},
        {"source": "url", "url": None},
        {"source": "git", "url": "https://example.org/r.git", "commit": "main"},
        {"source": "git", "url": "ext::sh", "commit": "c" * 40},
    ],
)
def test_values_that_would_become_options_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(Failure) as caught:
        format_requirement(msgspec.structs.replace(PLAIN, **changes))
    assert caught.value.code == "version-lock-invalid"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"hashes": ()}, "no-hash"),
        ({"version": "2004d"}, "invalid-metadata"),
        ({"name": "foo bar"}, "invalid-metadata"),
        ({"source": "editable"}, "editable-source"),
        ({"source": "path"}, "path-source"),
        ({"source": "url", "url": "http://127.0.0.1:1/a.whl"}, None),
        ({"source": "url", "url": "http://127.0.0.1:1/a.whl", "hashes": ()}, "no-hash"),
        ({"source": "url", "url": "http://example.org/a.whl"}, None),
        ({"source": "url", "url": "http://example.org/a.whl", "hashes": ()}, "insecure-source"),
        ({"source": "url", "url": "https://example.org/a.zip#subdirectory=a/b"}, None),
        ({"source": "url", "url": "https://example.org/a.zip#subdirectory=../b"}, "invalid-metadata"),
        ({"source": "git", "url": "https://example.org/r.git"}, "no-commit"),
        ({"source": "git", "url": "ssh://git@example.org/r.git", "commit": "c" * 40}, None),
        ({"source": "git", "url": "file:///home/me/r", "commit": "c" * 40}, "local-repository"),
        ({"source": "git", "url": "http://example.org/r.git", "commit": "c" * 40}, "insecure-source"),
    ],
)
def test_reason_why_a_package_is_not_pinned(changes: dict[str, object], reason: str | None) -> None:
    assert find_package_gap(msgspec.structs.replace(PLAIN, **changes)) == reason


def test_subdirectory_comes_after_the_commit() -> None:
    package = msgspec.structs.replace(FROM_GIT, url="https://example.org/r.git#subdirectory=sub")
    assert format_requirement(package) == f"from-git @ git+https://example.org/r.git@{'c' * 40}#subdirectory=sub"
