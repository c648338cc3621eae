"""`gov test`."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import click

from comfywatchman.app.session import Session
from comfywatchman.cli.gov.common import GovCommand, print_result, show_progress
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import DONE, FAILED, print_table

_WORDS = {True: "ok", False: "fail", None: "not tried"}


@click.command(cls=GovCommand)
@click.option("--keep", is_flag=True, help="Leave the scratch copy where it is, and say where.")
@json_option
@click.pass_context
def test(context: click.Context, keep: bool, as_json: bool) -> None:
    """Try the whole chain on a scratch copy, without network: from init to rollback.

    It uses packages that it makes itself and a stand-in for ComfyUI. Your governed root is not touched. Exits with 1
    when a step does not do what it should.

    \b
    gov test
    gov test --keep
    """
    from comfywatchman.governance.selftest.acceptance import run_selftest

    session: Session = context.obj
    folder = Path(tempfile.mkdtemp(prefix="gov-test-"))
    try:
        with show_progress(session, "Trying") as tell:
            steps = run_selftest(folder, clock=session.clock, progress=lambda name: tell(f"Trying: {name}"))
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        print_result(context, {"steps": steps, "folder": str(folder) if keep else None})
    else:
        print_table(("Step", "Result", "What was seen"), [(one.name, _WORDS[one.ok], one.detail) for one in steps])
        if keep:
            click.echo(f"The scratch copy is in {folder}.")
    context.exit(DONE if all(one.ok for one in steps) else FAILED)
