from __future__ import annotations

from click.testing import CliRunner

from comfywatchman.cli.main import main


def test_help_lists_the_commands() -> None:
    result = CliRunner().invoke(main, ["handler", "--help"])
    assert result.exit_code == 0
    assert "Run the workflow of REQUEST" in result.output
