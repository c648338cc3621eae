from __future__ import annotations

import pytest

from comfywatchman.governance.uv.shared_modules import SharedModule, find_shared_modules


@pytest.mark.parametrize(
    ("names", "keep"),
    [
        ({"opencv-python", "opencv-python-headless"}, "opencv-python"),
        ({"opencv-python", "opencv-contrib-python"}, "opencv-contrib-python"),
        ({"opencv-python-headless", "opencv-contrib-python-headless"}, "opencv-contrib-python-headless"),
        # Neither has all that the other has.
        ({"opencv-python", "opencv-contrib-python-headless"}, "opencv-contrib-python"),
    ],
)
def test_most_complete_package_is_kept(names: set[str], keep: str) -> None:
    (shared,) = find_shared_modules({*names, "numpy"})
    assert (shared.module, set(shared.packages), shared.keep) == ("cv2", names, keep)


def test_builds_for_gpus_have_what_the_one_for_cpus_has() -> None:
    found = find_shared_modules({"onnxruntime", "onnxruntime-gpu"})
    assert found == (SharedModule("onnxruntime", ("onnxruntime-gpu", "onnxruntime"), "onnxruntime-gpu"),)


def test_single_packages_share_nothing() -> None:
    assert find_shared_modules({"opencv-python", "onnxruntime", "pillow"}) == ()
