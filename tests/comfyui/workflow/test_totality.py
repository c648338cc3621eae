"""Whatever the bytes are: a workflow or a Failure, never anything else."""

from __future__ import annotations

import json
import time

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.loaders.table import load_builtin_table
from comfywatchman.comfyui.references.find import find_references
from comfywatchman.comfyui.workflow.reader import read_workflow
from tests.accuracy.templates import template_files
from tests.comfyui.workflow import samples
from tests.mutation import mutated, repeatable

MUTATED_TEMPLATES = 1_200
MUTATED_SAMPLES = 2_000


def outcome(content: bytes) -> str:
    """Read a file wholly and give how that ended; every other exception than a Failure is the test's failure."""
    table = load_builtin_table()
    try:
        workflow = read_workflow(content, table=table)
    except Failure as failure:
        return failure.code
    references = find_references(workflow, table)
    # What is read must be writable again: reports are made of it.
    orjson.dumps([references, workflow.problems, workflow.declared, workflow.notes])
    return "read"


@pytest.mark.slow
def test_damaged_samples_are_read_or_refused() -> None:
    files = [json.dumps(raw).encode() for raw in samples.ALL.values()]
    seen = set()
    for seed in range(MUTATED_SAMPLES):
        rng = repeatable(seed)
        seen.add(outcome(mutated(rng.choice(files), rng)))
    assert seen >= {"read", "workflow-not-json", "workflow-not-a-workflow"}


@pytest.mark.slow
def test_damaged_templates_are_read_or_refused_in_time() -> None:
    # Small templates keep this short; the torture suite takes them all.
    files = sorted((content for content in template_files().values() if len(content) < 30_000), key=len)
    slowest = 0.0
    for seed in range(MUTATED_TEMPLATES):
        rng = repeatable(seed)
        content = mutated(rng.choice(files), rng)
        start = time.process_time()
        outcome(content)
        slowest = max(slowest, time.process_time() - start)
    assert slowest < 10


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
@pytest.mark.slow
def test_bytes_are_read_or_refused(content: bytes) -> None:
    assert outcome(content)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-30, 30), st.floats(), st.text(max_size=6), st.sampled_from([10**30])
)
JUNK = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
)


def sometimes(*expected: object) -> st.SearchStrategy[object]:
    return st.one_of(
        *(st.just(value) if not isinstance(value, st.SearchStrategy) else value for value in expected), JUNK
    )


CLASSES = [
    samples.SUB,
    samples.INNER,
    "workflow>g",
    "VAELoader",
    "Reroute",
    "GetNode",
    "SetNode",
    "PrimitiveNode",
    "Note",
    "X",
]
IDS = st.sampled_from([1, 2, 3, "1", "2", -10, -20])
SLOTS = st.fixed_dictionaries(
    {
        "name": sometimes("vae_name", "a"),
        "link": sometimes(IDS),
        "widget": sometimes({"name": "vae_name"}),
        "type": JUNK,
    }
)
NODES = st.fixed_dictionaries(
    {"id": sometimes(IDS), "type": st.sampled_from(CLASSES)},
    optional={
        "mode": sometimes(2, 4, 0),
        "inputs": sometimes(st.lists(SLOTS, max_size=3)),
        "widgets_values": sometimes(st.lists(JUNK, max_size=3), {"vae_name": 1}),
        "widgets_values_named": sometimes(st.dictionaries(st.sampled_from(["vae_name", "a"]), JUNK)),
        "properties": sometimes(
            st.fixed_dictionaries({"proxyWidgets": sometimes([["1", "a"], ["-1", "a"], ["2", "3: a"]]), "models": JUNK})
        ),
        "outputs": sometimes([{"type": "X"}]),
        "index": sometimes(0, 1),
    },
)
LINKS = st.lists(
    st.tuples(IDS, IDS, st.integers(-1, 2), IDS, st.integers(-1, 2)).flatmap(
        lambda five: st.sampled_from(
            [
                [*five, "X"],
                dict(zip(["id", "origin_id", "origin_slot", "target_id", "target_slot"], five, strict=True)),
            ]
        )
    )
    | JUNK,
    max_size=6,
)
GRAPHS = st.fixed_dictionaries({"nodes": st.lists(NODES, max_size=5), "links": sometimes(LINKS)})
DEFINITIONS = st.tuples(st.sampled_from([samples.SUB, samples.INNER]), GRAPHS, JUNK).map(
    lambda parts: {
        "id": parts[0],
        "inputs": [{"name": "a"}],
        "outputs": [{"name": "o"}],
        "definitions": parts[2],
        **parts[1],
    }
)
WORKFLOWS = st.builds(
    lambda graph, definitions, group: {
        **graph,
        "definitions": {"subgraphs": definitions},
        "extra": {"groupNodes": {"g": group}},
    },
    GRAPHS,
    st.lists(DEFINITIONS, max_size=3),
    st.one_of(GRAPHS, JUNK),
)


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(WORKFLOWS)
def test_malformed_graphs_are_read_or_refused(raw: dict[str, object]) -> None:
    assert outcome(json.dumps(raw).encode())


@pytest.mark.parametrize("levels", [100, 900, 5_000, 200_000])
def test_nesting_of_any_depth_is_read_or_refused(levels: int) -> None:
    nested = b'{"nodes":[{"id":1,"type":"VAELoader","widgets_values":' + b"[" * levels + b"]" * levels + b"}]}"
    assert outcome(nested) in {"read", "workflow-too-deep"}


@pytest.mark.slow
def test_a_chain_of_many_reroutes_ends() -> None:
    count = 3_000
    nodes = [samples.node(n, "Reroute", inputs=[samples.slot("", n)]) for n in range(1, count)]
    nodes.append(samples.node(count, "VAELoader", ["a"], inputs=[samples.slot("vae_name", count)]))
    links = [[n, n - 1, 0, n, 0, "*"] for n in range(1, count + 1)]
    assert outcome(json.dumps(samples.graph(*nodes, links=links)).encode()) == "read"


@pytest.mark.slow
def test_a_file_made_to_be_slow_is_read_in_time() -> None:
    # Just below the number of nodes that one file may have.
    many = 9_000
    names = {f"n{n}": "x.gguf" for n in range(many)}
    inputs = [samples.slot(name, n) for n, name in enumerate(names)]
    links = [[n, 1, 0, 2, n, "*"] for n in range(many)]
    wide = samples.graph(
        samples.node(1, "PrimitiveString", ["a.gguf"]),
        samples.node(2, "RIFE VFI", list(names.values()), widgets_values_named=names, inputs=inputs),
        links=links,
    )
    loaders = [samples.node(n, "VAELoader", ["a"]) for n in range(many)]
    proxies = [[str(n), "vae_name"] for n in range(many)]
    host = samples.node(1, samples.SUB, ["b"] * many, properties={"proxyWidgets": proxies})
    many_overrides = samples.with_subgraph(host, samples.subgraph(*loaders))
    for raw in (wide, many_overrides):
        content = json.dumps(raw).encode()
        start = time.process_time()
        assert outcome(content) == "read"
        # Quadratic reading takes minutes; reading 20,000 nodes under coverage on a loaded machine took 6 s.
        assert time.process_time() - start < 100
