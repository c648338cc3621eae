from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from tests.cli.jobs.calls import JobsHome

pytestmark = pytest.mark.slow


def test_job_is_written_as_a_file_and_queued(home: JobsHome) -> None:
    result = home("add", "picture", "color=7", "--name", "my-cat", "--priority", "9")
    assert result.exit_code == 0, result.output
    (path,) = home.processing.rglob("*.yaml")
    assert result.stdout == f"{path.stem} is queued: {path}\n"
    assert path.stem.startswith("T2I_")
    assert path.stem.endswith("_my-cat")
    job = home.json("run")["job"]
    assert (job["status"], job["priority"], job["config_name"]) == ("done", 9, path.name)


def test_several_seeds_are_one_job(home: JobsHome) -> None:
    content = home.json("add", "seeded", "--seeds", "3")
    assert Path(content["path"]).is_file()
    job = home.json("run")["job"]
    assert (job["status"], len(job["metadata"]["files"])) == ("done", 3)
    assert len(set(job["metadata"]["seeds"])) == 3


def test_refused_job_leaves_no_file(home: JobsHome) -> None:
    for arguments in (("colour=7",), ("colour=7", "--json")):
        with pytest.raises(Failure, match=r"inputs\.colour") as caught:
            home("add", "picture", *arguments)
        assert caught.value.code == "jobs-file-invalid"
    assert list(home.processing.rglob("*.yaml")) == []


def test_missing_workflows_file_names_the_command(home: JobsHome) -> None:
    (home.folder / "config" / "workflows.yaml").unlink()
    for command in (("add", "picture"), ("run", "--once")):
        with pytest.raises(Failure, match=r"workflows\.yaml cannot be used\. It does not exist\.") as caught:
            home(*command)
        assert caught.value.code == "jobs-file-invalid"
        assert (caught.value.hint or "").startswith(f"Run: comfywatchman --home {home.folder} ")
        assert (caught.value.hint or "").endswith(" jobs init")


def test_options_become_fields_of_the_job(home: JobsHome) -> None:
    options = ("--retries", "1", "--deadline", "60", "--webhook", "http://127.0.0.1:9/", "--output", "image/x")
    content = home.json("add", "picture", *options)
    assert content["job"]["retry_limit"] == 1
    spec = home.json("show", content["job"]["config_name"])["spec"]
    assert (spec["deadline_seconds"], spec["webhook"], spec["output_path"]) == (60.0, "http://127.0.0.1:9/", "image/x")


def test_agent_finds_the_same_job_in_the_file(home: JobsHome) -> None:
    home("add", "picture")
    (result,) = home.json("monitor")["results"]
    assert (result["status"], result["outcome"]) == ("accepted", None)
    assert len(home.json("queue", "ls")["jobs"]) == 1


def test_prompt_gives_the_name(home: JobsHome) -> None:
    home("init")
    sample = "fox:\n  template_path: workflows/text-to-image.json\n  required_inputs: [prompt]\n"
    workflows = home.folder / "config" / "workflows.yaml"
    workflows.write_text(sample + '  inputs: {prompt: {node: "2", field: text}}\n', "utf-8")
    content = home.json("add", "fox", "prompt=a red fox!", "width=320", "--seeds", "2")
    assert content["job"]["config_name"].endswith("_1_a-red-fox.yaml")
    content = home.json("add", "fox", "--prompt", "one", "--prompt", "two")
    assert content["job"]["config_name"].endswith("_one.yaml")
    assert len(home.json("show", content["job"]["config_name"])["spec"]["repeats"]) == 2


@pytest.mark.parametrize("priority", ["0", "1000"])
def test_priority_out_of_range_is_a_usage_error(home: JobsHome, priority: str) -> None:
    assert home("add", "picture", "--priority", priority).exit_code == 2
    assert list(home.processing.rglob("*.yaml")) == []


@pytest.mark.parametrize("arguments", [("pictur",), ("picture", "color")])
def test_mistakes_name_what_is_wrong(home: JobsHome, arguments: tuple[str, ...]) -> None:
    with pytest.raises(Failure) as caught:
        home("add", *arguments)
    assert caught.value.code == "jobs-file-invalid"
