from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfywatchman.jobs.files.expansion import derive_seed, expand_repeats


def expand(seeds: object = None, prompts: object = None, *, base_seed: object = None) -> tuple[Mapping[str, Any], ...]:
    return expand_repeats(
        seeds,  # type: ignore[arg-type]
        prompts,  # type: ignore[arg-type]
        seed_input="seed",
        prompt_input="prompt",
        base_seed=base_seed,
        name="fox.yaml",
    )


def test_job_that_asks_for_neither_has_no_repeats() -> None:
    assert expand() == ()


def test_listed_seeds_are_taken_as_they_are() -> None:
    assert expand([5, 7]) == ({"seed": 5}, {"seed": 7})


def test_number_of_seeds_follows_on_the_jobs_own_seed() -> None:
    assert expand(3, base_seed=40) == ({"seed": 40}, {"seed": 41}, {"seed": 42})


def test_seed_after_the_largest_is_0() -> None:
    assert expand(2, base_seed=(1 << 64) - 1) == ({"seed": (1 << 64) - 1}, {"seed": 0})


def test_seeds_without_a_base_come_from_the_name() -> None:
    seeds = [repeat["seed"] for repeat in expand(100)]
    assert seeds == [repeat["seed"] for repeat in expand(100, base_seed=True)]
    assert len(set(seeds)) == 100
    assert all(0 <= seed < 1 << 32 for seed in seeds)
    assert derive_seed(None, "other.yaml", 0) != seeds[0]


def test_derived_seeds_never_change() -> None:
    assert derive_seed(None, "fox.yaml", 0) == 1046545071


def test_prompts_keep_their_order() -> None:
    assert expand(prompts=["b", "a"]) == ({"prompt": "b"}, {"prompt": "a"})


def test_every_prompt_runs_with_every_seed() -> None:
    assert expand([1, 2], ["a", "b"]) == (
        {"prompt": "a", "seed": 1},
        {"prompt": "a", "seed": 2},
        {"prompt": "b", "seed": 1},
        {"prompt": "b", "seed": 2},
    )
