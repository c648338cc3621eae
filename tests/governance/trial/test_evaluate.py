from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from comfywatchman.comfyui.server.listening import find_free_port
from tests.base.test_process_children import wait_until
from tests.governance.trial.programs import TrialSite, build_server, details, ports, statuses


@pytest.fixture
def site(tmp_path: Path) -> TrialSite:
    return TrialSite(tmp_path)


@pytest.fixture
def nothing_survives(tmp_path: Path) -> Iterator[None]:
    """Hold after the test that no process works below its folder."""
    yield
    left = [pid for pid in psutil.pids() if str(tmp_path) in _command(pid)]
    assert left == []


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nothing_survives")]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace")
    except OSError:
        return ""


def test_missing_main_py_gives_exit_code_2(site: TrialSite) -> None:
    judgement, logs = site.evaluate(None)
    assert (judgement.how, judgement.exit_code, logs.run_exit_code) == ("none", 2, 2)
    assert "main.py is missing" in details(judgement, "start")


def test_missing_interpreter_starts_nothing(site: TrialSite) -> None:
    judgement, _ = site.evaluate("", python=site.folder / "no" / "python")
    assert (judgement.how, judgement.exit_code) == ("none", 2)
    assert "interpreter is missing" in details(judgement, "start")


@pytest.mark.parametrize("code", [0, 3])
def test_exit_code_of_main_py_is_reported(site: TrialSite, code: int) -> None:
    judgement, logs = site.evaluate(f"print('fake comfyui start'); import sys; sys.exit({code})")
    assert (judgement.how, judgement.exit_code, logs.run_exit_code) == ("exit", code, code)
    assert Path(logs.stdout).read_text() == "fake comfyui start\n"
    assert statuses(judgement)["start"] == ("fail" if code else "ok")


def test_last_line_of_a_traceback_is_reported(site: TrialSite) -> None:
    judgement, _ = site.evaluate("import no_such_package")
    assert details(judgement, "start") == (
        "main.py exited with status 1: ModuleNotFoundError: No module named 'no_such_package'"
    )


def test_segmentation_fault_gives_a_negative_exit_code(site: TrialSite) -> None:
    judgement, _ = site.evaluate("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert (judgement.how, judgement.exit_code) == ("exit", -11)
    assert details(judgement, "start") == "main.py was killed by SIGSEGV."


PATIENCE = (2.0, 15.0, 60.0)
"""Time limits of starts that never end well: a slow machine may not even begin within the first one."""


def test_start_that_hangs_is_ended_with_code_124(site: TrialSite) -> None:
    program = "import sys, time; print('loading \\x1b[31mit', file=sys.stderr, flush=True); time.sleep(600)"
    for limit_seconds in PATIENCE:
        judgement, logs = site.evaluate(program, timeout_seconds=limit_seconds)
        assert (judgement.how, judgement.exit_code, logs.run_exit_code) == ("none", 124, 124)
        if "loading" in details(judgement, "start"):
            break
    assert details(judgement, "start") == (
        f"It neither served nor exited within {limit_seconds:g} seconds. It did not listen. "
        "Last line of its log: loading it"
    )


def test_process_that_ignores_sigterm_is_killed(site: TrialSite) -> None:
    program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    assert site.evaluate(program, timeout_seconds=0.5)[0].exit_code == 124


def test_healthy_server_is_judged_ok(site: TrialSite) -> None:
    judgement, logs = site.evaluate(build_server())
    assert (judgement.how, judgement.exit_code, logs.run_exit_code) == ("server", 0, 0)
    assert statuses(judgement) == {"start": "ok", "import": "ok", "classes": "unknown", "probe": "ok"}
    assert not site.scratch.exists()


def test_added_classes_are_those_missing_in_production(site: TrialSite) -> None:
    judgement = site.evaluate_with_baseline(build_server())
    assert (judgement.exit_code, judgement.classes_added, judgement.classes_lost) == (0, {"mine": ("Of_mine",)}, {})
    assert details(judgement, "classes") == "mine provides 1 node class (Of_mine)."


def test_lost_class_of_another_pack_fails(site: TrialSite) -> None:
    changes = """
if "mine" in PACKS:
    whole = nodes
    nodes = lambda: {name: entry for name, entry in whole().items() if name != "Of_other"}
"""
    judgement = site.evaluate_with_baseline(build_server(changes))
    assert (judgement.exit_code, judgement.classes_lost) == (1, {"other": ("Of_other",)})
    assert details(judgement, "classes").startswith("other loses 1 node class (Of_other).")


def test_failed_import_of_the_node_fails_despite_a_healthy_server(site: TrialSite) -> None:
    changes = """
FAILED = ["mine"]
print("Cannot import /x/custom_nodes/mine module for custom nodes: No module named 'tiny'", file=sys.stderr)
"""
    judgement = site.evaluate_with_baseline(build_server(changes))
    assert (judgement.how, judgement.exit_code) == ("server", 1)
    assert judgement.import_failures == {"mine": "No module named 'tiny'"}
    assert judgement.findings[0].detail == "mine could not be imported: No module named 'tiny'"


@pytest.mark.parametrize(("failed", "code"), [("PACKS[-1:]", 0), ("PACKS[-1:] if 'mine' in PACKS else []", 1)])
def test_failed_import_of_another_pack_fails_only_when_new(site: TrialSite, failed: str, code: int) -> None:
    assert site.evaluate_with_baseline(build_server(f"FAILED = {failed}")).exit_code == code


def test_baseline_is_reused_while_nothing_changed(site: TrialSite) -> None:
    changes = "open(os.path.join(os.path.dirname(BASE), '..', 'starts'), 'a').write(' '.join(PACKS) + '\\n')"
    site.evaluate_with_baseline(build_server(changes), baseline_key="one")
    for key in ("one", "two"):
        site.evaluate_with_baseline(None, baseline_key=key)
    starts = (site.folder / "starts").read_text().splitlines()
    assert starts == ["other", "mine other", "mine other", "other", "mine other"]


def test_start_that_fails_is_compared_with_production(site: TrialSite) -> None:
    judgement = site.evaluate_with_baseline("import no_such_package")
    assert (judgement.how, judgement.exit_code) == ("exit", 1)
    assert details(judgement, "start") == (
        "main.py exited with status 1: ModuleNotFoundError: No module named 'no_such_package' "
        "Production does not start without mine either: "
        "main.py exited with status 1: ModuleNotFoundError: No module named 'no_such_package'"
    )
    judgement = site.evaluate_with_baseline(build_server("if 'mine' in PACKS: sys.exit(7)"))
    assert details(judgement, "start") == "main.py exited with status 7. Production starts without mine."


def test_damaged_baseline_is_replaced(site: TrialSite) -> None:
    (site.folder / "baseline.json").write_text("{")
    assert site.evaluate_with_baseline(build_server()).classes_added == {"mine": ("Of_mine",)}


def test_failed_baseline_start_is_reported_and_not_compared(site: TrialSite) -> None:
    judgement = site.evaluate_with_baseline(build_server("if 'mine' not in PACKS: sys.exit(7)"))
    assert (judgement.exit_code, judgement.classes_added) == (0, {})
    assert "main.py exited with status 7" in details(judgement, "classes")
    assert not (site.folder / "baseline.json").exists()


def test_server_that_dies_during_queries_fails(site: TrialSite) -> None:
    judgement, _ = site.evaluate(build_server("prompt = lambda body: os._exit(9)"))
    assert (judgement.how, judgement.exit_code) == ("server", 9)
    assert "While it was queried, ComfyUI exited with status 9" in details(judgement, "start")


def test_server_that_never_computes_is_interrupted_and_fails(site: TrialSite) -> None:
    judgement, logs = site.evaluate(build_server("history = lambda: {}"), prompt_seconds=0.3)
    assert (judgement.exit_code, statuses(judgement)["probe"]) == (1, "fail")
    assert "the server responds but computes nothing" in details(judgement, "probe")
    assert Path(logs.stdout).read_text().startswith("interrupted ")


def test_probe_that_failed_in_the_baseline_is_a_warning(site: TrialSite) -> None:
    refuse = "prompt = lambda body: (400, {'error': {'message': 'no \\x1b[1mimage', 'details': 'support'}})"
    judgement = site.evaluate_with_baseline(build_server(refuse))
    assert (judgement.exit_code, statuses(judgement)["probe"]) == (0, "warn")
    assert details(judgement, "probe") == (
        "A minimal prompt was refused: no image support. It failed before the change, too."
    )


def test_no_prompt_runs_without_the_probe(site: TrialSite) -> None:
    judgement, _ = site.evaluate(build_server("prompt = lambda body: os._exit(9)"), probe=False)
    assert judgement.exit_code == 0
    assert "probe" not in statuses(judgement)


def test_server_without_nodes_fails(site: TrialSite) -> None:
    judgement, _ = site.evaluate(build_server("nodes = lambda: {}"))
    assert (judgement.how, judgement.exit_code) == ("server", 1)
    assert "lists no node classes" in details(judgement, "start")


def test_another_program_on_the_port_is_not_accepted(site: TrialSite) -> None:
    program = build_server("stats = lambda: {'system': {'argv': ['main.py', '--port=8188']}, 'devices': []}")
    for limit_seconds in PATIENCE:
        judgement, _ = site.evaluate(program, timeout_seconds=limit_seconds)
        assert (judgement.how, judgement.exit_code) == ("none", 124)
        if "did not listen" not in details(judgement, "start"):
            break
    assert "The server on its port was started with other arguments." in details(judgement, "start")


def test_invalid_responses_are_not_accepted(site: TrialSite) -> None:
    for limit_seconds in PATIENCE:
        judgement, _ = site.evaluate(build_server("stats = lambda: []"), timeout_seconds=limit_seconds)
        assert judgement.exit_code == 124
        if "did not listen" not in details(judgement, "start"):
            break
    assert "did not answer as a ComfyUI does" in details(judgement, "start")


def test_taken_port_is_replaced_by_another(site: TrialSite) -> None:
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        taken = squatter.getsockname()[1]
        judgement, _ = site.evaluate(build_server(), choose_port=ports(taken, find_free_port()))
        assert judgement.exit_code == 0
        judgement, _ = site.evaluate("import time; time.sleep(600)", choose_port=ports(taken, taken, taken))
    assert (judgement.how, judgement.exit_code) == ("none", 2)
    assert "Another program took each free port" in details(judgement, "start")


def test_stray_process_in_its_own_session_is_ended(site: TrialSite) -> None:
    program = f"""
import subprocess, sys
code = "import time; time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", code, {str(site.folder)!r}], start_new_session=True)
open({str(site.folder / "left")!r}, "w").write(str(child.pid))
"""
    judgement, _ = site.evaluate(program)
    assert judgement.exit_code == 0
    assert _command(int((site.folder / "left").read_text())) == ""


def test_endless_output_is_ended_and_its_log_shortened(site: TrialSite) -> None:
    program = "import sys\nprint('first')\nwhile True: sys.stdout.write('x' * 100_000 + '\\n')"
    judgement, logs = site.evaluate(program, max_log_bytes=4 << 20)
    assert (judgement.how, judgement.exit_code) == ("none", 124)
    assert "printed more than 4 MiB" in details(judgement, "start")
    log = Path(logs.stdout).read_bytes()
    assert len(log) < 3 << 20
    assert log.startswith(b"first\n")
    assert b"bytes left out" in log


def test_model_folders_are_found_by_listed_markers(site: TrialSite) -> None:
    changes = """
odd = os.path.join(BASE, "models", "odd")
folders = lambda: {
    "odd_things": [odd], "vae": [os.path.join(BASE, "models", "vae")], "custom_nodes": [BASE], "far": ["/proc/no"]
}
whole = nodes
def nodes():
    inputs = {
        "count": ["INT", {}],
        "name": [names("odd")],
        "vae": ["COMBO", {"options": ["None", *names("vae")]}],
        "mode": [["a", "b"]],
    }
    return {**whole(), "Of_mine": {"python_module": "custom_nodes.mine", "input": {"required": inputs}}}
"""
    judgement, _ = site.evaluate(build_server(changes))
    assert judgement.model_folders == {"Of_mine": {"name": "odd_things", "vae": "vae"}}
    assert judgement.widget_places == {"Of_mine": {"name": 1, "vae": 2}}
    assert judgement.model_directories == {"odd_things": ("odd",)}
    assert statuses(judgement)["models"] == "ok"


def test_unsupported_options_are_left_out(site: TrialSite) -> None:
    options = site.comfyui / "comfy" / "cli_args.py"
    options.parent.mkdir()
    options.write_text('parser.add_argument("--listen")\nparser.add_argument("--port")\n')
    program = "import sys; print(*sys.argv[1:])"
    judgement, logs = site.evaluate(program, choose_port=ports(12345))
    assert Path(logs.stdout).read_text() == "--listen=127.0.0.1 --port=12345\n"
    assert statuses(judgement)["start"] == "warn"
    assert "does not support --base-directory" in details(judgement, "start")


def test_install_commands_resolve_to_the_candidate(site: TrialSite) -> None:
    program = "import os; print(os.environ['VIRTUAL_ENV']); print(os.environ['PATH']); print(os.environ.get('TOKEN'))"
    _, logs = site.evaluate(program)
    home = Path(sys.executable).parents[1]
    said = Path(logs.stdout).read_text().splitlines()
    assert said == [str(home), f"{home}/bin:{os.environ['PATH']}", "None"]


def test_server_without_prompt_classes_leaves_the_probe_unknown(site: TrialSite) -> None:
    judgement, _ = site.evaluate(build_server("CORE.clear()"))
    assert (judgement.exit_code, statuses(judgement)["probe"]) == (0, "unknown")


def test_plain_text_response_to_a_prompt_fails(site: TrialSite) -> None:
    changes = """
def do_post(self):
    self.send_response(500)
    self.end_headers()
    self.wfile.write(b"500 Internal Server Error")
Handler.do_POST = do_post
"""
    judgement, _ = site.evaluate(build_server(changes))
    assert (judgement.exit_code, details(judgement, "probe")) == (1, "A minimal prompt was refused: status 500.")


JUDGE = """
import sys
from pathlib import Path
from tests.base.test_process_children import wait_until
from tests.governance.trial.programs import TrialSite
folder = Path(sys.argv[1]) / "killed"
folder.mkdir()
program = f"import time\\nfrom pathlib import Path\\nPath({str(folder / 'up')!r}).touch()\\ntime.sleep(600)"
TrialSite(folder).evaluate(program)
"""


def test_comfyui_ends_when_comfywatchman_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", JUDGE, str(tmp_path)], cwd=Path(__file__).parents[3]) as judging:
        wait_until((tmp_path / "killed" / "up").exists, seconds=60)
        judging.kill()
    main = str(tmp_path / "killed" / "ComfyUI" / "main.py")
    wait_until(lambda: not [pid for pid in psutil.pids() if main in _command(pid)])
