"""Run the 81 scenarios of the original orchestrator: `python -m scripts.orchestrator_scenarios [PYTEST ARGUMENTS]`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parents[1]
LIST: Final = CHECKOUT / "tests" / "supervisor" / "orchestrator_scenarios.txt"


def read_scenarios(path: Path = LIST) -> list[tuple[str, str]]:
    """Return each scenario with the id of its test; a file alone means the test with the scenario's name."""
    scenarios = []
    for line in path.read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            name, test = line.split()
            scenarios.append((name, test if "::" in test else f"{test}::test_{name}"))
    return scenarios


def main(arguments: Sequence[str]) -> int:
    """Run the tests of the scenarios, each once."""
    tests = sorted({test for _name, test in read_scenarios()})
    command = [sys.executable, "-m", "pytest", "-n", "0", "-m", "", *arguments, *tests]
    return subprocess.run(command, cwd=CHECKOUT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
