from __future__ import annotations

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.versions.torch_builds import (
    check_torch_builds,
    choose_torch_backend,
    find_locked_backend,
    list_excluded_packages,
)


@pytest.mark.parametrize("name", ["auto", "cpu", "cu118", "cu128", "rocm6.4", "xpu"])
def test_builds_become_the_option_of_uv(name: str) -> None:
    check_torch_builds(name)
    assert choose_torch_backend(name) == name
    assert list_excluded_packages(name) == ()


@pytest.mark.parametrize(
    ("local_version", "backend"),
    [("cu128", "cu128"), ("cpu", "cpu"), ("rocm6.4", "rocm6.4"), ("xpu", "xpu"), (None, None), ("git1a2b", None)],
)
def test_locked_builds_become_the_option_of_uv(local_version: str | None, backend: str | None) -> None:
    assert find_locked_backend(local_version) == backend


def test_skip_leaves_the_family_out_and_index_uses_no_option() -> None:
    assert choose_torch_backend("skip") is None
    assert list_excluded_packages("skip") == ("torch", "torchaudio", "torchvision")
    assert choose_torch_backend("index") is None
    assert list_excluded_packages("index") == ()


@pytest.mark.parametrize("name", ["", "cuda", "cu12", "cu128 --index x", "CPU", "rocm"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(Failure) as caught:
        check_torch_builds(name)
    assert caught.value.code == "version-bad-torch"
