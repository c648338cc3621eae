from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfywatchman.governance.environments import generation, integrity
from comfywatchman.governance.store.records import InstalledPackage
from tests.governance.contexts import build_site

HERE = (InstalledPackage("corelet", "1.0"), InstalledPackage("plainlet", "1.0"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = build_site(tmp_path_factory.mktemp("site"), requirements=("corelet==1.0", "plainlet"))
    key = generation.current_key(site.layout)
    assert key
    return site.layout.generations / key


@pytest.fixture
def environment(built: Path, tmp_path: Path) -> Path:
    """An environment of its own for each test; its files are copies."""
    import shutil

    copy = tmp_path / "environment"
    shutil.copytree(built, copy, symlinks=True)
    return copy


def packages_of(environment: Path) -> Path:
    return next(environment.glob("lib/python*/site-packages"))


def test_missing_toplevel_names_only_recorded_modules(tmp_path: Path) -> None:
    place = tmp_path / "lib" / "python3.11" / "site-packages"
    (place / "alet-1.0.dist-info").mkdir(parents=True)
    names = ("there/a.py", "../../../bin/alet", "__pycache__/one.pyc", "tests/never.py", "alet/__init__.py", "one.py")
    (place / "there").mkdir()
    (place / "alet-1.0.dist-info" / "RECORD").write_text("".join(f"{name},sha256=x,1\n" for name in names))
    never = "lib/python3.11/site-packages/tests/never.py"
    found = integrity.find_missing_toplevel(tmp_path, known=[never])
    assert found == ("lib/python3.11/site-packages/alet", "lib/python3.11/site-packages/one.py")


@pytest.mark.slow
def test_unchanged_environment_is_verified(environment: Path) -> None:
    assert integrity.verify(environment, HERE) == integrity.IntegrityReport("verified")
    assert integrity.verify(environment, None).describe() == "nothing changed"


@pytest.mark.slow
def test_changed_file_is_named(environment: Path) -> None:
    with (packages_of(environment) / "corelet" / "__init__.py").open("a") as stream:
        stream.write("poison = True\n")
    report = integrity.verify(environment, HERE)
    assert report.status == "modified"
    assert report.modified_files == ("lib/python3.11/site-packages/corelet/__init__.py",)
    assert report.modified_packages == ("corelet",)
    assert "corelet/__init__.py" in report.describe()


@pytest.mark.slow
def test_changed_program_is_found(environment: Path) -> None:
    (environment / "bin" / "plain").write_text("#!/bin/sh\n")
    assert integrity.verify(environment, HERE).modified_files == ("bin/plain",)


def test_deleted_file_is_found(environment: Path) -> None:
    (packages_of(environment) / "corelet" / "__init__.py").unlink()
    assert integrity.verify(environment, HERE).modified_packages == ("corelet",)


def test_package_without_a_record_is_modified(environment: Path) -> None:
    (packages_of(environment) / "corelet-1.0.dist-info" / "RECORD").unlink()
    report = integrity.verify(environment, HERE)
    assert (report.status, report.missing_record) == ("modified", ("corelet",))


def test_unexpected_and_missing_packages_are_named(environment: Path) -> None:
    report = integrity.verify(environment, [InstalledPackage("corelet", "2.0"), InstalledPackage("plainlet", "1.0")])
    assert (report.unexpected, report.missing) == (("corelet==1.0",), ("corelet==2.0",))
    assert report.status == "modified"


def test_bytecode_and_seeds_are_ignored(environment: Path) -> None:
    cache = packages_of(environment) / "corelet" / "__pycache__"
    cache.mkdir()
    (cache / "__init__.cpython-311.pyc").write_bytes(b"anything")
    (packages_of(environment) / "pip-26.0.dist-info").mkdir()
    assert integrity.verify(environment, HERE).status == "verified"


@pytest.mark.parametrize("name", ["sitecustomize.py", "usercustomize.py", "evil.pth"])
def test_unowned_startup_files_are_found(environment: Path, name: str) -> None:
    (packages_of(environment) / name).write_text("import os\n")
    assert integrity.verify(environment, HERE).modified_files == (f"lib/python3.11/site-packages/{name}",)


def test_exhausted_budget_is_unknown_unless_changes_were_found(environment: Path) -> None:
    assert integrity.verify(environment, HERE, budget_seconds=0.0).status == "unknown"
    assert integrity.verify(environment, (), budget_seconds=0.0).status == "modified"


def test_other_folder_is_not_verified(tmp_path: Path) -> None:
    assert integrity.verify(tmp_path, None).status == "modified"


def test_incremental_check_finds_new_writes_and_missing_files(environment: Path) -> None:
    mark = environment / generation.MARK
    changed = packages_of(environment) / "corelet" / "__init__.py"
    changed.write_text("poison = True\n")
    moment = mark.stat().st_mtime
    os.utime(changed, (moment - 10, moment - 10))
    assert integrity.verify(environment, HERE, since=mark).status == "verified"
    os.utime(changed, (moment + 10, moment + 10))
    assert integrity.verify(environment, HERE, since=mark).modified_packages == ("corelet",)
    changed.unlink()
    assert integrity.verify(environment, HERE, since=mark).modified_packages == ("corelet",)


def test_long_lists_are_shortened(environment: Path) -> None:
    expected = [InstalledPackage(f"p{number}", "1") for number in range(9)]
    assert integrity.verify(environment, [*HERE, *expected]).describe().endswith("p4==1 and 4 more")
