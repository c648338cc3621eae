from __future__ import annotations

import click
import pytest

from tests.web.commands import list_commands, parse_command

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "text",
    [
        "comfywatchman nothing",
        "comfywatchman env nothing",
        "comfywatchman download --nothing",
        "comfywatchman env rollback --bad x",
    ],
)
def test_command_that_does_not_exist_is_found(text: str) -> None:
    with pytest.raises(click.UsageError):
        parse_command(text)


def test_commands_are_read_from_pages() -> None:
    page = (
        '<code class="cmd">comfywatchman status</code><code>no</code><code class="cmd note">a &amp; <bdi>b</bdi></code>'
    )
    assert list_commands(page) == ["comfywatchman status", "a & b"]
