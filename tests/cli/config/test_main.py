"""`comfywatchman config`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from comfywatchman.base.config import read_default_text
from comfywatchman.base.config_schema import MASK
from comfywatchman.cli.main import main
from tests.hosts import Host

CANARY = "canary-91ab"


def config(home: Path, *arguments: str, text: str = "", **variables: str) -> Result:
    (home / "given.toml").write_text(text)
    (home / "given.toml").chmod(0o600)
    environment = {"HOME": str(home), "XDG_CONFIG_HOME": None, "CIVITAI_API_KEY": None, "HF_TOKEN": None, **variables}
    given = ["--home", str(home / "the home"), "--config", str(home / "given.toml")]
    return CliRunner().invoke(main, [*given, "config", *arguments], env=environment, catch_exceptions=False)


def test_every_key_is_shown_with_its_value_and_origin(tmp_path: Path) -> None:
    text = '[workflows]\nroots = [{path = "/w", label = "mine"}]\n[comfyui]\nurl = ""\n'
    result = config(tmp_path, text=text, COMFYWATCHMAN_WORKFLOWS__MEDIA="false")
    assert result.exit_code == 0
    rows = dict(line.split("\t", 1) for line in result.output.splitlines()[1:-1])
    given = tmp_path / "given.toml"
    assert rows["workflows.roots"] == f"mine=/w\t{given}"
    assert rows["comfyui.url"] == f"(empty)\t{given}"
    assert rows["comfyui.extra_model_paths"] == "(none)\tdefault"
    assert rows["workflows.media"] == "false\tenvironment COMFYWATCHMAN_WORKFLOWS__MEDIA"
    assert result.output.splitlines()[-1] == f"Home: {tmp_path / 'the home'}"


def test_keys_are_printed_as_json(tmp_path: Path) -> None:
    facts = json.loads(config(tmp_path, "--json", text="[schedule]\nmin_vram_gb = 3\n").output)
    assert facts["home"] == str(tmp_path / "the home")
    assert facts["schema_version"] == 1
    keys = {row["key"]: row for row in facts["keys"]}
    assert keys["schedule.min_vram_gb"] == {
        "key": "schedule.min_vram_gb",
        "value": 3.0,
        "origin": str(tmp_path / "given.toml"),
    }


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_secrets_are_masked(tmp_path: Path, arguments: list[str]) -> None:
    result = config(tmp_path, *arguments, text=f'[secrets]\nhf_token = "{CANARY}"\n', CIVITAI_API_KEY=CANARY)
    assert result.exit_code == 0
    assert CANARY not in result.output
    assert result.output.count(MASK) == 2


def test_defaults_are_printed_as_documented(tmp_path: Path) -> None:
    assert config(tmp_path, "--defaults").output == read_default_text()


def test_config_creates_no_folder(tmp_path: Path) -> None:
    config(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["given.toml"]


def test_password_of_an_address_is_not_shown(tmp_path: Path) -> None:
    host = Host(tmp_path, search__civitai_url="https://user:canary-password@mirror.example")
    for arguments in (("config",), ("config", "--json")):
        output = host.invoke(*arguments).output
        assert "https://***@mirror.example" in output
        assert "canary-password" not in output
