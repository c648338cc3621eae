from __future__ import annotations

from comfywatchman.governance.environments.file_owners import group_shared_files
from comfywatchman.governance.store.records import SharedFiles


def test_files_with_other_contents_are_shared() -> None:
    records = {
        "a": [("cv2/__init__.py", "sha256=1"), ("cv2/x.so", "sha256=1"), ("../../../bin/tool", "sha256=1")],
        "b": [("cv2/__init__.py", "sha256=2"), ("cv2/x.so", "sha256=2"), ("../../../bin/tool", "sha256=2")],
    }
    assert group_shared_files(records) == (
        SharedFiles(module="cv2", packages=("a", "b"), file_count=2),
        SharedFiles(module="tool", packages=("a", "b"), file_count=1),
    )


def test_namespaces_and_compiled_files_are_not_shared() -> None:
    records = {
        "a": [("google/__init__.py", "sha256=1"), ("m.pyc", "sha256=1"), ("n.py", "")],
        "b": [("google/__init__.py", "sha256=1"), ("m.pyc", "sha256=2"), ("n.py", "sha256=2")],
    }
    assert group_shared_files(records) == ()
