"""The commit that this program was built from."""

from __future__ import annotations

from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

import orjson

import comfywatchman
from comfywatchman.base.git import read_head
from comfywatchman.base.json_values import as_mapping, as_text

_SHORT: Final = 10


def find_commit() -> str:
    """Return the short commit of the checkout, or of the installed package; empty when neither records one."""
    checkout = Path(comfywatchman.__file__).parents[1]
    if (checkout / ".git").exists():
        return (read_head(checkout) or "")[:_SHORT]
    try:
        return read_installed_commit(distribution("comfywatchman"))
    except PackageNotFoundError:
        return ""


def read_installed_commit(package: Distribution) -> str:
    """Return the short commit that a package was installed from; empty when it is none of a repository (PEP 610)."""
    text = package.read_text("direct_url.json")
    try:
        facts = as_mapping(orjson.loads(text or "{}"))
    except orjson.JSONDecodeError:
        return ""
    return (as_text(as_mapping(facts.get("vcs_info")).get("commit_id")) or "")[:_SHORT]
