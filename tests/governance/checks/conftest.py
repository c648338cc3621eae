from __future__ import annotations

import dataclasses

import pytest

from tests.fakes import FakeClock
from tests.governance.contexts import KeptSite, Site, build_site


@pytest.fixture(scope="session")
def kept_site(tmp_path_factory: pytest.TempPathFactory) -> KeptSite:
    """Return a fresh root whose clock tests can advance."""
    return KeptSite.of(build_site(tmp_path_factory.mktemp("site"), clock=FakeClock()))


@pytest.fixture
def site(kept_site: KeptSite) -> Site:
    return dataclasses.replace(kept_site.restore(), clock=FakeClock())
