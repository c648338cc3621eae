"""Checks of what is installed: production, the GPU driver, the deny list. Pure: facts in, result out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from comfywatchman.base.gpu.driver import GpuDriver
from comfywatchman.base.text import pluralize
from comfywatchman.governance.checks.result import CheckResult, CheckStatus
from comfywatchman.governance.store.records import InstalledPackage

REBUILD: Final = "gov init"
"""It builds production anew from the lock; nothing else changes."""

_LOCAL_CUDA: Final = re.compile(r"\+cu(\d{2})(\d)\b")
_MAX_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class ProductionFacts:
    """What is known of the environment in production.

    Attributes:
        generation: The name of the environment that the link leads to; None when it leads nowhere.
        is_complete: Whether that environment was finished and verified when it was built.
        is_of_lock: Whether it was built from the lock that is here.
        absent: What it was built with and has no longer, as `name version`.
        strange: What was installed into it since, as `name version`.
        broken: Packages without a list of their files: an installation that was cut off.
        modified: Files of packages that are not as they were installed.
        verified: Packages of which every file was verified lately.
        packages: How many packages it has.
    """

    generation: str | None
    is_complete: bool = False
    is_of_lock: bool = False
    absent: tuple[str, ...] = ()
    strange: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    modified: tuple[str, ...] = ()
    verified: int = 0
    packages: int = 0


def judge_production(facts: ProductionFacts) -> CheckResult:
    """Judge whether production is what the lock says: packages, versions and the content of their files."""
    if facts.generation is None:
        return _build_production_result(
            "fail", "There is no environment in production: .venv-prod leads nowhere.", REBUILD
        )
    if not facts.is_complete:
        evidence = f"The environment in production ({facts.generation}) was never completed."
        return _build_production_result("fail", evidence, REBUILD)
    if not facts.is_of_lock:
        evidence = f"The environment in production ({facts.generation}) was built from another lock than uv.lock."
        return msgspec.structs.replace(_build_production_result("fail", evidence, REBUILD), vital=False)
    faults = _describe_faults(facts)
    if faults:
        items = (*facts.absent, *facts.broken, *facts.modified, *facts.strange)
        status: Literal["warn", "fail"] = "fail" if facts.absent or facts.broken or facts.modified else "warn"
        return _build_production_result(
            status, f"Production is not what the lock says: {'; '.join(faults)}.", REBUILD, items
        )
    if facts.verified < facts.packages:
        evidence = "Packages and versions equal the lock; the files of "
        late = pluralize(facts.packages - facts.verified, "package")
        return _build_production_result(
            "unknown", f"{evidence}{late} were not verified lately, for want of time.", "gov check"
        )
    evidence = f"{pluralize(facts.packages, 'package')} as the lock says, with every file as it was installed."
    return _build_production_result("ok", evidence)


def _describe_faults(facts: ProductionFacts) -> list[str]:
    said = (
        ("not there: ", facts.absent),
        ("installed by halves: ", facts.broken),
        ("changed files: ", facts.modified),
        ("installed outside of gov: ", facts.strange),
    )
    return [words + shorten_list(found) for words, found in said if found]


def _build_production_result(
    status: CheckStatus,
    evidence: str,
    action: str | None = None,
    items: tuple[str, ...] = (),
) -> CheckResult:
    return CheckResult(
        name="production", vital=True, status=status, evidence=evidence, action=action, items=tuple(sorted(items))
    )


def judge_driver(packages: Sequence[InstalledPackage], driver: GpuDriver) -> CheckResult:
    """Judge whether the installed torch can use the GPU that is here.

    A driver serves every minor version of the CUDA versions up to its own major one (NVIDIA, "CUDA Compatibility",
    section "CUDA minor version compatibility").
    """
    versions = {package.name: package.version for package in packages}
    torch = versions.get("torch")
    if torch is None:
        return _build_driver_result("ok", "torch is not installed, so nothing here needs the GPU driver.")
    if driver.present is False:
        return _build_driver_result("ok", f"torch {torch}; there is no NVIDIA GPU that it would have to fit.")
    build = find_cuda_version(versions)
    return _judge_cpu_build(torch, driver) if build is None else _judge_cuda_build(torch, build, driver)


def _judge_cpu_build(torch: str, driver: GpuDriver) -> CheckResult:
    if "+" in torch and driver.present:
        action = "Add an index with the CUDA build of torch to pyproject.toml."
        return _build_driver_result(
            "warn", f"torch {torch} is not built for CUDA; this host has an NVIDIA GPU.", action
        )
    return _build_driver_result("unknown", f"Whether torch {torch} fits the GPU of this host could not be told.")


def _judge_cuda_build(torch: str, build: tuple[int, int], driver: GpuDriver) -> CheckResult:
    if driver.cuda is None:
        return _build_driver_result(
            "unknown", f"torch {torch} is built for CUDA {_format_version(build)}; the GPU driver did not answer."
        )
    named = f"the driver{f' {driver.version}' if driver.version else ''} serves CUDA {_format_version(driver.cuda)}"
    if build[0] > driver.cuda[0]:
        action = f"Install an NVIDIA driver for CUDA {build[0]}, or choose a torch that is built for an older CUDA."
        return _build_driver_result(
            "fail", f"torch {torch} is built for CUDA {_format_version(build)}, but {named}.", action
        )
    return _build_driver_result("ok", f"torch {torch} is built for CUDA {_format_version(build)}, and {named}.")


def find_cuda_version(versions: dict[str, str]) -> tuple[int, int] | None:
    """Return the version of CUDA that the installed torch was built for; None when that cannot be told.

    A build from its own index names it (`2.9.1+cu128`); one from PyPI does not, but depends on NVIDIA's runtime.
    """
    torch = versions.get("torch", "")
    if found := _LOCAL_CUDA.search(torch):
        return int(found[1]), int(found[2])
    if "+" in torch:
        return None
    names = [name for name in versions if re.fullmatch(r"nvidia-cuda-runtime(-cu\d+)?", name)]
    numbers = [_parse_numbers(versions[name]) for name in sorted(names)]
    return max(((one[0], one[1]) for one in numbers if len(one) > 1), default=None)


def _build_driver_result(status: CheckStatus, evidence: str, action: str | None = None) -> CheckResult:
    return CheckResult(name="gpu-driver", vital=True, status=status, evidence=evidence, action=action)


@dataclass(frozen=True, slots=True)
class DeniedItem:
    """One thing that is on the deny list and here.

    Attributes:
        what: Its name.
        reason: What it does.
        action: The command that takes it away.
        is_blocked: Whether it is known to do harm; False for what is only to be looked at.
    """

    what: str
    reason: str
    action: str
    is_blocked: bool = True


def judge_deny_list(found: Sequence[DeniedItem]) -> CheckResult:
    """Judge whether something is installed that is known to be harmful."""
    if not found:
        return CheckResult(name="deny-list", status="ok", evidence="Nothing that is on the deny list is installed.")
    said = "; ".join(f"{one.what}: {one.reason}" for one in found[:_MAX_NAMED])
    more = f" (and {len(found) - _MAX_NAMED} more)" if len(found) > _MAX_NAMED else ""
    return CheckResult(
        name="deny-list",
        status="fail" if any(one.is_blocked for one in found) else "warn",
        evidence=f"{said}{more}",
        action="; ".join(dict.fromkeys(one.action for one in found)),
        items=tuple(sorted(one.what for one in found)),
    )


def shorten_list(names: Sequence[str]) -> str:
    """Return the first names of a list, and how many more there are."""
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more


def _parse_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0]))


def _format_version(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
