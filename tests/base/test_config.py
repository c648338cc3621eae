"""Configuration: which layer wins, where a value came from, and what is refused how."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from comfywatchman.base import config
from comfywatchman.base.config import Configuration, find_home, load, read_default_text, user_config_file
from comfywatchman.base.config_schema import MASK
from comfywatchman.base.errors import Failure
from comfywatchman.base.settings import SecretsSection, Settings

CHECKOUT = Path(__file__).parents[2]
CANARY = "canary-2f9c"


class Host:
    """A user's home folder and a current folder, both empty at first."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "user"
        self.current = folder / "current"
        self.home.mkdir()
        self.current.mkdir()
        self.environment = {"HOME": str(self.home)}

    def user_config(self, text: str) -> Path:
        return write(user_config_file(self.environment), text)

    def current_config(self, text: str) -> Path:
        return write(self.current / "config.toml", text)

    def load(self, explicit: Path | None = None, **variables: str) -> Configuration:
        return load(explicit=explicit, folder=self.current, environment={**self.environment, **variables})

    def refuse(self, explicit: Path | None = None, **variables: str) -> Failure:
        with pytest.raises(Failure) as caught:
            self.load(explicit, **variables)
        return caught.value


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    path.chmod(mode)
    return path


def default_keys() -> dict[str, Any]:
    tree = tomllib.loads(read_default_text())
    return {f"{section}.{name}": value for section, content in tree.items() for name, value in content.items()}


def settings_keys() -> list[str]:
    return [
        f"{section.name}.{field.name}"
        for section in msgspec.structs.fields(Settings)
        for field in msgspec.structs.fields(section.type)
    ]


def test_documented_defaults_are_the_shipped_ones() -> None:
    documented = CHECKOUT / "config" / "default.toml"
    assert documented.read_bytes() == (CHECKOUT / "comfywatchman" / "base" / "default.toml").read_bytes()
    assert documented.read_text("utf-8") == read_default_text()


def test_settings_and_default_file_have_the_same_keys_in_order() -> None:
    assert list(default_keys()) == settings_keys()


def test_every_default_has_a_comment() -> None:
    lines = read_default_text().splitlines()
    bare = [line for above, line in pairwise(lines) if is_key(line) and not above.startswith("# ")]
    assert bare == []
    assert sum(is_key(line) for line in lines) == len(settings_keys())


def is_key(line: str) -> bool:
    return " = " in line and not line.startswith(("#", "["))


def test_defaults_apply_without_configuration(host: Host) -> None:
    configuration = host.load()
    assert {origin.label for origin in configuration.origins.values()} == {"default"}
    assert configuration.settings.schedule.min_vram_gb == 6.0
    assert [key for key, _, _ in configuration.rows()] == settings_keys()


def test_later_layers_win(host: Host, tmp_path: Path) -> None:
    text = "[schedule]\nmin_vram_gb = {}\n"
    layers: list[tuple[str, Callable[[], Any]]] = [
        (str(user_config_file(host.environment)), lambda: host.user_config(text.format(1))),
        (str(host.current / "config.toml"), lambda: host.current_config(text.format(2))),
    ]
    for value, (label, add) in enumerate(layers, start=1):
        add()
        configuration = host.load()
        assert configuration.settings.schedule.min_vram_gb == value
        assert configuration.origins["schedule.min_vram_gb"].label == label
        assert configuration.origins["schedule.gpu_index"].label == "default"
    explicit = write(tmp_path / "given.toml", text.format(3))
    assert host.load(explicit).settings.schedule.min_vram_gb == 3
    assert host.load(explicit).origins["schedule.min_vram_gb"].label == str(explicit)
    variable = {"COMFYWATCHMAN_SCHEDULE__MIN_VRAM_GB": "4"}
    last = host.load(explicit, **variable)
    assert last.settings.schedule.min_vram_gb == 4
    assert last.origins["schedule.min_vram_gb"].label == "environment COMFYWATCHMAN_SCHEDULE__MIN_VRAM_GB"


def test_long_variable_wins_over_the_shorthand(host: Host) -> None:
    host.current_config('[comfyui]\nroot = "/file"\n')
    assert host.load(COMFYUI_ROOT="/short").settings.comfyui.root == "/short"
    both = host.load(COMFYUI_ROOT="/short", COMFYWATCHMAN_COMFYUI__ROOT="/long")
    assert both.settings.comfyui.root == "/long"
    assert host.load(COMFYUI_ROOT="").settings.comfyui.root == "/file"


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("COMFYUI__URL", "http://host:1", "http://host:1"),
        ("COMFYUI__URL", "", ""),
        ("LLM__MODEL", "8188", "8188"),
        ("LLM__MODEL", "true", "true"),
        ("LLM__MODEL", "[1]", "[1]"),
        ("COMFYUI__ROOT", "2024", "{current}/2024"),
        ("COMFYUI__ROOT", "~/ComfyUI", "{home}/ComfyUI"),
        ("COMFYUI__ROOT", "~", "{home}"),
        ("COMFYUI__ROOT", "/with space", "/with space"),
        ("COMFYUI__TIMEOUT_SECONDS", "3", 3.0),
        ("COMFYUI__TIMEOUT_SECONDS", "2.5", 2.5),
        ("WORKFLOWS__MEDIA", "false", False),
        ("WORKFLOWS__MAX_FILE_MB", "7", 7),
        ("COMFYUI__EXTRA_MODEL_PATHS", '["a.yaml", "/b.yaml", "~/c"]', ("{current}/a.yaml", "/b.yaml", "{home}/c")),
        ("SCHEDULE__GPU_POLICY", "all", "all"),
        ("SCHEDULE__GPU_POLICY", '"all"', "all"),
    ],
)
def test_variable_sets_a_key_of_each_type(host: Host, variable: str, text: str, expected: Any) -> None:
    def placed(value: Any) -> Any:
        return value.format(current=host.current, home=host.home) if isinstance(value, str) else value

    wanted = tuple(map(placed, expected)) if isinstance(expected, tuple) else placed(expected)
    configuration = host.load(None, **{f"COMFYWATCHMAN_{variable}": text})
    section, name = variable.lower().split("__")
    assert getattr(getattr(configuration.settings, section), name) == wanted


def test_variable_sets_workflow_roots(host: Host) -> None:
    found = host.load(COMFYWATCHMAN_WORKFLOWS__ROOTS='[{path = "~/w", label = "mine"}]').settings.workflows.roots
    assert [(root.path, root.label) for root in found] == [(f"{host.home}/w", "mine")]


def test_relative_paths_start_at_the_folder_of_their_file(host: Host, tmp_path: Path) -> None:
    text = '[comfyui]\nroot = "ComfyUI"\nextra_model_paths = ["x.yaml"]\n[[workflows.roots]]\npath = "w"\nlabel = "a"\n'
    explicit = write(tmp_path / "elsewhere" / "given.toml", text)
    settings = host.load(explicit).settings
    assert settings.comfyui.root == str(tmp_path / "elsewhere" / "ComfyUI")
    assert settings.comfyui.extra_model_paths == (str(tmp_path / "elsewhere" / "x.yaml"),)
    assert settings.workflows.roots[0].path == str(tmp_path / "elsewhere" / "w")


def test_unknown_key_is_refused_with_the_closest_one(host: Host) -> None:
    path = host.current_config("[schedule]\nmin_vram = 3\n")
    failure = host.refuse()
    assert failure.code == "config-unknown-key"
    assert failure.message == f"Unknown configuration key 'schedule.min_vram' in {path}."
    assert failure.hint == "The closest known key is 'schedule.min_vram_gb'."


def test_unknown_section_is_refused(host: Host) -> None:
    host.user_config("[shedule]\nmin_vram_gb = 3\n")
    failure = host.refuse()
    assert failure.code == "config-unknown-key"
    assert failure.hint == "The closest known key is 'schedule'."


def test_section_that_is_not_a_table_is_refused(host: Host) -> None:
    host.current_config("schedule = 3\n")
    failure = host.refuse()
    assert failure.code == "config-wrong-type"
    assert failure.hint == "Write [schedule], and its keys below."


def test_unknown_variable_is_refused(host: Host) -> None:
    failure = host.refuse(COMFYWATCHMAN_SCHEDULE__MIN_VRAM="3")
    assert failure.code == "config-unknown-key"
    assert "'COMFYWATCHMAN_SCHEDULE__MIN_VRAM' in the environment" in failure.message
    assert failure.hint == "The closest known key is 'COMFYWATCHMAN_SCHEDULE__MIN_VRAM_GB'."
    assert host.refuse(COMFYWATCHMAN_HOM="x").hint == "The closest known key is 'COMFYWATCHMAN_HOME'."


def test_reserved_variables_are_ignored(host: Host) -> None:
    assert host.load(COMFYWATCHMAN_HOME="/x", COMFYWATCHMAN_FAILPOINTS="").settings == host.load().settings


@pytest.mark.parametrize(
    "text",
    [
        '[schedule]\nmin_vram_gb = "much"',
        "[schedule]\nmin_vram_gb = -1",
        "[schedule]\nmin_vram_gb = nan",
        "[schedule]\ninterval_minutes = inf",
        "[schedule]\ninterval_minutes = 1e300",
        "[schedule]\ninterval_minutes = 0.5",
        "[schedule]\ngpu_index = true",
        "[schedule]\ngpu_index = 1.0",
        '[schedule]\ngpu_policy = "some"',
        "[workflows]\nmedia = 1",
        "[workflows]\nmax_file_mb = 0",
        '[workflows]\nroots = "just/a/path"',
        "[workflows]\nroots = [5]",
        '[workflows]\nroots = [""]',
        '[[workflows.roots]]\npath = ""\nlabel = "x"',
        '[[workflows.roots]]\npath = "x"\nlabel = ""',
        '[[workflows.roots]]\npath = "x"',
        '[[workflows.roots]]\npath = "x"\nlabel = "y"\nrecursive = true',
        '[comfyui]\nextra_model_paths = "one.yaml"',
        '[comfyui]\nextra_model_paths = [""]',
        '[comfyui]\nroot = "nul\\u0000"',
        '[comfyui]\nroot = "~nobody-of-this-name/x"',
        "[comfyui]\nurl = 8188",
        "[log]\nmax_mb = 0",
        "[report]\nhistory_entries = 0",
    ],
)
def test_wrong_value_is_refused_with_key_and_file(host: Host, text: str) -> None:
    path = host.current_config(text)
    failure = host.refuse()
    assert failure.code == "config-wrong-type"
    key = text.splitlines()[1].split(" ")[0]
    assert (f".{key} in " if "roots" not in text else "workflows.roots in ") in failure.message
    assert str(path) in failure.message
    assert failure.hint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[schedule]\nmin_vram_gb = "much"', "is 'much': it must be a number of at least 0."),
        ("[schedule]\ncycle_deadline_minutes = 0", "it must be a number of more than 0."),
        ("[schedule]\ngpu_index = 1.5", "is 1.5: it must be a whole number of at least 0."),
        ("[search]\nparallel = 17", "it must be a whole number of at least 1 and at most 16."),
        ('[schedule]\ngpu_policy = "some"', "it must be one of 'all', 'any', 'index'."),
        ("[workflows]\nmedia = 1", "it must be true or false."),
        ("[llm]\nmodel = 8188", "it must be a string in quotes."),
        ('[comfyui]\nurl = "localhost:8188"', 'it must be an address such as "http://127.0.0.1:8188", which begins'),
        ("[comfyui]\nroot = 5", "it must be a path in quotes."),
        ('[comfyui]\nextra_model_paths = "one.yaml"', 'it must be a list of paths such as ["/one", "/two"].'),
        ('[downloads]\nhosts = "x"', 'it must be a list of strings such as ["one", "two"].'),
        ('[search]\nbackend_order = ["google"]', "each one of 'civarchive', 'civitai', 'huggingface', 'qwen'."),
        ("[workflows]\nroots = [5]", 'such as ["~/workflows"], or of tables such as {path = "~/workflows", label ='),
        ("[secrets]\nhf_token = 5", "is '********': it must be a string in quotes."),
    ],
)
def test_message_describes_the_expected_value(host: Host, text: str, words: str) -> None:
    host.current_config(text)
    assert words in host.refuse().message


def test_workflow_roots_may_be_bare_paths(host: Host) -> None:
    host.current_config('[workflows]\nroots = ["~/mine", "/", {path = "/x", label = "theirs"}]')
    found = host.load().settings.workflows.roots
    assert [(root.path, root.label) for root in found] == [
        (f"{host.home}/mine", "mine"),
        ("/", "/"),
        ("/x", "theirs"),
    ]


@pytest.mark.parametrize("variable", ["SCHEDULE__MIN_VRAM_GB", "WORKFLOWS__MEDIA", "COMFYUI__EXTRA_MODEL_PATHS"])
@pytest.mark.parametrize("text", ["", "words", "[", "2024-01-01"])
def test_wrong_variable_is_refused(host: Host, variable: str, text: str) -> None:
    failure = host.refuse(None, **{f"COMFYWATCHMAN_{variable}": text})
    assert failure.code == "config-wrong-type"
    assert f"in environment COMFYWATCHMAN_{variable}" in failure.message
    assert variable.lower().replace("__", ".") in failure.message


def test_file_that_is_not_toml_is_unreadable(host: Host) -> None:
    path = host.current_config("[schedule\n")
    failure = host.refuse()
    assert failure.code == "config-unreadable"
    assert str(path) in failure.message


def test_file_that_is_not_text_is_unreadable(host: Host) -> None:
    host.current_config("").write_bytes(b"\xff\xfe")
    assert host.refuse().code == "config-unreadable"


def test_explicit_file_must_exist(host: Host, tmp_path: Path) -> None:
    assert host.refuse(tmp_path / "absent.toml").code == "config-unreadable"
    assert host.refuse(tmp_path).code == "config-unreadable"


def test_path_that_cannot_be_examined_is_unreadable(host: Host) -> None:
    assert host.refuse(XDG_CONFIG_HOME="/" + "y" * 300).code == "config-unreadable"


@pytest.mark.slow
def test_deleted_current_folder_is_unreadable(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    code = """
import os, sys
from comfywatchman.base.config import load
from comfywatchman.base.errors import Failure
os.mkdir(sys.argv[1]); os.chdir(sys.argv[1]); os.rmdir(sys.argv[1])
try:
    load()
except Failure as failure:
    print(failure.code)
"""
    ended = subprocess.run([sys.executable, "-c", code, str(gone)], capture_output=True, text=True, check=False)
    assert ended.stdout == "config-unreadable\n"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_exposed_secret_is_refused(host: Host, mode: int) -> None:
    path = host.current_config(f'[secrets]\nhf_token = "{CANARY}"\n')
    path.chmod(mode)
    failure = host.refuse()
    assert failure.code == "config-secret-exposed"
    assert failure.hint == f"Run: chmod 600 {path}"
    assert CANARY not in str(failure)
    path.chmod(0o600)
    assert host.load().settings.secrets.hf_token == CANARY


def test_exposed_password_in_the_url_of_a_database_is_refused(host: Host) -> None:
    path = host.current_config(f'[jobs]\ndatabase = "postgresql+psycopg://ann:{CANARY}@db/jobs"\n')
    path.chmod(0o644)
    failure = host.refuse()
    assert failure.code == "config-secret-exposed"
    assert CANARY not in str(failure)
    path.chmod(0o600)
    assert CANARY in host.load().settings.jobs.database
    assert CANARY not in str(list(host.load().rows()))
    path.write_text('[jobs]\ndatabase = "postgresql+psycopg://ann@db/jobs"\n')
    path.chmod(0o644)
    assert host.load().settings.jobs.database == "postgresql+psycopg://ann@db/jobs"


def test_empty_secret_may_be_in_a_readable_file(host: Host) -> None:
    host.current_config('[secrets]\nhf_token = ""\n').chmod(0o644)
    assert host.load().settings.secrets.hf_token == ""


def test_secrets_are_masked(host: Host) -> None:
    configuration = host.load(CIVITAI_API_KEY=CANARY, COMFYWATCHMAN_SECRETS__HF_TOKEN=CANARY)
    assert configuration.settings.secrets.civitai_api_key == CANARY
    assert CANARY not in str(list(configuration.rows()))
    shown = {key: (value, origin) for key, value, origin in configuration.rows()}
    assert shown["secrets.civitai_api_key"] == (MASK, "environment CIVITAI_API_KEY")
    assert {key: value for key, value, _ in host.load().rows()}["secrets.hf_token"] == ""


@pytest.mark.parametrize(
    "text",
    [
        f'[secrets]\nhf_token = ["{CANARY}"]',
        f'[secrets.hf_token]\nvalue = "{CANARY}"',
        f'secrets = "{CANARY}"',
        f'[secrets]\nhf_tokn = "{CANARY}"',
        f"[secrets]\nhf_token = {CANARY}",
        f'[secrets]\nhf_token = "{CANARY}',
    ],
)
def test_errors_show_no_secret(host: Host, text: str) -> None:
    host.current_config(text)
    failure = host.refuse()
    assert CANARY not in str(failure)
    assert CANARY not in str(failure.__cause__)


def test_list_of_literals_is_read(host: Host) -> None:
    host.current_config('[search]\nbackend_order = ["huggingface", "qwen"]')
    assert host.load().settings.search.backend_order == ("huggingface", "qwen")
    name = "COMFYWATCHMAN_SEARCH__BACKEND_ORDER"
    assert host.load(None, **{name: '["civitai"]'}).settings.search.backend_order == ("civitai",)


def test_number_as_a_secret_is_text(host: Host) -> None:
    for name in ("HF_TOKEN", "COMFYWATCHMAN_SECRETS__HF_TOKEN"):
        assert host.load(None, **{name: "12345"}).settings.secrets == SecretsSection("", "12345", "", "")


def test_option_names_the_home(host: Host) -> None:
    variables = {**host.environment, "COMFYWATCHMAN_HOME": "/elsewhere"}
    found = find_home(Path("here"), folder=host.current, environment=variables)
    assert found.folder == host.current / "here"
    assert (found.state, found.output, found.log) == tuple(
        host.current / "here" / n for n in ("state", "output", "log")
    )


def test_variable_names_the_home(host: Host) -> None:
    host.current_config("")
    for text, wanted in (("~/x", host.home / "x"), ("/abs", Path("/abs")), ("rel", host.current / "rel")):
        variables = {**host.environment, "COMFYWATCHMAN_HOME": text}
        assert find_home(None, folder=host.current, environment=variables).folder == wanted


def test_home_of_an_unknown_user_is_refused(host: Host) -> None:
    with pytest.raises(Failure) as caught:
        find_home(Path("~nobody-of-this-name"), folder=host.current, environment=host.environment)
    assert caught.value.code == "config-wrong-type"


def test_current_folder_with_configuration_is_the_home(host: Host) -> None:
    host.current_config("")
    variables = {**host.environment, "COMFYWATCHMAN_HOME": ""}
    assert find_home(None, folder=host.current, environment=variables).folder == host.current


def test_checkout_is_the_home(host: Host) -> None:
    assert find_home(None, folder=CHECKOUT, environment=host.environment).folder == CHECKOUT


@pytest.mark.parametrize(
    ("named", "wanted"), [(None, ".local/share"), ("", ".local/share"), ("relative", ".local/share"), ("/d", "/d")]
)
def test_default_home_is_in_the_data_folder(host: Host, named: str | None, wanted: str) -> None:
    variables = {**host.environment, **({} if named is None else {"XDG_DATA_HOME": named})}
    found = find_home(None, folder=host.current, environment=variables)
    assert found.folder == host.home / wanted / "comfywatchman"


def test_user_file_follows_the_xdg_specification(host: Host) -> None:
    assert user_config_file({**host.environment, "XDG_CONFIG_HOME": "/c"}) == Path("/c/comfywatchman/config.toml")
    assert user_config_file(host.environment) == host.home / ".config" / "comfywatchman" / "config.toml"


def test_child_of_this_program_gets_its_variables() -> None:
    given = {"HF_TOKEN": "t", "COMFYWATCHMAN_HOME": "/h", "XDG_DATA_HOME": "/d", "OTHER": "x"}
    assert config.variables_for_children(given) == {key: given[key] for key in given if key != "OTHER"}


def test_network_variables_are_proxies_certificates_and_caches() -> None:
    reaching = {"HTTPS_PROXY": "http://p", "no_proxy": "x", "SSL_CERT_FILE": "/c", "UV_CACHE_DIR": "/u"}
    others = {"UV_PYTHON": "/p", "PIP_INDEX_URL": "http://i", "HF_TOKEN": "t", "HTTP_PROXY": ""}
    assert config.network_variables({**reaching, **others}) == reaching


def test_systemd_folder_is_in_the_config_folder(host: Host) -> None:
    assert config.systemd_user_folder(host.environment) == host.home / ".config" / "systemd" / "user"
    assert config.notify_socket_address({"NOTIFY_SOCKET": "/n"}) == "/n"
    assert config.notify_socket_address({"NOTIFY_SOCKET": ""}) is None


def test_arguments_default_to_the_process(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    monkeypatch.chdir(host.current)
    monkeypatch.setattr(os, "environ", {"HOME": str(host.home), "COMFYUI_ROOT": "rel"})
    assert load().settings.comfyui.root == str(host.current / "rel")
    assert find_home(None).folder == host.home / ".local/share/comfywatchman"
    assert user_config_file() == host.home / ".config/comfywatchman/config.toml"


def test_comfyui_gets_gpu_and_network_variables_but_no_keys() -> None:
    environment = {
        "CUDA_VISIBLE_DEVICES": "1",
        "https_proxy": "http://proxy:3128",
        "TERM": "xterm",
        "MINE": "yes",
        "HF_TOKEN": "hf_secret",
        "SSH_AUTH_SOCK": "/run/agent",
        "NETRC": "/home/me/.netrc",
        "PYTHONPATH": "/x",
    }
    usual = {"CUDA_VISIBLE_DEVICES": "1", "https_proxy": "http://proxy:3128", "TERM": "xterm"}
    assert config.comfyui_variables(environment=environment) == usual
    assert config.comfyui_variables(["MINE"], environment) == {**usual, "MINE": "yes"}


def test_active_environment_is_that_of_the_shell() -> None:
    assert config.active_environment({"VIRTUAL_ENV": "/venv", "CONDA_PREFIX": "/conda"}) == "/venv"
    assert config.active_environment({"CONDA_PREFIX": "/conda"}) == "/conda"
    assert config.active_environment({}) == ""


def test_token_of_hf_auth_login_is_used_unless_another_is_set(tmp_path: Path) -> None:
    path = tmp_path / ".cache" / "huggingface" / "token"
    path.parent.mkdir(parents=True)
    path.write_text("hf_stored\n")
    home = {"HOME": str(tmp_path)}

    def token(**variables: str) -> str:
        return load(folder=tmp_path, environment={**home, **variables}).settings.secrets.hf_token

    stored = load(folder=tmp_path, environment=home)
    assert token() == "hf_stored"
    assert stored.origins["secrets.hf_token"].label == str(path)
    assert "hf_stored" not in str(list(stored.rows()))
    assert token(HF_TOKEN="hf_named") == "hf_named"  # noqa: S106 - of this test
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("hf_elsewhere")
    assert token(HF_TOKEN_PATH=str(elsewhere)) == "hf_elsewhere"
    for content in (b"", b"two\nlines", b"\xff", b"x" * 1000):
        path.write_bytes(content)
        assert not token()
