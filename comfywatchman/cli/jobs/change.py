"""Changes by a person: priority, retry, cancel, pause and resume. Each is recorded with who made it."""

from __future__ import annotations

import click

from comfywatchman.app.job_facts import describe_job
from comfywatchman.app.jobs import local_actor
from comfywatchman.cli.jobs.common import open_agent, print_paused
from comfywatchman.cli.options import complete_names, json_option
from comfywatchman.cli.render import print_json, printable
from comfywatchman.jobs.files.names import complete_config_name
from comfywatchman.jobs.records import MAX_PRIORITY, MIN_PRIORITY, Job, JobStatus


@click.command("set-priority")
@click.argument("name", shell_complete=complete_names("job"))
@click.argument("priority", type=click.IntRange(MIN_PRIORITY, MAX_PRIORITY))
@json_option
@click.pass_context
def set_priority(context: click.Context, name: str, priority: int, as_json: bool) -> None:
    """Set the priority of a job, from 1 (first) to 999 (last).

    \b
    Examples:
      comfywatchman jobs queue set-priority T2I_20261120144545_1_fox 10
      comfywatchman jobs queue set-priority T2I_20261120144545_1_fox 500
    """
    config_name = complete_config_name(name)
    with open_agent(context).open_store() as store:
        store.set_priority(config_name, priority, actor=local_actor())
        job = store.get(config_name)
    _print_change(job, f"has priority {job.priority}", as_json=as_json)


@click.command("god-mode")
@click.argument("name", shell_complete=complete_names("job"))
@json_option
@click.pass_context
def god_mode(context: click.Context, name: str, as_json: bool) -> None:
    """Put a job first: priority 1.

    \b
    Examples:
      comfywatchman jobs god-mode T2I_20261120144545_1_fox
      comfywatchman jobs god-mode T2I_20261120144545_1_fox --json
    """
    config_name = complete_config_name(name)
    with open_agent(context).open_store() as store:
        store.god_mode(config_name, actor=local_actor())
        job = store.get(config_name)
    _print_change(job, "has priority 1", as_json=as_json)


@click.command()
@click.argument("name", shell_complete=complete_names("job"))
@json_option
@click.pass_context
def retry(context: click.Context, name: str, as_json: bool) -> None:
    """Queue a failed job again, with all its retries.

    \b
    Examples:
      comfywatchman jobs retry T2I_20261120144545_1_fox
      comfywatchman jobs retry T2I_20261120144545_1_fox --json
    """
    config_name = complete_config_name(name)
    with open_agent(context).open_store() as store:
        store.retry(config_name, actor=local_actor())
        job = store.get(config_name)
    _print_change(job, f"is {job.status.value}", as_json=as_json)


@click.command()
@click.argument("name", shell_complete=complete_names("job"))
@json_option
@click.pass_context
def cancel(context: click.Context, name: str, as_json: bool) -> None:
    """Cancel a job; one that runs is stopped in ComfyUI by its worker.

    \b
    Examples:
      comfywatchman jobs cancel T2I_20261120144545_1_fox
      comfywatchman jobs cancel T2I_20261120144545_1_fox --json
    """
    config_name = complete_config_name(name)
    with open_agent(context).open_store() as store:
        status = store.cancel(config_name, actor=local_actor())
        job = store.get(config_name)
    text = "is cancelled" if status is JobStatus.CANCELLED else "is being stopped by its worker"
    _print_change(job, text, as_json=as_json)


@click.command()
@json_option
@click.pass_context
def pause(context: click.Context, as_json: bool) -> None:
    """Let no host take another job; the jobs that run go on.

    \b
    Examples:
      comfywatchman jobs pause
      comfywatchman jobs pause --json
    """
    with open_agent(context).open_store() as store:
        store.pause(actor=local_actor())
    if as_json:
        print_json(paused=True)
    else:
        print_paused(context.obj)


@click.command()
@json_option
@click.pass_context
def resume(context: click.Context, as_json: bool) -> None:
    """Let hosts take jobs again.

    \b
    Examples:
      comfywatchman jobs resume
      comfywatchman jobs resume --json
    """
    with open_agent(context).open_store() as store:
        store.resume(actor=local_actor())
    if as_json:
        print_json(paused=False)
    else:
        click.echo("The queue is running.")


def _print_change(job: Job, text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(job=describe_job(job))
    else:
        click.echo(f"{printable(job.config_name)} {text}.")
