from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.store.records import InstalledPackage
from comfywatchman.governance.store.settings import NetworkTable
from comfywatchman.governance.uv import client
from comfywatchman.governance.uv.client import Uv, find_uv
from tests.governance.contexts import DEFAULT_SETTINGS, Site, build_site
from tests.governance.wheels import add_wheel


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return build_site(tmp_path_factory.mktemp("site"), requirements=("corelet==1.0", "plainlet"))


@pytest.fixture
def uv(site: Site) -> Uv:
    with site.opened() as context:
        return Uv(context.uv.path, context.uv.network, context.uv.options)


def test_uv_is_installed_with_the_program() -> None:
    assert find_uv().is_file()
    assert Uv(find_uv(), {}, DEFAULT_SETTINGS.network).version >= "0.12"


@pytest.mark.slow
def test_installed_packages_are_listed_and_frozen(site: Site, uv: Uv) -> None:
    environment = site.layout.production.resolve()
    assert uv.packages(environment) == (InstalledPackage("corelet", "1.0"), InstalledPackage("plainlet", "1.0"))
    assert uv.freeze(environment) == ("corelet==1.0", "plainlet==1.0")
    assert uv.check(environment) == ()


@pytest.mark.slow
def test_seeds_are_not_listed(site: Site, uv: Uv, tmp_path: Path) -> None:
    for name in ("pip", "setuptools", "wheel"):
        add_wheel(site.wheels, name, "26.0")
    with site.opened() as context:
        assert uv.make_environment(tmp_path / "env", python=context.python, seed=True).is_success
    assert (tmp_path / "env" / "lib").is_dir()
    assert list((tmp_path / "env").glob("lib/python*/site-packages/pip-26.0.dist-info"))
    assert uv.packages(tmp_path / "env") == ()
    assert uv.freeze(tmp_path / "env") == ()


@pytest.mark.slow
def test_unmet_requirements_are_listed(site: Site, uv: Uv, tmp_path: Path) -> None:
    with site.opened() as context:
        assert uv.make_environment(tmp_path / "env", python=context.python, seed=False).is_success
    assert uv.install(tmp_path / "env", ["oldlet", "numlet==1.0"], project=tmp_path, link_mode="copy").is_success
    next((tmp_path / "env").glob("lib/python*/site-packages/numlet-1.0.dist-info")).rename(tmp_path / "away")
    (printed,) = uv.check(tmp_path / "env")
    assert "oldlet" in printed
    assert "numlet" in printed


def write_fake_uv(folder: Path, script: str) -> Path:
    """Write a program that replaces uv and prints something."""
    fake_uv = folder / "uv"
    fake_uv.write_text(f"#!/bin/sh\n{script}\n")
    fake_uv.chmod(0o755)
    return fake_uv


def test_user_variables_do_not_reach_uv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = ("UV_PYTHON", "UV_INDEX_URL", "PIP_INDEX_URL", "VIRTUAL_ENV", "PYTHONPATH", "CONDA_PREFIX", "HF_TOKEN")
    for name in names:
        monkeypatch.setenv(name, "stray")
    printed = Uv(write_fake_uv(tmp_path, "env"), {}, DEFAULT_SETTINGS.network).lock(tmp_path, python=Path("/py")).output
    assert "PATH=" in printed
    assert "stray" not in printed


def test_uv_inherits_the_lock_of_the_root(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        asked = write_fake_uv(tmp_path, f"test -e /proc/self/fd/{lock.fileno()}")
        assert Uv(asked, {}, DEFAULT_SETTINGS.network, lock.fileno()).lock(tmp_path, python=Path("/py")).is_success
        assert not Uv(asked, {}, DEFAULT_SETTINGS.network).lock(tmp_path, python=Path("/py")).is_success


@pytest.mark.slow
def test_uv_is_killed_with_this_process_only_on_request(tmp_path: Path) -> None:
    # prctl(2): PR_GET_PDEATHSIG is 2.
    question = "import ctypes; n = ctypes.c_int(); ctypes.CDLL(None).prctl(2, ctypes.byref(n)); print(n.value)"
    fake_uv = write_fake_uv(tmp_path, f'exec "{sys.executable}" -c "{question}"')
    signals = []
    for dies_with_us in (False, True):
        uv = Uv(fake_uv, {}, DEFAULT_SETTINGS.network, dies_with_us=dies_with_us)
        signals.append(int(uv.lock(tmp_path, python=Path("/py")).output))
    assert signals == [0, signal.SIGKILL]


def test_production_link_is_never_synced(site: Site, uv: Uv) -> None:
    with pytest.raises(ValueError, match="is a link"):
        uv.sync(site.root, site.layout.production, python=Path("/usr/bin/python3"), link_mode="copy")


@pytest.mark.slow
def test_missing_environment_is_reported(uv: Uv, tmp_path: Path) -> None:
    with pytest.raises(Failure, match="uv pip list") as caught:
        uv.packages(tmp_path)
    assert caught.value.code == "gov-uv-failed"


def test_credentials_are_removed_from_output(tmp_path: Path) -> None:
    script = 'echo "numlet @ git+https://me:secret@host/x"; echo "https://tok@host/y failed" >&2'
    uv = Uv(write_fake_uv(tmp_path, script), {}, DEFAULT_SETTINGS.network)
    assert uv.freeze(tmp_path) == ("numlet @ git+https://host/x",)
    assert "tok" not in uv.lock(tmp_path, python=Path("/usr/bin/python3")).errors


def test_network_settings_reach_uv(tmp_path: Path) -> None:
    fake_uv = write_fake_uv(tmp_path, 'echo "$@"; env')
    options = NetworkTable(
        offline=True, cache_dir="/c", index_url="https://host/i", no_index=True, find_links=("/a b", "/c")
    )
    printed = Uv(fake_uv, {"HTTPS_PROXY": "http://p"}, options).lock(tmp_path, python=Path("/py")).output
    assert "--offline --no-index --find-links /a b --find-links /c --python /py" in printed
    for line in ("UV_CACHE_DIR=/c", "UV_DEFAULT_INDEX=https://host/i", "HTTPS_PROXY=http://p", "UV_NO_WRAP=1"):
        assert f"{line}\n" in printed


def test_addresses_with_wheels_reach_uv_as_a_variable(tmp_path: Path) -> None:
    fake_uv = write_fake_uv(tmp_path, 'echo "$@"; env')
    places = ("https://host.example/wheels", "/c")
    options = NetworkTable(offline=False, cache_dir="", index_url="", no_index=False, find_links=places)
    printed = Uv(fake_uv, {}, options).lock(tmp_path, python=Path("/py")).output
    assert "--find-links" not in printed
    assert "UV_FIND_LINKS=https://host.example/wheels,file:///c\n" in printed


def test_uv_on_the_path_is_used_and_a_missing_one_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import uv as package

    def missing() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(package, "find_uv_bin", missing)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Failure, match="pip install uv") as caught:
        find_uv()
    assert caught.value.code == "gov-uv-missing"
    (tmp_path / "uv").write_text("#!/bin/sh\n")
    (tmp_path / "uv").chmod(0o755)
    assert find_uv() == tmp_path / "uv"


def test_empty_output_has_a_text() -> None:
    assert client._last_line("\n \n") == "it printed nothing"
