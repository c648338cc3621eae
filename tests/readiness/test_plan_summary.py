from __future__ import annotations

import msgspec

from comfywatchman.readiness.plan_summary import BlockedDownload, PlanSummary


def test_plan_survives_writing_and_reading() -> None:
    plan = PlanSummary("/plans/c.json", 3, 9, 1, (BlockedDownload("a.pt", "vae", "a pickle"),), fetched=2)
    assert msgspec.json.decode(msgspec.json.encode(plan), type=PlanSummary) == plan
