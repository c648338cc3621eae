from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.versions.licences import (
    LicensedPart,
    find_restriction,
    list_licensed_parts,
    read_code_licence,
    read_model_licence,
    shorten_licence,
)
from comfywatchman.versions.lockfile import LockedCode, LockedModel
from tests.model_files import put, safetensors

MIT = "MIT License\n\nCopyright (c) 2024 A\n\nPermission is hereby granted, free of charge, to any person\n"


@pytest.mark.parametrize(
    "licence",
    [
        "CC-BY-NC-4.0",
        "cc-by-nc-sa-4.0",
        "NC",
        "flux-1-dev-non-commercial-license",
        "Stability AI Non-Commercial Research Community License",
        "no commercial use; no derivatives",
        "noncommercial",
        "research only",
        "research use only",
        "for research purposes only",
        "Academic use only",
        "for academic and educational purposes only",
        "not for commercial use",
        "Commercial use prohibited",
        "commercial use is not permitted",
        "https://creativecommons.org/licenses/by-nc/4.0/",
        "CC BY-NC: 4.0",
        "non\u2011commercial",
        "Attribution-Non\u2013Commercial",
        "non - commercial",
    ],
)
def test_licence_that_forbids_commercial_use_needs_consent(licence: str) -> None:
    assert find_restriction(licence) == "forbids commercial use"


@pytest.mark.parametrize("licence", ["gated: the terms must be accepted", "Gated on the model's page"])
def test_licence_that_must_be_accepted_needs_consent(licence: str) -> None:
    assert find_restriction(licence) == "must be accepted"


@pytest.mark.parametrize(
    "licence",
    [
        None,
        "MIT",
        "Apache-2.0",
        "BSD-3-Clause",
        "CC-BY-4.0",
        "GPL-3.0",
        "commercial use: Image, Sell",
        "commercial use is allowed",
        "free for commercial and non-commercial use",
        "commercial or noncommercial purposes",
        "for non-commercial and commercial use",
        "Copyright Example, Inc.",
        "academic free licence",
        "NCSA",
        "openrail++",
    ],
)
def test_other_licences_need_none(licence: str | None) -> None:
    assert find_restriction(licence) is None


@pytest.mark.parametrize(
    ("name", "content", "licence"),
    [
        ("LICENSE", MIT, "MIT"),
        ("LICENSE.md", "# Apache License\nVersion 2.0, January 2004\n" + "x" * 200, "Apache-2.0"),
        ("licence.txt", " GNU GENERAL PUBLIC LICENSE\n   Version 3, 29 June 2007\n" + "x" * 200, "GPL-3.0"),
        ("COPYING", "GNU AFFERO GENERAL PUBLIC LICENSE\nVersion 3\n" + "x" * 200, "AGPL-3.0"),
        ("LICENSE", "Attribution-NonCommercial 4.0 International\n" + "x" * 200, "non-commercial"),
        ("LICENSE", "Attribution-Non\u2011Commercial 4.0 International\n", "non-commercial"),
        ("LICENSE", "Free for commercial and non-commercial use.\n" + MIT, "MIT"),
        ("LICENSE", "Terms of our own\n", "see LICENSE"),
        ("pyproject.toml", '[project]\nlicense = "MIT"\n', "MIT"),
        ("pyproject.toml", '[project]\nlicense = {text = "Apache-2.0"}\n', "Apache-2.0"),
        ("pyproject.toml", '[project]\nlicense = {file = "LICENSE"}\n', None),
        ("pyproject.toml", "[project\n", None),
        ("license_test.py", MIT, None),
    ],
)
def test_licence_of_code_is_read_from_its_files(tmp_path: Path, name: str, content: str, licence: str | None) -> None:
    (tmp_path / name).write_text(content)
    assert read_code_licence(tmp_path) == licence


def test_pyproject_comes_before_the_licence_file(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text(MIT)
    (tmp_path / "pyproject.toml").write_text('[project]\nlicense = "CC-BY-NC-4.0"\n')
    assert read_code_licence(tmp_path) == "CC-BY-NC-4.0"


def test_licence_of_a_model_is_read_from_its_metadata(tmp_path: Path) -> None:
    path = put(tmp_path / "a.safetensors", safetensors(metadata={"modelspec.license": "CC-BY-NC-4.0\n"}))
    assert read_model_licence(path) == "CC-BY-NC-4.0"
    assert read_model_licence(tmp_path / "none.safetensors") is None


def test_parts_have_the_licence_of_the_lock_or_of_a_site() -> None:
    nodes = (LockedCode(name="a", source="git", licence="MIT"), LockedCode(name="core", source="comfyui"))
    models = (
        LockedModel(path="loras/b", size=1, sha256="b", licence="NC"),
        LockedModel(path="loras/c", size=1, sha256="c"),
    )
    assert list_licensed_parts(nodes, models, {"b": "other", "c": "known"}.get) == (
        LicensedPart("node", "a", "MIT"),
        LicensedPart("model", "loras/b", "NC"),
        LicensedPart("model", "loras/c", "known"),
    )


def test_licences_are_one_printable_line() -> None:
    assert shorten_licence(" a\n\x1b[31mb ") == "a [31mb"
    assert shorten_licence("\n") is None
    assert len(shorten_licence("x" * 999) or "") == 120
