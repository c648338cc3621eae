from __future__ import annotations

from pathlib import Path

from comfywatchman.governance.uv.find_links import build_link_variables, join_links, list_link_options


def test_folders_are_options() -> None:
    assert list_link_options(("/a b", "c")) == ["--find-links", "/a b", "--find-links", "c"]
    assert build_link_variables(("/a b", "c")) == build_link_variables(()) == {}


def test_addresses_are_no_arguments() -> None:
    places = ("https://user:sesame@host.example/a,b", "/a b,c", "file:///d")
    assert list_link_options(places) == []
    assert build_link_variables(places) == {
        "UV_FIND_LINKS": "https://user:sesame@host.example/a%2Cb,file:///a%20b%2Cc,file:///d"
    }


def test_separator_in_a_place_is_escaped() -> None:
    joined = join_links(("https://host.example/my wheels", "wheels"), " ")
    assert joined == f"https://host.example/my%20wheels {Path.cwd().as_uri()}/wheels"
