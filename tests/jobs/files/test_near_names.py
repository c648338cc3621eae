from __future__ import annotations

from comfywatchman.jobs.files.near_names import list_known, suggest_name


def test_near_name_is_suggested() -> None:
    assert suggest_name("promt", ["prompt", "seed"]) == " Did you mean 'prompt'?"


def test_far_name_gets_no_suggestion() -> None:
    assert suggest_name("zzz", ["prompt", "seed"]) == ""


def test_all_names_are_listed_where_none_is_near() -> None:
    assert list_known("zzz", ["seed", "prompt"]) == " There are prompt, seed."
    assert list_known("sed", ["seed", "prompt"]) == " Did you mean 'seed'?"
    assert list_known("zzz", []) == ""


def test_long_list_is_cut() -> None:
    text = list_known("zzz", [f"n{number:02}" for number in range(13)])
    assert text.endswith("n11, ….")
