from __future__ import annotations

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.parsing.json_limits import MAX_JSON_VALUES
from comfywatchman.comfyui.loaders.table import load_builtin_table
from comfywatchman.comfyui.workflow.budget import MAX_NODES, ReadingBudget
from comfywatchman.comfyui.workflow.reader import read_workflow


def refusal(content: bytes, budget: ReadingBudget | None = None) -> str:
    with pytest.raises(Failure) as caught:
        read_workflow(content, table=load_builtin_table(), budget=budget)
    assert caught.value.code == "workflow-too-large"
    return caught.value.message


def check_often(budget: ReadingBudget) -> None:
    for _ in range(1000):
        budget.check_time()


def build_graph(*entries: str) -> bytes:
    return f'{{"nodes":[{",".join(entries)}],"links":[],"version":0.4}}'.encode()


def test_more_nodes_than_any_workflow_are_not_read() -> None:
    nodes = [f'{{"id":{number},"type":"A"}}' for number in range(MAX_NODES + 1)]
    assert "not read: it has more than 10,000 nodes" in refusal(build_graph(*nodes))
    assert len(read_workflow(build_graph(*nodes[:100]), table=load_builtin_table()).nodes) == 100


def test_entries_that_are_no_nodes_count_as_nodes() -> None:
    assert "nodes" in refusal(build_graph('{"id":1,"type":"A"}', *["1"] * MAX_NODES))


def test_prompt_with_more_nodes_than_any_workflow_is_not_read() -> None:
    entries = ",".join(f'"{number}":{{"class_type":"A"}}' for number in range(MAX_NODES + 1))
    assert "nodes" in refusal(f"{{{entries}}}".encode())
    assert "nodes" in refusal(f'{{"prompt":{{{entries}}}}}'.encode())


def test_more_values_than_any_workflow_are_not_read() -> None:
    assert "values" in refusal(build_graph(*["0"] * (MAX_JSON_VALUES + 1)))


def test_budget_is_shared_by_the_readers_of_a_file() -> None:
    budget = ReadingBudget(nodes=1)
    assert "nodes" in refusal(build_graph('{"id":1,"type":"A"}', '{"id":2,"type":"A"}'), budget)


@pytest.mark.parametrize("spend", ["take_read", "take_unpacked"])
def test_bytes_are_spent_in_total(spend: str) -> None:
    budget = ReadingBudget(read_bytes=10, unpacked_bytes=10)
    getattr(budget, spend)(6)
    with pytest.raises(Failure, match="MiB"):
        getattr(budget, spend)(6)


def test_parts_and_time_are_limited() -> None:
    budget = ReadingBudget(reads=1)
    budget.take_part()
    with pytest.raises(Failure, match="parts"):
        budget.take_part()
    slow = ReadingBudget(cpu_seconds=-1.0)
    with pytest.raises(Failure, match="seconds"):
        check_often(slow)
