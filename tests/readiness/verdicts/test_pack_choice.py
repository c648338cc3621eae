from __future__ import annotations

import pytest

from comfywatchman.readiness.states import NodeRemedy
from comfywatchman.readiness.status import MissingNode, ProviderPackage
from comfywatchman.readiness.verdicts.pack_choice import prefer_needed_packs

ESSENTIALS = ProviderPackage("comfyui_essentials", "https://github.com/cubiq/ComfyUI_essentials", title="essentials")
OTHER = ProviderPackage("other-math", "https://github.com/someone/other-math")


def choose_from(*packages: ProviderPackage, name: str = "SimpleMath+") -> MissingNode:
    return MissingNode(
        name, "missing", ("1",), packages, fix="Find out.", evidence="Two have it.", remedy=NodeRemedy.CHOOSE_PACK
    )


def install(package: ProviderPackage, name: str = "ImageResize+") -> MissingNode:
    return MissingNode(name, "missing", ("2",), (package,), fix="Install it.", remedy=NodeRemedy.INSTALL_PACK)


@pytest.mark.parametrize(
    "named",
    [
        ESSENTIALS,
        ProviderPackage("ComfyUI_Essentials"),
        ProviderPackage("cubiq/ComfyUI_essentials", "https://github.com/cubiq/ComfyUI_essentials.git"),
    ],
    ids=["same", "by id", "by repository"],
)
def test_pack_that_the_workflow_needs_in_any_case_is_chosen(named: ProviderPackage) -> None:
    chosen, other = prefer_needed_packs([choose_from(OTHER, ESSENTIALS), install(named)])
    assert (chosen.packages, chosen.remedy, chosen.fix) == ((ESSENTIALS,), NodeRemedy.INSTALL_PACK, "Install it.")
    assert chosen.evidence == "Two have it. The workflow needs essentials for ImageResize+ in any case."
    assert other == install(named)


@pytest.mark.parametrize(
    "others",
    [[], [install(ProviderPackage("else"))], [install(ESSENTIALS), install(OTHER, "X")], [choose_from(OTHER)]],
    ids=["nothing", "another pack", "both", "no certain pack"],
)
def test_choice_is_left_to_a_person_without_exactly_one_needed_pack(others: list[MissingNode]) -> None:
    node = choose_from(OTHER, ESSENTIALS)
    assert prefer_needed_packs([node, *others])[0] == node
