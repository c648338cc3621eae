"""`gov test`: run the whole chain on a scratch copy, and print each step."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Final

import click

from comfywatchman.app.session import Session
from comfywatchman.cli.gov.common import GovCommand, print_result, show_progress
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import DONE, FAILED, print_table

_RESULTS: Final = {True: "ok", False: "fail", None: "not run"}


@click.command("test", cls=GovCommand)
@click.option("--keep", is_flag=True, help="Keep the scratch copy, and print its folder.")
@json_option
@click.pass_context
def selftest(context: click.Context, keep: bool, as_json: bool) -> None:
    """Run the whole chain on a scratch copy, without network: from init to rollback.

    It uses packages that it builds itself and a stand-in for ComfyUI. Your governed root is not changed. Exits with 1
    when a step fails.

    \b
    Examples:
      gov test
      gov test --keep
    """
    from comfywatchman.governance.selftest.acceptance import run_selftest

    session: Session = context.obj
    folder = Path(tempfile.mkdtemp(prefix="gov-test-"))
    try:
        with show_progress(session, "Testing") as show:
            steps = run_selftest(folder, clock=session.clock, progress=lambda name: show(f"Testing: {name}"))
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        print_result(context, {"steps": steps, "folder": str(folder) if keep else None})
    else:
        rows = [(step.name, _RESULTS[step.ok], step.detail) for step in steps]
        print_table(("Step", "Result", "Details"), rows)
        if keep:
            click.echo(f"The scratch copy is in {folder}.")
    context.exit(DONE if all(step.ok for step in steps) else FAILED)
