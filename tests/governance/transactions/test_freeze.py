from __future__ import annotations

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.nodes.deny_list import build_deny_list
from comfywatchman.governance.store.records import InstalledPackage
from comfywatchman.governance.transactions.freeze import enforce_deny_list_on, list_versions, parse_freeze

LINES = ("Foo_Bar==1.0", "x @ git+https://example.org/a/b@1234", "-e file:///srv/My_Pack", "y @ file:///srv/y.whl", "?")


def test_freeze_is_keyed_by_normalized_name() -> None:
    packages = parse_freeze(LINES)
    versions = {name: package.version for name, package in packages.items()}
    assert versions == {"foo-bar": "1.0", "x": "", "my-pack": "", "y": ""}


def test_local_packages_are_marked() -> None:
    assert [name for name, package in parse_freeze(LINES).items() if package.is_local] == ["my-pack", "y"]


def test_only_packages_with_a_version_are_listed() -> None:
    assert list_versions(LINES) == (InstalledPackage("foo-bar", "1.0"),)


def test_denied_package_is_refused_with_its_line() -> None:
    deny_list = build_deny_list(deny=["foo-bar==1.0"])
    with pytest.raises(Failure, match=r"The requirement Foo_Bar==1\.0 is on the deny list") as caught:
        enforce_deny_list_on(deny_list, LINES, subject="The requirement")
    assert caught.value.code == "gov-denied"
    enforce_deny_list_on(deny_list, ["foo-bar==2.0", "other==1.0"])
