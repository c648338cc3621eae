from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.versions.home import VersionHome, read_home_marker
from comfywatchman.versions.initialization import HomeRequest, HomeTools, initialize_home
from comfywatchman.versions.package_files import PackageFile

REQUEST = HomeRequest(repo="https://example.org/ComfyUI.git", ref="v1", torch="cpu", environment=None)
FILE = PackageFile("tiny", "1.0", "tiny-1.0-py3-none-any.whl", "a" * 64, 5)


@dataclass
class Installer:
    """Carries out the steps on disk, counts them, and fails at one on request."""

    calls: list[str] = field(default_factory=list)
    fails_at: str = ""
    requirements: str = "tiny\n"

    def _begin(self, step: str) -> None:
        self.calls.append(step)
        if step == self.fails_at:
            raise Failure("child-failed", f"{step} was interrupted.")

    def clone_code(self, folder: Path) -> str:
        (folder / ".git" / "info").mkdir(parents=True)
        (folder / "comfy").mkdir()
        (folder / "main.py").write_text("")
        self._begin("clone")
        (folder / "nodes.py").write_text("")
        (folder / "requirements.txt").write_text(self.requirements)
        return "c" * 40

    def make_environment(self, folder: Path) -> None:
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").write_text("")
        self._begin("environment")

    def list_downloads(self, _environment: Path, _requirements: Path) -> tuple[PackageFile, ...]:
        self._begin("downloads")
        return (FILE,)

    def confirm(self, files: tuple[PackageFile, ...]) -> None:
        assert files == (FILE,)
        self._begin("confirm")

    def install(self, environment: Path, _requirements: Path) -> None:
        (environment / "half").write_text("")
        self._begin("install")
        (environment / "half").unlink()

    def start(self, comfyui: Path, environment: Path) -> None:
        assert (comfyui / "main.py").exists()
        assert (environment / "bin" / "python").exists()
        self._begin("start")

    def tools(self) -> HomeTools:
        return HomeTools(
            clone_code=self.clone_code,
            make_environment=self.make_environment,
            list_downloads=self.list_downloads,
            confirm=self.confirm,
            install=self.install,
            start=self.start,
            progress=lambda _text: None,
        )


WHOLE = ["clone", "environment", "downloads", "confirm", "install", "start"]


@pytest.fixture
def home(tmp_path: Path) -> VersionHome:
    return VersionHome(tmp_path / "home")


def run(home: VersionHome, installer: Installer, **changes: object) -> list[str]:
    """Run the command and return the steps that it took."""
    before = len(installer.calls)
    initialize_home(home, replace(REQUEST, **changes), installer.tools())  # type: ignore[arg-type]
    return installer.calls[before:]


def code_of(home: VersionHome, **changes: object) -> str:
    with pytest.raises(Failure) as caught:
        run(home, Installer(), **changes)
    return caught.value.code


def test_second_run_changes_nothing(home: VersionHome) -> None:
    installer = Installer()
    first = initialize_home(home, REQUEST, installer.tools())
    assert installer.calls == WHOLE
    assert first.is_changed
    assert first.environment == home.comfyui / ".venv"
    assert (home.comfyui / "extra_model_paths.yaml").exists()
    second = initialize_home(home, REQUEST, installer.tools())
    assert installer.calls == WHOLE
    assert not second.is_changed
    assert second.marker == first.marker


@pytest.mark.parametrize("step", WHOLE)
def test_interrupted_run_goes_on(home: VersionHome, step: str) -> None:
    with pytest.raises(Failure):
        run(home, Installer(fails_at=step))
    assert (step == "clone") != home.comfyui.exists()
    installer = Installer()
    run(home, installer)
    assert installer.calls[-1] == "start"
    assert ("clone" in installer.calls) == (step == "clone")
    # Only a finished installation is kept: an installer that was killed leaves half of its files.
    assert ("environment" in installer.calls) == (step != "start")
    assert not (home.comfyui / ".venv" / "half").exists()
    assert not home.unfinished_code.exists()
    assert read_home_marker(home).is_started


def test_changed_requirements_are_installed_and_proved(home: VersionHome) -> None:
    installer = Installer()
    run(home, installer)
    (home.comfyui / "requirements.txt").write_text("tiny\nother\n")
    assert run(home, installer, ref="") == ["downloads", "confirm", "install", "start"]
    assert run(home, installer, ref="") == []


def test_further_packages_are_installed_once(home: VersionHome) -> None:
    installer = Installer()
    run(home, installer)
    assert run(home, installer, further=("requests",)) == ["downloads", "confirm", "install", "start"]
    assert run(home, installer, further=("requests",)) == []


def test_other_builds_of_torch_need_a_new_environment(home: VersionHome) -> None:
    installer = Installer()
    run(home, installer)
    assert run(home, installer, torch="cu128") == WHOLE[1:]


def test_start_that_was_left_out_is_made_up_for(home: VersionHome) -> None:
    installer = Installer()
    result = initialize_home(home, REQUEST, replace(installer.tools(), start=None))
    assert not result.marker.is_started
    assert run(home, installer) == ["start"]


def test_another_ref_is_refused(home: VersionHome) -> None:
    run(home, Installer())
    assert code_of(home, ref="v2") == "version-home-differs"
    assert run(home, Installer(), ref="c" * 40) == []


def test_comfyui_of_the_user_is_taken_with_its_environment(home: VersionHome) -> None:
    Installer().clone_code(home.comfyui)
    Installer().make_environment(home.comfyui / ".venv")
    (home.comfyui / ".venv" / "mine").write_text("")
    assert code_of(home) == "version-home-differs"
    with pytest.raises(Failure):
        run(home, Installer(fails_at="install"), ref="")
    assert run(home, Installer(), ref="") == ["downloads", "confirm", "install", "start"]
    assert (home.comfyui / ".venv" / "mine").exists()
    assert not (home.comfyui / "extra_model_paths.yaml").exists()


def test_folder_that_is_not_comfyui_is_refused(home: VersionHome) -> None:
    home.comfyui.mkdir(parents=True)
    assert code_of(home) == "version-home-differs"
    home.comfyui.rmdir()

    class OtherRepository(Installer):
        def clone_code(self, folder: Path) -> str:
            commit = super().clone_code(folder)
            (folder / "nodes.py").unlink()
            return commit

    with pytest.raises(Failure, match="is not ComfyUI"):
        run(home, OtherRepository())
    assert not home.comfyui.exists()


def test_environment_elsewhere_is_used(home: VersionHome, tmp_path: Path) -> None:
    environment = tmp_path / "env"
    run(home, Installer(), environment=environment)
    assert (environment / "bin" / "python").exists()
    shutil.rmtree(environment)
    assert run(home, Installer(), environment=environment) == WHOLE[1:]


@pytest.mark.parametrize("is_file", [False, True])
def test_environment_never_replaces_files_of_the_user(home: VersionHome, tmp_path: Path, *, is_file: bool) -> None:
    environment = tmp_path / "documents"
    letter = environment if is_file else environment / "letter.txt"
    letter.parent.mkdir(exist_ok=True)
    letter.write_text("mine")
    for _ in range(2):
        assert code_of(home, environment=environment) == "version-home-differs"
    assert letter.read_text() == "mine"
    assert not home.comfyui.exists()


@pytest.mark.parametrize("name", ["", "pyvenv.cfg"])
def test_empty_folder_and_broken_environment_are_replaced(home: VersionHome, tmp_path: Path, name: str) -> None:
    environment = tmp_path / "env"
    environment.mkdir()
    if name:
        (environment / name).write_text("")
    assert run(home, Installer(), environment=environment) == WHOLE


def test_folder_that_is_a_comfyui_is_refused(home: VersionHome) -> None:
    home.root.mkdir()
    (home.root / "main.py").write_text("")
    assert code_of(home) == "version-home-differs"
    assert [path.name for path in home.root.iterdir()] == ["main.py"]


def test_configuration_is_written_once_comfyui_is_there(home: VersionHome) -> None:
    with pytest.raises(Failure):
        run(home, Installer(fails_at="clone"))
    assert not (home.root / "config.toml").exists()
    run(home, Installer())
    assert (home.root / "config.toml").exists()
