"""Truth files that do not belong together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.environments import snapshot, staging
from comfywatchman.governance.environments.rollback import rollback
from comfywatchman.governance.environments.truth_damage import describe_restoration, find_truth_damage
from tests.governance import changes
from tests.governance.contexts import Site, build_site

PROJECT = b'[project]\nname = "x"\n[dependency-groups]\nbase = ["a"]\nnode-My_Pack = ["b"]\n'
REGISTRY = b'{"plugins": {"my-pack": {"id": "my-pack", "git_url": "", "ref": "", "path": "", "group": "node-my-pack"}}}'
WHOLE = {"pyproject.toml": PROJECT, "uv.lock": b"version = 1\n", "plugins.json": REGISTRY}


def test_files_that_belong_together_are_undamaged() -> None:
    assert find_truth_damage(WHOLE) is None
    assert find_truth_damage({}) is None


@pytest.mark.parametrize("missing", [("uv.lock",), ("uv.lock", "plugins.json")])
def test_root_that_was_not_built_yet_is_undamaged(missing: tuple[str, ...]) -> None:
    assert find_truth_damage({name: text for name, text in WHOLE.items() if name not in missing}) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pyproject.toml": None}, "pyproject.toml of the governed root is missing"),
        ({"pyproject.toml": b" \n"}, "pyproject.toml of the governed root is empty"),
        ({"pyproject.toml": b"[x"}, "pyproject.toml of the governed root cannot be read"),
        ({"pyproject.toml": b"\xff"}, "pyproject.toml of the governed root cannot be read"),
        ({"pyproject.toml": b'[project]\nname = "x"\n'}, "lost its group base"),
        ({"uv.lock": b""}, "uv.lock of the governed root is empty"),
        ({"plugins.json": None}, "plugins.json of the governed root is missing"),
        ({"plugins.json": b""}, "plugins.json of the governed root cannot be used"),
        ({"plugins.json": b"{}"}, "plugins.json of the governed root lost the node My_Pack"),
    ],
)
def test_lost_and_emptied_files_are_damage(changes: Mapping[str, bytes | None], words: str) -> None:
    contents = {name: text for name, text in {**WHOLE, **changes}.items() if text is not None}
    assert words in (find_truth_damage(contents) or "")


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = build_site(tmp_path_factory.mktemp("site"))
    with site.opened() as context:
        changes.promote(context, "a", ["plainlet"])
    return site


@pytest.mark.slow
@pytest.mark.parametrize("content", [None, b"", b"{}"])
@pytest.mark.parametrize("name", ["pyproject.toml", "plugins.json"])
def test_damaged_root_is_not_changed_and_restored(damaged: Site, name: str, content: bytes | None) -> None:
    path = damaged.layout.truth_file(name)
    whole = path.read_bytes()
    newest = snapshot.read_all(damaged.layout)[-1].id
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Failure) as caught:
        damaged.init()
    assert caught.value.code == "gov-truth-damaged"
    assert caught.value.hint == f"Restore the truth files from the last snapshot: gov rollback {newest}"
    with damaged.opened() as context:
        operation = rollback(context, newest)
    assert operation.pre_snapshot is None
    assert path.read_bytes() == whole
    for meta in snapshot.read_all(damaged.layout):
        snapshot.read_contents(damaged.layout, meta.id)


@pytest.mark.slow
def test_missing_registry_is_not_an_empty_one(damaged: Site) -> None:
    path = damaged.layout.plugins
    whole = path.read_bytes()
    path.unlink()
    with pytest.raises(Failure, match=r"plugins\.json of the governed root is missing"):
        staging.read_registry(damaged.layout)
    path.write_bytes(whole)


def test_restoration_without_a_snapshot_needs_a_backup(tmp_path: Path) -> None:
    site = build_site(tmp_path, init=False)
    assert "from a backup" in describe_restoration(site.layout)
