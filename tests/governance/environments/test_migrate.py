from __future__ import annotations

import json

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.state.state_file import read_state
from comfywatchman.governance.environments import generation, rollback, staging
from comfywatchman.governance.environments.migrate import migrate
from comfywatchman.governance.store.records import Transaction
from tests.governance.contexts import KeptSite, Site


@pytest.fixture
def site(kept_root: KeptSite) -> Site:
    return kept_root.restore()


def migrated(site: Site) -> tuple[str, ...]:
    with site.opened("migrate") as context:
        return migrate(context)


def write_old_plugins(site: Site, content: object) -> None:
    site.layout.plugins.write_text(json.dumps(content))


@pytest.mark.slow
def test_current_files_are_unchanged(site: Site) -> None:
    assert migrated(site) == ()
    assert len(rollback.read_operations(site.layout)) == 1


@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.slow
def test_registry_of_the_first_gov_is_completed(site: Site, *, as_list: bool) -> None:
    node = {"id": "depth", "git_url": "https://example.org/depth", "install_relpath": "depth", "last_txid": None}
    write_old_plugins(site, {"plugins": [node] if as_list else {"depth": node}})
    (line,) = migrated(site)
    assert "gov undo" in line
    plugin = staging.read_registry(site.layout).plugins["depth"]
    assert (plugin.group, plugin.git_url) == ("node-depth", "https://example.org/depth")
    assert plugin.path == str(site.comfyui / "custom_nodes" / "depth")
    assert migrated(site) == ()


@pytest.mark.slow
def test_group_of_overrides_is_converted(site: Site) -> None:
    text = site.layout.pyproject.read_text("utf-8")
    text = text.replace("\n[tool.uv]\n", 'overrides = ["numlet==1.0"]\n\n[tool.uv]\n')
    site.layout.pyproject.write_text(text, "utf-8")
    migrated(site)
    assert "override-dependencies" in site.layout.pyproject.read_text("utf-8")
    assert "migrate" in {operation.kind for operation in rollback.read_operations(site.layout)}


@pytest.mark.slow
def test_production_folder_is_rebuilt_and_kept(site: Site) -> None:
    site.layout.production.unlink()
    site.layout.production.mkdir()
    (site.layout.production / "mine").write_text("")
    migrated(site)
    assert generation.current_key(site.layout) is not None
    assert (site.root / ".venv-prod.before-migrate" / "mine").exists()
    assert site.run_in_production("import corelet; print(corelet.__version__)") == "1.0"


def test_records_are_completed_and_damaged_ones_reported(site: Site) -> None:
    folder = site.layout.transactions
    (folder / "20250101T000000Z-00000001.json").write_text(
        '{"txid": "20250101T000000Z-00000001", "node_id": "depth", "started_at": "2025-01-01T00:00:00Z", '
        '"status": "promoted", "unknown_key": 1}'
    )
    (folder / "20250101T000000Z-00000002.json").write_text("{")
    first, second = migrated(site)
    assert "00000001.json was converted" in first
    assert "00000002.json was left unchanged" in second
    assert isinstance(read_state(folder / "20250101T000000Z-00000001.json", Transaction), Transaction)
    assert (folder / "20250101T000000Z-00000002.json").read_text() == "{"


@pytest.mark.parametrize("content", [[], {"plugins": [{"git_url": "x"}]}, {"plugins": {"a": 3}}])
def test_unreadable_registry_changes_nothing(site: Site, content: object) -> None:
    write_old_plugins(site, content)
    with pytest.raises(Failure) as caught:
        migrated(site)
    assert caught.value.code == "gov-truth-damaged"
    assert json.loads(site.layout.plugins.read_text()) == content


@pytest.mark.slow
def test_unresolvable_migration_changes_nothing(site: Site) -> None:
    text = site.layout.pyproject.read_text("utf-8")
    text = text.replace("\n[tool.uv]\n", 'overrides = ["nowhere==9"]\n\n[tool.uv]\n')
    site.layout.pyproject.write_text(text.replace("corelet==1.0", "corelet==7.0"), "utf-8")
    before = site.layout.pyproject.read_bytes()
    with pytest.raises(Failure) as caught:
        migrated(site)
    assert caught.value.code == "gov-lock-failed"
    assert site.layout.pyproject.read_bytes() == before
