from __future__ import annotations

import msgspec
import pytest

from comfywatchman.readiness.search.absence import (
    AbsenceProof,
    RepositoryListing,
    UnknownHash,
    prove_by_listing,
)

NAMES = ("a.safetensors", "a.sft")


def prove(*listed: str, unreadable: int = 0) -> RepositoryListing | None:
    return prove_by_listing(
        NAMES, listed, unreadable=unreadable, source="huggingface", place="o/n", revisions=["v1", "main"]
    )


def test_listing_without_the_names_is_a_proof() -> None:
    assert prove("x/b.safetensors", "A/README.md") == RepositoryListing("huggingface", "o/n", NAMES, 2, ("v1", "main"))
    assert prove() == RepositoryListing("huggingface", "o/n", NAMES, 0, ("v1", "main"))


@pytest.mark.parametrize("path", ["a.safetensors", "deep/er/a.sft", "x/A.SafeTensors"])
def test_listing_with_one_of_the_names_is_no_proof(path: str) -> None:
    assert prove("b.safetensors", path) is None


def test_listing_with_an_unreadable_entry_is_no_proof() -> None:
    assert prove("b.safetensors", unreadable=1) is None


@pytest.mark.parametrize("sha256", ["", "a" * 63, "A" * 64, "g" * 64])
def test_absence_by_hash_needs_a_hash(sha256: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        UnknownHash("civitai", sha256)


@pytest.mark.parametrize(("place", "names"), [("", NAMES), ("o/n", ())])
def test_absence_by_listing_needs_a_place_and_a_name(place: str, names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="a place and a name"):
        RepositoryListing("huggingface", place, names, 3)


def test_proofs_survive_their_file() -> None:
    proofs: tuple[AbsenceProof, ...] = (UnknownHash("civitai", "a" * 64), RepositoryListing("civitai", "x", NAMES, 0))
    assert msgspec.json.decode(msgspec.json.encode(proofs), type=tuple[AbsenceProof, ...]) == proofs
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"type": "hash", "source": "civitai", "sha256": "x"}', type=AbsenceProof)
