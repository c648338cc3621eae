"""What a cycle costs, against the least that its work can cost on the same machine in the same minute.

    python benchmarks/run.py [--scales 1,10] [--json FILE] [--keep FOLDER]

For each size of a generated host: the first cycle (cold), one with nothing changed (warm), one with one changed
workflow, the one that hashes every model, and one that hashes a few new large models. The program is measured from
outside, as a person would run it; processor time is that of the process and its children, memory the largest of them.
Work is the cycle's own duration, from its log: without the start of Python and the imports. Its floor is what listing,
parsing and hashing the same files cost in the plainest program. After that: what a change of the governed environment
costs beside plain uv (governance.py).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

BENCHMARKS: Final = Path(__file__).resolve().parent
PROGRAM: Final = str(Path(sys.executable).with_name("comfywatchman"))
_WARM_ROUNDS: Final = 5
_VERSION_ROUNDS: Final = 7
_ALL_HASHES_SECONDS: Final = 3_600
_LARGE_FILES: Final = 8
_LARGE_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of a program cost.

    Attributes:
        wall: Seconds of wall clock.
        cpu: Seconds of processor.
        peak_mb: Peak memory.
        work: Seconds that the cycle itself took; 0 for a run without a cycle.
    """

    wall: float
    cpu: float
    peak_mb: float
    work: float = 0.0


@dataclass(frozen=True, slots=True)
class Host:
    """A generated host and the home that watches it."""

    root: Path
    home: Path
    config: Path

    def cycle(self) -> Cost:
        """Run one cycle."""
        cost = cost_of(PROGRAM, "--run-cycle", "--home", str(self.home), "--config", str(self.config))
        lines = (self.home / "log" / "structured.log").read_text().splitlines()
        finished = next(line for line in reversed(lines) if '"cycle finished"' in line)
        return replace(cost, work=json.loads(finished)["duration_seconds"])


def cost_of(*command: str) -> Cost:
    """Run a program and return what it cost.

    This process must stay small: Linux counts a parent's memory at the time of the fork to the child's peak.

    Raises:
        SystemExit: The program failed; with what it said.
    """
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            output.seek(0)
            said = output.read().decode("utf-8", "replace")[-2000:]
            raise SystemExit(f"{' '.join(command)} ended with status {child.returncode}:\n{said}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


def least(costs: list[Cost]) -> Cost:
    """Return the run that took least processor time."""
    return min(costs, key=lambda cost: cost.cpu)


def measure(folder: Path, scale: int) -> dict[str, Any]:
    """Generate a host of this size and return what each kind of cycle costs on it, and the floors."""
    host = make_host(folder, scale)
    floors = json.loads(script("floors.py", str(host.root)))
    cold = host.cycle()
    warm = least([host.cycle() for _ in range(_WARM_ROUNDS)])
    changed = least([changed_cycle(host, number) for number in range(_WARM_ROUNDS)])
    configure(host, hash_budget_seconds=_ALL_HASHES_SECONDS)
    hashing = host.cycle()
    large = add_large_models(host)
    configure(host, hash_budget_seconds=0)
    host.cycle()
    configure(host, hash_budget_seconds=_ALL_HASHES_SECONDS)
    floors["hash large"] = json.loads(script("floors.py", str(host.root), "--only-hash", str(large)))["hash"]
    costs = {"cold": cold, "warm": warm, "one changed": changed, "hash all": hashing, "hash large": host.cycle()}
    return {"scale": scale, "floors": floors, "costs": {name: asdict(cost) for name, cost in costs.items()}}


def make_host(folder: Path, scale: int) -> Host:
    """Generate a host in a process of its own, and a home with a configuration that asks nothing outside."""
    host = Host(folder / "ComfyUI", folder / "home", folder / "config.toml")
    script("generate.py", str(host.root), "--scale", str(scale))
    host.home.mkdir()
    configure(host, hash_budget_seconds=0)
    return host


def configure(host: Host, *, hash_budget_seconds: float) -> None:
    """Write the configuration of a host's home."""
    host.config.write_text(
        f'[comfyui]\nroot = "{host.root}"\nurl = ""\n'
        '[nodes]\nask_registry = false\nclass_map_url = ""\n[search]\nbudget_seconds = 0.0\n'
        "[schedule]\nmin_vram_gb = 0.0\nresume_grace_seconds = 0.0\n"
        f"[models]\nhash_budget_seconds = {hash_budget_seconds:.1f}\n"
    )


def add_large_models(host: Host) -> Path:
    """Add a few large valid models and return their folder."""
    folder = host.root / "models" / "checkpoints" / "large"
    folder.mkdir()
    tensor = {"dtype": "U8", "shape": [_LARGE_BYTES], "data_offsets": [0, _LARGE_BYTES]}
    header = json.dumps({"weight": tensor}).encode()
    header = header.ljust(-(-len(header) // 8) * 8)
    for number in range(_LARGE_FILES):
        with (folder / f"large_{number}.safetensors").open("wb") as stream:
            stream.write(len(header).to_bytes(8, "little") + header)
            for _ in range(_LARGE_BYTES >> 20):
                stream.write(os.urandom(1 << 20))
    return folder


def changed_cycle(host: Host, number: int) -> Cost:
    """Change one workflow and run a cycle."""
    workflows = sorted((host.root / "user" / "default" / "workflows").rglob("*.json"))
    path = workflows[number * 37 % len(workflows)]
    path.write_bytes(path.read_bytes() + b"\n")
    return host.cycle()


def script(name: str, *arguments: str) -> str:
    """Run one of the scripts beside this one and return what it printed."""
    command = [sys.executable, str(BENCHMARKS / name), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS.parent)}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


def report(version: Cost, sizes: list[dict[str, Any]]) -> str:
    """Return the figures for people."""
    lines = [f"comfywatchman --version: {version.cpu:.3f} s CPU, {version.peak_mb:.0f} MB", ""]
    for size in sizes:
        lines += [f"host x {size['scale']}", *_size_lines(size), ""]
    if len(sizes) > 1:
        lines += ["growth of the work", *_growth_lines(sizes[0], sizes[-1])]
    return "\n".join(lines)


def ratios(size: dict[str, Any]) -> dict[str, float]:
    """Return the work of each kind of cycle as a multiple of its floor; for hashing, what it adds to a warm cycle."""
    floors = size["floors"]
    work = {name: cost["work"] for name, cost in size["costs"].items()}
    return {
        "cold": work["cold"] / (floors["list"] + floors["parse"] + floors["headers"]),
        "warm": work["warm"] / floors["list"],
        "one changed": work["one changed"] / floors["list"],
        "hash all": (work["hash all"] - work["warm"]) / floors["hash"],
        "hash large": (work["hash large"] - work["warm"]) / floors["hash large"],
    }


def _size_lines(size: dict[str, Any]) -> list[str]:
    floors = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in size["floors"].items())
    lines = [f"  floors: {floors}", f"  {'cycle':<12}{'CPU s':>8}{'wall s':>8}{'work s':>8}{'MB':>7}{'x floor':>9}"]
    over = ratios(size)
    for name, cost in size["costs"].items():
        figures = f"{cost['cpu']:>8.3f}{cost['wall']:>8.3f}{cost['work']:>8.3f}{cost['peak_mb']:>7.0f}"
        lines.append(f"  {name:<12}{figures}{over[name]:>9.2f}")
    return lines


def _growth_lines(small: dict[str, Any], large: dict[str, Any]) -> list[str]:
    times = large["scale"] / small["scale"]
    return [
        f"  {name:<12}{large['costs'][name]['work'] / cost['work']:>6.1f} times for {times:.0f} times the host"
        for name, cost in small["costs"].items()
        if name != "hash large"
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what cycles cost on generated hosts.")
    parser.add_argument("--scales", default="1,10", help="sizes of the host, smallest first")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--keep", type=Path, help="make the hosts here and leave them")
    options = parser.parse_args()
    version = least([cost_of(PROGRAM, "--version") for _ in range(_VERSION_ROUNDS)])
    sizes = []
    with tempfile.TemporaryDirectory(prefix="comfywatchman-benchmark-") as temporary:
        for scale in map(int, options.scales.split(",")):
            folder = (options.keep or Path(temporary)) / f"scale-{scale}"
            folder.mkdir(parents=True)
            sizes.append(measure(folder, scale))
    print(report(version, sizes))
    print("\n" + script("governance.py").rstrip())
    if options.json:
        options.json.write_text(
            json.dumps({"version": asdict(version), "sizes": sizes}, indent=2, sort_keys=True) + "\n"
        )


if __name__ == "__main__":
    main()
