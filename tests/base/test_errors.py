from __future__ import annotations

import pytest

from comfywatchman.base.errors import Failure


def test_unregistered_code_is_refused() -> None:
    with pytest.raises(ValueError, match="unregistered failure code 'made-up'"):
        Failure("made-up", "Text.")


def test_text_is_the_message_with_its_hint() -> None:
    assert str(Failure("lock-held", "Text.", hint="Wait.")) == "Text. Wait."
    assert str(Failure("lock-held", "Text.")) == "Text."


def test_texts_change_but_not_the_command_of_another_process() -> None:
    failure = Failure("gov-not-initialised", "text", hint="hint")
    failure.change_texts(str.upper)
    assert str(failure) == "TEXT HINT"
    held = Failure("lock-held", "text", hint="hint")
    held.change_texts(str.upper)
    assert str(held) == "text HINT"
