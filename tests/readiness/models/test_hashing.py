from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec
import pytest
from blake3 import blake3

from comfywatchman.readiness.database import open_database
from comfywatchman.readiness.models.hashing import (
    BLOCK_BYTES,
    OVERRUN_SECONDS,
    Hasher,
    HashingResult,
    find_data_start,
    hash_within_budget,
)
from comfywatchman.readiness.models.index import FileHashes, ModelIndex
from comfywatchman.readiness.models.inventory import ModelFile
from tests.model_files import put, safetensors, with_header


class SteppingClock:
    """A steady clock that advances by one step per reading."""

    def __init__(self, step: float = 0.0) -> None:
        self.seconds = 100.0
        self.step = step

    def __call__(self) -> float:
        self.seconds += self.step
        return self.seconds


def open_index(tmp_path: Path) -> ModelIndex:
    return ModelIndex(open_database(tmp_path / "i"))


def build_model(path: Path, *, problem: str | None = None, kind: str = "safetensors") -> ModelFile:
    status = path.stat()
    return ModelFile(
        "loras",
        path.name,
        str(path),
        status.st_size,
        status.st_mtime_ns,
        status.st_dev,
        status.st_ino,
        kind,
        problem,
        None,
    )


def write_models(tmp_path: Path, *sizes: int) -> list[ModelFile]:
    return [build_model(put(tmp_path / f"f{n}.ckpt", os.urandom(size))) for n, size in enumerate(sizes)]


def hash_models(
    models: list[ModelFile], index: ModelIndex, *, budget: float = 100.0, step: float = 0.0
) -> HashingResult:
    return hash_within_budget(models, index, budget_seconds=budget, monotonic=SteppingClock(step))


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 9 * BLOCK_BYTES + 17])
def test_hashes_cover_the_whole_file(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    path = put(tmp_path / "a.ckpt", content)
    with Hasher() as hasher:
        outcome = hasher.hash_file(str(path))
    assert outcome == (
        build_model(path).key,
        FileHashes(hashlib.sha256(content).hexdigest(), None, blake3(content).hexdigest()),
    )


@pytest.mark.parametrize("header_bytes", [2, 5000, BLOCK_BYTES - 8, BLOCK_BYTES, 2 * BLOCK_BYTES + 5])
def test_autov3_covers_the_data_after_the_header(tmp_path: Path, header_bytes: int) -> None:
    data = os.urandom(BLOCK_BYTES + 99)
    content = with_header(b"{" + b" " * (header_bytes - 2) + b"}", data)
    with Hasher() as hasher:
        outcome = hasher.hash_file(str(put(tmp_path / "a.safetensors", content)))
    assert not isinstance(outcome, str)
    assert outcome[1].autov3 == hashlib.sha256(data).hexdigest()[:12]
    assert outcome[1].sha256 == hashlib.sha256(content).hexdigest()


def test_autov3_survives_a_change_of_metadata(tmp_path: Path) -> None:
    with Hasher() as hasher:
        outcomes = [
            hasher.hash_file(str(put(tmp_path / f"{n}.safetensors", safetensors(3, metadata={"n": n * "x"}))))
            for n in range(2)
        ]
    hashes = [outcome[1] for outcome in outcomes if not isinstance(outcome, str)]
    assert len({h.autov3 for h in hashes}) == 1
    assert len({h.sha256 for h in hashes}) == 2


@pytest.mark.parametrize(
    ("head", "size", "start"),
    [
        (b"\x02" + bytes(7) + b"{", 10, 10),
        (b"\x03" + bytes(7) + b"{", 10, None),
        (b"\x02" + bytes(7) + b"[", 10, None),
        (b"PK\x03\x04", 4, None),
        (b"", 0, None),
    ],
)
def test_only_a_safetensors_header_has_a_data_start(head: bytes, size: int, start: int | None) -> None:
    assert find_data_start(head, size) == start


def test_file_growing_while_hashed_has_no_hashes(tmp_path: Path) -> None:
    path = put(tmp_path / "a.ckpt", os.urandom(3 * BLOCK_BYTES))

    def grow() -> bool:
        with path.open("ab") as stream:
            stream.write(b"x")
        return True

    with Hasher() as hasher:
        outcome = hasher.hash_file(str(path), may_go_on=lambda: path.stat().st_size > 3 * BLOCK_BYTES + 9 or grow())
    assert outcome == "changed while it was hashed"


def test_file_touched_while_hashed_has_no_hashes(tmp_path: Path) -> None:
    path = put(tmp_path / "a.ckpt", os.urandom(3 * BLOCK_BYTES))

    def touch() -> bool:
        os.utime(path, ns=(1, 1))
        return True

    with Hasher() as hasher:
        assert hasher.hash_file(str(path), may_go_on=touch) == "changed while it was hashed"


def test_unhashable_file_gives_the_reason(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    path = put(tmp_path / "a.ckpt", b"x")
    with Hasher() as hasher:
        assert hasher.hash_file(str(tmp_path / "gone")) == "cannot be opened: No such file or directory"
        assert hasher.hash_file(str(tmp_path / "fifo")) == "not a regular file"
        assert hasher.hash_file(str(tmp_path)) == "not a regular file"
        assert str(hasher.hash_file("/proc/self/mem")).startswith("cannot be read: ")
        assert (
            hasher.hash_file(str(path), may_go_on=lambda: False)
            == "aborted: reading it takes longer than the hashing time; raise [models] hash_budget_seconds"
        )


def test_small_files_are_hashed_first_and_each_once(tmp_path: Path) -> None:
    models = write_models(tmp_path, 3000, 10, 200)
    for sizes in ([10], [10, 200], [10, 200, 3000]):
        assert hash_models(models, open_index(tmp_path), budget=1, step=2) == HashingResult(1, 3 - len(sizes))
        assert sorted(size for _device, _inode, size, _mtime in open_index(tmp_path).hashes()) == sizes
    assert hash_models(models, open_index(tmp_path)) == HashingResult(0, 0)
    for file in models:
        assert (
            open_index(tmp_path).hashes()[file.key].sha256 == hashlib.sha256(Path(file.path).read_bytes()).hexdigest()
        )


def test_zero_budget_hashes_nothing(tmp_path: Path) -> None:
    result = hash_models(write_models(tmp_path, 10, 20), open_index(tmp_path), budget=0)
    assert result == HashingResult(0, 2)


def test_each_call_hashes_at_least_one_file_and_then_stops(tmp_path: Path) -> None:
    models = write_models(tmp_path, 10, 20, 30)
    waiting = [hash_models(models, open_index(tmp_path), budget=1, step=2).waiting for _ in range(4)]
    assert waiting == [2, 1, 0, 0]


@pytest.mark.slow
def test_file_that_would_not_fit_waits_for_the_next_call(tmp_path: Path) -> None:
    models = write_models(tmp_path, 5 << 20, 60 << 20)
    assert hash_models(models, open_index(tmp_path), budget=20, step=1).waiting == 1
    assert hash_models(models, open_index(tmp_path), budget=20, step=1).waiting == 0


def test_tiny_first_file_is_no_speed_sample(tmp_path: Path) -> None:
    models = write_models(tmp_path, 10, 200_000, 300_000)
    assert hash_models(models, open_index(tmp_path), budget=50, step=1) == HashingResult(3, 0)


def test_huge_file_after_a_tiny_one_waits_for_the_next_call(tmp_path: Path) -> None:
    huge = tmp_path / "huge.ckpt"
    huge.touch()
    os.truncate(huge, 4 << 30)
    assert hash_models(
        [*write_models(tmp_path, 10), build_model(huge)], open_index(tmp_path), budget=20
    ) == HashingResult(1, 1)


def test_file_that_takes_far_too_long_is_aborted(tmp_path: Path) -> None:
    models = write_models(tmp_path, 4 * BLOCK_BYTES)
    result = hash_models(models, open_index(tmp_path), budget=1, step=OVERRUN_SECONDS / 2)
    assert result.waiting == 1
    assert [text.partition(": ")[0] for text in result.skipped] == [str(models[0].path)]
    assert result.skipped[0].endswith("raise [models] hash_budget_seconds")


def test_broken_files_folders_and_hard_links_are_skipped(tmp_path: Path) -> None:
    good = put(tmp_path / "a.ckpt", b"x")
    os.link(good, tmp_path / "b.ckpt")
    models = [
        build_model(good),
        build_model(tmp_path / "b.ckpt"),
        build_model(put(tmp_path / "c.ckpt"), problem="empty"),
        build_model(tmp_path, kind="diffusers"),
    ]
    result = hash_models(models, open_index(tmp_path))
    assert (result.hashed, result.waiting) == (1, 0)


def test_file_changed_since_the_scan_is_not_recorded(tmp_path: Path) -> None:
    models = write_models(tmp_path, 10, 20)
    os.utime(models[0].path, ns=(1, 1))
    Path(models[1].path).unlink()
    index = open_index(tmp_path)
    result = hash_models(models, index)
    assert (result.hashed, result.waiting) == (0, 2)
    assert [reason.rpartition("ckpt: ")[2] for reason in result.skipped] == [
        "changed since it was listed",
        "cannot be opened: No such file or directory",
    ]
    assert index.hashes() == {}


def test_hashes_are_saved_in_batches(tmp_path: Path) -> None:
    models = write_models(tmp_path, 10, 20, 30)

    clock = SteppingClock(3)

    def read_clock() -> float:
        if open_index(tmp_path).hashes():
            raise KeyboardInterrupt
        return clock()

    with pytest.raises(KeyboardInterrupt):
        hash_within_budget(models, open_index(tmp_path), budget_seconds=1000, monotonic=read_clock)
    assert len(open_index(tmp_path).hashes()) < len(models)


def test_autov3_is_computed_for_loras_only(tmp_path: Path) -> None:
    lora = build_model(put(tmp_path / "lora.safetensors", safetensors()))
    other = build_model(put(tmp_path / "model.safetensors", safetensors()))
    checkpoint = msgspec.structs.replace(other, folder="checkpoints")
    index = open_index(tmp_path)
    hash_models([lora, checkpoint], index)
    assert index.hashes()[lora.key].autov3 is not None
    assert index.hashes()[checkpoint.key].autov3 is None


def test_progress_names_the_bytes_of_all_files(tmp_path: Path) -> None:
    models = write_models(tmp_path, 10, 3 * BLOCK_BYTES, 5 * BLOCK_BYTES)
    total = sum(model.size for model in models)
    seen: list[tuple[str, int, int]] = []
    result = hash_within_budget(
        models,
        open_index(tmp_path),
        budget_seconds=3600.0,
        monotonic=SteppingClock(),
        on_progress=lambda name, done, of: seen.append((name, done, of)),
    )
    assert result.hashed == 3
    assert [done for _name, done, _of in seen] == sorted(done for _name, done, _of in seen)
    assert {of for _name, _done, of in seen} == {total}
    assert seen[0][1] == 0
    assert seen[-1] == ("f2.ckpt", total, total)
