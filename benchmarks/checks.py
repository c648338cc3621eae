"""Cost of the environment checks in a cycle: nothing changed, the first time, and everything from scratch.

    python benchmarks/checks.py [--packages 66] [--files 380] [--nodes 50]

As large as ComfyUI's own environment: 66 packages of 25,000 files, 50 registered nodes, 50 snapshots. The floor is one
`os.stat` of each of these files.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from comfywatchman.base.gpu.driver import GpuDriver
from comfywatchman.governance.checks.runner import run_checks
from comfywatchman.governance.environments import access, generation
from comfywatchman.governance.nodes import add
from tests.governance.contexts import Site, build_site
from tests.governance.packs import create_repository
from tests.governance.wheels import add_wheel

_TEXT = "x = 1\n" * 200


def make_site(folder: Path, packages: int, files: int, nodes: int) -> Site:
    """Make a governed root of some packages of some files each, with registered nodes."""
    names = tuple(f"bulk{number}" for number in range(packages))
    site = build_site(folder, requirements=names, init=False)
    for name in names:
        add_wheel(site.wheels, name, "1.0", files={f"{name}/m{n}.py": _TEXT for n in range(files)})
    site.init()
    for number in range(nodes):
        node_id = f"node{number}"
        create_repository(site.comfyui / "custom_nodes" / node_id, files={f"f{n}.py": _TEXT for n in range(20)})
        with site.opened() as opened:
            add.adopt_node(opened, node_id)
    return site


def stat_all(folder: Path) -> int:
    """Ask the state of every file below a folder, and return how many there are."""
    paths = [os.path.join(place, name) for place, _folders, files in os.walk(folder) for name in files]
    return len([os.stat(path) for path in paths])


def report(what: str, work: Callable[[], object]) -> None:
    """Print what some work took, the least of three."""
    taken = []
    for _ in range(3):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        taken.append((time.perf_counter() - wall, time.process_time() - cpu))
    print(f"{what}: {min(taken)[0] * 1000:.0f} ms, {min(taken)[1] * 1000:.0f} ms CPU")


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=int, default=66)
    parser.add_argument("--files", type=int, default=380)
    parser.add_argument("--nodes", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gov-checks-") as name:
        site = make_site(Path(name), options.packages, options.files, options.nodes)
        looked = access.read_context(site.root, comfyui=site.comfyui, clock=site.clock, network={})
        environment = generation.environment_dir(site.layout, generation.current_key(site.layout) or "")

        def check(budget_seconds: float | None) -> None:
            run_checks(looked, driver=GpuDriver(present=False), budget_seconds=budget_seconds)

        def forget_and_check() -> None:
            site.layout.check_cache.unlink(missing_ok=True)
            check(0.5)

        report(f"floor, os.stat of {stat_all(environment)} files", lambda: stat_all(environment))
        report("the first checks of a cycle", forget_and_check)
        report("the next ones, nothing changed", lambda: check(0.5))
        report("gov check, every file read", lambda: check(None))


if __name__ == "__main__":
    main()
