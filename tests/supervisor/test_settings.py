from __future__ import annotations

from comfywatchman.base import config
from comfywatchman.supervisor.settings import SupervisorSettings, build_settings
from comfywatchman.supervisor.states import ProofKind


def test_defaults_of_the_configuration_are_those_of_the_code() -> None:
    assert build_settings(config.load().settings.supervisor) == SupervisorSettings()


def test_last_port_among_all_arguments_is_watched() -> None:
    section = config.load().settings.supervisor
    assert build_settings(section, ["--port", "8190"]).port == 8190
    assert build_settings(section, ["--port", "8190"], ["--port=8191"]).port == 8191


def test_comfyui_with_tls_is_proved_by_connections() -> None:
    section = config.load().settings.supervisor
    settings = build_settings(section, (), ["--tls-keyfile", "key.pem", "--tls-certfile", "cert.pem"])
    assert settings.health.kind is ProofKind.CONNECTION
