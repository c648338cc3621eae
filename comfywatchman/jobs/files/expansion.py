"""The runs of one job file that asks for several seeds or prompts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

_SEEDS: Final = 1 << 64
_DERIVED_SEED_BITS: Final = 32
"""Some nodes take seeds of 32 bits only."""


def expand_repeats(
    seeds: int | Sequence[int] | None,
    prompts: Sequence[str] | None,
    *,
    seed_input: str,
    prompt_input: str,
    base_seed: object,
    name: str,
) -> tuple[Mapping[str, Any], ...]:
    """Return the inputs that each run of a job changes: every prompt with every seed. Pure.

    The same file always gives the same seeds, so that a run can be repeated: they follow on the job's own seed, or are
    derived from its name when it gives none.

    Args:
        seeds: A number of seeds, the seeds, or None.
        prompts: The prompts, or None.
        seed_input: The input that gets the seed.
        prompt_input: The input that gets the prompt.
        base_seed: The seed that the job gives as an input, if it is a number.
        name: The job's name.

    Returns:
        One mapping per run; empty when the job asks for neither.
    """
    if seeds is None and prompts is None:
        return ()
    if isinstance(seeds, int):
        seeds = [derive_seed(base_seed, name, index) for index in range(seeds)]
    repeats: list[Mapping[str, Any]] = []
    chosen_prompts: Sequence[str | None] = prompts or [None]
    chosen_seeds: Sequence[int | None] = seeds or [None]
    for prompt in chosen_prompts:
        for seed in chosen_seeds:
            changed: dict[str, Any] = {}
            if prompt is not None:
                changed[prompt_input] = prompt
            if seed is not None:
                changed[seed_input] = seed
            repeats.append(changed)
    return tuple(repeats)


def derive_seed(base_seed: object, name: str, index: int) -> int:
    """Return the seed of one run. Pure.

    Args:
        base_seed: The job's own seed, if it is a number.
        name: The job's name.
        index: The run, from 0.
    """
    if isinstance(base_seed, int) and not isinstance(base_seed, bool):
        return (base_seed + index) % _SEEDS
    digest = hashlib.sha256(f"{name}\n{index}".encode()).digest()
    return int.from_bytes(digest[: _DERIVED_SEED_BITS // 8], "big")
