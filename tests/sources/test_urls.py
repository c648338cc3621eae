from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfywatchman.sources.urls import (
    CivitaiAddress,
    HuggingFaceFile,
    build_civitai_page_url,
    build_civitai_url,
    build_hugging_face_url,
    find_urls,
    is_hugging_face_file,
    is_repo_id,
    parse_hub_url,
    reason_to_refuse,
    strip_secrets,
)

GOOD = "https://huggingface.co/Comfy-Org/z_image_turbo/resolve/main/split_files/vae/ae.safetensors"
FILE = HuggingFaceFile("Comfy-Org/z_image_turbo", "main", "split_files/vae/ae.safetensors")
PATH = "/o/n/resolve/main/x.safetensors"

HOSTILE = [
    f"http://huggingface.co{PATH}",
    f"ftp://huggingface.co{PATH}",
    f"file://huggingface.co{PATH}",
    f"//huggingface.co{PATH}",
    f"huggingface.co{PATH}",
    f"javascript:https://huggingface.co{PATH}",
    f"HTTPS://huggingface.co{PATH}".replace("HTTPS", "https:https"),
    f"https://evil.example{PATH}",
    "https://evilcivitai.com/api/download/models/5",
    "https://civitai.com.evil.example/api/download/models/5",
    "https://evil.example/civitai.com/api/download/models/5",
    "https://evil.example/?u=https://civitai.com/api/download/models/5",
    "https://evil.example#https://civitai.com/api/download/models/5",
    "https://civitai.com@evil.example/api/download/models/5",
    "https://user@civitai.com/api/download/models/5",
    "https://user:secret@civitai.com/api/download/models/5",
    "https://evil.example\\@civitai.com/api/download/models/5",
    "https://civitai.com\\.evil.example/api/download/models/5",
    "https://civitai.com%2eevil.example/api/download/models/5",
    "https://civitai.com%00.evil.example/api/download/models/5",
    "https://civitai.com./api/download/models/5",
    "https://www.civitai.com/api/download/models/5",
    "https://api.civitai.com/api/download/models/5",
    "https://sub.huggingface.co" + PATH,
    "https://hf.co" + PATH,
    "https://civitai.com:8443/api/download/models/5",
    "https://civitai.com:0/api/download/models/5",
    "https://civitai.com:/api/download/models/5",
    "https://civitai.com:443@evil.example/api/download/models/5",
    "https://civit\u0430i.com/api/download/models/5",
    "https://civitai\u3002com/api/download/models/5",
    "https://xn--civiti-6ya.com/api/download/models/5",
    "https://CIVITAI.com.evil.example/api/download/models/5",
    "https://127.0.0.1/api/download/models/5",
    "https://127.1/api/download/models/5",
    "https://0x7f.1/api/download/models/5",
    "https://2130706433/api/download/models/5",
    "https://0/api/download/models/5",
    "https://[::1]/api/download/models/5",
    "https://[::ffff:127.0.0.1]/api/download/models/5",
    "https://[64:ff9b::7f00:1]/api/download/models/5",
    "https://[2002:7f00:1::]/api/download/models/5",
    "https://169.254.169.254/latest/meta-data",
    "https://localhost/api/download/models/5",
    "https://civitai.com/api/download/models/5\r\nHost: evil.example",
    "https://civitai.com/api/download/models/5\n",
    " https://civitai.com/api/download/models/5",
    "https://civitai.com/api/download/models/5 ",
    "https://civitai.com/\tapi/download/models/5",
    "https://civitai.com/api/download/models/5?token=stolen",
    "https://civitai.com/api/download/models/5?fileId=1&fileId=2",
    "https://civitai.com/api/download/models/5?fileId=1;x=y.py",
    "https://civitai.com/api/download/models/5?x=y.py",
    "https://civitai.com/api/download/models/5?fileId=../../x",
    "https://civitai.com/api/download/models/5#fragment",
    "https://civitai.com/api/download/models/-5",
    "https://civitai.com/api/download/models/5/../../../login",
    "https://civitai.com//evil.example/api/download/models/5",
    "https://civitai.com/api/v1/images/5",
    "https://civitai.com/login?returnUrl=/api/download/models/5",
    "https://huggingface.co/o/n/resolve/main/../../../x.safetensors",
    "https://huggingface.co/o/n/resolve/main/%2e%2e/x.safetensors",
    "https://huggingface.co/o/n/resolve/main/a%2fb.safetensors",
    "https://huggingface.co/o/n/resolve/main/a%5cb.safetensors",
    "https://huggingface.co/o/n/resolve/main/a%00.safetensors",
    "https://huggingface.co/o/n/resolve/main/a%0ab.safetensors",
    "https://huggingface.co/o/n/resolve/main/%ff.safetensors",
    "https://huggingface.co/o/n/resolve/..%2f..%2fx/y.safetensors",
    "https://huggingface.co/o/n/resolve/main/",
    "https://huggingface.co/o/n/resolve/main/x.safetensors?x=y.py",
    "https://huggingface.co/o/n/resolve/main/x.safetensors?download=false",
    "https://huggingface.co/o/n/delete/main/x.safetensors",
    "https://huggingface.co/spaces/o/n/resolve/main/x.safetensors",
    "https://huggingface.co/../o/resolve/main/x.safetensors",
    "https://huggingface.co/o/.git/resolve/main/x.safetensors",
    "https://[broken/api/download/models/5",
    "https://civitai.com/api/download/models/" + "5" * 3000,
    "",
]


@pytest.mark.parametrize("url", HOSTILE)
def test_hostile_url_is_neither_parsed_nor_allowed(url: str) -> None:
    assert parse_hub_url(url) is None
    assert reason_to_refuse(url) == "it is not the URL of a model file on an allowed host"


def test_more_than_fifty_hostile_urls_are_tried() -> None:
    assert len(set(HOSTILE)) > 50


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (GOOD, FILE),
        (GOOD + "?download=true", FILE),
        (GOOD.replace("/resolve/", "/blob/"), FILE),
        (
            "https://huggingface.co/o/n/resolve/main/a%20b.safetensors",
            HuggingFaceFile("o/n", "main", "a b.safetensors"),
        ),
        ("https://civitai.com/api/download/models/5", CivitaiAddress(version_id=5)),
        ("https://civitai.red/api/download/models/5?fileId=7", CivitaiAddress(version_id=5, file_id=7)),
        (
            "https://civitai.com/api/download/models/5?type=Model&format=SafeTensor&size=full&fp=fp16",
            CivitaiAddress(None, 5),
        ),
        ("https://civitai.com/models/12", CivitaiAddress(12)),
        ("https://civitai.com/models/12/a-name?modelVersionId=34", CivitaiAddress(12, 34)),
    ],
)
def test_model_url_is_parsed_to_its_ids(url: str, place: object) -> None:
    assert parse_hub_url(url) == place


@pytest.mark.parametrize(
    "url",
    [
        "https://civitai.com/models/12?fileId=3",
        "https://civitai.com/api/download/models/5?modelVersionId=3",
        "https://civitai.com/models/12/a/b",
    ],
)
def test_misplaced_parameters_are_refused(url: str) -> None:
    assert parse_hub_url(url) is None


def test_only_canonical_urls_are_allowed() -> None:
    assert reason_to_refuse(GOOD) is None
    assert reason_to_refuse("https://civitai.com/api/download/models/5?fileId=7") is None
    for other in (GOOD + "?download=true", GOOD.replace("/resolve/", "/raw/"), GOOD.replace("vae", "%76ae")):
        assert reason_to_refuse(other) == "it is not in canonical form"


def test_model_page_without_version_is_refused() -> None:
    assert reason_to_refuse("https://civitai.com/models/12") == "it names no version"
    page = "https://civitai.com/models/12?modelVersionId=5"
    assert reason_to_refuse(page) == "it is not in canonical form"


def test_url_of_another_kind_is_refused() -> None:
    reason = "it is not the URL of a model file on an allowed host"
    assert reason_to_refuse("https://civitai.com/images/5") == reason
    assert reason_to_refuse("https://example.com/a.safetensors") == reason


def test_canonical_form_depends_on_the_host_of_the_url() -> None:
    hosts = frozenset({"127.0.0.1:8099"})
    for base in ("http://127.0.0.1:8099", "https://127.0.0.1:8099", "https://huggingface.co"):
        assert reason_to_refuse(f"{base}{PATH}", extra_hosts=hosts) is None


def test_extra_host_is_allowed_by_name_and_port_only() -> None:
    mine = "http://127.0.0.1:8099/api/download/models/5"
    assert reason_to_refuse(mine) is not None
    assert reason_to_refuse(mine, extra_hosts=frozenset({"127.0.0.1:8099"})) is None
    assert reason_to_refuse(f"http://127.0.0.1:8099{PATH}", extra_hosts=frozenset({"127.0.0.1:8099"})) is None
    assert reason_to_refuse(mine, extra_hosts=frozenset({"127.0.0.1:8098", "127.0.0.1"})) is not None
    assert reason_to_refuse("http://civitai.com/api/download/models/5", extra_hosts=frozenset({"127.0.0.1:1"}))
    assert parse_hub_url(f"https://civitai.com{PATH}") is None


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
@pytest.mark.slow
def test_invalid_file_builds_no_url(repo: str, revision: str, path: str) -> None:
    file = HuggingFaceFile(repo, revision, path)
    if not is_hugging_face_file(file):
        with pytest.raises(ValueError, match="not a file"):
            build_hugging_face_url("https://huggingface.co", file)


_WORD = st.text("ABCabc019._-é %+#?&=;@:~", min_size=1, max_size=12)


@given(st.lists(_WORD, min_size=1, max_size=3), st.sampled_from(["main", "a" * 40, "refs/pr/1", "v1.0"]))
@pytest.mark.slow
def test_odd_names_round_trip_through_a_url(path: list[str], revision: str) -> None:
    file = HuggingFaceFile("owner/name", revision, "/".join(path))
    if is_hugging_face_file(file):
        url = build_hugging_face_url("https://huggingface.co", file)
        assert parse_hub_url(url) == file
        assert reason_to_refuse(url) is None


def test_repository_id_is_owner_and_name() -> None:
    assert is_repo_id("Comfy-Org/z_image.turbo_1")
    for wrong in ("", "a", "a/b/c", "a/..", "a/b--c", "a/b..c", "-a/b", "a/b ", "a/é", "a/b.", f"a/{'b' * 97}"):
        assert not is_repo_id(wrong), wrong


def test_civitai_url_with_and_without_file() -> None:
    assert build_civitai_url("https://civitai.com/", 5) == "https://civitai.com/api/download/models/5"
    assert build_civitai_url("https://civitai.com", 5, 7) == "https://civitai.com/api/download/models/5?fileId=7"


def test_urls_are_found_without_surrounding_markdown() -> None:
    note = (
        "Model: [ae](https://huggingface.co/a/b/resolve/main/ae.safetensors) and **https://civitai.com/models/12**,\n"
        "<https://x.example/y>. (see https://en.example/wiki/A_(b)) `https://q.example/z` | https://a.example/1|2\n"
        "again https://civitai.com/models/12 and http://"
    )
    assert find_urls(note) == (
        "https://huggingface.co/a/b/resolve/main/ae.safetensors",
        "https://civitai.com/models/12",
        "https://x.example/y",
        "https://en.example/wiki/A_(b)",
        "https://q.example/z",
        "https://a.example/1",
    )


def test_number_of_urls_is_limited() -> None:
    assert len(find_urls(" ".join(f"https://h.example/{n}" for n in range(999)))) == 200


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "https://civitai.com/api/download/models/1?fileId=2&token=SECRET",
            "https://civitai.com/api/download/models/1?fileId=2",
        ),
        (
            "https://me:SECRET@huggingface.co/a/b/resolve/main/c.gguf?download=true#SECRET",
            "https://huggingface.co/a/b/resolve/main/c.gguf?download=true",
        ),
        ("https://x.example/a.pt?X-Amz-Signature=SECRET", "https://x.example/a.pt"),
        ("https://x.example/a b.pt", "https://x.example/a b.pt"),
        ("https://me:SECRET@[bad/a?token=SECRET", "[bad/a"),
        ("no address", "no address"),
    ],
)
def test_secrets_are_stripped_from_foreign_urls(url: str, shown: str) -> None:
    assert strip_secrets(url) == shown


def test_civitai_page_url_selects_the_version() -> None:
    assert build_civitai_page_url("https://civitai.com/", 12, 34) == "https://civitai.com/models/12?modelVersionId=34"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("urn:air:sdxl:lora:civitai:328553@368189", CivitaiAddress(328553, 368189)),
        ("URN:AIR:flux1:checkpoint:CIVITAI:7@9.safetensors", CivitaiAddress(7, 9)),
        ("urn:air:sd1:embedding:civitai:7", CivitaiAddress(7)),
        ("urn:air:sd1:lora:huggingface:owner/name", None),
        ("urn:air:sd1:lora:civitai:0@1", None),
        ("urn:air:sd1:lora:civitai:7@9/../x", None),
    ],
)
def test_air_identifier_names_a_version(text: str, address: CivitaiAddress | None) -> None:
    assert parse_hub_url(text) == address
    assert reason_to_refuse(text) is not None


def test_air_identifiers_are_found_in_notes() -> None:
    text = "Get (urn:air:sdxl:lora:civitai:3@4), or https://civitai.com/models/5."
    assert find_urls(text) == ("https://civitai.com/models/5", "urn:air:sdxl:lora:civitai:3@4")
