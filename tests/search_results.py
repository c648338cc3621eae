"""The proof or the reason that a search result needs, by its status."""

from __future__ import annotations

from typing import Any, Final

from comfywatchman.readiness.search.absence import UnknownHash
from comfywatchman.readiness.search.results import SearchStatus
from comfywatchman.readiness.states import SearchDoubt

PROOF: Final = UnknownHash("civitai", "0" * 64)


def reasons(status: SearchStatus, doubt: SearchDoubt = SearchDoubt.CANDIDATES_TO_CHOOSE) -> dict[str, Any]:
    """Return the fields without which no result of a status can be built."""
    if status is SearchStatus.NOT_FOUND:
        return {"absence": (PROOF,)}
    return {"doubt": doubt} if status is SearchStatus.UNCERTAIN else {}
