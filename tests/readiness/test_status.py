"""The report's records, as `master_status.json` stores them."""

from __future__ import annotations

from typing import get_args, get_type_hints

import msgspec
import pytest

from comfywatchman.readiness.search.results import SearchStatus
from comfywatchman.readiness.status import SCHEMA_VERSION, Answer, MasterStatus, ModelCandidate


def test_schema_version_of_the_report_is_the_constant() -> None:
    assert get_args(get_type_hints(MasterStatus)["schema_version"]) == (SCHEMA_VERSION,)


def test_report_of_another_schema_version_is_rejected() -> None:
    with pytest.raises(msgspec.ValidationError, match="schema_version"):
        msgspec.convert({"schema_version": SCHEMA_VERSION + 1}, MasterStatus)


def test_every_search_status_is_an_allowed_answer() -> None:
    assert {status.value for status in SearchStatus} <= set(get_args(Answer))


def test_unknown_fields_of_a_candidate_are_left_out() -> None:
    assert msgspec.json.encode(ModelCandidate("civitai", name="a")) == b'{"source":"civitai","name":"a"}'
