from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from comfywatchman.governance.environments import integrity, staging
from comfywatchman.governance.environments.copy_on_write import install_hook, is_own_hook
from tests.governance.contexts import build_site

WRITES = {
    "appending": "open(path, 'a').write('poison')",
    "replacing": "open(path, 'w').write('poison')",
    "updating": "f = open(path, 'r+b'); f.write(b'poison')",
    "a descriptor": "import os; os.write(os.open(path, os.O_WRONLY), b'poison')",
    "truncating": "import os; os.truncate(path, 0)",
    "pathlib": "import pathlib; pathlib.Path(path).write_text('poison')",
    "copying over": "import shutil; shutil.copyfile(__import__('os').__file__, path)",
    "a relative path": "import os; os.chdir(os.path.dirname(path)); open('__init__.py', 'w').write('poison')",
    "bytes as a path": "import os; open(os.fsencode(path), 'w').write('poison')",
}


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two environments of hard links to the same files; the second is a candidate."""
    site = build_site(tmp_path_factory.mktemp("site"))
    candidate = site.layout.candidates / "tx"
    with site.opened() as context, staging.open_staging(context.layout) as work:
        result = context.uv.sync(work.folder, candidate, python=context.python, link_mode="hardlink")
        assert result.is_success
    install_hook(candidate)
    return site.layout.production.resolve(), candidate


def module(environment: Path) -> Path:
    return next(environment.glob("lib/python*/site-packages/corelet/__init__.py"))


def link_again(production: Path, candidate: Path) -> None:
    path = module(candidate)
    path.unlink()
    path.hardlink_to(module(production))


def run(candidate: Path, code: str) -> str:
    python = candidate / "bin" / "python"
    code = f"path = {str(module(candidate))!r}; {code}"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("how", WRITES)
@pytest.mark.slow
def test_writes_in_a_candidate_do_not_reach_production(linked: tuple[Path, Path], how: str) -> None:
    production, candidate = linked
    before = module(production).read_bytes()
    link_again(production, candidate)
    run(candidate, WRITES[how])
    assert module(production).read_bytes() == before
    assert module(candidate).read_bytes() != before
    assert integrity.verify(production, None).status == "verified"
    assert integrity.verify(candidate, None).modified_packages == ("corelet",)


@pytest.mark.slow
def test_reading_copies_nothing(linked: tuple[Path, Path]) -> None:
    production, candidate = linked
    link_again(production, candidate)
    run(candidate, "open(path).read()")
    assert module(candidate).stat().st_ino == module(production).stat().st_ino


@pytest.mark.slow
def test_files_outside_the_environment_are_written_in_place(linked: tuple[Path, Path], tmp_path: Path) -> None:
    _, candidate = linked
    # The second folder stands beside the environment, as other candidates do.
    for folder in (tmp_path, candidate.parent):
        shared, other = folder / "a", folder / "b"
        shared.write_text("x")
        other.hardlink_to(shared)
        run(candidate, f"open({str(shared)!r}, 'a').write('y'); open(1, 'w', closefd=False).write('')")
        assert other.read_text() == "xy"


@pytest.mark.slow
def test_changed_hook_is_not_recognised(linked: tuple[Path, Path]) -> None:
    _, candidate = linked
    link_again(linked[0], candidate)
    hook = next(candidate.glob("lib/python*/site-packages/*.pth"))
    hooks = [path for path in candidate.glob("lib/python*/site-packages/*.pth") if is_own_hook(path)]
    assert len(hooks) == 1
    assert integrity.verify(candidate, None).status == "verified"
    hooks[0].with_suffix(".py").write_text("import os\n")
    assert not is_own_hook(hooks[0])
    assert integrity.verify(candidate, None).modified_files == (str(hooks[0].relative_to(candidate)),)
    install_hook(candidate)
    assert is_own_hook(hooks[0])
    assert not is_own_hook(hook.with_name("other.pth"))


def test_hook_without_its_module_is_not_recognised(tmp_path: Path) -> None:
    place = tmp_path / "lib" / "python3.11" / "site-packages"
    place.mkdir(parents=True)
    install_hook(tmp_path)
    hook = next(place.glob("*.pth"))
    hook.with_suffix(".py").unlink()
    assert not is_own_hook(hook)
