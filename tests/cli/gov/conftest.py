from __future__ import annotations

import pytest

from tests.cli.gov.calls import Gov
from tests.governance.contexts import KeptSite, build_site


@pytest.fixture
def gov_on(kept_root: KeptSite) -> Gov:
    return Gov(kept_root.restore())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Gov:
    """Return one root for every test that changes nothing of it."""
    return Gov(build_site(tmp_path_factory.mktemp("shared")))
