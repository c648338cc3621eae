"""What governance costs beside plain uv: the same packages from the same warm cache on this machine, in turns.

    python benchmarks/governance.py [--packages 40] [--files 400] [--requirements FILE] [--rounds 5] [--folder FOLDER]

The floor is `uv sync --locked --exact` of the set into a new environment, with hard links. A candidate is that with pip
in it and its small files copied. A promotion locks twice, builds a new environment, hashes every file of it, runs the
smoke test, flushes the disk and commits. A rollback goes to an environment that is kept. Medians of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from comfywatchman.base.config import network_variables
from comfywatchman.governance.environments import staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.rollback import rollback
from comfywatchman.governance.nodes.add import adopt_node
from comfywatchman.governance.transactions import candidate
from comfywatchman.governance.transactions.gates import Consent
from comfywatchman.governance.transactions.promotion import promote
from comfywatchman.governance.transactions.run import run_transaction
from tests.governance.contexts import Site, build_site
from tests.governance.wheels import add_wheel

_TEXT = "value = 'some text that stands for the lines of a module'\n" * 60


def real_site(folder: Path, requirements: Path) -> Site:
    """Make a governed root whose ComfyUI needs packages of the index."""
    lines = requirements.read_text("utf-8").splitlines()
    site = build_site(folder, requirements=tuple(lines), init=False)
    site.configure(network={"no_index": False})
    site.network = network_variables()
    site.init()
    return site


def make_site(folder: Path, packages: int, files: int) -> Site:
    """Make a governed root whose ComfyUI needs some packages of some files each."""
    names = tuple(f"bulk{number}" for number in range(packages))
    site = build_site(folder, requirements=names, init=False)
    for name in names:
        add_wheel(
            site.wheels, name, "1.0", files={f"{name}/part{n}.py": f"{_TEXT}# {name} {n}\n" for n in range(files)}
        )
    site.init()
    return site


def seconds(work: Callable[[], object]) -> float:
    """Return how long some work took."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def plain_sync(ground: GovContext, environment: Path) -> float:
    """Make a new environment with uv alone."""
    with staging.open_staging(ground.layout) as work:
        took = seconds(lambda: ground.uv.sync(work.folder, environment, python=ground.python, link_mode="hardlink"))
    shutil.rmtree(environment)
    return took


def new_candidate(ground: GovContext, environment: Path) -> float:
    """Make a candidate as a trial does."""
    took = seconds(lambda: candidate.create(ground, environment))
    shutil.rmtree(environment)
    return took


def one_round(site: Site, number: int) -> dict[str, float]:
    """Measure each thing once, on a root that has the nodes of the rounds before."""
    node_id = f"node{number}"
    folder = site.comfyui / "custom_nodes" / node_id
    folder.mkdir()
    add_wheel(site.wheels, f"wish{number}", "1.0")
    (folder / "requirements.txt").write_text(f"wish{number}\n")
    with site.opened("benchmark") as ground:
        figures = {
            "uv sync": plain_sync(ground, site.folder / "plain"),
            "candidate": new_candidate(ground, site.folder / "candidate"),
        }
        adopt_node(ground, node_id)
        tried = run_transaction(ground, node_id)
        figures["promote"] = seconds(lambda: promoted(ground, tried.txid))
        pre = max(site.layout.operations.glob("*.json"))
        snapshot_id = json.loads(pre.read_bytes())["pre_snapshot"]
        figures["rollback"] = seconds(lambda: rollback(ground, snapshot_id))
        newest = max(site.layout.operations.glob("*.json"))
        rollback(ground, json.loads(newest.read_bytes())["pre_snapshot"])
    return figures


def promoted(ground: GovContext, txid: str) -> None:
    """Promote a transaction.

    Raises:
        SystemExit: It was not promoted; with why.
    """
    done = promote(ground, txid, Consent(), report=_unexpected)
    if done.status != "promoted":
        raise SystemExit(f"{txid} is {done.status}: {done.error}")


def _unexpected(*_facts: object) -> NoReturn:
    raise SystemExit("the packages cannot be installed together")


def measure(site: Site, rounds: int) -> dict[str, float]:
    """Return the median of each figure, in seconds."""
    with site.opened("benchmark") as ground:
        plain_sync(ground, site.folder / "warm")
    found = [one_round(site, number) for number in range(rounds)]
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=int, default=40, help="how many packages ComfyUI needs")
    parser.add_argument("--files", type=int, default=400, help="how many modules each has")
    parser.add_argument("--requirements", type=Path, help="real packages instead, of the index, as lines of this file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to work")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="governance-benchmark-") as name:
        if options.requirements:
            site = real_site(Path(name), options.requirements)
        else:
            site = make_site(Path(name), options.packages, options.files)
        figures = measure(site, options.rounds)
        count = sum(len(names) for _folder, _below, names in os.walk(site.layout.production.resolve()))
    print(f"an environment of {count} files")
    for what, took in figures.items():
        print(f"  {what:<10}{took:>8.3f} s{took / figures['uv sync']:>8.2f} x uv sync")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
