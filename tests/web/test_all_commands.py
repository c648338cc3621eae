"""Every button of every page does what a command does, and every command that a page shows exists."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import pytest

from comfywatchman.web.page_registry import ACTIONS
from tests.governance.contexts import KeptSite
from tests.web.commands import list_commands, parse_command
from tests.web.demo_host import build_demo, list_paths
from tests.web.site import Site

pytestmark = pytest.mark.slow

COMMANDS = {
    "check": "comfywatchman --run-cycle",
    "actions/queue/priority": "comfywatchman jobs queue set-priority NAME 7",
    "actions/queue/god-mode": "comfywatchman jobs god-mode NAME",
    "actions/queue/retry": "comfywatchman jobs retry NAME",
    "actions/queue/cancel": "comfywatchman jobs cancel NAME",
    "actions/queue/pause": "comfywatchman jobs pause",
    "actions/queue/resume": "comfywatchman jobs resume",
    "actions/queue/retry-all": "comfywatchman jobs bulk retry --expected 5",
    "actions/queue/cancel-all": "comfywatchman jobs bulk cancel --expected 5",
    "actions/queue/priority-all": "comfywatchman jobs bulk set-priority 7 --expected 5",
    "actions/plan/approve": "comfywatchman download --plan FILE",
    "actions/workflows/choose": "comfywatchman resolve --choose NAME 1",
    "actions/models/download": "comfywatchman download NAME",
    "actions/models/search": "comfywatchman resolve --refresh NAME",
    "actions/models/duplicates": "comfywatchman duplicates --hash",
    "actions/environment/check": "comfywatchman env check",
    "actions/environment/promote": "comfywatchman env tx promote ID",
    "actions/environment/abort": "comfywatchman env tx abort ID",
    "actions/environment/resolve": "comfywatchman env resolve ID",
    "actions/environment/back": "comfywatchman env rollback ID",
    "actions/environment/undo": "comfywatchman env undo ID",
    "actions/server/restart": "comfywatchman supervise restart",
    "actions/server/stop": "comfywatchman supervise stop",
    "actions/server/switch": "comfywatchman supervise switch NAME",
}
"""The command that does what each button does; that of stopping a task is `kill`, with the id of its process."""


@pytest.mark.parametrize("action", [action.path for action in ACTIONS if action.path != "actions/tasks/stop"])
def test_every_button_has_a_command(action: str) -> None:
    parse_command(COMMANDS[action])


@pytest.fixture
def demo(kept_root: KeptSite, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Return the page of a host with something on every page."""

    def set_variables(variables: Mapping[str, str]) -> None:
        for name, text in variables.items():
            monkeypatch.setenv(name, text)

    with build_demo(kept_root.restore(), set_variables) as site:
        yield site


def test_shown_commands_exist_and_buttons_are_registered(demo: Site) -> None:
    shown, buttons = [], set()
    for path in list_paths(demo):
        page = demo.client.get(path).text
        shown += list_commands(page)
        buttons |= set(re.findall(r'<form[^>]*method="post"[^>]*action="/([^"]+)"', page))
    assert len(set(shown)) >= 30
    for command in set(shown):
        parse_command(command)
    # Signing out and the theme are settings of the browser.
    assert buttons - {"theme", "sign-out", "sign-in"} <= {action.path for action in ACTIONS}
    assert len(buttons) >= 18
