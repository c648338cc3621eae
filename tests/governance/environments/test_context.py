from __future__ import annotations

from dataclasses import replace

import pytest

from tests.governance.contexts import KeptSite

pytestmark = pytest.mark.slow


def test_children_inherit_the_lock_only_in_commands_that_hold_it(kept_root: KeptSite) -> None:
    with kept_root.restore().opened() as context:
        assert context.lock_descriptor is not None
        assert context.pass_on == (context.lock_descriptor,)
        assert replace(context, lock_descriptor=None).pass_on == ()
