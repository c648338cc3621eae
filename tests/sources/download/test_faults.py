"""Faults of servers and networks: the name holds the right bytes or does not exist, and nothing hangs."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfywatchman.base.errors import Failure
from comfywatchman.sources.download.target import DownloadRequest
from tests.servers.faults import Fault, FaultServer
from tests.sources.download.support import IMPATIENT, QUICK, download_into, model, sha256

MODEL: Final = model()
OTHER: Final = model(seed=2)
NAME: Final = "model.safetensors"
LONGEST_SECONDS: Final = 100.0
SILENT: Final = frozenset({"stall", "drip", "head-drips"})


@dataclass(frozen=True)
class Scenario:
    """A script of faults and the expected outcome: `right`, or a failure code."""

    name: str
    script: tuple[Fault, ...]
    outcome: str = "right"
    etag: str | None = '"v1"'
    outcome_without_hash: str = ""


CUT: Final = Fault("cut", 100_000)

WRONG: Final = "download-wrong-content"
REFUSED: Final = "download-host-refused"
DATE: Final = "Fri, 31 Dec 2100 23:59:59 GMT"
EARLY: Final = '{"error":"Early Access","deadline":"2027-01-01"}'


def redirect_to(place: str) -> Fault:
    return Fault("redirect", headers={"location": place})


SCENARIOS: Final = (
    Scenario("an honest server", ()),
    Scenario("cut off once", (CUT,)),
    Scenario("cut off five times", (CUT,) * 5),
    Scenario("reset in the middle", (Fault("reset", 70_000),)),
    Scenario("hung up before the answer", (Fault("hang-up"),) * 2),
    Scenario("silent in the middle", (Fault("stall", 50_000),)),
    Scenario("drips", (Fault("drip", 50_000),)),
    Scenario("drips its head", (Fault("head-drips"),)),
    Scenario("answers no HTTP", (Fault("garbage"),)),
    Scenario("another range than asked", (CUT, Fault("wrong-range"))),
    Scenario("another total than asked", (CUT, Fault("wrong-total"))),
    Scenario("ignores the range", (CUT, Fault("ignore-range"))),
    Scenario("refuses the range", (CUT, Fault("status", 416, {"content-range": "bytes */5"}))),
    Scenario("chunked", (Fault("chunked"),)),
    Scenario("chunked and cut off", (Fault("chunked-cut"),)),
    Scenario("no length", (Fault("no-length"),), outcome_without_hash=WRONG),
    Scenario("changed after a cut", (CUT, Fault("changed")), WRONG, outcome_without_hash="right-changed"),
    Scenario(
        "changed with a weak tag",
        (CUT, Fault("changed-weak")),
        WRONG,
        outcome_without_hash="right-changed",
    ),
    Scenario("no entity tag", (CUT, CUT), etag=None),
    Scenario("changed without a tag", (CUT, Fault("changed")), WRONG, etag=None, outcome_without_hash="right-changed"),
    Scenario("weak entity tag", (CUT, CUT), etag='W/"v1"'),
    Scenario("bit flip in a whole answer", (Fault("flip", 150_000),), outcome_without_hash="?"),
    Scenario("bit flip after a cut", (CUT, Fault("flip", 50_000)), outcome_without_hash="?"),
    Scenario("wrong bytes of the right size", (Fault("wrong-bytes"),)),
    Scenario("a web page", (Fault("html"),), WRONG),
    Scenario("a web page sent as bytes", (Fault("html-as-bytes"),), WRONG),
    Scenario("a web page of the right size", (Fault("html-as-bytes", 1),), outcome_without_hash=WRONG),
    Scenario("a JSON answer", (Fault("json"),), WRONG),
    Scenario("a Git LFS pointer", (Fault("lfs"),), WRONG),
    Scenario("longer than it is", (Fault("longer"),), WRONG),
    Scenario("shorter than it is", (Fault("shorter"),), WRONG),
    Scenario("endless, chunked", (Fault("endless"),), WRONG),
    Scenario("endless", (Fault("endless-raw"),), WRONG),
    Scenario("packed though not asked", (Fault("gzip"),), WRONG),
    Scenario("several parts", (Fault("honest", 0, {"content-type": "multipart/byteranges"}),), WRONG),
    Scenario("in trouble, then well", (Fault("status", 503), Fault("status", 500), Fault("status", 502))),
    Scenario("busy, then well", (Fault("status", 429, {"retry-after": "0"}),)),
    Scenario("busy for long", (Fault("status", 429, {"retry-after": "3600"}),), "download-later"),
    Scenario("busy until a date", (Fault("status", 429, {"retry-after": DATE}),), "download-later"),
    Scenario("in trouble for ever", (Fault("status", 503),) * 40, "download-interrupted"),
    Scenario("hangs up for ever", (Fault("hang-up"),) * 40, "download-interrupted"),
    Scenario("the wrong range for ever", (CUT, *(Fault("wrong-range"),) * 40)),
    Scenario("not there", (Fault("status", 404),), "download-gone"),
    Scenario("taken away", (Fault("status", 410),), "download-gone"),
    Scenario("wants a key", (Fault("status", 401),), "download-no-access"),
    Scenario("gated", (Fault("status", 403, {"x-error-code": "GatedRepo"}),), "download-no-access"),
    Scenario("early access", (Fault("status", 403, {"body": EARLY}),), "download-early-access"),
    Scenario("a strange status", (Fault("status", 418),), WRONG),
    Scenario("redirects in a circle", (redirect_to("/a"), redirect_to("/model.safetensors")) * 9, REFUSED),
    Scenario("redirects for ever", tuple(redirect_to(f"/{n}") for n in range(20)), REFUSED),
    Scenario("redirects to a file", (redirect_to("file:///etc/passwd"),), REFUSED),
    Scenario("redirects out of encryption", (redirect_to("http://example.com/x"),), REFUSED),
    Scenario("redirects to a private address", (redirect_to("https://169.254.169.254/x"),), REFUSED),
    Scenario("redirects with a password", (redirect_to("https://a:b@example.com/x"),), REFUSED),
    Scenario("redirects to a login", (redirect_to("/login?reason=x"),), "download-no-access"),
)


def download_once(folder: Path, server: FaultServer, *, with_hash: bool = True) -> str:
    """Download once; return the failure code, or how the published file compares with the server's."""
    content = server.content
    request = DownloadRequest(
        NAME, server.url, len(content) if with_hash else None, sha256(content) if with_hash else None
    )
    retry = IMPATIENT if SILENT & {fault.kind for fault in server.script} else QUICK
    began = time.monotonic()
    try:
        result = download_into(folder, request, hosts=frozenset({server.host}), retry=retry)
    except Failure as failure:
        outcome = failure.code if not (folder / NAME).exists() else "left something"
    else:
        found = (folder / NAME).read_bytes()
        assert result.sha256 == sha256(found)
        assert result.size == len(found)
        assert [path.name for path in folder.iterdir()] == [NAME]
        outcome = "right" if found == content else "right-changed" if found == OTHER else "corrupt"
    assert time.monotonic() - began < LONGEST_SECONDS
    return outcome


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
@pytest.mark.slow
def test_with_hash_bytes_are_right_or_refused(tmp_path: Path, scenario: Scenario) -> None:
    with FaultServer(MODEL, scenario.script, changed=OTHER, etag=scenario.etag) as server:
        assert download_once(tmp_path, server) == scenario.outcome


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
@pytest.mark.slow
def test_next_call_to_a_correct_server_succeeds_after_any_fault(tmp_path: Path, scenario: Scenario) -> None:
    with FaultServer(MODEL, scenario.script, changed=OTHER, etag=scenario.etag) as server:
        download_once(tmp_path, server)
    with FaultServer(MODEL) as server:
        assert download_once(tmp_path, server) == "right"


UNDETECTABLE: Final = {"bit flip in a whole answer", "bit flip after a cut", "wrong bytes of the right size"}
"""Faults that cannot be detected without hash and size; the header check refuses some of them."""


@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if s.name not in UNDETECTABLE], ids=lambda s: s.name)
@pytest.mark.slow
def test_without_hash_mixed_versions_are_never_published(tmp_path: Path, scenario: Scenario) -> None:
    with FaultServer(MODEL, scenario.script, changed=OTHER, etag=scenario.etag) as server:
        assert download_once(tmp_path, server, with_hash=False) == (scenario.outcome_without_hash or scenario.outcome)


_FAULTS = st.one_of(
    st.builds(Fault, st.sampled_from(["cut", "reset"]), st.integers(0, len(MODEL))),
    st.builds(Fault, st.sampled_from(["flip"]), st.integers(0, len(MODEL))),
    st.sampled_from(
        [Fault(kind) for kind in ("hang-up", "garbage", "wrong-range", "wrong-total", "ignore-range", "chunked-cut")]
        + [
            Fault(kind)
            for kind in ("chunked", "no-length", "longer", "shorter", "gzip", "html", "changed", "wrong-bytes")
        ]
        + [Fault("status", status) for status in (503, 416, 429)]
    ),
)


def _check_survival(folder: Path, script: list[Fault]) -> None:
    with FaultServer(MODEL, script, changed=OTHER) as server:
        assert download_once(folder, server) != "corrupt"
    with FaultServer(MODEL) as server:
        assert download_once(folder, server) in {"right", "download-target-taken"}


@settings(max_examples=50, deadline=None)
@given(script=st.lists(_FAULTS, min_size=1, max_size=7))
@pytest.mark.slow
def test_random_faults_give_right_bytes_or_none(script: list[Fault]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _check_survival(Path(folder), script)


@pytest.mark.torture
@pytest.mark.timeout(1800)
@settings(max_examples=1000, deadline=None)
@given(script=st.lists(_FAULTS, min_size=1, max_size=7))
def test_thousand_random_fault_scripts_give_no_wrong_bytes(script: list[Fault]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _check_survival(Path(folder), script)
