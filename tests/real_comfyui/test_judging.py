from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import psutil
import pytest

from comfywatchman.governance.store.records import Judgement
from comfywatchman.governance.trial.evaluate import evaluate
from comfywatchman.governance.trial.spec import TrialSpec
from scripts.real_comfyui import Installed
from tests.governance.trial.programs import details, statuses

pytestmark = [pytest.mark.real_comfyui, pytest.mark.slow]

LOADER = """
import os
import folder_paths
folder_paths.add_model_folder_path("odd_things", os.path.join(folder_paths.models_dir, "odd"))

class OddLoader:
    RETURN_TYPES, FUNCTION, CATEGORY = ("STRING",), "load", "odd"
    @classmethod
    def INPUT_TYPES(cls):
        odd = folder_paths.get_filename_list("odd_things")
        vae = ["None", *folder_paths.get_filename_list("vae")]
        return {"required": {"count": ("INT", {"default": 1}), "odd": (odd,), "vae": (vae,), "mode": (["a", "b"],)}}
    def load(self, **given):
        return ("",)

NODE_CLASS_MAPPINGS = {"OddLoader": OddLoader}
"""
PLAIN = """
class {name}:
    RETURN_TYPES, FUNCTION, CATEGORY = (), "run", "x"
    @classmethod
    def INPUT_TYPES(cls):
        return {{"required": {{}}}}
NODE_CLASS_MAPPINGS = {{"{name}": {name}}}
"""
BREAKER = PLAIN.format(name="Mine") + textwrap.dedent("""
    import threading
    import nodes
    def take_away():
        while "Other" not in nodes.NODE_CLASS_MAPPINGS:
            pass
        del nodes.NODE_CLASS_MAPPINGS["Other"]
    threading.Thread(target=take_away, daemon=True).start()
""")
SPOILER = PLAIN.format(name="Mine") + textwrap.dedent("""
    import numpy
    def spoiled(*args, **kwargs):
        raise RuntimeError("no arrays today")
    numpy.clip = spoiled
""")


@pytest.fixture(scope="module")
def baselines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for the other nodes and the stored baseline starts, which trials of the module share."""
    return tmp_path_factory.mktemp("baselines")


@pytest.fixture
def judged(real_comfyui_installed: Installed, tmp_path: Path, baselines: Path) -> Any:
    what = real_comfyui_installed
    front_end = ("--front-end-root", str(what.front_end)) if what.front_end else ()

    def run(**nodes: str) -> Judgement:
        folders = {name: (tmp_path if name == "mine" else baselines) / "nodes" / name for name in nodes}
        for name, folder in folders.items():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "__init__.py").write_text(nodes[name])
        return evaluate(
            TrialSpec(
                comfyui=what.tree,
                node_id="mine",
                nodes=folders,
                python=what.python,
                baseline_python=what.python,
                baseline_key="production",
                baseline_file=baselines / f"{'-'.join(sorted(nodes))}.json",
                scratch=tmp_path / "scratch",
                stdout=tmp_path / "stdout.log",
                stderr=tmp_path / "stderr.log",
                timeout_seconds=300,
                extra_args=front_end,
            )
        )[0]

    return run


def test_a_good_pack_is_well_and_its_model_folders_are_known(judged: Any, tmp_path: Path) -> None:
    judgement = judged(mine=LOADER)
    assert (judgement.how, judgement.exit_code) == ("server", 0), judgement.findings
    assert statuses(judgement) == {"start": "ok", "import": "ok", "classes": "ok", "models": "ok", "probe": "ok"}
    assert judgement.classes_added == {"mine": ("OddLoader",)}
    assert judgement.model_folders == {"OddLoader": {"odd": "odd_things", "vae": "vae"}}
    assert judgement.widget_places == {"OddLoader": {"odd": 1, "vae": 2}}
    assert judgement.model_directories == {"odd_things": ("odd",)}
    assert not (tmp_path / "scratch").exists()
    commands = [Path(f"/proc/{pid}/cmdline") for pid in psutil.pids()]
    assert not [path for path in commands if path.exists() and str(tmp_path) in path.read_text("utf-8", "replace")]


def test_a_missing_dependency_is_named(judged: Any) -> None:
    judgement = judged(mine="import no_such_package_at_all\n", other=PLAIN.format(name="Other"))
    assert (judgement.how, judgement.exit_code) == ("server", 1)
    assert judgement.import_failures == {
        "mine": "ModuleNotFoundError: No module named 'no_such_package_at_all'",
    }


def test_a_pack_that_takes_anothers_class_away_is_a_fail(judged: Any) -> None:
    judgement = judged(mine=BREAKER, other=PLAIN.format(name="Other"))
    assert judgement.exit_code == 1
    assert judgement.classes_lost == {"other": ("Other",)}


def test_a_pack_that_spoils_computing_fails_the_minimal_prompt(judged: Any) -> None:
    judgement = judged(mine=SPOILER)
    assert (judgement.exit_code, statuses(judgement)["probe"]) == (1, "fail")
    assert "no arrays today" in details(judgement, "probe")


def test_a_pack_that_ends_the_program_counts_as_its_exit(judged: Any) -> None:
    judgement = judged(mine="import sys\nsys.exit(3)\n")
    assert (judgement.how, judgement.exit_code) == ("exit", 3)
