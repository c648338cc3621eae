"""Nodes whose installers reach beyond their candidate."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.governance.environments import generation
from comfywatchman.governance.nodes.add import AddRequest, add_node
from comfywatchman.governance.store.records import Transaction
from comfywatchman.governance.transactions.run import run_transaction
from tests.governance.contexts import Site, build_site
from tests.governance.packs import create_repository

pytestmark = pytest.mark.slow

ROOT = (
    "import glob, os, subprocess, sys\nroot = os.path.abspath(os.path.join(sys.executable, '..', '..', '..', '..'))\n"
)


def try_installer(site: Site, installer: str, *requirements: str) -> Transaction:
    """Register a node with this install.py, and try it."""
    pack = create_repository(
        site.folder / "repositories" / "hostile", *requirements, files={"install.py": ROOT + installer}
    )
    with site.opened() as context:
        add_node(context, AddRequest(str(pack), allow_local=True), find_pack=lambda _pack_id: None)
        return run_transaction(context, "hostile")


def is_whole(site: Site) -> bool:
    mark = generation.read_mark(site.layout, generation.current_key(site.layout))
    return mark is not None and generation.is_unmodified(site.layout, mark)


@pytest.mark.parametrize(
    "installer",
    [
        "subprocess.run(['uv', 'pip', 'install', '--python', root + '/.venv-prod/bin/python', 'numlet'], check=True)",
        "[open(place + '/sitecustomize.py', 'w').close() for place in glob.glob(root + '/envs/*/lib/*/site-packages')]",
        "[os.remove(mark) for mark in glob.glob(root + '/envs/*/.gov-complete')]",
    ],
    ids=["installs-there", "runs-at-every-start", "takes-the-mark"],
)
def test_production_modified_by_a_trial_is_rebuilt(tmp_path: Path, installer: str) -> None:
    site = build_site(tmp_path)
    ended = try_installer(site, installer)
    assert (ended.status, is_whole(site)) == ("failed", True)
    assert "the environment in production was modified; it was rebuilt" in (ended.error or "")


def test_earlier_changes_of_production_are_not_blamed_on_a_trial(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    key = generation.current_key(site.layout)
    assert key is not None
    place = next(generation.environment_dir(site.layout, key).glob("lib/*/site-packages"))
    (place / "sitecustomize.py").touch()
    ended = try_installer(site, "")
    assert (ended.status, is_whole(site)) == ("completed", False)


def test_truth_files_changed_by_a_trial_are_not_rebuilt(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    before = site.layout.uv_lock.read_bytes()
    installer = (
        "open(root + '/pyproject.toml', 'a').write('[dependency-groups.more]\\n')\n"
        "os.remove(glob.glob(root + '/envs/*/.gov-complete')[0])"
    )
    ended = try_installer(site, installer)
    assert ended.status == "failed"
    assert "so were pyproject.toml or uv.lock" in (ended.error or "")
    assert site.layout.uv_lock.read_bytes() == before


def test_install_script_with_endless_output_is_ended(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    ended = try_installer(site, "import time\nwhile True:\n    print('x' * (1 << 20))\n    time.sleep(0.01)")
    assert ended.judgement
    assert "install.py exited with status 124" in " ".join(one.detail for one in ended.judgement.findings)
    assert (site.layout.logs / f"{ended.txid}.install.stdout.log").stat().st_size < 2 << 30


def test_files_made_unreadable_by_a_trial_are_restored(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    assert try_installer(site, "import corelet\nos.chmod(corelet.__file__, 0)").integrity == "modified"
    assert is_whole(site)
    key = generation.current_key(site.layout)
    assert key is not None
    place = next(generation.environment_dir(site.layout, key).glob("lib/*/site-packages/corelet/__init__.py"))
    assert place.stat().st_mode & 0o400
