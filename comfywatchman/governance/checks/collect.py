"""Reading what the checks judge: files, folders, the lock, the processes of this machine. Nothing is changed."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from comfywatchman.base.clock import format_utc, parse_utc
from comfywatchman.base.code_tree import hash_code_tree
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular, read_state
from comfywatchman.base.filesystem import find_network_filesystem
from comfywatchman.base.git import is_dirty, read_head
from comfywatchman.base.gpu.driver import GpuDriver
from comfywatchman.base.lock import is_held
from comfywatchman.comfyui.packs.scan import PackListing, find_packs
from comfywatchman.governance.checks.check_cache import (
    CheckBudget,
    CheckCache,
    NodeCodeState,
    StartupFiles,
    VerifiedPackage,
    stamp_files,
)
from comfywatchman.governance.checks.nodes import NodeFolderFacts
from comfywatchman.governance.checks.packages import DeniedItem, ProductionFacts
from comfywatchman.governance.checks.pending import OpenTransaction, StorageFacts
from comfywatchman.governance.checks.truth import LockFacts
from comfywatchman.governance.environments import generation, integrity, snapshot, staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.nodes.deny_list import DenyEntry, build_deny_list
from comfywatchman.governance.store.layout import TRUTH_FILES, GovLayout
from comfywatchman.governance.store.records import (
    GenerationMark,
    InstalledPackage,
    Journal,
    NodeRegistry,
    RegisteredNode,
    Transaction,
)

VERIFY_AFTER: Final = timedelta(days=7)
"""Age at which the files of a package are verified again, as time allows."""

VERIFIED_LATELY: Final = timedelta(days=14)
"""Age up to which a verification counts; the days between are for cycles that have little time."""

_GIT_SECONDS: Final = 5.0


@dataclass(frozen=True)
class CheckContext:
    """What checks look with.

    Attributes:
        ground: The governed root.
        driver: The GPU driver.
        memory: What earlier checks knew.
        budget: How long they may take.
    """

    ground: GovContext
    driver: GpuDriver
    memory: CheckCache
    budget: CheckBudget

    @property
    def layout(self) -> GovLayout:
        """Where everything is."""
        return self.ground.layout


def collect_lock_facts(look: CheckContext) -> LockFacts:
    """Look at the truth files: are they as the last operation left them, and if not, what does uv say."""
    layout = look.layout
    found = {name: _hash_file(layout.truth(name)) for name in TRUTH_FILES}
    declared, locked = found["pyproject.toml"] is not None, found["uv.lock"] is not None
    # The snapshot after a change holds the truth as the change left it; one before may hold an edit by hand.
    posts = [one for one in snapshot.read_all(layout) if one.reason == "init" or one.reason.endswith("_post")]
    changed = tuple(name for name in TRUTH_FILES if posts and posts[-1].sha256.get(name) != found[name])
    if not (declared and locked) or not changed:
        return LockFacts(declared, locked, changed)
    agrees, why = _check_lock_freshness(look, f"{found['pyproject.toml']} {found['uv.lock']}")
    return LockFacts(declared, locked, changed, agrees, why)


def _check_lock_freshness(look: CheckContext, key: str) -> tuple[bool | None, str]:
    known = look.memory.kept.fresh.get(key)
    look.memory.new["fresh"] = {} if known is None else {key: known}
    if known is not None:
        return known, ""
    if not look.budget.is_endless:
        return None, "a cycle has no time to ask it"
    try:
        ended = look.ground.uv.is_fresh(look.layout.root, python=look.ground.python)
    except Failure as failure:
        return None, failure.message
    look.memory.new["fresh"] = {key: ended.is_success}
    return ended.is_success, ""


def collect_journal_facts(look: CheckContext) -> tuple[bool, bool, str]:
    """Say whether a journal is left, whether somebody holds the lock, and what the commit does."""
    if not look.layout.journal.exists():
        return False, False, ""
    journal = read_state(look.layout.journal, Journal, only_look=True)
    words = f"{journal.operation.kind} of {journal.operation.ref}" if isinstance(journal, Journal) else ""
    return True, is_held(look.layout.lock_file), words


def collect_filesystem_facts(look: CheckContext) -> tuple[str | None, str]:
    """Say on which kind of network filesystem the root lies, if on one, and where the root is."""
    return find_network_filesystem(look.layout.root), printable_path(look.layout.root)


def collect_production_facts(look: CheckContext) -> tuple[ProductionFacts, tuple[InstalledPackage, ...]]:
    """Look at production: what it was built with and what is in it; files within the budget, the oldest look first.

    Returns:
        The facts, and the packages that are installed.
    """
    layout = look.layout
    name = generation.current_key(layout)
    if name is None or not layout.production.is_dir():
        return ProductionFacts(generation=None), ()
    environment = generation.environment_dir(layout, name)
    mark = generation.read_mark(layout, name)
    if mark is None:
        return ProductionFacts(name), ()
    installed = integrity.find_installed(environment)
    modified, verified = _verify_packages(look, mark, environment, installed)
    expected = set(mark.packages)
    return ProductionFacts(
        generation=name,
        is_complete=True,
        is_of_lock=mark.lock_sha256 == _hash_file(layout.lock),
        absent=tuple(_format_package(one) for one in sorted(expected - installed.keys())),
        strange=tuple(_format_package(one) for one in sorted(installed.keys() - expected)),
        broken=tuple(
            f"{one.name} {one.version}" for one, place in installed.items() if not (place / "RECORD").is_file()
        ),
        modified=tuple(
            sorted(
                {
                    *modified,
                    *_scan_site_packages(look, mark, environment),
                    *integrity.find_missing_base_files(environment),
                }
            )
        ),
        verified=verified,
        packages=len(expected),
    ), tuple(sorted(installed))


def _scan_site_packages(look: CheckContext, mark: GenerationMark, environment: Path) -> tuple[str, ...]:
    """Return what came and what is gone at the top of site-packages; either changes that folder, so it is seen at once.

    What came: files that run at every start and belong to nobody. What is gone: folders and modules of packages.
    """
    now = stamp_files(environment.glob("lib/python3*/site-packages"))
    known = look.memory.kept.startup
    if known is None or known.stamp != now or look.budget.is_endless:
        gone = integrity.find_missing_toplevel(environment, known=mark.unverifiable)
        known = StartupFiles(now, integrity.find_unowned_startup_files(environment), gone)
    look.memory.new["startup"] = known
    return (*known.strangers, *known.gone)


def _format_package(package: InstalledPackage) -> str:
    return f"{package.name} {package.version}"


def _verify_packages(
    look: CheckContext, mark: GenerationMark, environment: Path, installed: dict[InstalledPackage, Path]
) -> tuple[tuple[str, ...], int]:
    """Verify the files of packages as time allows; say which are not as installed, and how many packages are sure."""
    now = look.ground.clock.now()
    kept = look.memory.kept
    known = dict(kept.packages) if kept.generation == mark.key else {}
    # The build verified everything before it called itself complete.
    known = {one.name: known.get(one.name) or VerifiedPackage(mark.created_at) for one in installed}
    order = sorted(installed, key=lambda one: (known[one.name].at, one.name))
    for one in order:
        is_due = look.budget.is_endless or now - parse_utc(known[one.name].at) > VERIFY_AFTER
        if is_due and look.budget.is_left:
            known[one.name] = VerifiedPackage(
                format_utc(now), integrity.find_changed_files(environment, one, installed[one])
            )
    look.memory.new |= {"generation": mark.key, "packages": known}
    modified = tuple(sorted({name for one in known.values() for name in one.modified} - set(mark.unverifiable)))
    lately = (
        one for one in mark.packages if one.name in known and now - parse_utc(known[one.name].at) < VERIFIED_LATELY
    )
    return modified, sum(1 for _ in lately)


def collect_node_facts(look: CheckContext) -> tuple[tuple[NodeFolderFacts, ...], tuple[str, ...], NodeRegistry]:
    """Look at the folders of custom nodes.

    Returns:
        Each registered node, the folders that nobody registered, and the register.
    """
    register = read_state(look.layout.plugins, NodeRegistry, only_look=True)
    plugins = register if isinstance(register, NodeRegistry) else NodeRegistry()
    listings = _scan_node_folders(look.ground)
    kept: dict[str, NodeCodeState] = {}
    facts = tuple(
        NodeFolderFacts(
            id=one.id,
            is_there=one.id in listings,
            recorded=one.commit,
            commit=read_head(listings[one.id].path) if one.id in listings else None,
            is_dirty=_is_code_changed(look, one, listings[one.id], kept) if one.id in listings else False,
        )
        for one in plugins.plugins.values()
    )
    look.memory.new["nodes"] = kept
    return facts, tuple(sorted(listings.keys() - plugins.plugins.keys())), plugins


def find_unregistered(ground: GovContext) -> tuple[str, ...]:
    """Return the folders of `custom_nodes` that nobody registered.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    return tuple(sorted(_scan_node_folders(ground).keys() - staging.read_registry(ground.layout).plugins.keys()))


def _scan_node_folders(ground: GovContext) -> dict[str, PackListing]:
    return {one.folder: one for one in find_packs([ground.custom_nodes]) if one.path.is_dir()}


def _is_code_changed(
    look: CheckContext, plugin: RegisteredNode, listing: PackListing, kept: dict[str, NodeCodeState]
) -> bool | None:
    """Say whether a node's code is not what was recorded; what the quick look at its files does not see, once a day."""
    mark, day = f"{listing.fingerprint} {listing.git_fingerprint} {plugin.tree}", f"{look.ground.clock.now():%Y-%m-%d}"
    known = look.memory.kept.nodes.get(plugin.id)
    if known is not None and known.stamp != mark:
        known = None
    if look.budget.is_endless or (look.budget.is_left and (known is None or known.day != day)):
        dirty = _compare_code(plugin, listing.path)
        known = None if dirty is None else NodeCodeState(mark, day, dirty)
    if known is None:
        return None
    kept[plugin.id] = known
    return known.is_dirty


def _compare_code(plugin: RegisteredNode, folder: Path) -> bool | None:
    if plugin.tree is not None and (tree := hash_code_tree(folder)) is not None:
        return tree != plugin.tree
    return is_dirty(folder, timeout_seconds=_GIT_SECONDS) if plugin.commit else False


def collect_transactions(look: CheckContext) -> tuple[tuple[OpenTransaction, ...], tuple[str, ...]]:
    """Return every transaction, and which of them have a conflict report; records that did not change are not read."""
    layout = look.layout
    is_busy = is_held(layout.lock_file)
    kept: dict[str, tuple[str, str, str]] = {}
    found = []
    for name in _list_folder(layout.transactions):
        txid, ending, rest = name.partition(".json")
        path = layout.transactions / name
        if not ending or rest:
            continue
        mark = stamp_files([path])
        known = look.memory.kept.transactions.get(txid)
        if known is None or known[0] != mark:
            record = read_state(path, Transaction, only_look=True)
            if not isinstance(record, Transaction):
                continue
            known = (mark, record.node_id, record.status)
        kept[txid] = known
        found.append(OpenTransaction(txid, known[1], known[2], is_alive=is_busy))  # type: ignore[arg-type]  # it was validated
    look.memory.new["transactions"] = kept
    return tuple(found), tuple(name.removesuffix(".json") for name in _list_folder(layout.conflicts))


def collect_storage_facts(look: CheckContext) -> StorageFacts:
    """Count snapshots, environments and the room they take; an environment that is known is not walked again."""
    layout = look.layout
    snapshots = snapshot.read_all(layout)
    kept: dict[str, str] = {}
    damaged = [one.id for one in snapshots if not _is_snapshot_intact(look, one.id, kept)]
    look.memory.new["snapshots"] = kept
    environments = [
        *(layout.generations / name for name in _list_folder(layout.generations)),
        *(layout.candidates / name for name in _list_folder(layout.candidates)),
    ]
    return StorageFacts(
        snapshots=len(snapshots),
        retention=look.ground.settings.rollback.snapshot_retention,
        damaged=tuple(damaged),
        environments=len(environments),
        used_bytes=_measure_environments(look, environments),
        free_bytes=_read_free_bytes(layout.root),
    )


def _is_snapshot_intact(look: CheckContext, snapshot_id: str, kept: dict[str, str]) -> bool:
    folder = look.layout.snapshots / snapshot_id
    mark = stamp_files(folder / name for name in (*TRUTH_FILES, "meta.json"))
    if look.budget.is_endless or look.memory.kept.snapshots.get(snapshot_id) != mark:
        try:
            snapshot.read_contents(look.layout, snapshot_id)
        except Failure:
            return False
    kept[snapshot_id] = mark
    return True


def _measure_environments(look: CheckContext, environments: list[Path]) -> int | None:
    """Return how many bytes environments take, what they share with uv's cache or each other counted in each."""
    sizes: dict[str, int] = {}
    is_all = True
    for folder in environments:
        known = look.memory.kept.sizes.get(folder.name)
        if known is not None and not look.budget.is_endless:
            sizes[folder.name] = known
        elif look.budget.is_left:
            sizes[folder.name] = _measure_folder(folder)
        else:
            is_all = False
    look.memory.new["sizes"] = sizes
    return sum(sizes.values()) if is_all else None


def _measure_folder(folder: Path) -> int:
    total = 0
    for place, _folders, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
            except OSError:
                continue
    return total


def _read_free_bytes(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def find_denied(
    look: CheckContext, packages: tuple[InstalledPackage, ...], plugins: NodeRegistry
) -> tuple[DeniedItem, ...]:
    """Return what is on the deny list and here: packages in production, and nodes."""
    policy = look.ground.settings.policy
    listed = build_deny_list(policy.deny, policy.allow)
    found = [
        _build_denied_item(f"{one.name} {one.version}", entry, "gov snapshot list")
        for one in packages
        if (entry := listed.package(one.name, one.version))
    ]
    for folder in _list_folder(look.ground.custom_nodes):
        name = folder.removesuffix(".disabled")
        plugin = plugins.plugins.get(name)
        entry = listed.pack(name, plugin.git_url if plugin else "")
        if entry is not None:
            away = f"gov node remove {name} --purge-code" if plugin else f"Delete custom_nodes/{folder}."
            found.append(_build_denied_item(f"node {name}", entry, away))
    return tuple(found)


def _build_denied_item(what: str, entry: DenyEntry, action: str) -> DeniedItem:
    return DeniedItem(what, f"{entry.reason} ({entry.source})", action, is_blocked=entry.level == "blocked")


def _list_folder(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _hash_file(path: Path) -> str | None:
    try:
        return hashlib.sha256(read_regular(path, max_bytes=snapshot.MAX_TRUTH_BYTES)).hexdigest()
    except Failure:
        return None
