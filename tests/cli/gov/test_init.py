from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from comfywatchman.app.session import Session
from comfywatchman.cli.gov.init import describe_next_steps
from comfywatchman.governance.environments.staging import read_registry
from tests.cli.gov.calls import Gov
from tests.governance.adoption.old_environments import make_environment, write_pack
from tests.governance.contexts import build_site
from tests.governance.wheels import add_wheel

pytestmark = pytest.mark.slow


def test_init_of_a_complete_root_reports_nothing_to_do(shared: Gov) -> None:
    assert "The environment is complete" in shared("init").stdout
    assert shared.json("init")["operation"] is None


def test_init_prints_the_environment_in_production(tmp_path: Path) -> None:
    fresh = Gov(build_site(tmp_path, init=False))
    result = fresh("init")
    assert result.exit_code == 0, result.output
    assert "1 package, all of their files verified" in result.stdout


def test_adoption_shows_its_plan_and_waits_for_consent(tmp_path: Path) -> None:
    fresh = Gov(build_site(tmp_path, requirements=("corelet",), init=False))
    make_environment(fresh.site, "corelet==1.0", "plainlet")
    write_pack(fresh.site, "depth", "plainlet\n")
    refused = fresh("init", "--adopt")
    assert refused.exit_code == 1
    assert "2 from an index: corelet 1.0, plainlet 1.0" in refused.stderr
    assert "Node packs to register: 1" in refused.stderr
    assert "gov init --adopt --yes" in refused.stderr
    assert not fresh.site.layout.pyproject.exists()
    done = fresh("init", "--adopt", "--yes")
    assert done.exit_code == 0, done.output
    assert "Same as before: 2 packages." in done.stdout
    assert "Registered: 1 node pack." in done.stdout
    assert "ComfyUI started in the environment." in done.stdout
    assert set(read_registry(fresh.site.layout).plugins) == {"depth"}
    assert fresh.site.run_in_production("import corelet; print(corelet.__version__)") == "1.0"


def test_pair_of_packages_is_named_before_it_is_adopted(tmp_path: Path) -> None:
    fresh = Gov(build_site(tmp_path, requirements=("corelet",), init=False))
    for name in ("opencv-python", "opencv-python-headless"):
        add_wheel(fresh.site.wheels, name, "4.0", files={"cv2/__init__.py": f"name = {name!r}\n"})
    make_environment(fresh.site, "corelet==1.0", "opencv-python", "opencv-python-headless")
    shown = fresh("init", "--adopt").stderr
    assert "opencv-python and opencv-python-headless (module cv2) own the same files" in shown
    assert "gov init --keep opencv-python" in shown
    done = fresh("init", "--adopt", "--yes")
    assert done.exit_code == 0, done.output
    assert "their files verified but for 1 file of several packages" in done.stdout
    check = next(one for one in fresh.json("check")["checks"] if one["name"] == "production")
    assert (check["status"], check["action"]) == ("warn", "gov init --keep opencv-python")
    assert fresh("init", "--keep", "opencv-python").exit_code == 0
    check = next(one for one in fresh.json("check")["checks"] if one["name"] == "production")
    assert check["status"] == "ok"


def test_adoption_without_an_environment_names_the_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    fresh = Gov(build_site(tmp_path, init=False))
    assert "--python PATH" in fresh("init", "--adopt").stderr
    assert fresh("init", "--yes").exit_code == 2


def test_production_that_does_not_start_is_unproven_until_it_does(tmp_path: Path) -> None:
    fresh = Gov(build_site(tmp_path, init=False))
    main = fresh.site.comfyui / "main.py"
    main.write_text("import plainlet\n")
    result = fresh("init")
    assert result.exit_code == 1
    assert "The module plainlet is missing. Find the package of the module plainlet, then" in result.stderr
    assert fresh.json("check", code=1)["state"] == "fail"
    main.write_text("print('up')\n")
    assert fresh("init").exit_code == 0
    assert fresh.json("check")["state"] == "ok"


def test_next_steps_keep_the_options(tmp_path: Path) -> None:
    text = describe_next_steps(Session(None, None, governed_option=tmp_path))
    assert text.startswith(
        f"Next: gov --root {tmp_path} node add URL registers a custom node, gov --root {tmp_path} run"
    )


def test_conflict_after_an_update_of_comfyui_exits_with_2(gov_on: Gov) -> None:
    gov_on.pack("old", "oldlet")
    gov_on("node", "add", "--adopt", "old")
    gov_on("tx", "run", "old")
    assert gov_on("tx", "promote", "latest").exit_code == 0
    (gov_on.site.comfyui / "requirements.txt").write_text("corelet==1.0\nnumlet>=2\n")
    result = gov_on("init")
    assert result.exit_code == 2
    assert "base requires numlet>=2" in result.stdout
    assert "Try: gov init --pin numlet==2.0" in result.stdout
    assert gov_on.json("init", code=2)["code"] == "gov-needs-resolution"
    assert gov_on("init", "--pin", "numlet==2.0").exit_code == 0
    assert gov_on("init", "--pin", "numlet>2").exit_code == 2
    assert gov_on("init", "--adopt", "--keep", "numlet").exit_code == 2


def test_launcher_in_the_root_runs_gov_on_it(gov_on: Gov) -> None:
    launcher = gov_on.site.layout.launcher
    variables = {name: text for name, text in gov_on.child_environment().items() if "GOVERNANCE" not in name}
    result = subprocess.run(
        [str(launcher), "status", "--json"],
        env=variables,
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
        timeout=250,
    )
    assert json.loads(result.stdout)["result"]["root"] == str(gov_on.site.root)
