"""Publishing: one rename, nothing replaced, outputs of an earlier attempt recognised."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.execution.publication import (
    OutputPlace,
    build_identity,
    create_attempt_folder,
    delete_attempt,
    find_place,
    find_published,
    publish,
    write_result,
)
from comfywatchman.jobs.records import Job
from tests.jobs.execution.samples import SPEC, build_job

STEM = "T2I_20260131093000_1_cat"


def write_attempt(place: OutputPlace, job: Job, attempt: int = 1) -> Path:
    folder = create_attempt_folder(place, attempt)
    (folder / "cat.png").write_bytes(str(attempt).encode())
    write_result(folder, {**build_identity(job), "attempt": attempt})
    return folder


@pytest.mark.parametrize(
    ("output_path", "relative", "base_name"),
    [
        ("", "image", "cat"),
        ("image", "image", "cat"),
        ("image/pets/", "image/pets", "cat"),
        ("image/pets/fox.png", "image/pets", "fox"),
        ("fox.png", "", "fox"),
        ("image/v1.2", "image/v1.2", "cat"),
    ],
)
def test_place_follows_the_output_path(output_path: str, relative: str, base_name: str) -> None:
    place = find_place(build_job(replace(SPEC, output_path=output_path)), Path("/finished"))
    assert place == OutputPlace(Path("/finished"), relative, STEM, base_name)


def test_outputs_appear_by_one_rename(tmp_path: Path) -> None:
    job = build_job()
    place = find_place(job, tmp_path)
    folder = write_attempt(place, job)
    assert find_published(place, job) is None
    published = publish(folder, place, job)
    assert published.folder == tmp_path / "image" / STEM
    assert sorted(os.listdir(published.folder)) == ["cat.png", "result.json"]
    assert not folder.exists()
    assert find_published(place, job) == published


def test_second_attempt_never_replaces_the_first(tmp_path: Path) -> None:
    job = build_job()
    place = find_place(job, tmp_path)
    publish(write_attempt(place, job, 1), place, job)
    second = write_attempt(place, job, 2)
    assert publish(second, place, job).result["attempt"] == 1
    assert (tmp_path / "image" / STEM / "cat.png").read_bytes() == b"1"
    delete_attempt(second)
    assert list(place.attempts.iterdir()) == []


def test_older_job_of_the_same_name_keeps_its_outputs(tmp_path: Path) -> None:
    old, new = build_job(), build_job(id=8)
    place = find_place(old, tmp_path)
    publish(write_attempt(place, old), place, old)
    assert find_published(place, new) is None
    published = publish(write_attempt(place, new, 2), place, new)
    assert published.folder.name == f"{STEM}.2"
    assert find_published(place, new) == published
    published_old = find_published(place, old)
    assert published_old is not None
    assert published_old.folder.name == STEM


def test_folder_with_a_damaged_result_is_not_ours(tmp_path: Path) -> None:
    job = build_job()
    place = find_place(job, tmp_path)
    folder = tmp_path / "image" / STEM
    folder.mkdir(parents=True)
    (folder / "result.json").write_text("{", "utf-8")
    assert find_published(place, job) is None
    assert publish(write_attempt(place, job), place, job).folder.name == f"{STEM}.2"


def test_attempt_of_a_killed_worker_is_begun_anew(tmp_path: Path) -> None:
    job = build_job()
    place = find_place(job, tmp_path)
    write_attempt(place, job)
    assert list(create_attempt_folder(place, 1).iterdir()) == []


@pytest.mark.parametrize("output_path", ["../outside", "/outside", "image/../../outside"])
def test_nothing_is_written_outside_the_finished_tree(tmp_path: Path, output_path: str) -> None:
    place = find_place(build_job(replace(SPEC, output_path=output_path)), tmp_path / "finished")
    with pytest.raises(Failure) as caught:
        create_attempt_folder(place, 1)
    assert caught.value.code == "jobs-output-refused"


def test_link_in_the_finished_tree_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "finished").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "finished" / "image").symlink_to(tmp_path / "outside")
    with pytest.raises(Failure):
        create_attempt_folder(find_place(build_job(), tmp_path / "finished"), 1)
    assert list((tmp_path / "outside").iterdir()) == []


def test_folder_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / ".attempts").write_bytes(b"")
    with pytest.raises(Failure) as caught:
        create_attempt_folder(find_place(build_job(), tmp_path), 1)
    assert caught.value.code == "state-unwritable"


def test_attempt_that_vanished_is_a_failure(tmp_path: Path) -> None:
    job = build_job()
    place = find_place(job, tmp_path)
    folder = create_attempt_folder(place, 1)
    delete_attempt(folder)
    with pytest.raises(Failure) as caught:
        publish(folder, place, job)
    assert caught.value.code == "state-unwritable"
