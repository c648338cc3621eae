from __future__ import annotations

import pytest
from click.testing import CliRunner

from comfywatchman import __version__
from comfywatchman.app.build_info import find_commit
from comfywatchman.cli.gov.main import gov
from comfywatchman.cli.lazy import LazyGroup
from comfywatchman.cli.main import main

SHARED = {"--home", "--config", "--comfyui", "--version"}


def test_both_programs_have_the_same_session_options() -> None:
    helps = []
    for program in (main, gov):
        options = {option: parameter for parameter in program.params for option in parameter.opts}
        helps.append({name: (options[name].name, getattr(options[name], "help", "")) for name in SHARED})
    assert helps[0] == helps[1]


@pytest.mark.parametrize(("program", "name"), [(main, "comfywatchman"), (gov, "gov")])
def test_version_names_the_program(program: LazyGroup, name: str) -> None:
    assert CliRunner().invoke(program, ["--version"]).output == f"{name}, version {__version__} ({find_commit()})\n"
