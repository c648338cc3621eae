from __future__ import annotations

import msgspec
import pytest

from comfywatchman.comfyui.imports.problems import NO_PROBLEMS, ImportProblem, PackImports, ProblemKind
from comfywatchman.comfyui.install.reachability import Obstacle, ObstacleKind

PROBLEM = ImportProblem(
    ProblemKind.PYTHON_PACKAGE, "ModuleNotFoundError", "py/one.py", 3, "import cv2", "no module cv2", is_certain=True
)


@pytest.mark.parametrize(
    ("changes", "summary"),
    [
        ({}, "`import cv2` fails (py/one.py, line 3): no module cv2"),
        ({"is_certain": False}, "`import cv2` may fail (py/one.py, line 3): no module cv2"),
        ({"line": None}, "`import cv2` fails (py/one.py): no module cv2"),
        ({"statement": ""}, "py/one.py, line 3: no module cv2"),
        ({"statement": "", "line": None}, "py/one.py: no module cv2"),
        ({"statement": "", "line": None, "file": ""}, "no module cv2"),
    ],
)
def test_summary_has_only_the_facts_that_are_known(changes: dict[str, object], summary: str) -> None:
    assert msgspec.structs.replace(PROBLEM, **changes).summary == summary


def test_problems_come_back_from_json() -> None:
    doubt = msgspec.structs.replace(
        PROBLEM, is_certain=False, obstacle=Obstacle(ObstacleKind.UNREADABLE, "/venv", "Permission denied")
    )
    imports = PackImports(PROBLEM, {"A": doubt})
    assert msgspec.json.decode(msgspec.json.encode(imports), type=PackImports) == imports
    assert msgspec.json.decode(b"{}", type=PackImports) == NO_PROBLEMS
