from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.files.checking import JobFileIdentity, check_job_file
from comfywatchman.jobs.files.problems import JobFileError
from comfywatchman.jobs.files.template_cache import TemplateCache
from comfywatchman.jobs.files.yaml_text import parse_yaml
from comfywatchman.jobs.records import JobSpec
from tests.jobs.files.job_folder import JOB, NAME, JobFolder


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder.create(tmp_path)


def check(folder: JobFolder, text: str = JOB, job_type: str = "T2I") -> JobSpec:
    identity = JobFileIdentity(NAME, job_type, folder.settings.processing / "image" / NAME, "ab" * 32)
    document = parse_yaml(text.encode())
    return check_job_file(document, identity, folder.settings, folder.workflows, TemplateCache())


def test_job_has_the_defaults_of_the_settings(folder: JobFolder) -> None:
    spec = check(folder)
    assert (spec.priority, spec.retry_limit) == (50, 2)
    assert (spec.config_name, spec.source_sha256) == (NAME, "ab" * 32)


def test_type_must_be_that_of_the_name(folder: JobFolder) -> None:
    with pytest.raises(JobFileError, match="The name of the file says T2V") as caught:
        check(folder, job_type="T2V")
    assert (caught.value.problems[0].line, caught.value.problems[0].field) == (1, "job_type")


def test_problems_have_their_lines(folder: JobFolder) -> None:
    with pytest.raises(JobFileError) as caught:
        check(folder, JOB + "priority: high\n")
    assert caught.value.problems[0].line == 7


def test_template_that_is_not_there_is_a_failure(folder: JobFolder) -> None:
    (folder.root / "workflows" / "portrait.json").unlink()
    with pytest.raises(Failure) as caught:
        check(folder)
    assert caught.value.code == "jobs-template-invalid"
