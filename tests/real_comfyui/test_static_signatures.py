"""What the source of ComfyUI shows of its classes, beside what the running server lists."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest

from comfywatchman.comfyui.packs.definitions import read_core_definitions
from comfywatchman.comfyui.server.signatures import read_signatures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comfywatchman.comfyui.validation.signature import InputSignature, NodeSignature
    from scripts.real_comfyui import Installed, Server

pytestmark = [pytest.mark.real_comfyui, pytest.mark.slow]

FIELDS: Final = ("type", "is_required", "is_socket", "width", "is_forced", "is_file", "minimum", "maximum", "choices")
OF_THE_HOST: Final = {"type", "choices"}
"""Facts that the source leaves open where an input lists files: these differ between hosts."""

DECIDED_AT_START: Final = {"ModelAttentionBackend.attention"}
"""Lists that ComfyUI 0.33 makes of what it finds at its start: the source shows every choice that may be among them."""


@dataclass
class Differences:
    """How two sets of signatures differ.

    Attributes:
        wrong: Facts for which the source gives another value.
        unknown: Facts that the source leaves open.
    """

    wrong: list[tuple[str, Any, Any]] = field(default_factory=list)
    unknown: dict[str, list[str]] = field(default_factory=dict)

    def compare(self, place: str, fact: str, live: Any, source: Any) -> None:
        if live == source:
            return
        if source is None:
            self.unknown.setdefault(fact, []).append(place)
        else:
            self.wrong.append((f"{place} {fact}", live, source))

    def compare_inputs(self, place: str, live: tuple[InputSignature, ...], source: tuple[InputSignature, ...]) -> None:
        self.compare(place, "names", [one.name for one in live], [one.name for one in source])
        for listed, read in zip(live, source, strict=False):
            inner = f"{place}.{listed.name}"
            for name in FIELDS if inner not in DECIDED_AT_START else ():
                self.compare(inner, name, getattr(listed, name), getattr(read, name))
            if listed.expansion is None or read.expansion is None:
                self.compare(inner, "expansion", listed.expansion, read.expansion)
                continue
            self.compare_inputs(inner, listed.expansion.grown, read.expansion.grown)
            self.compare(inner, "variants", sorted(listed.expansion.variants), sorted(read.expansion.variants))
            for key, inputs in listed.expansion.variants.items():
                self.compare_inputs(f"{inner}={key}", inputs, read.expansion.variants.get(key, ()))


def compare_classes(live: Mapping[str, NodeSignature], source: Mapping[str, NodeSignature]) -> Differences:
    differences = Differences()
    for name, signature in live.items():
        for fact in ("outputs", "is_output", "has_all_inputs", "is_core", "has_editor_code"):
            differences.compare(name, fact, getattr(signature, fact), getattr(source[name], fact))
        differences.compare_inputs(name, signature.inputs, source[name].inputs)
    return differences


def test_source_shows_what_the_server_lists(real_comfyui: Server, real_comfyui_installed: Installed) -> None:
    live = read_signatures(real_comfyui.get("/object_info")[1])
    live = {name: signature for name, signature in live.items() if signature.is_core}
    source = read_core_definitions(real_comfyui_installed.tree).signatures
    assert len(live) > 500
    assert live.keys() <= source.keys()
    differences = compare_classes(live, source)
    assert differences.wrong == []
    others = {fact: places for fact, places in differences.unknown.items() if fact not in OF_THE_HOST}
    # Of 886 classes of ComfyUI 0.33, one builds its choices from a table, and one its limits.
    assert sum(map(len, others.values())) <= 3, others
    assert sum(map(len, differences.unknown.values())) < len(live) // 5
    assert not [name for name in live if source[name].own_checks is None]
