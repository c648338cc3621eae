from __future__ import annotations

import ast

from scripts.orchestrator_scenarios import CHECKOUT, read_scenarios


def list_functions(file: str) -> set[str]:
    tree = ast.parse((CHECKOUT / file).read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_each_scenario_has_its_test() -> None:
    scenarios = read_scenarios()
    assert len(scenarios) == len({name for name, _test in scenarios}) == 81
    assert [test for _name, test in scenarios if test.split("::")[1] not in list_functions(test.split("::")[0])] == []
