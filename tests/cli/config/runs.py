"""Running `comfywatchman config` in a home of its own."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from comfywatchman.cli.main import main


def run_config(home: Path, *arguments: str, **variables: str | None) -> Result:
    """Run the command; errors stay in the result."""
    environment = {"HOME": str(home), "XDG_CONFIG_HOME": None, "CIVITAI_API_KEY": None, "HF_TOKEN": None, **variables}
    return CliRunner().invoke(main, ["--home", str(home / "the home"), "config", *arguments], env=environment)


def user_file(home: Path) -> Path:
    """Return the user's configuration file."""
    return home / ".config" / "comfywatchman" / "config.toml"
