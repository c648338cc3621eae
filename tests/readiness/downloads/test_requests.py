from __future__ import annotations

import pytest

from comfywatchman.readiness.downloads.requests import (
    build_declared_item,
    build_link_item,
    find_models,
    is_link,
    list_missing_models,
)
from comfywatchman.readiness.states import ModelState
from tests.readiness.report.findings import entry, model
from tests.readiness.report.sample_reports import status

URL = "https://x.example/a"


def test_models_of_a_report_are_listed_once() -> None:
    report = status(
        entry("/w/a.json", missing_models=(model(), model(folder="vae"))), entry("/w/b.json", missing_models=(model(),))
    )
    assert [(found.folder, found.name) for found in list_missing_models(report)] == [("loras", "a.pt"), ("vae", "a.pt")]


@pytest.mark.parametrize("name", ["sub/a.pt", "sub\\a.pt", "models/loras/sub/a.pt", "a.pt"])
def test_model_is_named_as_outputs_print_it(name: str) -> None:
    wanted = model("sub\\a.pt", target="models/loras/sub/a.pt")
    assert find_models(name, (wanted, model("b.pt"))) == (wanted,)


def test_exact_name_goes_before_the_last_segment() -> None:
    exact, other = model("a.pt"), model("sub/a.pt")
    assert find_models("a.pt", (other, exact)) == (exact,)
    assert find_models("c.pt", (other, exact)) == ()


def test_model_whose_folder_is_known_goes_first() -> None:
    known, unknown = model(), model(folder=None)
    assert find_models("a.pt", (unknown, known)) == (known,)
    assert find_models("a.pt", (unknown,)) == (unknown,)


def test_file_of_this_host_is_linked_not_downloaded() -> None:
    here = model(state=ModelState.SUBFOLDER, found_at="/m/x/a.pt", declared_url=URL)
    assert is_link(here)
    assert build_declared_item(here) is None
    # A link to nowhere has a path as well.
    assert not is_link(model(found_at="/m/a.pt"))
    assert not is_link(model(state=ModelState.SUBFOLDER))


def test_declared_link_becomes_a_download_under_the_name_of_the_workflow() -> None:
    item = build_declared_item(
        model("x\\a.pt", declared_url=URL, declared_sha256="0" * 64, target="models/loras/x/a.pt")
    )
    assert item is not None
    assert (item.filename, item.folder, item.url, item.sha256) == ("x/a.pt", "loras", URL, "0" * 64)
    assert build_declared_item(model()) is None


def test_extension_that_a_workflow_leaves_out_is_added() -> None:
    soft = model("soft", folder="embeddings", target="models/embeddings/soft.safetensors", declared_url=URL)
    item = build_declared_item(soft)
    assert item is not None
    assert item.filename == "soft.safetensors"
    assert build_link_item(model("a.pt", folder=None)).filename == "a.pt"
