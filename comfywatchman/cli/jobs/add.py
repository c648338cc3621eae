"""`comfywatchman jobs add`: write a job file from options, and queue it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from comfywatchman.app.job_facts import describe_job
from comfywatchman.base.files import printable_path
from comfywatchman.cli.jobs.common import open_agent
from comfywatchman.cli.options import complete_names, json_option
from comfywatchman.cli.render import print_json, printable
from comfywatchman.jobs.files.names import SUFFIX
from comfywatchman.jobs.records import MAX_PRIORITY, MIN_PRIORITY

if TYPE_CHECKING:
    from comfywatchman.jobs.files.workflows import JobWorkflow


@click.command()
@click.argument("workflow_id", metavar="WORKFLOW", shell_complete=complete_names("job workflow"))
@click.argument("inputs", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--type", "job_type", help="Type of the job; otherwise that of the outputs that the workflow saves.")
@click.option("--name", "jobname", help="Last part of the job's name; otherwise from its prompt.")
@click.option("--output", "file_path", default="", help="Folder or file of jobs/finished/ for the outputs.")
@click.option("--priority", type=click.IntRange(MIN_PRIORITY, MAX_PRIORITY), help="1 (first) to 999 (last).")
@click.option("--retries", "retry_limit", type=click.IntRange(0, 1000), help="Retries after the first run.")
@click.option("--seeds", type=click.IntRange(1), help="Number of runs with different seeds.")
@click.option("--prompt", "prompts", multiple=True, help="One run with this text; may be given several times.")
@click.option("--deadline", "deadline_seconds", type=float, help="Longest run, in seconds.")
@click.option("--webhook", help="Address that gets a POST at the end.")
@json_option
@click.pass_context
def add(
    context: click.Context,
    workflow_id: str,
    inputs: tuple[str, ...],
    job_type: str | None,
    jobname: str | None,
    file_path: str,
    priority: int | None,
    retry_limit: int | None,
    seeds: int | None,
    prompts: tuple[str, ...],
    deadline_seconds: float | None,
    webhook: str | None,
    as_json: bool,
) -> None:
    """Write a job file and queue it.

    WORKFLOW is a workflow of config/workflows.yaml. The job file is written to jobs/processing/, unless it would be
    rejected.

    \b
    Examples:
      comfywatchman jobs add text-to-image prompt="a red fox"
      comfywatchman jobs add text-to-image prompt="a red fox" steps=30 --seeds 4
    """
    from comfywatchman.jobs.files.draft import JobDraft, make_jobname, parse_input_option, write_job_file
    from comfywatchman.jobs.files.workflows import load_workflows

    agent = open_agent(context)
    workflows = load_workflows(agent.settings.workflows)
    values = dict(parse_input_option(text) for text in inputs)
    draft = JobDraft(
        workflow_id=workflow_id,
        job_type=job_type or _find_type(workflow_id, workflows),
        jobname=make_jobname(jobname or _find_text(values, prompts) or workflow_id),
        inputs=values,
        file_path=file_path,
        priority=priority,
        retry_limit=retry_limit,
        seeds=seeds,
        prompts=prompts,
        deadline_seconds=deadline_seconds,
        webhook=webhook,
    )
    spec = write_job_file(draft, agent.settings, workflows, moment=context.obj.clock.now())
    with agent.open_store() as store:
        store.upsert(spec)
        job = store.get(spec.config_name)
    if as_json:
        print_json(job=describe_job(job), path=spec.source_path)
        return
    name = spec.config_name.removesuffix(SUFFIX)
    click.echo(f"{printable(name)} is queued: {printable_path(Path(spec.source_path))}")


def _find_type(workflow_id: str, workflows: dict[str, JobWorkflow]) -> str:
    from comfywatchman.jobs.files.draft import guess_job_type
    from comfywatchman.jobs.files.payload import get_workflow
    from comfywatchman.jobs.files.templates import load_template

    entry = get_workflow(workflow_id, workflows)
    return guess_job_type(load_template(Path(entry["template_path"])).graph)


def _find_text(values: dict[str, object], prompts: tuple[str, ...]) -> str:
    """Return the first prompt of a job, for its name."""
    texts = [*prompts, *(value for name in ("prompt", "text") if isinstance(value := values.get(name), str))]
    return texts[0] if texts else ""
