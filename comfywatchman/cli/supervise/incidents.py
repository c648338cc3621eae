"""`comfywatchman supervise incidents`: why ComfyUI ended or was stopped, with the evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.base.text import format_size
from comfywatchman.cli.options import complete_names, json_option
from comfywatchman.cli.render import print_json, print_table, printable
from comfywatchman.cli.supervise.common import open_workspace, workspace_option
from comfywatchman.cli.supervise.live import format_elapsed
from comfywatchman.supervisor.incidents import FOLDER_NAME, Incident, list_incidents, read_incident_log

LAST: Final = "last"
_SHOWN_LINES: Final = 40


@click.command()
@click.argument("name", metavar="[NAME]", required=False, shell_complete=complete_names("incident"))
@workspace_option
@json_option
@click.pass_context
def incidents(context: click.Context, name: str | None, workspace: Path | None, as_json: bool) -> None:
    """List the unexpected ends of ComfyUI, or show one.

    The newest is the last. NAME is one of the list, or `last`. The whole log of an incident is in its folder.

    \b
    Examples:
      comfywatchman supervise incidents
      comfywatchman supervise incidents last
    """
    _session, environments = open_workspace(context, workspace)
    metadata = environments.metadata
    known = list_incidents(metadata)
    if name is None:
        _print_list(known, as_json=as_json)
        return
    incident = _find(known, name)
    log = read_incident_log(metadata, incident.name)
    if as_json:
        print_json(incident=incident, log=log.splitlines())
        return
    _print_incident(incident, metadata / FOLDER_NAME / incident.name, log.splitlines())


def _find(known: tuple[Incident, ...], name: str) -> Incident:
    if name == LAST and known:
        return known[-1]
    for incident in known:
        if incident.name == name:
            return incident
    raise Failure(
        "supervisor-incident-unknown",
        f"There is no incident {name!r}." if known else "There are no incidents.",
        hint="List them: comfywatchman supervise incidents",
    )


def _print_list(known: tuple[Incident, ...], *, as_json: bool) -> None:
    if as_json:
        print_json(incidents=known)
        return
    if not known:
        click.echo("No incidents: ComfyUI has not ended unexpectedly.")
        return
    rows = [(incident.name, incident.environment or "", incident.sentence) for incident in known]
    print_table(("Name", "Environment", "What happened"), rows, whole="Name", spare=("Environment",))


def _print_incident(incident: Incident, folder: Path, lines: list[str]) -> None:
    click.echo(printable(incident.sentence))
    status = "it did not end" if incident.exit_status is None else str(incident.exit_status)
    rows = [
        ("At", incident.at),
        ("Kind", incident.kind),
        ("Reason", "see the log" if incident.reason in {"", "none"} else incident.reason),
        ("Environment", incident.environment or "none"),
        ("Exit status", status),
        ("Ran for", format_elapsed(incident.uptime_seconds)),
        ("Prompts", "unknown" if incident.queue_length is None else str(incident.queue_length)),
        ("Memory", _describe_memory(incident)),
        ("GPU memory", _describe_gpu_memory(incident)),
        ("Stack dump", "in the log" if incident.has_stack_dump else "none"),
        ("Folder", printable_path(folder)),
    ]
    for name, text in rows:
        click.echo(f"{name + ':':<13}{printable(text)}")
    shown = lines[-_SHOWN_LINES:]
    click.echo(f"Last {len(shown)} of {len(lines)} log lines:" if lines else "The log was empty.")
    for line in shown:
        click.echo(f"  {printable(line.expandtabs())}")


def _describe_gpu_memory(incident: Incident) -> str:
    used = [sample.gpu_used_bytes for sample in incident.memory if sample.gpu_used_bytes is not None]
    if not used:
        return "not measured"
    return f"{format_size(used[-1])} at the end, at most {format_size(max(used))}, of all GPUs and programs"


def _describe_memory(incident: Incident) -> str:
    text = "not measured"
    if incident.memory:
        peak = max(sample.resident_bytes for sample in incident.memory)
        text = f"{format_size(incident.memory[-1].resident_bytes)} at the end, at most {format_size(peak)}"
    if incident.is_out_of_memory:
        text += "; the kernel ended a process because memory ran out"
    return text
