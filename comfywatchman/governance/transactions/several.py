"""Try and promote several nodes together: one lock, one start of ComfyUI; halves of them when that fails."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
from packaging.utils import canonicalize_name

from comfywatchman.base.clock import format_utc
from comfywatchman.base.code_tree import hash_code_tree
from comfywatchman.base.errors import Failure
from comfywatchman.base.git import read_head
from comfywatchman.base.text import shorten_list
from comfywatchman.governance.environments import generation, init, integrity, staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.nodes import registry
from comfywatchman.governance.nodes.deny_list import DenyList, build_deny_list
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.ids import make_transaction_id
from comfywatchman.governance.store.records import (
    Judgement,
    PackageDiff,
    PromotionPlan,
    RegisteredNode,
    RunLogs,
    Transaction,
)
from comfywatchman.governance.transactions import candidate, transaction
from comfywatchman.governance.transactions.core_packages import find_core_changes
from comfywatchman.governance.transactions.freeze import enforce_deny_list_on, parse_freeze
from comfywatchman.governance.transactions.install_script import run_install_script
from comfywatchman.governance.transactions.plan import are_unnamed_declared, build_plan, find_closure
from comfywatchman.governance.transactions.run import EvaluateTrial
from comfywatchman.governance.trial.evaluate import evaluate
from comfywatchman.governance.trial.trial import build_installer_variables, build_trial_spec
from comfywatchman.governance.uv.requirement import build_marker_environment, parse_package_name
from comfywatchman.governance.uv.requirement_files import read_requirements

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class JointTrial:
    """One start of ComfyUI with several nodes in a candidate.

    Attributes:
        error: Why it failed, for all of them; empty when it did not.
        failures: The nodes that failed by themselves, each with the reason.
        judgement: The start; None when it did not come to one.
        logs: The output of the start.
        pre_freeze: The packages of production.
        post_freeze: The packages of the candidate after the start.
        plans: What a promotion writes for each node.
    """

    error: str = ""
    failures: Mapping[str, str] = field(default_factory=dict)
    judgement: Judgement | None = None
    logs: RunLogs = field(default_factory=RunLogs)
    pre_freeze: tuple[str, ...] = ()
    post_freeze: tuple[str, ...] = ()
    plans: Mapping[str, PromotionPlan] = field(default_factory=dict)


TryNodes = Callable[[Sequence[RegisteredNode]], JointTrial]


def run_several(
    context: GovContext,
    node_ids: Sequence[str],
    *,
    timeout_seconds: float | None = None,
    evaluate_trial: EvaluateTrial = evaluate,
    progress: Progress = lambda _line: None,
) -> tuple[Transaction, ...]:
    """Try registered nodes together, and return a transaction for each, in the given order.

    Args:
        context: The governed root; its lock must be held.
        node_ids: The nodes.
        timeout_seconds: The time that a start may take; None for the configured one.
        evaluate_trial: Starts ComfyUI in a candidate and judges the start.
        progress: Receives a line for each step.

    Raises:
        Failure: `gov-node-unknown`, `gov-not-initialised` or `state-unwritable`.
    """
    layout, clock = context.layout, context.clock
    nodes = [_require_node(context, node_id) for node_id in dict.fromkeys(node_ids)]
    transaction.mark_interrupted(layout, clock)
    begun = {node.id: transaction.save(layout, _begin(context, node)) for node in nodes}

    def try_nodes(subset: Sequence[RegisteredNode]) -> JointTrial:
        progress(f"Trying {shorten_list([node.id for node in subset])}")
        others = frozenset(begun) - {node.id for node in subset}
        return _try_together(
            context, subset, others=others, timeout_seconds=timeout_seconds, evaluate_trial=evaluate_trial
        )

    alone = _find_nodes_to_try_alone(context, nodes)
    together = [node for node in nodes if node.id not in alone]
    try:
        passed, trial, failures = settle(together, try_nodes) if together else ([], JointTrial(), {})
    except BaseException:
        for node_id, record in begun.items():
            interruption = transaction.describe_interruption(node_id)
            transaction.save(layout, transaction.mark_failed(record, clock, interruption))
        raise
    ended = []
    for node in nodes:
        record = begun[node.id]
        if node in passed:
            ended.append(_complete(context, record, node, trial))
        else:
            reason = alone.get(node.id) or failures.get(node.id, trial.error)
            ended.append(transaction.mark_failed(record, clock, reason))
    for record in ended:
        transaction.save(layout, record)
    transaction.prune(layout)
    return tuple(ended)


def find_untried(context: GovContext) -> tuple[str, ...]:
    """Return the registered nodes with a folder whose declared requirements production does not declare, sorted."""
    groups = truth.parse_groups(truth.read_project(context.layout.pyproject))
    declared = {canonicalize_name(group): set(lines) for group, lines in groups.items()}
    untried = []
    for node in staging.read_registry(context.layout).plugins.values():
        folder = context.custom_nodes / node.id
        if folder.exists():
            known = declared.get(canonicalize_name(node.group), set())
            # A repository is declared at the commit that was tried.
            at_commit = {parse_package_name(line) for line in known if " @ " in line}
            requirements = read_requirements(folder)
            lines = [line for line in requirements.lines if parse_package_name(line) not in at_commit]
            is_undeclared = bool(set(lines) - known) or not are_unnamed_declared(requirements, known)
            if is_undeclared or (node.last_txid is None and (folder / "install.py").is_file()):
                untried.append(node.id)
    return tuple(sorted(untried))


def settle(
    nodes: Sequence[RegisteredNode], try_nodes: TryNodes
) -> tuple[list[RegisteredNode], JointTrial, dict[str, str]]:
    """Find nodes that start together, with as few starts as possible.

    Returns:
        The nodes, their common trial, and the reason for each of the others.
    """
    trial = try_nodes(nodes)
    failures = dict(trial.failures)
    if trial.error and len(nodes) == 1:
        return [], trial, {nodes[0].id: trial.error}
    if trial.error:
        return _settle_halves(nodes, try_nodes)
    rest = [node for node in nodes if node.id not in failures]
    if not failures or not rest:
        return rest, trial, failures
    # The packages of the others were there: what is promoted must have started without them.
    passed, last, later = settle(rest, try_nodes)
    return passed, last, {**failures, **later}


def _settle_halves(
    nodes: Sequence[RegisteredNode], try_nodes: TryNodes
) -> tuple[list[RegisteredNode], JointTrial, dict[str, str]]:
    half = len(nodes) // 2
    first, first_trial, failures = settle(nodes[:half], try_nodes)
    second, second_trial, later = settle(nodes[half:], try_nodes)
    failures |= later
    if not first or not second:
        return first or second, first_trial if first else second_trial, failures
    joint = try_nodes([*first, *second])
    if not joint.error and not joint.failures:
        return [*first, *second], joint, failures
    names = shorten_list([node.id for node in first])
    reason = joint.error or "; ".join(joint.failures.values())
    for node in second:
        failures[node.id] = f"It does not start together with {names}: {reason}"
    return first, first_trial, failures


def _find_nodes_to_try_alone(context: GovContext, nodes: Sequence[RegisteredNode]) -> dict[str, str]:
    """Return the reason for each node that has requirements without a package name: a lock cannot hold them."""
    reasons = {}
    for node in nodes:
        if unnamed := read_requirements(context.custom_nodes / node.id).unnamed:
            subject = shorten_list(unnamed)
            reasons[node.id] = f"Only its build shows the package of {subject}; try it by itself: gov tx run {node.id}"
    return reasons


def _require_node(context: GovContext, node_id: str) -> RegisteredNode:
    node = registry.require(context.layout, node_id)
    if not (context.custom_nodes / node_id).exists():
        raise Failure(
            "gov-node-unknown",
            f"The folder of the node {node_id} is missing.",
            hint=f"Restore it, or remove the node: gov node remove {node_id}.",
        )
    return node


def _begin(context: GovContext, node: RegisteredNode) -> Transaction:
    folder = context.custom_nodes / node.id
    return Transaction(
        txid=make_transaction_id(context.clock),
        node_id=node.id,
        started_at=format_utc(context.clock.now()),
        uv_version=context.uv.version,
        python=generation.read_python_version(context.python),
        truth_sha256=transaction.hash_truth_files(context.layout),
        node_commit=read_head(folder),
        node_tree=hash_code_tree(folder),
    )


def _complete(context: GovContext, record: Transaction, node: RegisteredNode, trial: JointTrial) -> Transaction:
    before, after = set(trial.pre_freeze), set(trial.post_freeze)
    return msgspec.structs.replace(
        record,
        status="completed",
        ended_at=format_utc(context.clock.now()),
        # Installers and first starts write into the node's folder: its state after them is what was tried.
        node_tree=hash_code_tree(context.custom_nodes / node.id),
        pre_freeze=trial.pre_freeze,
        post_freeze=trial.post_freeze,
        diff=PackageDiff(added=tuple(sorted(after - before)), removed=tuple(sorted(before - after))),
        core_impact=find_core_changes(trial.pre_freeze, trial.post_freeze, context.settings.policy.core_packages),
        judgement=trial.judgement,
        logs=trial.logs,
        promotion_plan=trial.plans[node.id],
        integrity="verified",
    )


def _try_together(
    context: GovContext,
    nodes: Sequence[RegisteredNode],
    *,
    others: frozenset[str],
    timeout_seconds: float | None,
    evaluate_trial: EvaluateTrial,
) -> JointTrial:
    """Lock the requirements of nodes with all others, and start ComfyUI in a candidate of that lock."""
    layout = context.layout
    environment = layout.candidates / make_transaction_id(context.clock)
    mark = generation.read_mark(layout, generation.current_key(layout))
    was_intact = mark is not None and generation.is_unmodified(layout, mark)
    try:
        trial = _run_candidate(
            context,
            nodes,
            environment,
            others=others,
            timeout_seconds=timeout_seconds,
            evaluate_trial=evaluate_trial,
        )
    except Failure as failure:
        trial = JointTrial(error=str(failure))
    except OSError as error:
        trial = JointTrial(error=f"The candidate could not be tried: {error}")
    finally:
        shutil.rmtree(environment, ignore_errors=True)
    if was_intact and mark is not None and not generation.is_unmodified(layout, mark):
        init.init(context)
        return JointTrial(error="While it was tried, the environment in production was modified; it was rebuilt.")
    return trial


def _run_candidate(
    context: GovContext,
    nodes: Sequence[RegisteredNode],
    environment: Path,
    *,
    others: frozenset[str],
    timeout_seconds: float | None,
    evaluate_trial: EvaluateTrial,
) -> JointTrial:
    layout = context.layout
    deny_list = build_deny_list(context.settings.policy.deny, context.settings.policy.allow)
    layout.logs.mkdir(parents=True, exist_ok=True)
    with staging.open_staging(layout) as work:
        for node in nodes:
            lines = read_requirements(context.custom_nodes / node.id).lines
            enforce_deny_list_on(deny_list, lines, subject="The requirement")
            work.edit_project(_build_edit(node, [*lines, *node.runtime_deps]))
        locked = work.lock(context.uv, context.python)
        if not locked.is_success:
            return JointTrial(error=f"The packages cannot be installed together: {locked.error_summary}")
        candidate.create(context, environment, project=work.folder)
    key = generation.current_key(layout)
    pre_freeze = () if key is None else context.uv.freeze(generation.environment_dir(layout, key))
    installed = _run_install_scripts(context, environment, nodes, deny_list)
    tried = {node.id for node in nodes}
    folders = registry.find_enabled_folders(layout, context.custom_nodes)
    spec = build_trial_spec(
        context,
        txid=environment.name,
        node_id="",
        environment=environment,
        nodes={node_id: folder for node_id, folder in folders.items() if node_id not in others},
        timeout_seconds=timeout_seconds,
    )
    judgement, logs = evaluate_trial(replace(spec, also_tried=frozenset(tried)))
    post_freeze = context.uv.freeze(environment)
    enforce_deny_list_on(deny_list, post_freeze)
    trial = JointTrial(
        error=_find_error(context, environment, judgement),
        failures={
            node.id: f"{node.id} could not be imported: {judgement.import_failures[node.id]}"
            for node in nodes
            if node.id in judgement.import_failures
        },
        judgement=judgement,
        logs=logs,
        pre_freeze=pre_freeze,
        post_freeze=post_freeze,
    )
    return replace(trial, plans=_build_plans(context, environment, nodes, trial, installed))


def _build_edit(node: RegisteredNode, lines: Sequence[str]) -> Callable[[str], str]:
    def edit(text: str) -> str:
        return truth.set_group(text, node.group, lines) if lines else truth.remove_group(text, node.group)

    return edit


def _run_install_scripts(
    context: GovContext, environment: Path, nodes: Sequence[RegisteredNode], deny_list: DenyList
) -> dict[str, set[str]]:
    """Run the install.py of each node; return the names of the packages that each has installed."""
    variables = {**context.uv.network, **build_installer_variables(context.settings.network)}
    installed: dict[str, set[str]] = {}
    for node in nodes:
        folder = context.custom_nodes / node.id
        if not (folder / "install.py").is_file():
            continue
        before = parse_freeze(context.uv.freeze(environment))
        logs = context.layout.logs / f"{environment.name}.install.stdout.log"
        run_install_script(environment, folder, (logs, logs.with_suffix(".stderr")), variables=variables)
        after = parse_freeze(context.uv.freeze(environment))
        enforce_deny_list_on(deny_list, context.uv.freeze(environment))
        installed[node.id] = {name for name in after if after[name] != before.get(name)}
    return installed


def _find_error(context: GovContext, environment: Path, judgement: Judgement) -> str:
    """Return why a start failed for all nodes; empty when it did not."""
    if judgement.exit_code:
        reasons = [finding.detail for finding in judgement.findings if finding.status == "fail" and finding.detail]
        return reasons[0] if reasons else f"The start ended with status {judgement.exit_code}."
    mark = generation.read_mark(context.layout, generation.current_key(context.layout))
    report = integrity.verify(environment, None, known=mark.unverifiable if mark else ())
    if report.modified_packages:
        candidate.evict_modified(context.uv, context.layout, environment, report)
        return f"Files of installed packages were modified: {shorten_list(report.modified_files)}"
    return ""


def _build_plans(
    context: GovContext,
    environment: Path,
    nodes: Sequence[RegisteredNode],
    trial: JointTrial,
    installed: Mapping[str, set[str]],
) -> dict[str, PromotionPlan]:
    """Return what a promotion writes for each node; packages from the install.py of another one are left out."""
    groups = truth.parse_groups(truth.read_project(context.layout.pyproject))
    requirements = {node.id: read_requirements(context.custom_nodes / node.id) for node in nodes}
    tried = {node.group for node in nodes}
    lines = [line for group, of_group in groups.items() if group not in tried for line in of_group]
    lines += [line for of_node in requirements.values() for line in of_node.lines]
    markers = build_marker_environment(generation.read_python_version(context.python))
    known = find_closure(lines, candidate.read_requires(environment), markers)
    plans = {}
    for node in nodes:
        others = {name for node_id, names in installed.items() if node_id != node.id for name in names}
        own = installed.get(node.id, set())
        plans[node.id] = build_plan(
            requirements[node.id],
            pre=trial.pre_freeze,
            post=trial.post_freeze,
            known=known | (others - own),
            earlier=node.runtime_deps,
            overrides=node.overrides,
        )
    return plans
