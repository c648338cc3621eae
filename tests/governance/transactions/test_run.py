from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.code_tree import hash_code_tree
from comfywatchman.base.errors import Failure
from comfywatchman.governance.environments import generation
from comfywatchman.governance.store.records import Judgement, RunLogs
from comfywatchman.governance.transactions import candidate, install_script, transaction
from comfywatchman.governance.transactions.run import run_transaction
from comfywatchman.governance.trial.spec import TrialSpec
from tests.governance.contexts import Site, build_site
from tests.governance.node_steps import register_node, try_node
from tests.governance.wheels import add_wheel

pytestmark = pytest.mark.slow

PATCH = """
import pathlib, {module}
path = pathlib.Path({module}.__file__)
with path.open("a") as stream:
    stream.write("POISON = 1\\n")
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """One governed root for all tests here; each has nodes of its own, and none is promoted."""
    site = build_site(tmp_path_factory.mktemp("site"))
    site.configure(tx={"probe": False})
    return site


def production(site: Site) -> dict[str, str]:
    key = generation.current_key(site.layout)
    assert key is not None
    folder = generation.environment_dir(site.layout, key) / "lib"
    return {str(path): path.read_text("utf-8", "replace") for path in folder.rglob("*.py") if "let/" in str(path)}


def test_run_installs_declared_requirements(site: Site) -> None:
    before = site.layout.pyproject.read_bytes(), site.layout.uv_lock.read_bytes(), production(site)
    found = try_node(site, "declares", "newlet", "plainlet==1.0")
    assert (found.status, found.error) == ("completed", None)
    assert found.logs.run_exit_code == 0
    assert "fake comfyui start" in Path(found.logs.stdout).read_text()
    assert found.pre_freeze == ("corelet==1.0",)
    assert found.post_freeze == ("corelet==1.0", "newlet==1.0", "numlet==2.0", "plainlet==1.0")
    assert found.diff.added == ("newlet==1.0", "numlet==2.0", "plainlet==1.0")
    assert found.diff.removed == ()
    assert found.core_impact == ()
    assert found.promotion_plan is not None
    assert found.promotion_plan.direct_additions == ("newlet", "plainlet==1.0")
    assert (found.integrity, found.modified_files) == ("verified", ())
    assert found.uv_version
    assert found.python.startswith(f"{sys.version_info.major}.")
    assert found.node_commit
    assert found.node_tree
    assert (site.layout.pyproject.read_bytes(), site.layout.uv_lock.read_bytes(), production(site)) == before
    assert transaction.read(site.layout, found.txid) == found


def test_install_script_packages_are_added_to_the_plan(site: Site) -> None:
    script = (
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-m', 'pip', 'install', 'plainlet'], check=True)\n"
        "subprocess.run(['uv', 'pip', 'install', 'numlet<2'], check=True)\n"
    )
    found = try_node(site, "installs", files={"install.py": script})
    assert found.error is None
    assert found.diff.added == ("numlet==1.0", "plainlet==1.0")
    assert found.promotion_plan is not None
    assert found.promotion_plan.runtime_additions == ("numlet==1.0", "plainlet==1.0")
    assert any(one.name == "install" and one.status == "ok" for one in found.judgement.findings)  # type: ignore[union-attr]


def test_setuptools_version_matches_production(tmp_path: Path) -> None:
    site = build_site(tmp_path, init=False, requirements=("setuptools",))
    add_wheel(site.wheels, "setuptools", "99.0")
    site.configure(tx={"probe": False})
    site.init()
    found = try_node(site, "pack")
    assert [path.name for path in Path(found.candidate_env).glob("lib/python*/site-packages/setuptools-*")] == [
        "setuptools-99.0.dist-info"
    ]


def test_node_installing_uv_does_not_overwrite_our_uv(site: Site) -> None:
    add_wheel(site.wheels, "uv", "0.0.1", scripts={"uv": "uv:__version__.strip"})
    with site.opened() as context:
        uv = context.uv.path
    ours = uv.read_bytes()
    found = try_node(site, "brings-uv", "uv")
    assert found.error is None
    assert "__version__" in (Path(found.candidate_env) / "bin/uv").read_text()
    assert uv.read_bytes() == ours


def test_stray_processes_of_an_install_script_are_ended(site: Site) -> None:
    script = (
        "import os, pathlib, subprocess, sys\n"
        "wait = 'import signal; signal.pause()'\n"
        "child = subprocess.Popen([sys.executable, '-c', wait], start_new_session=True)\n"
        "pathlib.Path('pid.txt').write_text(str(child.pid))\n"
        "pathlib.Path('generated.py').write_text('')\n"
        "os._exit(0)\n"
    )
    found = try_node(site, "daemon", files={"install.py": script})
    folder = site.comfyui / "custom_nodes/daemon"
    assert not Path(f"/proc/{(folder / 'pid.txt').read_text()}/cwd").exists()
    assert found.node_tree == hash_code_tree(folder)


def test_failed_install_script_is_reported_and_the_start_decides(site: Site) -> None:
    found = try_node(site, "fails-to-install", files={"install.py": "raise SystemExit(3)\n"})
    assert found.status == "completed"
    assert found.judgement is not None
    assert found.judgement.findings[0].detail.startswith("install.py exited with status 3")


def test_install_script_sees_no_secrets_and_no_other_environment(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "UV_PYTHON", "PIP_TARGET", "PYTHONPATH"):
        monkeypatch.setenv(name, "leak")
    script = "import os, pathlib\npathlib.Path('seen.txt').write_text(repr(dict(os.environ)))\n"
    found = try_node(site, "looks", files={"install.py": script})
    seen = (site.comfyui / "custom_nodes/looks/seen.txt").read_text()
    assert "leak" not in seen
    assert found.candidate_env in seen


def test_denied_requirement_is_refused_before_installation(site: Site) -> None:
    add_wheel(site.wheels, "ultralytics", "8.3.41")
    add_wheel(site.wheels, "ultralytics", "8.3.40")
    found = try_node(site, "pins-harm", "ultralytics==8.3.41")
    assert found.status == "failed"
    assert found.error is not None
    assert "deny list" in found.error
    assert found.judgement is None
    free = try_node(site, "free-of-harm", "ultralytics")
    assert free.diff.added == ("ultralytics==8.3.40",)


def test_denied_indirect_dependency_is_reported_with_its_reason(site: Site) -> None:
    add_wheel(site.wheels, "evillet", "1.0")
    add_wheel(site.wheels, "between", "1.0", requires=["evillet"])
    site.configure(policy={"deny": ["evillet==1.0"]})
    found = try_node(site, "asks-harm", "between")
    assert (found.error or "").startswith(
        "evillet 1.0, without which the node cannot be installed, is on the deny list"
    )
    assert "[policy] allow" in (found.error or "")
    assert "network" not in (found.error or "")
    assert (site.layout.logs / f"{found.txid}.install.uv.log").is_file()


def test_denied_package_from_an_install_script_stops_the_trial(site: Site) -> None:
    add_wheel(site.wheels, "lolminer", "1.0")
    script = "import subprocess, sys\nsubprocess.run([sys.executable, '-m', 'pip', 'install', 'lolminer'])\n"
    found = try_node(site, "brings-harm", files={"install.py": script})
    assert found.status == "failed"
    assert "lolminer" in str(found.error)
    assert found.logs.run_exit_code is None


def test_failed_installation_reports_uv_output_and_log(site: Site) -> None:
    found = try_node(site, "impossible", "absent-package>=3")
    assert found.status == "failed"
    assert "absent-package" in str(found.error)
    assert (site.layout.logs / f"{found.txid}.install.uv.log").is_file()


def test_patched_source_file_changes_no_other_environment(site: Site) -> None:
    before = production(site)
    found = try_node(site, "patches", files={"install.py": PATCH.format(module="corelet")})
    assert found.integrity == "modified"
    assert any(name.endswith("corelet/__init__.py") for name in found.modified_files)
    assert production(site) == before
    clean = try_node(site, "clean", "corelet==1.0")
    assert clean.integrity == "verified"


def test_modified_shared_files_are_evicted_from_production_and_cache(tmp_path: Path) -> None:
    site = build_site(tmp_path, init=False)
    site.configure(tx={"probe": False}, runtime={"link_mode": "hardlink"})
    for name in ("corelet", "plainlet"):
        add_wheel(site.wheels, name, "1.0", files={f"{name}/library.py": f"x = '{'x' * (2 << 20)}'\n"})
    site.init()
    before = generation.current_key(site.layout)
    patch = (
        "import pathlib, subprocess, corelet, plainlet\n"
        "for module in (corelet, plainlet):\n"
        "    library = pathlib.Path(module.__file__).parent / 'library.py'\n"
        "    subprocess.run(['dd', f'of={library}', 'conv=notrunc'], input=b'POISON', check=True)\n"
    )
    found = try_node(site, "patches", "plainlet", files={"install.py": patch})
    assert found.integrity == "modified"
    assert generation.current_key(site.layout) != before
    assert not [text for text in production(site).values() if "POISON" in text]
    clean = try_node(site, "clean", "plainlet")
    assert clean.integrity == "verified"
    assert not [path for path in Path(clean.candidate_env).rglob("library.py") if "POISON" in path.read_text()]


def test_changed_core_package_is_reported(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    site.configure(policy={"core_packages": ["Core_let"]}, tx={"probe": False})
    site.configure(policy={"core_packages": ["CORELET", "num*"]})
    found = try_node(site, "core", "corelet==2.0", "numlet==2.0")
    assert found.core_impact == ("corelet 1.0 -> 2.0", "numlet none -> 2.0")


@pytest.mark.parametrize(("main", "code"), [("raise SystemExit(7)\n", 7), (None, 2)])
def test_exit_code_of_main_py_decides(tmp_path: Path, main: str | None, code: int) -> None:
    site = build_site(tmp_path)
    if main is None:
        (site.comfyui / "main.py").unlink()
    else:
        (site.comfyui / "main.py").write_text(main)
    found = try_node(site, "pack")
    assert (found.status, found.logs.run_exit_code) == ("failed", code)
    assert found.error


def test_unknown_or_deleted_node_cannot_be_tried(site: Site) -> None:
    with site.opened() as context, pytest.raises(Failure) as caught:
        run_transaction(context, "absent")
    assert caught.value.code == "gov-node-unknown"
    register_node(site, "vanishes")
    (site.comfyui / "custom_nodes/vanishes").rename(site.folder / "vanished")
    with site.opened() as context, pytest.raises(Failure) as caught:
        run_transaction(context, "vanishes")
    assert caught.value.code == "gov-node-unknown"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device", "x")])
def test_interrupted_trial_is_recorded_as_failed(site: Site, error: BaseException) -> None:
    name = f"broken-off-by-{type(error).__name__}"
    register_node(site, name)

    def fail(_spec: TrialSpec) -> tuple[Judgement, RunLogs]:
        raise error

    with site.opened() as context, contextlib.suppress(KeyboardInterrupt):
        run_transaction(context, name, evaluate_trial=fail)
    (found,) = (one for one in transaction.read_all(site.layout) if one.node_id == name)
    assert found.status == "failed"
    assert "interrupted" in str(found.error) or "No space left" in str(found.error)


def test_trial_runs_without_pip_when_there_is_none(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidate, "_FIND_BUNDLED_PIP", "raise SystemExit(1)")
    found = try_node(site, "without-pip", "plainlet")
    assert (found.status, found.diff.added) == ("completed", ("plainlet==1.0",))
    assert not list(Path(found.candidate_env).glob("lib/python*/site-packages/pip"))


def test_install_script_is_ended_at_the_time_limit(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install_script, "SCRIPT_SECONDS", 0.5)
    found = try_node(site, "takes-too-long", files={"install.py": "import signal\nsignal.pause()\n"})
    assert found.judgement is not None
    assert "install.py exited with status 124" in found.judgement.findings[0].detail


def test_utf_16_requirements_with_options_are_read(site: Site) -> None:
    register_node(site, "odd")
    text = "--extra-index-url https://me:s3cret@example.org/simple\r\nplainlet==1.0  # tiny\r\n-e .\r\n"
    (site.comfyui / "custom_nodes/odd/requirements.txt").write_bytes(text.encode("utf-16"))
    with site.opened() as context:
        found = run_transaction(context, "odd")
    assert found.promotion_plan is not None
    assert found.promotion_plan.direct_additions == ("plainlet==1.0",)
    assert len(found.promotion_plan.unparseable) == 2
    assert "s3cret" not in (site.layout.transactions / f"{found.txid}.json").read_text()


def test_trial_of_a_dead_process_reads_as_failed(site: Site) -> None:
    register_node(site, "killed", files={"install.py": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n"})
    code = (
        "import sys\nfrom pathlib import Path\nfrom tests.governance.contexts import Site\n"
        "from comfywatchman.governance.transactions.run import run_transaction\n"
        "with Site(Path(sys.argv[1])).opened() as context:\n    run_transaction(context, 'killed')\n"
    )
    here = str(Path(__file__).parents[3])
    own = {"PATH": os.environ["PATH"], "HOME": str(site.folder), "PYTHONPATH": here}
    ended = subprocess.run([sys.executable, "-c", code, str(site.folder)], env=own, check=False, timeout=100)
    assert ended.returncode == -signal.SIGKILL
    last = transaction.read_all(site.layout)[-1]
    assert (last.node_id, last.status) == ("killed", "failed")
    assert "interrupted" in str(last.error)
    with site.opened() as context:
        transaction.mark_interrupted(context.layout, context.clock)
    assert not Path(last.candidate_env).exists()
    assert msgspec.json.decode((site.layout.transactions / f"{last.txid}.json").read_bytes())["status"] == "failed"
