from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.stream import ConnectionPool
from comfywatchman.sources.download.fetch import RetryPolicy
from comfywatchman.sources.download.partial_file import build_partial_name
from comfywatchman.sources.download.target import DownloadRequest
from tests.model_files import put
from tests.servers.base import Asked, LocalServer, Reply
from tests.servers.cdn import CdnServer
from tests.servers.faults import HONEST, Fault, FaultServer
from tests.sources.fetching import fetch_into, flow, model, sha256

MODEL = model()
NAME = "model.safetensors"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def wanted(server: FaultServer, *, with_hash: bool = True) -> DownloadRequest:
    content = server.content
    return DownloadRequest(
        NAME, server.url, len(content) if with_hash else None, sha256(content) if with_hash else None
    )


def code_of(folder: Path, fetch: DownloadRequest, server: FaultServer | LocalServer, **how: object) -> str:
    host = server.host if isinstance(server, FaultServer) else f"127.0.0.1:{server.port}"
    with pytest.raises(Failure) as raised:
        fetch_into(folder, fetch, hosts=frozenset({host}), **how)  # type: ignore[arg-type]
    return raised.value.code


def place(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_right_file_that_is_there_already_is_not_fetched(tmp_path: Path) -> None:
    put(tmp_path / NAME, MODEL)
    with FaultServer(MODEL) as server:
        fetched = fetch_into(tmp_path, wanted(server), hosts=frozenset({server.host}))
        assert fetched.was_there
        assert server.asked == []


@pytest.mark.parametrize("there", [b"mine", bytes(len(MODEL))])
def test_another_file_of_that_name_is_never_replaced(tmp_path: Path, there: bytes) -> None:
    put(tmp_path / NAME, there)
    with FaultServer(MODEL) as server:
        assert code_of(tmp_path, wanted(server), server) == "download-target-taken"
        assert code_of(tmp_path, wanted(server, with_hash=False), server) == "download-target-taken"
        assert server.asked == []
    assert (tmp_path / NAME).read_bytes() == there


def test_a_folder_and_a_link_to_nowhere_of_that_name_stay(tmp_path: Path) -> None:
    with FaultServer(MODEL) as server:
        (tmp_path / NAME).mkdir()
        assert code_of(tmp_path, wanted(server), server) == "download-target-taken"
        (tmp_path / NAME).rmdir()
        (tmp_path / NAME).symlink_to(tmp_path / "elsewhere")
        assert code_of(tmp_path, wanted(server), server) == "download-target-taken"
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with FaultServer(MODEL) as server:
        progress = flow(progress=lambda _have, _total: place(tmp_path / NAME, b"mine"))
        assert code_of(tmp_path, wanted(server), server, run=progress) == "download-target-taken"
        assert (tmp_path / NAME).read_bytes() == b"mine"


def test_the_same_file_that_appears_meanwhile_is_taken_for_ours(tmp_path: Path) -> None:
    with FaultServer(MODEL) as server:
        progress = flow(progress=lambda _have, _total: place(tmp_path / NAME, MODEL))
        assert fetch_into(tmp_path, wanted(server), hosts=frozenset({server.host}), run=progress).was_there
    assert names(tmp_path) == [NAME]


def stop_after(count: int) -> object:
    asked = iter(range(10_000))
    return flow(wait=lambda _seconds: next(asked) >= count)


def test_a_stopped_download_goes_on_where_it_was(tmp_path: Path) -> None:
    with FaultServer(model(3_000_000)) as server:
        assert code_of(tmp_path, wanted(server), server, run=stop_after(4)) == "download-stopped"
        part = tmp_path / build_partial_name(NAME, url=server.url, sha256=sha256(server.content))
        have = part.stat().st_size
        assert have > 0
        fetched = fetch_into(tmp_path, wanted(server), hosts=frozenset({server.host}))
        assert (fetched.resumed_from, fetched.received_bytes) == (have, len(server.content) - have)
        assert server.asked[-1].headers["range"] == f"bytes={have}-"
        assert server.asked[-1].headers["if-range"] == '"v1"'
    assert (tmp_path / NAME).read_bytes() == server.content
    assert names(tmp_path) == [NAME]


def test_a_stop_while_hashing_what_is_there_stops(tmp_path: Path) -> None:
    with FaultServer(MODEL) as server:
        put(tmp_path / build_partial_name(NAME, url=server.url, sha256=sha256(MODEL)), MODEL[:100_000])
        assert code_of(tmp_path, wanted(server), server, run=stop_after(0)) == "download-stopped"
        put(tmp_path / NAME, MODEL)
        assert code_of(tmp_path, wanted(server), server, run=stop_after(0)) == "download-stopped"


def test_a_whole_unfinished_file_needs_no_request(tmp_path: Path) -> None:
    with FaultServer(MODEL) as server:
        put(tmp_path / build_partial_name(NAME, url=server.url, sha256=sha256(MODEL)), MODEL)
        fetched = fetch_into(tmp_path, wanted(server), hosts=frozenset({server.host}))
        assert (fetched.resumed_from, server.asked) == (len(MODEL), [])


def test_a_spoilt_unfinished_file_is_fetched_anew(tmp_path: Path) -> None:
    with FaultServer(MODEL) as server:
        put(tmp_path / build_partial_name(NAME, url=server.url, sha256=sha256(MODEL)), bytes(200_000))
        fetch_into(tmp_path, wanted(server), hosts=frozenset({server.host}))
    assert (tmp_path / NAME).read_bytes() == MODEL


def test_an_unfinished_file_that_is_too_long_is_fetched_anew(tmp_path: Path) -> None:
    with FaultServer(MODEL) as server:
        put(tmp_path / build_partial_name(NAME, url=server.url, sha256=sha256(MODEL)), MODEL + b"x")
        assert fetch_into(tmp_path, wanted(server), hosts=frozenset({server.host})).resumed_from == 0
    assert (tmp_path / NAME).read_bytes() == MODEL


def test_the_unfinished_file_of_another_origin_is_left_alone(tmp_path: Path) -> None:
    with FaultServer(MODEL) as server:
        other = put(tmp_path / build_partial_name(NAME, url="https://elsewhere", sha256=None), b"other")
        fetch_into(tmp_path, wanted(server), hosts=frozenset({server.host}))
    assert other.read_bytes() == b"other"
    assert (tmp_path / NAME).read_bytes() == MODEL


@pytest.mark.parametrize(("boot", "resumes"), [("boot-1", True), ("boot-0", False)])
def test_without_a_hash_only_bytes_of_this_boot_and_tag_are_continued(tmp_path: Path, boot: str, resumes: bool) -> None:  # noqa: FBT001 - parametrized
    with FaultServer(MODEL) as server:
        part = put(tmp_path / build_partial_name(NAME, url=server.url, sha256=None), MODEL[:1000])
        put(tmp_path / f"{part.name}.note", b'{"validator":"\\"v1\\"","boot_id":"%b"}' % boot.encode())
        fetched = fetch_into(tmp_path, wanted(server, with_hash=False), hosts=frozenset({server.host}))
        assert fetched.resumed_from == (1000 if resumes else 0)
    assert (tmp_path / NAME).read_bytes() == MODEL


@pytest.mark.parametrize("note", [b"", b"\x00", b"[]", b'{"validator":5}'])
def test_a_damaged_note_is_an_empty_one(tmp_path: Path, note: bytes) -> None:
    with FaultServer(MODEL) as server:
        part = put(tmp_path / build_partial_name(NAME, url=server.url, sha256=None), MODEL[:1000])
        put(tmp_path / f"{part.name}.note", note)
        assert fetch_into(tmp_path, wanted(server, with_hash=False), hosts=frozenset({server.host})).resumed_from == 0


def test_what_the_hub_says_is_held_against_what_is_wanted_before_a_byte_comes(tmp_path: Path) -> None:
    with CdnServer() as cdn, LocalServer() as hub:
        cdn.put("k", MODEL)
        hosts = frozenset({f"127.0.0.1:{cdn.port}", f"127.0.0.1:{hub.port}"})
        head = {"Location": cdn.signed_url("k"), "X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(MODEL))}
        hub.pages["/o/r/resolve/main/m.safetensors"] = Reply(b"", 302, {**head, "X-Linked-Etag": f'"{sha256(MODEL)}"'})
        url = f"{hub.url}/o/r/resolve/main/m.safetensors"
        for other in (DownloadRequest(NAME, url, None, "0" * 64), DownloadRequest(NAME, url, 7, None)):
            with pytest.raises(Failure, match="another file now"):
                fetch_into(tmp_path, other, hosts=hosts)
        # Without a hash of our own, the hub's is taken.
        cdn.blobs["k"].faults.append("corrupt")
        with pytest.raises(Failure, match="not what was asked for"):
            fetch_into(tmp_path, DownloadRequest(NAME, url), hosts=hosts)
        cdn.blobs["k"].faults.append("cut")
        hub.pages[f"/o/r/resolve/{COMMIT}/m.safetensors"] = hub.pages["/o/r/resolve/main/m.safetensors"]
        fetch_into(tmp_path, DownloadRequest(NAME, url), hosts=hosts, tokens={hub.url: "sesame"})
        assert hub.asked[-1].path == f"/o/r/resolve/{COMMIT}/m.safetensors"
        assert hub.asked[-1].headers["authorization"] == "Bearer sesame"
    assert names(tmp_path) == [NAME]


def test_a_civitai_like_server_gives_its_file_by_id_with_a_key(tmp_path: Path) -> None:
    def page(asked: Asked, _handler: object) -> Reply:
        if asked.headers.get("authorization") != "Bearer key":
            return Reply(b'{"error":"Unauthorized"}', 401, {"Content-Type": "application/json"})
        return Reply(b"", 307, {"Location": cdn.signed_url("k")})

    with CdnServer() as cdn, LocalServer({"/api/download/models/1": page}) as civitai:
        cdn.put("k", MODEL)
        hosts = frozenset({f"127.0.0.1:{cdn.port}", f"127.0.0.1:{civitai.port}"})
        fetch = DownloadRequest(NAME, f"{civitai.url}/api/download/models/1?fileId=2", len(MODEL), sha256(MODEL))
        with pytest.raises(Failure) as raised:
            fetch_into(tmp_path, fetch, hosts=hosts)
        assert raised.value.code == "download-no-access"
        assert "CIVITAI_API_KEY" in (raised.value.hint or "")
        assert names(tmp_path) == []
        fetch_into(tmp_path, fetch, hosts=hosts, tokens={civitai.url: "key"})
        assert civitai.asked[-1].path.endswith("?fileId=2")


def test_a_signature_that_is_over_is_had_anew(tmp_path: Path) -> None:
    with CdnServer() as cdn, LocalServer({"/m": Reply(b"", 302, {"Location": "/"})}) as hub:
        blob = cdn.put("k", MODEL)
        hub.pages["/m"] = Reply(b"", 302, {"Location": cdn.signed_url("k")})
        hosts = frozenset({f"127.0.0.1:{cdn.port}", f"127.0.0.1:{hub.port}"})
        blob.faults += ["cut", "forbidden"]
        fetch_into(tmp_path, DownloadRequest(NAME, f"{hub.url}/m", len(MODEL), sha256(MODEL)), hosts=hosts)
        assert len(hub.asked) == 3
        blob.forever = "forbidden"
        with pytest.raises(Failure) as raised:
            fetch_into(tmp_path, DownloadRequest("b.safetensors", f"{hub.url}/m"), hosts=hosts)
        assert raised.value.code == "download-no-access"
    assert names(tmp_path) == [NAME]


def test_a_page_of_a_private_host_is_not_reached_by_a_redirect(tmp_path: Path) -> None:
    with FaultServer(MODEL) as private, FaultServer(MODEL, [Fault("redirect")], elsewhere=private.url) as server:
        assert code_of(tmp_path, wanted(server), server) == "download-host-refused"
        server._script.append(Fault("redirect", headers={"location": private.url.replace("http:", "https:")}))
        assert code_of(tmp_path, wanted(server), server) == "download-host-refused"
        assert private.connections == 0


def test_many_files_share_a_connection(tmp_path: Path) -> None:
    with FaultServer(MODEL) as server:
        hosts = frozenset({server.host})
        with ConnectionPool(stall_seconds=2, may_be_private=hosts.__contains__) as connections:
            for number in range(5):
                fetch = DownloadRequest(f"{number}.safetensors", server.url, len(MODEL), sha256(MODEL))
                fetch_into(tmp_path, fetch, hosts=hosts, connections=connections)
        assert (len(server.asked), server.connections) == (5, 1)


def test_a_kept_connection_that_the_server_closed_is_opened_anew(tmp_path: Path) -> None:
    with FaultServer(MODEL, [HONEST, Fault("hang-up")]) as server:
        hosts = frozenset({server.host})
        with ConnectionPool(stall_seconds=2, may_be_private=hosts.__contains__) as connections:
            for number in range(2):
                fetch = DownloadRequest(f"{number}.safetensors", server.url, len(MODEL), sha256(MODEL))
                fetch_into(tmp_path, fetch, hosts=hosts, connections=connections)
    assert len(names(tmp_path)) == 2


def test_an_abort_wakes_a_download_that_waits_for_a_silent_server(tmp_path: Path) -> None:
    stop = threading.Event()
    with FaultServer(MODEL, [Fault("stall", 1000)]) as server:
        hosts = frozenset({server.host})
        with ConnectionPool(stall_seconds=60, may_be_private=hosts.__contains__) as connections:
            came = threading.Event()
            run = flow(wait=lambda _seconds: stop.is_set(), progress=lambda _have, _total: came.set())
            ends: list[str] = []

            def work() -> None:
                with suppress(Failure):
                    ends.append(code_of(tmp_path, wanted(server), server, run=run, connections=connections))

            thread = threading.Thread(target=work)
            thread.start()
            assert came.wait(10)
            stop.set()
            began = time.monotonic()
            connections.abort()
            thread.join(10)
            assert time.monotonic() - began < 2
            assert ends == ["download-stopped"]
            assert code_of(tmp_path, wanted(server), server, run=run, connections=connections) == "download-stopped"


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with FaultServer(MODEL) as server:
        long = DownloadRequest("x" * 300 + ".safetensors", server.url, len(MODEL), sha256(MODEL))
        assert code_of(tmp_path, long, server) == "state-unwritable"
        assert server.asked == []


def test_too_little_room_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with FaultServer(MODEL) as server:
        run = flow(keep_free_bytes=1 << 60)
        assert code_of(tmp_path, wanted(server), server, run=run) == "download-no-space"
    assert not (tmp_path / NAME).exists()


def test_an_unfinished_file_under_a_link_or_a_fifo_is_not_written_to(tmp_path: Path) -> None:
    victim = put(tmp_path / "victim", b"mine")
    with FaultServer(MODEL) as server:
        part = tmp_path / build_partial_name(NAME, url=server.url, sha256=sha256(MODEL))
        part.symlink_to(victim)
        assert code_of(tmp_path, wanted(server), server) == "file-not-regular"
        part.unlink()
        os.mkfifo(part)
        assert code_of(tmp_path, wanted(server), server) == "file-not-regular"
        part.unlink()
        os.link(victim, part)
        fetch_into(tmp_path, wanted(server), hosts=frozenset({server.host}))
    assert victim.read_bytes() == b"mine"
    assert (tmp_path / NAME).read_bytes() == MODEL


def test_one_unfinished_file_is_written_by_one_download(tmp_path: Path) -> None:
    codes: list[str] = []
    with FaultServer(MODEL) as server:

        def second(_have: int, _total: int | None) -> None:
            if not codes:
                codes.append(code_of(tmp_path, wanted(server), server))

        fetch_into(tmp_path, wanted(server), hosts=frozenset({server.host}), run=flow(progress=second))
        assert len(server.asked) == 1
    assert codes == ["lock-held"]
    assert (tmp_path / NAME).read_bytes() == MODEL


def test_patience_without_progress_ends(tmp_path: Path) -> None:
    waits: list[float] = []
    with FaultServer(MODEL, [Fault("cut", 10)] * 50) as server:

        def wait(seconds: float) -> bool:
            waits.append(seconds)
            return False

        run = flow(wait=wait)
        patience = RetryPolicy(attempts=4, first_wait_seconds=1.0, longest_wait_seconds=3.0, stall_seconds=0.5)
        assert code_of(tmp_path, wanted(server), server, run=run, patience=patience) == "download-interrupted"
    assert [seconds for seconds in waits if seconds] == [1.0, 2.0, 3.0]
