"""What a rollback would change, before it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.environments import generation, snapshot
from comfywatchman.governance.environments.snapshot_difference import compare_with_snapshot
from tests.governance import changes
from tests.governance.contexts import build_site

pytestmark = pytest.mark.slow


def test_difference_names_packages_and_nodes(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    with site.opened() as context:
        changes.promote(context, "a", ["oldlet"])
        first, *_others, last = snapshot.read_all(context.layout)
        key = generation.current_key(context.layout)
        difference = compare_with_snapshot(context, first.id)
        assert difference.packages == {"numlet": ("1.0", None), "oldlet": ("1.0", None)}
        assert difference.nodes == {"a": ("", None)}
        assert difference.is_environment_kept
        assert compare_with_snapshot(context, last.id).packages == {}
        assert generation.current_key(context.layout) == key
        context.layout.plugins.write_text("[")
        with pytest.raises(Failure, match=r"plugins\.json of the governed root cannot be used"):
            compare_with_snapshot(context, first.id)
