"""What `setup` shows of the language model."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.app.session import Session
from comfywatchman.app.setup.language_model import describe_language_model
from comfywatchman.app.setup.proposal import SetupChoices
from comfywatchman.sources.llm import detection
from comfywatchman.sources.llm.detection import DetectedModel

FOUND = DetectedModel("openai", "http://127.0.0.1:11434/v1", "qwen3:8b", "Ollama")


@pytest.mark.parametrize(
    ("found", "text"),
    [(FOUND, "qwen3:8b of Ollama at http://127.0.0.1:11434/v1"), (None, "none; to add one, start a Qwen model")],
)
def test_model_of_this_machine_is_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: DetectedModel | None, text: str
) -> None:
    monkeypatch.delenv("COMFYWATCHMAN_LLM__DRIVER", raising=False)
    monkeypatch.setattr(detection, "detect_language_model", lambda _section, _home: found)
    (finding,) = describe_language_model(Session(None, None), SetupChoices(tmp_path))
    assert finding.text.startswith(text)
    assert finding.settings == ()


def test_configured_driver_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYWATCHMAN_LLM__DRIVER", "none")
    (finding,) = describe_language_model(Session(None, None), SetupChoices(tmp_path))
    assert finding.text == "[llm] driver is none"
