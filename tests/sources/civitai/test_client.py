from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession
from comfywatchman.sources.civitai.client import Civitai
from comfywatchman.sources.civitai.lookups import DownloadAccess, FilesByHash
from tests.servers.base import LocalServer, Reply
from tests.servers.civitai import CivitaiServer, file_json, model_json, sha256_of, version_json

JSON = {"Content-Type": "application/json"}
TOKEN = "s3cret-t0ken"  # noqa: S105 - looked for in every request


@pytest.fixture
def session() -> Iterator[HttpSession]:
    with HttpSession(timeout_seconds=60) as opened:
        yield opened


@pytest.fixture
def server() -> Iterator[CivitaiServer]:
    with CivitaiServer() as running:
        yield running


def client(session: HttpSession, server: LocalServer, *, fallback: LocalServer | None = None) -> Civitai:
    return Civitai(session, server.url, fallback.url if fallback else None, TOKEN)


def failure_of(call: object, *arguments: object) -> Failure:
    with pytest.raises(Failure) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value


def test_exact_name_is_found_in_any_version_of_any_model(session: HttpSession, server: CivitaiServer) -> None:
    old = version_json([file_json("addDetail_v1.safetensors"), file_json("Add_Detail.safetensors")])
    server.models = [model_json("Add detail", [version_json([file_json("addDetail_v2.safetensors")]), old])]
    found = client(session, server).find_by_file_name("add_detail.safetensors")
    assert [(hit.file.name, hit.version.id) for hit in found.exact] == [("Add_Detail.safetensors", old["id"])]
    assert found.cut == ()
    assert found.exact[0].version.model_type == "LORA"
    assert found.exact[0].base_url == server.url


def test_similar_names_are_not_exact_and_precisions_are_variants(session: HttpSession, server: CivitaiServer) -> None:
    names = ["detail_4steps_fp8.safetensors", "detail_8steps_bf16.safetensors", "detail_8steps.sft"]
    server.models = [model_json("Detail", [version_json([file_json(name) for name in names])])]
    found = client(session, server).find_by_file_name("detail_8steps_fp8.safetensors")
    assert found.exact == ()
    assert [hit.file.name for hit in found.variants] == ["detail_8steps_bf16.safetensors"]


def test_search_includes_mature_models_and_sends_no_page_number(session: HttpSession, server: CivitaiServer) -> None:
    server.models = [model_json("Night detail", [version_json([file_json("night.safetensors")])], nsfwLevel=16)]
    assert [model.name for model in client(session, server).search("night").models] == ["Night detail"]
    assert all("nsfw=true" in asked.path and "page=" not in asked.path for asked in server.asked)


@pytest.mark.slow
def test_search_follows_cursors_to_its_limit_and_reports_a_cut(session: HttpSession, server: CivitaiServer) -> None:
    server.models = [
        model_json(f"Detail {n}", [version_json([file_json(f"detail_{n}.safetensors")])]) for n in range(450)
    ]
    civitai = client(session, server)
    listed = civitai.search("detail")
    assert (len(listed.models), listed.complete) == (300, False)
    assert [hit.file.name for hit in civitai.find_by_file_name("detail_299.safetensors").exact] == [
        "detail_299.safetensors"
    ]
    missed = civitai.find_by_file_name("detail_449x.safetensors")
    assert (missed.exact, missed.cut) == ((), ("detail", "detail 449x"))


def test_repeated_cursor_ends_the_search(session: HttpSession, server: CivitaiServer) -> None:
    server.pages["/api/v1/models"] = Reply(b'{"items": [], "metadata": {"nextCursor": 7}}')
    assert client(session, server).search("abcdef").complete
    assert len(server.asked) == 2
    model = model_json("Other", [])
    server.pages["/api/v1/models"] = Reply(json.dumps({"items": [model], "metadata": {"nextCursor": 7}}).encode())
    assert not client(session, server).search("abcdef").complete
    assert len(server.asked) == 4


def test_model_of_an_earlier_term_is_not_read_again(session: HttpSession, server: CivitaiServer) -> None:
    first = model_json("Add", [version_json([file_json("other.safetensors")])], id=7)
    again = model_json("Add", [version_json([file_json("add_more.safetensors")])], id=7)
    responses = [[first], [again]]
    server.pages["/api/v1/models"] = lambda _asked, _handler: Reply(
        json.dumps({"items": responses.pop(0), "metadata": {}}).encode()
    )
    assert client(session, server).find_by_file_name("add_more.safetensors").exact == ()
    assert responses == []


@pytest.mark.parametrize("item", [5, None, [], "text", {"name": "no id"}, {"id": [7]}])
def test_malformed_model_in_a_later_term_is_skipped(session: HttpSession, server: CivitaiServer, item: object) -> None:
    model = model_json("Add", [version_json([file_json("add_more.safetensors")])], id=7)
    responses = [[item], [item, model]]
    server.pages["/api/v1/models"] = lambda _asked, _handler: Reply(
        json.dumps({"items": responses.pop(0), "metadata": {}}).encode()
    )
    assert len(client(session, server).find_by_file_name("add_more.safetensors").exact) == 1


def test_further_terms_are_searched_first(session: HttpSession, server: CivitaiServer) -> None:
    file = file_json("zzz_q7.safetensors")
    server.models = [model_json("Quite another name", [version_json([file])])]
    civitai = client(session, server)
    assert civitai.find_by_file_name("zzz_q7.safetensors").exact == ()
    server.asked.clear()
    assert [hit.file.id for hit in civitai.find_by_file_name("zzz_q7.safetensors", terms=["another"]).exact] == [
        file["id"]
    ]
    assert "query=another&" in server.asked[0].path


def test_any_of_several_names_matches(session: HttpSession, server: CivitaiServer) -> None:
    server.models = [model_json("Easy", [version_json([file_json("easy.pt")])], type="TextualInversion")]
    found = client(session, server).find_by_file_name("easy", also=("easy.safetensors", "easy.pt"))
    assert [hit.file.name for hit in found.exact] == ["easy.pt"]


def test_fallback_is_searched_only_without_an_exact_hit(session: HttpSession, server: CivitaiServer) -> None:
    file = file_json("mature_thing.safetensors")
    with CivitaiServer([model_json("Mature thing", [version_json([file])])]) as red:
        found = client(session, server, fallback=red).find_by_file_name("mature_thing.safetensors")
        assert [hit.base_url for hit in found.exact] == [red.url]
        server.models = red.models
        red.asked.clear()
        found = client(session, server, fallback=red).find_by_file_name("mature_thing.safetensors")
        assert [hit.base_url for hit in found.exact] == [server.url]
        assert red.asked == []


def test_model_and_version_are_fetched_by_id(session: HttpSession, server: CivitaiServer) -> None:
    file = file_json("x_name.safetensors")
    version = version_json([file], availability="EarlyAccess", baseModel="Flux.1 D")
    model = model_json("Thing", [version], type="Checkpoint")
    server.models = [model]
    civitai = client(session, server)
    found = civitai.fetch_model(model["id"])
    assert found is not None
    assert found[1].versions[0].model_type == "Checkpoint"
    assert found[1].versions[0].model_id == model["id"]
    one = civitai.fetch_version(version["id"])
    assert one is not None
    assert (one[1].model_id, one[1].base_model, one[1].files[0].name) == (model["id"], "Flux.1 D", "x_name.safetensors")
    assert one[1].files[0].sha256 == sha256_of("x_name.safetensors").lower()


def test_not_found_on_both_servers_is_none(session: HttpSession, server: CivitaiServer) -> None:
    with CivitaiServer() as red:
        civitai = client(session, server, fallback=red)
        assert civitai.fetch_model(1) is None
        assert civitai.fetch_version(1) is None
        assert civitai.find_by_hash("A" * 64) is None
        assert len(red.asked) == len(server.asked) == 3


def test_failed_request_never_becomes_not_found(session: HttpSession, server: CivitaiServer) -> None:
    server.pages["/api/v1/models/1"] = Reply(b'{"error": "Model not found"}', 404)
    server.pages["/api/v1/models/2"] = Reply(b"<html>404</html>", 404)
    assert client(session, server).fetch_model(1) is None
    assert failure_of(client(session, server).fetch_model, 2).code == "http-status"
    with LocalServer() as red:
        red.pages["/api/v1/models/1"] = Reply(b"<html>", 502)
        assert failure_of(client(session, server, fallback=red).fetch_model, 1).code == "source-unavailable"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "source-unauthorized"),
        (403, "source-forbidden"),
        (429, "source-rate-limited"),
        (500, "source-unavailable"),
        (503, "source-unavailable"),
        (302, "http-status"),
        (400, "http-status"),
    ],
)
def test_error_statuses_have_their_own_codes(
    session: HttpSession, server: CivitaiServer, status: int, code: str
) -> None:
    body = json.dumps({"error": "No", "message": "because\nof this"}).encode()
    server.pages["/api/v1/models/1"] = server.pages["/api/v1/models"] = Reply(body, status, {"Retry-After": "30"})
    civitai = client(session, server)
    for failure in (failure_of(civitai.fetch_model, 1), failure_of(civitai.find_by_file_name, "abcdef_x1.safetensors")):
        assert failure.code == code
        assert code == "http-status" or "because of this" in failure.message
        assert TOKEN not in str(failure)
        assert code != "source-rate-limited" or "30 seconds" in str(failure)


@pytest.mark.parametrize(("status", "asked_too"), [(401, 0), (403, 0), (429, 0), (502, 1)])
def test_fallback_is_used_for_server_errors_only(
    session: HttpSession, server: CivitaiServer, status: int, asked_too: int
) -> None:
    server.pages["/api/v1/models/1"] = Reply(b"{}", status)
    with CivitaiServer([model_json("Thing", [], id=1)]) as red:
        civitai = client(session, server, fallback=red)
        if asked_too:
            found = civitai.fetch_model(1)
            assert found is not None
            assert found[0] == red.url
        else:
            failure_of(civitai.fetch_model, 1)
        assert len(red.asked) == asked_too


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"items": 5}', b"5"])
def test_unexpected_response_is_a_failure(session: HttpSession, server: CivitaiServer, body: bytes) -> None:
    server.pages["/api/v1/models"] = server.pages["/api/v1/models/1"] = Reply(body)
    assert failure_of(client(session, server).search, "abc").code == "http-body"
    assert failure_of(client(session, server).fetch_model, 1).code == "http-body"


def test_exact_name_is_returned_despite_a_later_failure(session: HttpSession, server: CivitaiServer) -> None:
    model = model_json("Add", [version_json([file_json("add_more.safetensors")])])
    answers = [Reply(json.dumps({"items": [model], "metadata": {}}).encode()), Reply(b"", 503)]
    server.pages["/api/v1/models"] = lambda _asked, _handler: answers.pop(0)
    found = client(session, server).find_by_file_name("add_more.safetensors")
    assert len(found.exact) == 1


def test_overloaded_server_is_retried(server: CivitaiServer) -> None:
    server.brown_outs, server.limited = 1, 1
    server.models = [model_json("Detail", [])]
    with HttpSession(timeout_seconds=60, attempts=3, first_wait_seconds=0.001) as patient:
        assert len(client(patient, server).search("detail").models) == 1


def test_hash_of_any_kind_finds_its_file(session: HttpSession, server: CivitaiServer) -> None:
    files = [file_json("a1.safetensors"), file_json("b2.safetensors")]
    server.models = [model_json("Thing", [version_json(files)])]
    civitai = client(session, server)
    for kind in ("SHA256", "AutoV2", "AutoV3", "BLAKE3", "CRC32"):
        answer = civitai.find_by_hash(files[1]["hashes"][kind].lower())
        assert answer is not None
        assert answer.hit is not None
        assert answer.hit.file.name == "b2.safetensors"


def test_version_without_the_hash_has_no_hit(session: HttpSession, server: CivitaiServer) -> None:
    files = [file_json("a1.safetensors"), file_json("b2.safetensors")]
    server.models = [model_json("Thing", [version_json(files)])]
    server.by_hash_lies = {sha256_of("b2.safetensors")}
    answer = client(session, server).find_by_hash(sha256_of("b2.safetensors"))
    assert answer is not None
    assert answer.hit is None
    assert [file.name for file in answer.version.files] == ["a1.safetensors"]


def test_invalid_hash_sends_no_request(session: HttpSession, server: CivitaiServer) -> None:
    assert client(session, server).find_by_hash("../models/5") is None
    assert client(session, server).identify(["x", "A" * 10]) == FilesByHash({}, None)
    assert server.asked == []


def test_hashes_are_sent_in_batches_of_a_hundred(session: HttpSession, server: CivitaiServer) -> None:
    names = [f"file_{n}.safetensors" for n in range(120)]
    server.models = [model_json(name, [version_json([file_json(name), file_json(f"other {name}")])]) for name in names]
    digests = [sha256_of(name) for name in names]
    with CivitaiServer() as red:
        found = client(session, server, fallback=red).identify([*digests, sha256_of("nobody's")]).hits
        assert {hits[0].file.name for hits in found.values()} == set(names)
        assert set(found) == {digest.lower() for digest in digests}
        assert [len(json.loads(asked.body)) for asked in (*server.asked, *red.asked)] == [100, 21, 1]


def test_unexpected_batch_response_is_a_failure(session: HttpSession, server: CivitaiServer) -> None:
    server.pages["/api/v1/model-versions/by-hash"] = Reply(b"{}")
    failure = client(session, server).identify(["A" * 64]).failure
    assert failure is not None
    assert failure.code == "http-body"


def test_fallback_identifies_hashes_when_the_first_server_fails(session: HttpSession, server: CivitaiServer) -> None:
    server.pages["/api/v1/model-versions/by-hash"] = Reply(b"", 503)
    with CivitaiServer([model_json("a", [version_json([file_json("a")])])]) as red:
        civitai = client(session, server, fallback=red)
        assert civitai.identify([sha256_of("a")]).failure is None
        partly = civitai.identify([sha256_of("a"), sha256_of("b")])
    assert list(partly.hits) == [sha256_of("a").lower()]
    assert partly.failure is not None


def test_key_follows_no_redirect_to_another_origin(session: HttpSession, server: CivitaiServer) -> None:
    with LocalServer({"/stolen": Reply(b"{}")}) as other:
        server.pages["/api/v1/models/1"] = Reply(status=302, headers={"Location": f"{other.url}/stolen"})
        assert failure_of(client(session, server).fetch_model, 1).code == "http-status"
        assert other.asked == []
    assert server.asked[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in server.asked[0].path


@pytest.mark.parametrize("odd", [None, 5, {"id": None, "files": []}, {"id": 5, "files": None}])
def test_unreadable_entry_keeps_unknown_hashes_unknown(
    session: HttpSession, server: CivitaiServer, odd: object
) -> None:
    file = file_json("known.safetensors")
    digest = file["hashes"]["SHA256"].lower()
    page = Reply(json.dumps([odd, version_json([file])]).encode())
    server.pages["/api/v1/model-versions/by-hash"] = page
    found = client(session, server).identify([digest, "e" * 64])
    assert set(found.hits) == {digest}
    assert found.failure is not None
    assert client(session, server).identify([digest]).failure is None


def test_download_is_checked_with_a_key_at_the_configured_address_only() -> None:
    with CivitaiServer() as server, HttpSession(timeout_seconds=10) as session:
        with_key = Civitai(session, server.url, None, "key")
        assert with_key.check_download("https://elsewhere.example/x") is DownloadAccess.UNKNOWN
        assert with_key.check_download(f"{server.url}.example/x") is DownloadAccess.UNKNOWN
        assert Civitai(session, server.url, None).check_download(f"{server.url}/x") is DownloadAccess.UNKNOWN
        assert server.asked == []


@pytest.mark.parametrize(
    ("status", "headers", "access"),
    [
        (307, {"Location": "https://storage.example/x"}, DownloadAccess.GRANTED),
        (302, {"Location": "/login?reason=download-auth"}, DownloadAccess.DENIED),
        (302, {"Location": "/"}, DownloadAccess.UNKNOWN),
        (302, {"Location": "http://storage.example/x"}, DownloadAccess.UNKNOWN),
        (302, {"Location": "https://user@storage.example/x"}, DownloadAccess.UNKNOWN),
        (302, {"Location": "https://civitai.com/api/download/models/1"}, DownloadAccess.UNKNOWN),
        (302, {}, DownloadAccess.UNKNOWN),
        (200, {}, DownloadAccess.GRANTED),
        (200, {"Content-Type": "application/octet-stream"}, DownloadAccess.GRANTED),
        (200, {"Content-Type": "Text/HTML; charset=utf-8"}, DownloadAccess.UNKNOWN),
        (401, JSON, DownloadAccess.DENIED),
        (403, JSON, DownloadAccess.DENIED),
        (404, JSON, DownloadAccess.GONE),
        (410, JSON, DownloadAccess.GONE),
        (429, JSON, DownloadAccess.UNKNOWN),
        (404, {"Content-Type": "text/html"}, DownloadAccess.UNKNOWN),
    ],
)
def test_download_check_reads_the_status(status: int, headers: dict[str, str], access: DownloadAccess) -> None:
    with LocalServer() as server, HttpSession(timeout_seconds=10) as session:
        server.pages["/api/download/models/1"] = Reply(b"", status, headers)
        civitai = Civitai(session, server.url, None, "key")
        assert civitai.check_download(f"{server.url}/api/download/models/1?fileId=2") is access
