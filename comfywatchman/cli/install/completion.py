"""`comfywatchman completion`: the script that makes a shell complete commands, options and names."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from comfywatchman.base.errors import Failure

_PROGRAMS: Final = ("comfywatchman", "gov", "e3")
_BASH_CHANGES: Final = (
    ("read type value", "read -r type value"),
    (
        "COMPREPLY+=($value)",
        """# After an opening quote, bash completes the text inside it.
            if [[ ${COMP_WORDS[COMP_CWORD]} == [\\"\\']* ]]; then
                COMPREPLY+=("$value")
            else
                COMPREPLY+=("$(printf %%q "$value")")
            fi""",
    ),
)
"""Click's script inserts names as they are, so that a space would split one into two arguments."""

_FILES: Final = {
    "bash": "~/.bashrc",
    "zsh": "~/.zshrc",
    "fish": "~/.config/fish/conf.d/comfywatchman.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(sorted(_FILES)))
def completion(shell: str) -> None:
    """Print the script that completes commands, options and names in SHELL; add it to the shell's start file.

    It completes workflows, models, jobs, transactions, snapshots and versions too, for comfywatchman, gov and e3.

    \b
    Examples:
      comfywatchman completion bash >> ~/.bashrc
      comfywatchman completion fish > ~/.config/fish/conf.d/comfywatchman.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise Failure("broken", f"click has no completion for {shell}.")
    click.echo(f"# Completion of comfywatchman, for {_FILES[shell]}")
    for program in _PROGRAMS:
        script = kind(click.Command(program), {}, program, f"_{program.upper()}_COMPLETE")
        template = script.source_template
        if shell == "bash":
            for text, replacement in _BASH_CHANGES:
                template = template.replace(text, replacement)
        click.echo(template % script.source_vars())
