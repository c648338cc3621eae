from __future__ import annotations

import pytest

from comfywatchman.base.errors import Failure


def test_unregistered_code_is_refused() -> None:
    with pytest.raises(ValueError, match="unregistered failure code 'made-up'"):
        Failure("made-up", "Text.")


def test_text_is_the_message_with_its_hint() -> None:
    assert str(Failure("lock-held", "Text.", hint="Wait.")) == "Text. Wait."
    assert str(Failure("lock-held", "Text.")) == "Text."
