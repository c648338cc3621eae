from __future__ import annotations

from comfywatchman.app.pages.hosts import build_matrix
from comfywatchman.jobs.records import HostRecord


def test_matrix_says_where_hosts_differ() -> None:
    hosts = [
        HostRecord("a", None, ("flux", "sdxl"), {}, ()),
        HostRecord("b", None, ("flux",), {"sdxl": "a model is missing"}, ()),
        HostRecord("c", None, ("flux",), {}, ()),
    ]
    rows = {row.workflow: row for row in build_matrix(hosts)}
    assert [cell.is_ready for cell in rows["flux"].cells] == [True, True, True]
    assert [cell.is_ready for cell in rows["sdxl"].cells] == [True, False, None]
    assert rows["sdxl"].cells[1].reason == "a model is missing"
    assert [name for name, row in rows.items() if row.differs] == ["sdxl"]


def test_matrix_of_no_hosts_is_empty() -> None:
    assert build_matrix([]) == ()
