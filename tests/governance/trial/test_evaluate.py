from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfywatchman.comfyui.server.listening import all_pids, free_port
from tests.base.test_process_children import wait_until
from tests.governance.trial.programs import Room, details, ports, server, statuses


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


@pytest.fixture
def nothing_survives(tmp_path: Path) -> Iterator[None]:
    """Hold after the test that no process works below its folder."""
    yield
    left = [pid for pid in all_pids() if str(tmp_path) in _command(pid)]
    assert left == []


pytestmark = pytest.mark.usefixtures("nothing_survives")


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace")
    except OSError:
        return ""


def test_without_a_main_py_nothing_is_started_and_the_code_is_2(room: Room) -> None:
    judgement, logs = room.judged(None)
    assert (judgement.how, judgement.exit_code, logs.run_exit_code) == ("none", 2, 2)
    assert "main.py is not there" in details(judgement, "start")


def test_without_the_interpreter_nothing_is_started(room: Room) -> None:
    judgement, _ = room.judged("", python=room.folder / "no" / "python")
    assert (judgement.how, judgement.exit_code) == ("none", 2)
    assert "interpreter is not there" in details(judgement, "start")


@pytest.mark.parametrize("code", [0, 3])
def test_a_main_py_that_ends_counts_as_its_exit_code(room: Room, code: int) -> None:
    judgement, logs = room.judged(f"print('fake comfyui start'); import sys; sys.exit({code})")
    assert (judgement.how, judgement.exit_code, logs.run_exit_code) == ("exit", code, code)
    assert Path(logs.stdout).read_text() == "fake comfyui start\n"
    assert statuses(judgement)["start"] == ("fail" if code else "ok")


def test_the_last_words_of_a_traceback_are_said(room: Room) -> None:
    judgement, _ = room.judged("import no_such_package")
    assert details(judgement, "start") == (
        "main.py ended with status 1: ModuleNotFoundError: No module named 'no_such_package'"
    )


def test_a_segmentation_fault_is_a_negative_code(room: Room) -> None:
    judgement, _ = room.judged("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert (judgement.how, judgement.exit_code) == ("exit", -11)
    assert details(judgement, "start") == "main.py ended by SIGSEGV."


def test_one_that_neither_serves_nor_ends_is_124_and_ended(room: Room) -> None:
    program = "import sys, time; print('loading \\x1b[31mit', file=sys.stderr, flush=True); time.sleep(600)"
    judgement, logs = room.judged(program, timeout_seconds=1.0)
    assert (judgement.how, judgement.exit_code, logs.run_exit_code) == ("none", 124, 124)
    assert details(judgement, "start") == (
        "It neither served nor ended within 1 seconds. It did not listen. Its last words: loading it"
    )


def test_one_that_cannot_be_asked_to_end_is_made_to(room: Room) -> None:
    program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    assert room.judged(program, timeout_seconds=0.5)[0].exit_code == 124


def test_a_server_is_judged_by_what_it_says(room: Room) -> None:
    judgement, logs = room.judged(server())
    assert (judgement.how, judgement.exit_code, logs.run_exit_code) == ("server", 0, 0)
    assert statuses(judgement) == {"start": "ok", "import": "ok", "classes": "unknown", "probe": "ok"}
    assert not room.scratch.exists()


def test_the_classes_of_the_node_are_those_that_production_has_not(room: Room) -> None:
    judgement = room.compared(server())
    assert (judgement.exit_code, judgement.classes_added, judgement.classes_lost) == (0, {"mine": ("Of_mine",)}, {})
    assert details(judgement, "classes") == "mine brings 1 node class (Of_mine)."


def test_a_class_that_another_pack_loses_is_a_fail(room: Room) -> None:
    changes = """
if "mine" in PACKS:
    whole = nodes
    nodes = lambda: {name: entry for name, entry in whole().items() if name != "Of_other"}
"""
    judgement = room.compared(server(changes))
    assert (judgement.exit_code, judgement.classes_lost) == (1, {"other": ("Of_other",)})
    assert details(judgement, "classes").startswith("other loses 1 node class (Of_other).")


def test_a_failed_import_of_the_node_is_a_fail_though_the_server_is_well(room: Room) -> None:
    changes = """
FAILED = ["mine"]
print("Cannot import /x/custom_nodes/mine module for custom nodes: No module named 'tiny'", file=sys.stderr)
"""
    judgement = room.compared(server(changes))
    assert (judgement.how, judgement.exit_code) == ("server", 1)
    assert judgement.import_failures == {"mine": "No module named 'tiny'"}
    assert judgement.findings[0].detail == "mine could not be imported: No module named 'tiny'"


@pytest.mark.parametrize(("failed", "code"), [("PACKS[-1:]", 0), ("PACKS[-1:] if 'mine' in PACKS else []", 1)])
def test_a_failed_import_of_another_pack_counts_only_when_it_is_new(room: Room, failed: str, code: int) -> None:
    assert room.compared(server(f"FAILED = {failed}")).exit_code == code


@pytest.mark.slow
def test_the_comparison_start_is_kept_while_nothing_has_changed(room: Room) -> None:
    changes = "open(os.path.join(os.path.dirname(BASE), '..', 'starts'), 'a').write(' '.join(PACKS) + '\\n')"
    room.compared(server(changes), baseline_key="one")
    for key in ("one", "two"):
        room.compared(None, baseline_key=key)
    starts = (room.folder / "starts").read_text().splitlines()
    assert starts == ["mine other", "other", "mine other", "mine other", "other"]


def test_a_damaged_comparison_is_made_again(room: Room) -> None:
    (room.folder / "baseline.json").write_text("{")
    assert room.compared(server()).classes_added == {"mine": ("Of_mine",)}


def test_a_production_that_does_not_start_is_said_and_compared_with_nothing(room: Room) -> None:
    judgement = room.compared(server("if 'mine' not in PACKS: sys.exit(7)"))
    assert (judgement.exit_code, judgement.classes_added) == (0, {})
    assert "main.py ended with status 7" in details(judgement, "classes")
    assert not (room.folder / "baseline.json").exists()


def test_a_server_that_dies_while_it_is_asked_counts_as_its_end(room: Room) -> None:
    judgement, _ = room.judged(server("prompt = lambda body: os._exit(9)"))
    assert (judgement.how, judgement.exit_code) == ("server", 9)
    assert "It ended while it was asked with status 9" in details(judgement, "start")


def test_a_server_that_computes_nothing_is_interrupted_and_fails(room: Room) -> None:
    judgement, logs = room.judged(server("history = lambda: {}"), prompt_seconds=0.3)
    assert (judgement.exit_code, statuses(judgement)["probe"]) == (1, "fail")
    assert "the server answers but computes nothing" in details(judgement, "probe")
    assert Path(logs.stdout).read_text().startswith("interrupted ")


def test_a_probe_that_failed_before_the_change_too_is_no_fail(room: Room) -> None:
    refuse = "prompt = lambda body: (400, {'error': {'message': 'no \\x1b[1mimage', 'details': 'support'}})"
    judgement = room.compared(server(refuse))
    assert (judgement.exit_code, statuses(judgement)["probe"]) == (0, "warn")
    assert details(judgement, "probe") == (
        "A minimal prompt was refused: no image support. It failed before the change too."
    )


def test_without_the_probe_no_prompt_is_run(room: Room) -> None:
    judgement, _ = room.judged(server("prompt = lambda body: os._exit(9)"), probe=False)
    assert judgement.exit_code == 0
    assert "probe" not in statuses(judgement)


def test_a_server_that_lists_no_node_is_a_fail(room: Room) -> None:
    judgement, _ = room.judged(server("nodes = lambda: {}"))
    assert (judgement.how, judgement.exit_code) == ("server", 1)
    assert "did not list any node" in details(judgement, "start")


def test_one_that_answers_as_another_program_is_not_believed(room: Room) -> None:
    program = server("stats = lambda: {'system': {'argv': ['main.py', '--port=8188']}, 'devices': []}")
    judgement, _ = room.judged(program, timeout_seconds=2.0)
    assert (judgement.how, judgement.exit_code) == ("none", 124)
    assert "What answers was started with other arguments." in details(judgement, "start")


def test_one_that_answers_nonsense_is_not_believed(room: Room) -> None:
    judgement, _ = room.judged(server("stats = lambda: []"), timeout_seconds=2.0)
    assert judgement.exit_code == 124
    assert "did not answer as a ComfyUI does" in details(judgement, "start")


def test_a_port_that_somebody_else_holds_is_left_for_another(room: Room) -> None:
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        taken = squatter.getsockname()[1]
        judgement, _ = room.judged(server(), choose_port=ports(taken, free_port()))
        assert judgement.exit_code == 0
        judgement, _ = room.judged("import time; time.sleep(600)", choose_port=ports(taken, taken, taken))
    assert (judgement.how, judgement.exit_code) == ("none", 2)
    assert "taken by another program" in details(judgement, "start")


def test_what_it_left_running_in_a_session_of_its_own_is_ended(room: Room) -> None:
    program = f"""
import subprocess, sys
code = "import time; time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", code, {str(room.folder)!r}], start_new_session=True)
open({str(room.folder / "left")!r}, "w").write(str(child.pid))
"""
    judgement, _ = room.judged(program)
    assert judgement.exit_code == 0
    assert _command(int((room.folder / "left").read_text())) == ""


def test_a_program_that_prints_without_end_is_ended_and_its_log_shortened(room: Room) -> None:
    program = "import sys\nprint('first')\nwhile True: sys.stdout.write('x' * 100_000 + '\\n')"
    judgement, logs = room.judged(program, max_log_bytes=4 << 20)
    assert (judgement.how, judgement.exit_code) == ("none", 124)
    assert "printed more than 4 MiB" in details(judgement, "start")
    log = Path(logs.stdout).read_bytes()
    assert len(log) < 3 << 20
    assert log.startswith(b"first\n")
    assert b"bytes left out" in log


def test_model_folders_are_found_by_the_models_that_an_input_lists(room: Room) -> None:
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
    judgement, _ = room.judged(server(changes))
    assert judgement.model_folders == {"Of_mine": {"name": "odd_things", "vae": "vae"}}
    assert judgement.widget_places == {"Of_mine": {"name": 1, "vae": 2}}
    assert judgement.model_directories == {"odd_things": ("odd",)}
    assert statuses(judgement)["models"] == "ok"


def test_a_comfyui_that_knows_fewer_options_is_given_only_those(room: Room) -> None:
    options = room.comfyui / "comfy" / "cli_args.py"
    options.parent.mkdir()
    options.write_text('parser.add_argument("--listen")\nparser.add_argument("--port")\n')
    program = "import sys; print(*sys.argv[1:])"
    judgement, logs = room.judged(program, choose_port=ports(12345))
    assert Path(logs.stdout).read_text() == "--listen=127.0.0.1 --port=12345\n"
    assert statuses(judgement)["start"] == "warn"
    assert "does not know --base-directory" in details(judgement, "start")


def test_installers_of_a_node_mean_the_candidate(room: Room) -> None:
    program = "import os; print(os.environ['VIRTUAL_ENV']); print(os.environ['PATH']); print(os.environ.get('TOKEN'))"
    _, logs = room.judged(program)
    home = Path(sys.executable).parents[1]
    said = Path(logs.stdout).read_text().splitlines()
    assert said == [str(home), f"{home}/bin:{os.environ['PATH']}", "None"]


def test_a_server_without_a_class_for_a_prompt_leaves_the_probe_unknown(room: Room) -> None:
    judgement, _ = room.judged(server("CORE.clear()"))
    assert (judgement.exit_code, statuses(judgement)["probe"]) == (0, "unknown")


def test_a_server_that_answers_a_prompt_with_a_text_is_a_fail(room: Room) -> None:
    changes = """
def do_post(self):
    self.send_response(500)
    self.end_headers()
    self.wfile.write(b"500 Internal Server Error")
Handler.do_POST = do_post
"""
    judgement, _ = room.judged(server(changes))
    assert (judgement.exit_code, details(judgement, "probe")) == (1, "A minimal prompt was refused: status 500.")


JUDGE = """
import sys
from pathlib import Path
from tests.base.test_process_children import wait_until
from tests.governance.trial.programs import Room
folder = Path(sys.argv[1]) / "killed"
folder.mkdir()
program = f"import time\\nfrom pathlib import Path\\nPath({str(folder / 'up')!r}).touch()\\ntime.sleep(600)"
Room(folder).judged(program)
"""


def test_when_we_are_killed_comfyui_goes_with_us(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", JUDGE, str(tmp_path)], cwd=Path(__file__).parents[3]) as judging:
        wait_until((tmp_path / "killed" / "up").exists, seconds=60)
        judging.kill()
    main = str(tmp_path / "killed" / "ComfyUI" / "main.py")
    wait_until(lambda: not [pid for pid in all_pids() if main in _command(pid)])
