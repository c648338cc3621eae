"""`comfywatchman version compare`."""

from __future__ import annotations

import click

from comfywatchman.cli.options import complete_names, json_option


@click.command("compare")
@click.argument("first", shell_complete=complete_names("version"))
@click.argument("second", shell_complete=complete_names("version"))
@json_option
@click.pass_context
def compare(context: click.Context, first: str, second: str, as_json: bool) -> None:
    """Show what changed between two versions. Exits with 1 when they differ.

    FIRST and SECOND are names or paths of lock files.

    \b
    Examples:
      comfywatchman version compare 2026-10 2026-11
      comfywatchman version compare a.lock.json b.lock.json --json
    """
    from comfywatchman.cli.render import print_json, print_table, result_code
    from comfywatchman.cli.version.common import open_lock
    from comfywatchman.versions.compare import compare_versions

    differences = compare_versions(open_lock(context.obj, first), open_lock(context.obj, second))
    if as_json:
        print_json(differences=differences)
    elif differences:
        rows = []
        for difference in differences:
            before, after = _shorten(difference.before), _shorten(difference.after)
            rows.append((difference.kind, difference.name, difference.change.value, before, after))
        print_table(("Kind", "Name", "Change", "Before", "After"), rows)
    else:
        click.echo("Both versions describe the same state.")
    context.exit(result_code(success=not differences))


def _shorten(text: str) -> str:
    """Shorten the hashes in a description to twelve digits."""
    return " ".join(word[:12] if len(word) in {40, 64} else word for word in text.split(" "))
