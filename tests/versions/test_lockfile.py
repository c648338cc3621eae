from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import to_json
from comfywatchman.versions.lockfile import (
    LockedCode,
    LockedModel,
    VersionLock,
    check_tag,
    lock_path,
    read_lock,
    seal_lock,
    write_lock,
)

LOCK = seal_lock(
    VersionLock(
        tag="first",
        comfyui=LockedCode(name="ComfyUI", source="git", commit="c" * 40, tree="d" * 40),
        models=(LockedModel(path="vae/a.safetensors", size=3, sha256="e" * 64),),
    )
)


def test_written_lock_is_read_back(tmp_path: Path) -> None:
    path = lock_path(tmp_path, "first")
    write_lock(path, LOCK)
    assert path.name == "comfy-first.lock.json"
    assert read_lock(path) == LOCK


def test_edited_lock_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.lock.json"
    path.write_bytes(to_json(LOCK).replace(b'"size": 3', b'"size": 4'))
    with pytest.raises(Failure, match="edited") as caught:
        read_lock(path)
    assert caught.value.code == "version-lock-invalid"


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[1]", b"\xff", b'{"tag": 1}', to_json(LOCK)[:-30], b"[" * 100_000], ids=range(7)
)
def test_damaged_lock_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.lock.json"
    path.write_bytes(content)
    with pytest.raises(Failure) as caught:
        read_lock(path)
    assert caught.value.code == "version-lock-invalid"


def test_later_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.lock.json"
    write_lock(path, seal_lock(msgspec.structs.replace(LOCK, schema="comfywatchman/lock@2")))
    with pytest.raises(Failure, match="lock@2"):
        read_lock(path)


def test_missing_lock_and_unreadable_one_differ(tmp_path: Path) -> None:
    with pytest.raises(Failure) as caught:
        read_lock(tmp_path / "none.lock.json")
    assert caught.value.code == "version-lock-missing"
    with pytest.raises(Failure) as caught:
        read_lock(tmp_path)
    assert caught.value.code == "file-not-regular"


@pytest.mark.parametrize("tag", ["", ".", "-a", "a/b", "..", "a" * 101, "a b", "a\n", "ä"])
def test_bad_tag_is_refused(tag: str) -> None:
    with pytest.raises(Failure) as caught:
        check_tag(tag)
    assert caught.value.code == "version-bad-tag"


def test_good_tags_are_accepted() -> None:
    for tag in ("1", "v1.2-rc_3", "a" * 100):
        check_tag(tag)


def test_hash_covers_every_part() -> None:
    changed = msgspec.structs.replace(LOCK, tag="second")
    assert seal_lock(changed).content_sha256 != LOCK.content_sha256
    assert seal_lock(LOCK) == LOCK


def node(name: str) -> LockedCode:
    return LockedCode(name=name, source="git")


def model(path: str, size: int = 1) -> LockedModel:
    return LockedModel(path=path, size=size, sha256="a")


@pytest.mark.parametrize(
    "changes",
    [
        {"tag": "a\x1b[2J"},
        {"tag": "../a"},
        {"nodes": (node("../x"),)},
        {"nodes": (node(".."),)},
        {"nodes": (node(".git"),)},
        {"nodes": (node("a\0"),)},
        {"nodes": (node("a"), node("a"))},
        {"models": (model("../../x"),)},
        {"models": (model("/etc/x"),)},
        {"models": (model("vae//x"),)},
        {"models": (model("vae\\x"),)},
        {"models": (model("vae/a\n"),)},
        {"models": (model("vae/a", size=-1),)},
        {"models": (model("vae/a", size=1 << 60),)},
        {"models": (model("vae/a"), model("vae/a"))},
    ],
    ids=range(15),
)
def test_values_that_could_do_harm_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    path = tmp_path / "a.lock.json"
    write_lock(path, seal_lock(msgspec.structs.replace(LOCK, **changes)))
    with pytest.raises(Failure, match="names") as caught:
        read_lock(path)
    assert caught.value.code == "version-lock-invalid"


def test_names_of_any_language_are_accepted(tmp_path: Path) -> None:
    names = ("dir mit Leerzeichen", "\u30e2\u30c7\u30eb", "no\u00a0break", "\U0001f469\u200d\U0001f4bb", "a'b\"c")
    lock = seal_lock(msgspec.structs.replace(LOCK, nodes=tuple(node(name) for name in names)))
    write_lock(tmp_path / "a.lock.json", lock)
    assert read_lock(tmp_path / "a.lock.json") == lock


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"size": 3', b'"size": ' + b"9" * 400), (b"vae/a", rb"vae/\ud800"), (b'"models": [', b'"models": [' * 10_000)],
    ids=["huge-number", "surrogate", "deep"],
)
def test_hostile_json_is_refused(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = tmp_path / "a.lock.json"
    path.write_bytes(to_json(LOCK).replace(old, new))
    with pytest.raises(Failure) as caught:
        read_lock(path)
    assert caught.value.code == "version-lock-invalid"
