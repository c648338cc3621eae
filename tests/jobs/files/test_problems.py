from __future__ import annotations

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.files.problems import JobFileError, JobFileProblem


def test_problem_begins_with_its_line_and_field() -> None:
    assert str(JobFileProblem("It is too long.", 3, "inputs.x")) == "Line 3: inputs.x: It is too long."
    assert str(JobFileProblem("It is empty.")) == "It is empty."


def test_error_is_a_failure_and_a_value_error() -> None:
    error = JobFileError([JobFileProblem("It is empty.", 1)], source="x.yaml")
    assert isinstance(error, Failure)
    assert isinstance(error, ValueError)
    assert error.code == "jobs-file-invalid"
    assert error.message == "x.yaml cannot be used. Line 1: It is empty."
    assert error.facts["problems"] == [{"message": "It is empty.", "line": 1, "field": ""}]


def test_error_shows_five_problems_and_the_number_of_others() -> None:
    error = JobFileError([JobFileProblem(f"p{number}.") for number in range(7)])
    assert error.message == "p0. p1. p2. p3. p4. 2 more problems."
    assert len(error.problems) == 7
