from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfywatchman.base.address import redact_url
from comfywatchman.base.errors import Failure
from comfywatchman.governance.nodes.identity import (
    check_id,
    check_ref,
    derive_id,
    find_conflicting_id,
    is_address,
    is_same_origin,
    normalize_id,
    parse_origin,
)

HIDDEN = "s3cret"


@pytest.mark.parametrize("node_id", ["ComfyUI-KJNodes", "a", "was-node-suite-comfyui", "a.b_c-d", "9nodes", "x" * 100])
def test_ordinary_names_are_valid_ids(node_id: str) -> None:
    assert check_id(node_id) == node_id


@pytest.mark.parametrize(
    "node_id",
    [
        *("", ".", "..", "../../escaped", "a/b", "a\\b", "/abs", "a\0b", "a b", "a\n", " a", "ä", "a\u202eb", "~"),
        *("-rf", "--upload-pack", ".hidden", "a.", "a-", "_a", "a_", "a..b", "x" * 101, "*", "$(id)", "a;b", "%2e"),
        *("con", "NUL", "com1", "lpt9.txt", "aux.git", "pack.disabled", "pack.git", "PACK.GIT", "pack.py", "x.lock"),
    ],
)
def test_unsafe_or_reserved_ids_are_refused(node_id: str) -> None:
    with pytest.raises(Failure) as caught:
        check_id(node_id)
    assert caught.value.code == "gov-bad-id"
    assert "--id" in str(caught.value)


@given(st.text(max_size=120))
@pytest.mark.slow
def test_valid_ids_are_plain_folder_names(text: str) -> None:
    try:
        node_id = check_id(text)
    except Failure:
        return
    assert node_id.isascii()
    assert not set(node_id) & set("/\\\0 ")
    assert node_id[0].isalnum()
    assert node_id[-1].isalnum()
    assert len(node_id) <= 100


@pytest.mark.parametrize("other", ["my-pack", "MY_PACK", "My.Pack", "my--pack"])
def test_ids_with_the_same_folder_or_group_conflict(other: str) -> None:
    assert find_conflicting_id("My_Pack", ["another", other]) == other
    assert find_conflicting_id("My_Pack", ["another", "my-packs"]) is None
    assert normalize_id(other) == "my-pack"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://github.com/a/b", "https://github.com/a/b"),
        ("https://github.com/a/b.git", "https://github.com/a/b.git"),
        ("https://example.org:8443/a/b", "https://example.org:8443/a/b"),
        ("http://127.0.0.1:8000/a/b.git", "http://127.0.0.1:8000/a/b.git"),
        ("ssh://git@github.com/a/b", "ssh://git@github.com/a/b"),
        ("ssh://github.com:22/a/b", "ssh://github.com:22/a/b"),
        ("git@github.com:a/b.git", "git@github.com:a/b.git"),
        ("github.com:a/b.git", "git@github.com:a/b.git"),
    ],
)
def test_urls_of_packs_are_accepted(url: str, shown: str) -> None:
    origin = parse_origin(url)
    assert origin.url == shown
    assert (origin.user, origin.secret, origin.is_local) == ("", "", False)


@pytest.mark.parametrize(
    "url",
    [
        *("", "-", "--upload-pack=touch /tmp/x", "--upload-pack=x", "-u", "-c"),
        *("ext::sh -c id", "ext::sh", "fd::17", "transport::https://github.com/a/b", "EXT::https://x/a"),
        *("git://github.com/a/b", "http://github.com/a/b", "ftp://x.org/a/b", "javascript://x/a", "rsync://x.org/a"),
        *("https://", "https:///a/b", "https://github.com", "https://github.com/", "https://[broken/a/b"),
        *("https://-oProxyCommand=x/a/b", "ssh://-oProxyCommand=x/a/b", "ssh://-x@host/a/b", "-x@host:a", "git@-x:a/b"),
        *("git@host:-x", "ssh://host/-x", "a@b@host:c", "ssh://git:pw@host/a/b", "https://host:x/a/b"),
        *("https://github.com/a b", "https://github.com/a\n/b", "https://github.com/a\\b", "https://github.com/ä/b"),
        *("https://github.com/a/b?x=1", "https://github.com/a/b#readme", "https://github.com/a/b\x1b[2J"),
        *("file:///srv/b.git", "FILE:///srv/b.git", "/srv/b.git", "./b", "../b", "..", ".", "file://host/srv/b"),
        *("https://github.com/" + "a" * 3000, "word", "C:foo\\bar"),
    ],
)
def test_unsafe_urls_are_refused(url: str) -> None:
    with pytest.raises(Failure) as caught:
        parse_origin(url)
    assert caught.value.code == "gov-bad-url"
    assert caught.value.hint


@pytest.mark.parametrize("url", ["file:///srv/b.git", "/srv/b.git"])
def test_local_folder_needs_allow_local(url: str) -> None:
    assert parse_origin(url, allow_local=True).is_local
    for other in ("./b", "../b", "file://host/srv/b"):
        with pytest.raises(Failure):
            parse_origin(other, allow_local=True)


def test_local_folder_may_have_any_name() -> None:
    assert parse_origin("/srv/my nodes/ünï", allow_local=True).url == "/srv/my nodes/ünï"
    for other in ("/srv/my nodes", "/srv/a\nb"):
        with pytest.raises(Failure):
            parse_origin(other, allow_local=other.endswith("b"))


def test_branch_page_is_refused_with_the_right_command() -> None:
    with pytest.raises(Failure) as caught:
        parse_origin(f"https://me:{HIDDEN}@github.com/a/b/tree/v2")
    assert "https://github.com/a/b --ref v2" in str(caught.value)
    assert HIDDEN not in str(caught.value)


def test_password_in_a_url_is_separated_and_never_shown() -> None:
    origin = parse_origin(f"https://me:{HIDDEN}%21@github.com/a/b")
    assert origin.url == "https://github.com/a/b"
    assert (origin.user, origin.secret) == ("me", f"{HIDDEN}!")
    assert HIDDEN not in repr(origin)


@pytest.mark.parametrize(
    "url",
    [
        f"https://{HIDDEN}@github.com/a/b?x",
        f"https://me:{HIDDEN}@",
        f"ftp://me:{HIDDEN}@host/a",
        f"https://host/a?token={HIDDEN}",
        f"https://[{HIDDEN}",
        f"{HIDDEN}@host:-x",
    ],
)
def test_message_about_a_refused_url_holds_no_secret(url: str) -> None:
    with pytest.raises(Failure) as caught:
        parse_origin(url)
    assert HIDDEN not in str(caught.value)
    assert HIDDEN not in redact_url(url)


@pytest.mark.parametrize(
    ("url", "node_id"),
    [
        ("https://github.com/kijai/ComfyUI-KJNodes", "ComfyUI-KJNodes"),
        ("https://github.com/kijai/ComfyUI-KJNodes.git/", "ComfyUI-KJNodes"),
        ("git@github.com:kijai/ComfyUI-KJNodes.git", "ComfyUI-KJNodes"),
        ("git@host:pack", "pack"),
        ("/srv/git/pack", "pack"),
        ("file:///srv/git/pack.git", "pack"),
    ],
)
def test_id_is_derived_from_the_repository(url: str, node_id: str) -> None:
    assert derive_id(url) == node_id


def test_invalid_repository_name_gives_no_id() -> None:
    for url in ("https://github.com/a/.git", "https://github.com/a/%2e%2e", "https://github.com/a/-x"):
        with pytest.raises(Failure):
            derive_id(url)


def test_urls_of_one_repository_compare_equal() -> None:
    plain = "https://github.com/Owner/Pack"
    for other in (
        "https://github.com/owner/pack.git",
        "git@github.com:Owner/Pack.git",
        "ssh://git@github.com/Owner/Pack/",
    ):
        assert is_same_origin(plain, other)
    assert not is_same_origin(plain, "https://github.com/Other/Pack")
    assert not is_same_origin("", "")


def test_ids_and_addresses_are_distinguished() -> None:
    assert not is_address("comfyui-kjnodes")
    for address in ("https://x.org/a", "git@x:a", "/srv/a", "./a", "..", "ext::x", ""):
        assert is_address(address)


@pytest.mark.parametrize("ref", ["", "main", "v1.2", "feature/x-y", "1.0.0+local", "a" * 40])
def test_branches_tags_and_commits_are_accepted(ref: str) -> None:
    assert check_ref(ref) == ref


@pytest.mark.parametrize(
    "ref",
    ["-x", "--detach", "a..b", "a b", "a~1", "a^", "@{-1}", "a:b", "/a", "a/", "a.lock", "a//b", "a/.b", "ä", "a\n"],
)
def test_refs_that_git_would_misread_are_refused(ref: str) -> None:
    with pytest.raises(Failure) as caught:
        check_ref(ref)
    assert caught.value.code == "gov-bad-ref"
