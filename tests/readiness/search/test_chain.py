"""Who is asked in which order, what is remembered, and how far a budget goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from comfywatchman.readiness.database import Database, open_database
from comfywatchman.readiness.search.budget import SearchBudget
from comfywatchman.readiness.search.chain import search_multiple_models
from comfywatchman.readiness.search.claims import Proposal, build_query
from comfywatchman.readiness.search.context import Backend, SearchContext, SearchItem
from comfywatchman.readiness.search.decisions import load_decisions, store_choice
from comfywatchman.readiness.search.results import (
    DIFFERING_HASHES,
    BackendSkipReason,
    BackendStatus,
    HubIds,
    SearchResult,
    SearchStatus,
    SkippedBackend,
)
from comfywatchman.readiness.states import SearchDoubt
from tests.readiness.search.servers import CANARIES, SearchServers, search_item, search_servers
from tests.servers.base import Reply
from tests.servers.civitai import CivitaiServer, file_json, model_json, version_json
from tests.servers.huggingface import HubFile, Repo
from tests.servers.llm import picks

NAME = "detail_tweaker.safetensors"
OTHER = "detail_slider.safetensors"
FILE = HubFile(b"x" * 4096)
DAY_SECONDS = 86400.0
NO_MODEL = SkippedBackend("qwen", BackendSkipReason.NO_LANGUAGE_MODEL)
NO_HASH = SkippedBackend("civarchive", BackendSkipReason.NO_DECLARED_HASH)
NO_MATCH_ON_CIVITAI = BackendStatus("civitai", SearchStatus.UNCERTAIN, SearchDoubt.NO_MATCH)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(open_database(tmp_path / "index.sqlite")) as opened:
        yield opened


def on_civitai(*names: str) -> dict[str, Any]:
    return model_json("detail", [version_json([file_json(name) for name in names])])


def one(search: SearchContext, ref: SearchItem | str = NAME, **options: Any) -> SearchResult:
    (answer,) = search_multiple_models([search_item(ref) if isinstance(ref, str) else ref], search, **options)
    return answer


def statuses(answers: Sequence[SearchResult]) -> list[str]:
    return [answer.status.value for answer in answers]


def declared(repo: str = "a/b", path: str = NAME) -> Proposal:
    return Proposal("workflow", "the workflow's node 3", HubIds(repo=repo, revision="main", path=path), NAME)


def test_what_the_workflow_declares_is_verified_before_anybody_is_searched() -> None:
    with search_servers(picks()) as made, made.search() as search:
        made.hugging_face.repos = {"a/b": Repo({NAME: FILE})}
        answer = one(search, search_item(NAME, "loras", declared()))
        assert (answer.status, answer.sha256, answer.type) == (SearchStatus.FOUND, FILE.digest, "loras")
        assert made.civitai.asked == []
        assert [asked.method for asked in made.hugging_face.asked] == ["HEAD"]


def test_the_configured_order_is_kept_and_ends_at_the_first_found() -> None:
    with search_servers(picks()) as made:
        made.hugging_face.repos = {"a/detail": Repo({NAME: FILE})}
        with made.search(backend_order=("huggingface", "qwen", "civitai")) as search:
            answer = one(search)
        assert (answer.status, answer.source) == (SearchStatus.FOUND, "huggingface")
        assert made.llm is not None
        assert made.llm.chats == []
        made.hugging_face.repos = {}
        with made.search(backend_order=("qwen", "civitai", "huggingface")) as search:
            answer = one(search)
        assert answer.backends == tuple(
            BackendStatus(backend, SearchStatus.UNCERTAIN, SearchDoubt.NO_MATCH)
            for backend in ("qwen", "civitai", "huggingface")
        )


@pytest.mark.parametrize("order", [("huggingface", "civitai"), ("civitai", "huggingface")])
def test_a_name_that_two_hubs_give_to_different_files_is_uncertain(order: tuple[Backend, ...]) -> None:
    with search_servers() as made, made.search(backend_order=order) as search:
        made.hugging_face.repos = {"a/detail": Repo({NAME: FILE})}
        made.civitai.models = [on_civitai(NAME)]
        answer = one(search)
    assert answer.status is SearchStatus.UNCERTAIN
    assert {candidate.source for candidate in answer.candidates} == {"civitai", "huggingface"}
    assert DIFFERING_HASHES in answer.evidence


def test_a_file_proved_by_its_declared_hash_is_looked_for_nowhere_else() -> None:
    with search_servers() as made, made.search(backend_order=("huggingface", "civitai")) as search:
        made.hugging_face.repos = {"a/detail": Repo({NAME: FILE})}
        ref = SearchItem(build_query(NAME, "loras", sha256=FILE.digest))
        assert one(search, ref).confidence == "hash"
        assert made.civitai.asked == []


@pytest.mark.parametrize("breaks", [False, True])
def test_other_backends_are_asked_for_one_call_only_also_when_it_breaks(*, breaks: bool) -> None:
    def progress(_done: int, _all: int) -> None:
        if breaks:
            raise LookupError

    with search_servers(picks()) as made, made.search() as search:
        try:
            one(search, backends=["huggingface"], progress=progress)
        except LookupError:
            assert breaks
        assert made.civitai.asked == []
        assert len(made.hugging_face.asked) > 0
        assert search.backend_order == ("qwen", "civitai")


def test_the_next_call_after_an_override_asks_the_configured_backends() -> None:
    with search_servers(picks()) as made, made.search() as search:
        one(search, backends=["huggingface"])
        one(search)
        assert made.llm is not None
        assert len(made.llm.chats) == 1
        assert len(made.civitai.asked) > 0


def test_a_doubt_is_not_taken_back_by_a_later_backend() -> None:
    with search_servers(picks(1)) as made:
        made.civitai.models = [on_civitai(OTHER)]
        with made.search() as search:
            answer = one(search)
    assert answer.status is SearchStatus.UNCERTAIN
    assert [candidate.name for candidate in answer.candidates] == [OTHER]
    assert NO_MATCH_ON_CIVITAI in answer.backends


def test_an_error_of_one_backend_does_not_hide_what_another_found() -> None:
    with search_servers(Reply(b"", 500)) as made:
        made.civitai.models = [on_civitai(OTHER)]
        with made.search() as search:
            failed = one(search)
        made.civitai.models = [on_civitai(NAME)]
        with made.search() as search:
            found = one(search)
    assert (failed.status, found.status) == (SearchStatus.ERROR, SearchStatus.FOUND)
    assert NO_MATCH_ON_CIVITAI in failed.backends


def test_an_error_of_the_site_is_never_not_found() -> None:
    with search_servers(picks()) as made, made.search() as search:
        made.civitai.brown_outs = 99
        assert one(search).status is SearchStatus.ERROR


def test_without_a_language_model_the_other_backends_answer_and_it_is_said() -> None:
    with search_servers() as made:
        with made.search() as search:
            answer = one(search)
            assert answer.doubt is SearchDoubt.NO_MATCH
            assert answer.skipped == (NO_MODEL,)
            alone = one(search, backends=["qwen"])
        made.civitai.models = [on_civitai(NAME)]
        with made.search() as search:
            assert one(search).status is SearchStatus.FOUND
    assert alone.status is SearchStatus.ERROR
    assert alone.skipped == (NO_MODEL,)


def test_the_archive_is_asked_only_where_a_hash_is_declared() -> None:
    with search_servers() as made, made.search() as search:
        alone = one(search, backends=["civarchive"])
        both = one(search, backends=["civarchive", "civitai"])
        assert made.evil.asked == []
    assert (alone.status, both.doubt) == (SearchStatus.ERROR, SearchDoubt.NO_MATCH)
    assert alone.skipped == (NO_HASH,)
    assert [entry.backend for entry in both.backends] == ["civitai"]


def test_without_backends_no_site_is_asked(database: Database) -> None:
    with search_servers(picks()) as made:
        made.hugging_face.repos = {"a/b": Repo({NAME: FILE})}
        item = search_item(NAME, "loras", declared())
        with made.search(database=database) as search:
            assert one(search, item).status is SearchStatus.FOUND
        asked = len(made.hugging_face.asked)
        made.clock.advance(awake=30 * DAY_SECONDS)
        with made.search(database=database, backend_order=()) as search:
            # Not even to verify an old result again, or what a workflow declares.
            assert one(search, item).status is SearchStatus.FOUND
            other = one(search, search_item(OTHER, "loras", declared(path=OTHER)))
        assert (other.status, other.backends) == (SearchStatus.ERROR, ())
        assert other.evidence == ("The search is switched off ([search] backend_order is empty).",)
        assert (len(made.hugging_face.asked), made.civitai.asked, made.evil.asked) == (asked, [], [])


def test_the_archive_of_deleted_models_is_asked_by_hash_when_it_is_named() -> None:
    with search_servers() as made, made.search() as search:
        answer = one(search, search_item(NAME, sha256="a" * 64), backends=["civarchive"])
        assert made.evil.asked[0].path == f"/api/sha256/{'a' * 64}"
        assert answer.status is SearchStatus.ERROR


@pytest.mark.parametrize(
    "name", ["Cute & Fun wow! モデル.safetensors", "XL\\sub\\détail (v1) [x].safetensors", "C4D.pt"]
)
def test_odd_names_are_looked_for(name: str) -> None:
    with search_servers() as made:
        own = name.rpartition("\\")[2]
        made.hugging_face.repos = {"a/any": Repo({f"x/{own}": FILE})}
        with made.search(allow_pickle=True) as search:
            claim = Proposal("workflow", "w", HubIds(repo="a/any", path=f"x/{own}"), own)
            answer = one(search, search_item(name, "loras", claim))
    assert (answer.status, answer.filename) == (SearchStatus.FOUND, name)


@pytest.mark.parametrize(
    "name", ["", "../x.safetensors", "C:\\x\\y.safetensors", "/etc/x.safetensors", "a\nb.pt", "12"]
)
def test_a_name_that_no_file_can_have_is_asked_of_nobody(name: str) -> None:
    with search_servers(picks()) as made, made.search() as search:
        assert one(search, name).status is SearchStatus.INVALID_FILENAME
        assert made.civitai.asked == []


def test_answers_come_in_the_order_asked_and_the_same_model_is_looked_for_once() -> None:
    told: list[tuple[int, int]] = []
    names = [f"detail_{number}.safetensors" for number in range(12)]
    with search_servers() as made:
        made.civitai.models = [on_civitai(*names[::2])]
        with made.search(parallel=3) as search:
            refs = [search_item(name) for name in (*names, *names)]
            answers = search_multiple_models(refs, search, progress=lambda *state: told.append(state))
            alone = len(made.civitai.asked)
    assert [answer.filename for answer in answers] == [*names, *names]
    assert statuses(answers) == ["FOUND", "UNCERTAIN"] * 12
    assert told == [(number, 12) for number in range(1, 13)]
    # Each FOUND takes one more request: whether the file can be fetched.
    assert alone <= 12 + 3 + 6


def test_nothing_to_look_for_is_nothing_to_do() -> None:
    with search_servers() as made, made.search() as search:
        assert search_multiple_models([], search) == []


def test_notes_stand_first_in_the_evidence_and_are_not_remembered(database: Database) -> None:
    note = "This host has a file of that name in vae."
    with search_servers() as made, made.search(database=database) as search:
        with_note = one(search, SearchItem(build_query(NAME, "loras"), notes=(note,)))
        assert with_note.evidence[0] == note
        assert note not in one(search).evidence


def asked_again(made: SearchServers, search: SearchContext, **options: Any) -> int:
    before = len(made.civitai.asked) + len(made.hugging_face.asked)
    one(search, **options)
    return len(made.civitai.asked) + len(made.hugging_face.asked) - before


def test_an_answer_is_remembered_and_asked_for_again_when_wanted_or_grown_old(database: Database) -> None:
    with search_servers() as made:
        for days, again in ((0, True), (6, False), (2, True)):
            made.clock.advance(asleep=days * DAY_SECONDS)
            with made.search(database=database) as search:
                assert (asked_again(made, search) > 0) is again
        with made.search(database=database) as search:
            assert asked_again(made, search, refresh=True) > 0
            assert asked_again(made, search) == 0
            assert asked_again(made, search, backends=["huggingface"]) > 0
            assert asked_again(made, search, backends=["huggingface"]) == 0


def test_trouble_is_forgotten_after_an_hour(database: Database) -> None:
    with search_servers() as made:
        made.civitai.brown_outs = 1
        for seconds, status in ((0, "ERROR"), (1800, "ERROR"), (1801, "UNCERTAIN")):
            made.clock.advance(awake=seconds)
            with made.search(database=database) as search:
                assert one(search).status.value == status


def test_a_person_who_waits_is_not_told_the_trouble_of_before(database: Database) -> None:
    with search_servers() as made:
        made.civitai.brown_outs = 1
        with made.search(database=database) as search:
            assert one(search).status is SearchStatus.ERROR
        with made.search(database=database) as search:
            assert one(search).status is SearchStatus.ERROR
            assert one(search, retry_errors=True).doubt is SearchDoubt.NO_MATCH
        made.civitai.models = [on_civitai(NAME)]
        with made.search(database=database) as search:
            assert one(search, retry_errors=True).doubt is SearchDoubt.NO_MATCH


def test_a_doubt_of_other_backends_is_kept_while_it_counts(database: Database) -> None:
    with search_servers(picks(1)) as made:
        made.civitai.models = [on_civitai(OTHER)]
        with made.search(database=database) as search:
            assert one(search).status is SearchStatus.UNCERTAIN
            assert one(search, backends=["huggingface"]).status is SearchStatus.UNCERTAIN
        made.clock.advance(asleep=2 * DAY_SECONDS)
        with made.search(database=database) as search:
            assert one(search, backends=["huggingface"]).doubt is SearchDoubt.NO_MATCH


def test_a_doubt_that_other_backends_have_since_counts_for_a_remembered_answer(database: Database) -> None:
    with search_servers(picks(1)) as made:
        made.civitai.models = [on_civitai(OTHER)]
        with made.search(database=database) as search:
            assert one(search, backends=["huggingface"]).doubt is SearchDoubt.NO_MATCH
            assert one(search).status is SearchStatus.UNCERTAIN
            assert one(search, backends=["huggingface"]).status is SearchStatus.UNCERTAIN
            assert asked_again(made, search, backends=["huggingface"]) == 0


def test_what_other_backends_found_is_forgotten_when_it_is_gone(database: Database) -> None:
    with search_servers() as made:
        made.hugging_face.repos = {"a/detail": Repo({NAME: FILE})}
        with made.search(database=database) as search:
            assert one(search, backends=["huggingface"]).status is SearchStatus.FOUND
        made.clock.advance(asleep=8 * DAY_SECONDS)
        made.hugging_face.repos = {}
        with made.search(database=database) as search:
            assert one(search).doubt is SearchDoubt.NO_MATCH
            assert asked_again(made, search) == 0


def test_a_doubt_is_asked_on_by_the_next_search_when_the_budget_cut_it_short(database: Database) -> None:
    with search_servers(picks(1)) as made:
        made.civitai.models = [on_civitai(OTHER)]
        made.hugging_face.repos = {"a/detail": Repo()}
        order: tuple[Backend, ...] = ("qwen", "huggingface")
        # Two searches on each site for the language model and a look at its pick; nothing is left for the repository.
        budget = SearchBudget(made.clock, requests=5)
        with made.search(database=database, budget=budget, backend_order=order) as search:
            assert one(search).status is SearchStatus.UNCERTAIN
            assert search.budget.refusal() is not None
        with made.search(database=database, backend_order=order) as search:
            assert asked_again(made, search) > 0
            assert asked_again(made, search) == 0


def test_what_was_found_is_held_against_its_hub_after_a_week(database: Database) -> None:
    with search_servers() as made:
        made.civitai.models = [on_civitai(NAME)]
        with made.search(database=database) as search:
            first = one(search)
        made.clock.advance(asleep=8 * DAY_SECONDS)
        before = len(made.civitai.asked)
        with made.search(database=database) as search:
            assert one(search) == first
            # Its version, and whether it can still be fetched.
            assert [asked.path.split("/")[2:4] for asked in made.civitai.asked[before:]] == [
                ["v1", "model-versions"],
                ["download", "models"],
            ]
            assert asked_again(made, search) == 0


def test_a_found_file_that_cannot_be_asked_about_stays_found(database: Database) -> None:
    with search_servers() as made:
        made.civitai.models = [on_civitai(NAME)]
        with made.search(database=database) as search:
            first = one(search)
        made.clock.advance(asleep=8 * DAY_SECONDS)
        made.civitai.limited = 9
        with made.search(database=database) as search:
            assert one(search) == first


@pytest.mark.parametrize("change", ["gone", "other bytes"])
def test_a_found_file_that_is_gone_or_changed_is_looked_for_again(database: Database, change: str) -> None:
    with search_servers() as made:
        made.civitai.models = [on_civitai(NAME)]
        with made.search(database=database) as search:
            first = one(search)
        made.clock.advance(asleep=8 * DAY_SECONDS)
        if change == "gone":
            made.civitai.models = []
        else:
            made.civitai.models[0]["modelVersions"][0]["files"][0]["hashes"]["SHA256"] = "B" * 64
        with made.search(database=database) as search:
            second = one(search)
            assert one(search) == second
    assert second.status.value == ("UNCERTAIN" if change == "gone" else "FOUND")
    assert second.sha256 != first.sha256


def test_trouble_while_asking_again_does_not_replace_what_is_known(database: Database) -> None:
    with search_servers() as made:
        made.civitai.models = [on_civitai(NAME)]
        with made.search(database=database) as search:
            first = one(search)
        made.civitai.brown_outs = 9
        with made.search(database=database) as search:
            assert one(search, refresh=True).status is SearchStatus.ERROR
        with made.search(database=database) as search:
            assert one(search) == first


def test_asking_anew_puts_earlier_doubts_of_other_backends_aside(database: Database) -> None:
    with search_servers(picks(1)) as made:
        made.civitai.models = [on_civitai(OTHER)]
        with made.search(database=database) as search:
            assert one(search).status is SearchStatus.UNCERTAIN
        with made.search(database=database) as search:
            assert one(search, backends=["civitai"], refresh=True).doubt is SearchDoubt.NO_MATCH
            assert one(search, backends=["civitai"]).doubt is SearchDoubt.NO_MATCH


@pytest.mark.slow
@pytest.mark.parametrize(("days", "refresh"), [(2, False), (0, True)])
def test_a_doubt_is_not_taken_back_by_an_error(database: Database, days: int, *, refresh: bool) -> None:
    with search_servers(picks(1)) as made:
        made.civitai.models = [on_civitai(OTHER)]
        with made.search(database=database) as search:
            first = one(search)
        made.clock.advance(asleep=days * DAY_SECONDS)
        made.civitai.limited = 1
        with made.search(database=database) as search:
            answer = one(search, refresh=refresh)
        assert answer.status is SearchStatus.UNCERTAIN
        assert answer.candidates == first.candidates
        assert any("limits the number of requests" in line for line in answer.evidence)
        with made.search(database=database) as search:
            assert asked_again(made, search, refresh=refresh) > 0


def test_another_language_model_is_another_question(database: Database) -> None:
    with search_servers(picks()) as made:
        for model, again in (("a", True), ("a", False), ("b", True)):
            with made.search(database=database, llm={"model": model}) as search:
                assert (asked_again(made, search) > 0) is again


def test_what_the_budget_leaves_open_is_said_and_asked_by_the_next_search(database: Database) -> None:
    refs = [search_item(f"detail_{number}.safetensors") for number in range(6)]
    with search_servers() as made:
        with made.search(database=database, budget=SearchBudget(made.clock, requests=4), parallel=1) as search:
            answers = search_multiple_models(refs, search)
        assert len(made.civitai.asked) == 4
        open_ones = [answer.postponed for answer in answers]
        assert open_ones == [False, False, False, True, True, True]
        assert statuses(answers) == ["UNCERTAIN"] * 3 + ["ERROR"] * 3
        with made.search(database=database) as search:
            assert statuses(search_multiple_models(refs, search)) == ["UNCERTAIN"] * 6
        assert len(made.civitai.asked) == 4 + 1 + 3


def test_an_old_answer_is_better_than_none_when_nobody_may_be_asked(database: Database) -> None:
    with search_servers(picks(1)) as made:
        made.civitai.models = [on_civitai(OTHER)]
        with made.search(database=database) as search:
            one(search)
        made.clock.advance(asleep=2 * DAY_SECONDS)
        with made.search(database=database, budget=SearchBudget(made.clock, seconds=0)) as search:
            answer = one(search)
            assert one(search, search_item("unknown_one.safetensors")).status is SearchStatus.ERROR
    assert answer.status is SearchStatus.UNCERTAIN
    assert answer.candidates[0].name == OTHER
    assert answer.postponed
    assert "since 2026-11-20T14:00:00Z" in answer.evidence[-1]


def test_a_persons_choice_is_the_answer_without_asking_anybody(tmp_path: Path) -> None:
    path = tmp_path / "decisions.json"
    with search_servers(picks(1)) as made:
        made.civitai.models = [on_civitai(OTHER)]
        with made.search() as search:
            doubt = one(search)
            store_choice(path, doubt, "1", policy=search.policy, clock=made.clock)
        before = len(made.civitai.asked)
        with made.search(decisions=load_decisions(path)[0]) as search:
            answer = one(search, refresh=True)
        assert len(made.civitai.asked) == before
    assert (answer.status, answer.confidence) == (SearchStatus.FOUND, "chosen")
    assert (answer.sha256, answer.filename) == (doubt.candidates[0].sha256, NAME)


@pytest.mark.slow
def test_an_interrupted_search_keeps_what_it_learned_and_ends_at_once(database: Database) -> None:
    refs = [search_item(f"detail_{number}.safetensors") for number in range(40)]

    def interrupt(done: int, _all: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with search_servers() as made:
        with made.search(database=database, parallel=2) as search:
            with pytest.raises(KeyboardInterrupt):
                search_multiple_models(refs, search, progress=interrupt)
            assert search.budget.refusal() == "it was interrupted"
        asked = len(made.civitai.asked)
        assert asked < 40
        with made.search(database=database) as search:
            search_multiple_models(refs, search)
        assert len(made.civitai.asked) - asked == 1 + (40 - 3)


@pytest.mark.parametrize("order", [("qwen",), ("civitai",), ("huggingface",), ("qwen", "civitai", "huggingface")])
def test_an_unplugged_network_is_an_error_for_everything(order: tuple[Backend, ...]) -> None:
    with search_servers(picks()) as made:
        pass
    with made.search(backend_order=order) as search:
        answers = search_multiple_models([search_item(f"detail_{number}.safetensors") for number in range(8)], search)
    assert set(statuses(answers)) == {"ERROR"}
    assert search.budget.requests <= 2 * 3 + 4


def test_a_silent_first_address_of_civitai_leaves_the_second_one_to_be_asked() -> None:
    with CivitaiServer() as gone:
        pass
    names = [f"detail_{word}.safetensors" for word in ("red", "green", "blue", "grey")]
    with (
        search_servers() as made,
        made.search(civitai_url=gone.url, civitai_fallback_url=made.civitai.url, parallel=1) as search,
    ):
        made.civitai.models = [on_civitai(*names)]
        answers = search_multiple_models([search_item(name) for name in names], search, backends=["civitai"])
        assert statuses(answers) == ["FOUND"] * 4


def test_name_without_words_is_asked_of_nobody_and_the_reason_is_given(database: Database) -> None:
    with search_servers() as made, made.search(database=database) as search:
        answer = one(search, "ae.safetensors", backends=["civitai", "huggingface"])
        assert (answer.status, answer.doubt) == (SearchStatus.UNCERTAIN, SearchDoubt.NOT_ASKED)
        reason = BackendSkipReason.NO_SEARCH_TERMS
        assert answer.skipped == (SkippedBackend("civitai", reason), SkippedBackend("huggingface", reason))
        assert answer.backends == ()
        assert made.civitai.asked == made.hugging_face.asked == []
        made.hugging_face.repos = {"a/b": Repo({"ae.safetensors": FILE})}
        item = search_item("ae.safetensors", "vae", declared(path="ae.safetensors"))
        assert one(search, item).status is SearchStatus.FOUND


def test_recheck_keeps_a_found_whose_hub_sends_an_odd_answer(database: Database) -> None:
    with search_servers() as made:
        made.civitai.models = [on_civitai(NAME)]
        with made.search(database=database) as search:
            first = one(search)
        made.clock.advance(asleep=8 * DAY_SECONDS)
        made.civitai.models[0]["modelVersions"][0]["files"][0]["hashes"] = None
        with made.search(database=database) as search:
            assert one(search) == first


def test_new_key_asks_again_at_once(database: Database) -> None:
    gated = Repo({NAME: HubFile(size=5 << 20, sha256="a" * 64)}, gated=True)
    claim = Proposal("workflow", "node 3", HubIds(repo="o/n", path=NAME), NAME)
    with search_servers() as made:
        made.hugging_face.repos = {"o/n": gated}
        made.hugging_face.members = {"member-token"}

        def ask(token: str) -> SearchResult:
            made.secrets = {**made.secrets, "hf_token": token}
            with made.search(database=database) as search:
                return search_multiple_models([search_item(NAME, "loras", claim)], search)[0]

        assert ask("").doubt is SearchDoubt.ACCESS_RESTRICTED
        before = len(made.hugging_face.asked)
        assert ask("").doubt is SearchDoubt.ACCESS_RESTRICTED
        assert len(made.hugging_face.asked) == before
        assert ask("member-token").status is SearchStatus.FOUND


def test_closed_repository_is_asked_again_for_a_person(database: Database) -> None:
    claim = Proposal("workflow", "node 3", HubIds(repo="o/n", path=NAME), NAME)
    with search_servers() as made:
        made.hugging_face.repos = {"o/n": Repo({NAME: HubFile(size=5 << 20, sha256="a" * 64)}, gated=True)}
        with made.search(database=database) as search:
            items = [search_item(NAME, "loras", claim)]
            assert search_multiple_models(items, search)[0].doubt is SearchDoubt.ACCESS_RESTRICTED
        # The person has accepted the terms.
        made.hugging_face.members = {CANARIES["hf_token"]}
        with made.search(database=database) as search:
            assert search_multiple_models(items, search)[0].doubt is SearchDoubt.ACCESS_RESTRICTED
            assert search_multiple_models(items, search, retry_errors=True)[0].status is SearchStatus.FOUND
