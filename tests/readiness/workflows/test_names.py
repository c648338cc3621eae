from __future__ import annotations

import pytest

from comfywatchman.readiness.workflows.names import match_name, suggest_names

PATHS = (
    "/w/guides/2-4brushnet.json",
    "/w/other/2-4brushnet.json",
    "/w/official/video_wan2_2_14B_i2v.json",
    "/w/picture.png",
)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("/w/picture.png", ("/w/picture.png",)),
        ("official/video_wan2_2_14B_i2v.json", ("/w/official/video_wan2_2_14B_i2v.json",)),
        ("./video_wan2_2_14B_i2v.json", ("/w/official/video_wan2_2_14B_i2v.json",)),
        ("picture", ("/w/picture.png",)),
        ("PICTURE.PNG", ("/w/picture.png",)),
        ("2-4brushnet.json", PATHS[:2]),
        ("icture.png", ()),
    ],
)
def test_workflow_is_named_by_its_last_segments(name: str, found: tuple[str, ...]) -> None:
    assert match_name(name, PATHS).found == found


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("2_14B_i2v.json", "/w/official/video_wan2_2_14B_i2v.json"),
        ("pictrue.png", "/w/picture.png"),
        ("2-4brushnt.json", "/w/guides/2-4brushnet.json"),
    ],
)
def test_unknown_name_gets_a_suggestion(name: str, suggested: str) -> None:
    match = match_name(name, PATHS)
    assert (match.found, match.suggestions[0]) == ((), suggested)


def test_nothing_similar_is_no_suggestion() -> None:
    assert match_name("", ()).suggestions == ()
    assert suggest_names("zzzz", PATHS) == ()
    assert suggest_names("x.json", ("/w/long name.json",)) == ()
