from __future__ import annotations

from comfywatchman.governance.checks.listening import judge


def test_address_beyond_loopback_is_a_warning() -> None:
    assert judge([]).status == "ok"
    result = judge(["192.0.2.1:8188", "0.0.0.0:8188"])
    assert (result.status, result.items) == ("warn", ("0.0.0.0:8188", "192.0.2.1:8188"))
    assert "(0.0.0.0:8188, 192.0.2.1:8188)" in result.evidence
