"""The part of `setup` about the language model that ranks search results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from comfywatchman.app.session import Session
from comfywatchman.app.setup.proposal import SetupChoices, SetupFinding
from comfywatchman.readiness.search.results import HOW_TO_ADD_A_MODEL


def describe_language_model(session: Session, _choices: SetupChoices) -> Iterator[SetupFinding]:
    """Describe the Qwen model of this machine; `driver = "auto"` finds it again, so there is nothing to set."""
    from comfywatchman.sources.llm.detection import detect_language_model

    section = session.settings.llm
    if section.driver != "auto":
        yield SetupFinding("Language model", f"[llm] driver is {section.driver}")
        return
    found = detect_language_model(section, Path.home())
    if found is None:
        yield SetupFinding("Language model", f"none; to add one, {HOW_TO_ADD_A_MODEL}")
    else:
        yield SetupFinding("Language model", f"{found.model} of {found.program} at {found.base_url}")
