"""Find job files, check them, and hand the valid ones to the database."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from comfywatchman.base.clock import Clock, SystemClock
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, to_nfc
from comfywatchman.jobs.files.checking import JobFileIdentity, check_job_file
from comfywatchman.jobs.files.folders import walk_files
from comfywatchman.jobs.files.names import SUFFIX, parse_config_name
from comfywatchman.jobs.files.problems import JobFileError, JobFileProblem
from comfywatchman.jobs.files.reading import FileStamp, JobText, is_settled, may_grow, read_job_text
from comfywatchman.jobs.files.spec import InputFileMissing
from comfywatchman.jobs.files.template_cache import TemplateCache
from comfywatchman.jobs.files.workflows import JobWorkflow
from comfywatchman.jobs.files.yaml_text import YamlDocument, parse_yaml
from comfywatchman.jobs.records import JobSpec, Upserted, UpsertOutcome
from comfywatchman.jobs.settings import JobSettings

_NANOSECONDS: Final = 1_000_000_000
_BATCH: Final = 500
_CHANGING: Final = "It was changed just now, and may still be being written; it is read again."
_NO_EFFECT: Final = "The job of this name runs or has ended, so this has no effect. Give a new job a new name."


class ScanStatus(StrEnum):
    """What became of a job file."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    WAITING = "waiting"


class IntakeStore(Protocol):
    """The parts of the jobs database that the intake uses."""

    def upsert(self, spec: JobSpec) -> Upserted:
        """Insert a job, or update one that has not started."""

    def find_source_hashes(self, config_names: Collection[str]) -> Mapping[str, str]:
        """Return the hash of the file that each of these jobs was last read from, for those that exist."""


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What a scan did with one job file.

    Attributes:
        path: The file.
        status: `accepted`, `rejected` or `waiting`.
        reason: Why it is not accepted; empty for an accepted one.
        line: The line of the first problem, from 1, if it has one.
        field: The field of the first problem; empty when it concerns the whole file.
        config_name: The job's name.
        outcome: What the database did with an accepted one; None where it already had it unchanged.
        problems: Every problem.
    """

    path: str
    status: ScanStatus
    reason: str = ""
    line: int | None = None
    field: str = ""
    config_name: str = ""
    outcome: UpsertOutcome | None = None
    problems: tuple[JobFileProblem, ...] = ()


@dataclass(slots=True)
class _KnownFile:
    """A file as an earlier scan found it."""

    stamp: FileStamp
    result: ScanResult
    workflow: str = ""
    """The fingerprint of its workflow; a rejected file is tried again when that changes."""

    workflow_id: str = ""
    is_duplicate: bool = False
    """Whether another file of the same name counts."""


@dataclass(slots=True)
class IntakeMemory:
    """What a running monitor remembers between two scans, so that it reads only what changed."""

    files: dict[str, _KnownFile] = field(default_factory=dict)
    templates: TemplateCache = field(default_factory=TemplateCache)
    has_scanned: bool = False

    def list_refused(self) -> list[ScanResult]:
        """Return the results of all files that are rejected or wait."""
        results = [known.result for known in self.files.values()]
        return [result for result in results if result.status is not ScanStatus.ACCEPTED]


@dataclass(frozen=True, slots=True)
class _FoundFile:
    """A job file in the folder."""

    path: str
    name: str
    stamp: FileStamp


def scan_once(
    cfg: JobSettings,
    workflows: Mapping[str, JobWorkflow],
    db: IntakeStore | None,
    *,
    memory: IntakeMemory | None = None,
    clock: Clock | None = None,
    report: Callable[[ScanResult], object] | None = None,
    is_stopped: Callable[[], bool] | None = None,
) -> list[ScanResult]:
    """Read the job files that are new or changed, and give the valid ones to the database.

    Args:
        cfg: The limits and places of the job agent.
        workflows: As `load_workflows` returns them.
        db: The database; None only checks the files.
        memory: What earlier scans found; None reads every file.
        clock: The clock.
        report: Called with each new result at once; the first scan of a large folder takes minutes.
        is_stopped: Asked before each file; True leaves the others to a later scan.

    Returns:
        One result per file whose result is new, sorted by path.

    Raises:
        Failure: The database cannot be used. Files that were not handed over are read again by the next scan.
    """
    now_ns = int((clock or SystemClock()).now().timestamp() * _NANOSECONDS)
    # An empty memory is false, but counts.
    scan = _Scan(cfg, workflows, db, IntakeMemory() if memory is None else memory, now_ns)
    results = []
    for result in scan.run(is_stopped or (lambda: False)):
        results.append(result)
        if report is not None:
            report(result)
    return results


@dataclass(slots=True)
class _Scan:
    """One pass over the folder."""

    cfg: JobSettings
    workflows: Mapping[str, JobWorkflow]
    db: IntakeStore | None
    memory: IntakeMemory
    now_ns: int
    owners: dict[str, str] = field(default_factory=dict)
    """The file that counts for each name."""

    hashes: dict[str, str] = field(default_factory=dict)
    """The hash of the file that each known job was last read from; only for the first scan."""

    def run(self, is_stopped: Callable[[], bool]) -> Iterator[ScanResult]:
        """Yield each new result."""
        found = sorted(self._find_files(), key=lambda file: file.path)
        self.owners = self._find_owners(found)
        changed = [file for file in found if self._is_due(file)]
        if not self.memory.has_scanned:
            self._load_hashes(changed)
        for file in changed:
            if is_stopped():
                return
            known = self._examine(file)
            before = self.memory.files.get(file.path)
            self.memory.files[file.path] = known
            if before is None or before.result != known.result or known.result.status is ScanStatus.ACCEPTED:
                yield known.result
        present = {file.path for file in found}
        for path in self.memory.files.keys() - present:
            del self.memory.files[path]
        self.memory.has_scanned = True

    def _find_files(self) -> list[_FoundFile]:
        found = []
        for entry in walk_files(os.path.abspath(self.cfg.processing)):
            if not entry.name.lower().endswith((SUFFIX, ".yml")):
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                # It was moved or deleted meanwhile.
                continue
            found.append(_FoundFile(entry.path, to_nfc(entry.name), FileStamp.from_stat(status)))
        return found

    def _find_owners(self, found: list[_FoundFile]) -> dict[str, str]:
        """Return the file that counts for each name: the one that was accepted before, else the first."""
        owners: dict[str, str] = {}
        for file in found:
            known = self.memory.files.get(file.path)
            is_accepted = known is not None and known.result.status is ScanStatus.ACCEPTED
            if is_accepted or file.name not in owners:
                owners[file.name] = file.path
        return owners

    def _is_due(self, file: _FoundFile) -> bool:
        known = self.memory.files.get(file.path)
        if known is None or known.stamp != file.stamp:
            return True
        if known.is_duplicate:
            return self.owners[file.name] == file.path
        if known.result.status is ScanStatus.WAITING:
            return True
        return known.result.status is ScanStatus.REJECTED and known.workflow != self._get_fingerprint(known.workflow_id)

    def _get_fingerprint(self, workflow_id: str) -> str:
        entry = self.workflows.get(workflow_id)
        if entry is not None:
            return self.memory.templates.get_fingerprint(entry)
        # A workflow that is not there, or a file that names none: any change of workflows.yaml may mend it.
        return ",".join(sorted(self.workflows)) if workflow_id else ""

    def _load_hashes(self, files: list[_FoundFile]) -> None:
        if self.db is None:
            return
        names = [file.name for file in files]
        for start in range(0, len(names), _BATCH):
            self.hashes.update(self.db.find_source_hashes(names[start : start + _BATCH]))

    def _examine(self, file: _FoundFile) -> _KnownFile:
        workflow_id = ""
        try:
            self._check_owner(file)
            job_type = self._check_name(file)
            text = self._read_settled(file)
            if self.hashes.get(file.name) == text.sha256:
                return _KnownFile(file.stamp, ScanResult(file.path, ScanStatus.ACCEPTED, config_name=file.name))
            document = self._parse(file, text)
            workflow_id = str(document.value.get("workflow_id") or "")
            identity = JobFileIdentity(file.name, job_type, Path(file.path), text.sha256)
            spec = check_job_file(document, identity, self.cfg, self.workflows, self.memory.templates)
        except _StillChanging as change:
            return self._refuse(file, ScanStatus.WAITING, (change.problem,), workflow_id)
        except InputFileMissing as missing:
            return self._refuse(file, ScanStatus.WAITING, (missing.problem,), workflow_id)
        except JobFileError as error:
            return self._refuse(file, ScanStatus.REJECTED, error.problems, workflow_id)
        except Failure as failure:
            return self._refuse(
                file, ScanStatus.REJECTED, (JobFileProblem(str(failure), field="workflow_id"),), workflow_id
            )
        outcome = self.db.upsert(spec).outcome if self.db is not None else None
        reason = _NO_EFFECT if outcome is UpsertOutcome.IGNORED else ""
        if outcome is UpsertOutcome.UNCHANGED:
            outcome = None
        result = ScanResult(file.path, ScanStatus.ACCEPTED, reason, config_name=file.name, outcome=outcome)
        return _KnownFile(file.stamp, result)

    def _check_owner(self, file: _FoundFile) -> None:
        owner = self.owners[file.name]
        if owner != file.path:
            message = f"{printable_path(owner)} has the same name, and the same name is one job."
            raise JobFileError([JobFileProblem(message)])

    def _check_name(self, file: _FoundFile) -> str:
        """Return the job type of a file's name, if the file lies in the folder of that type."""
        if not file.name.endswith(SUFFIX):
            raise JobFileError([JobFileProblem(f"The names of job files end with {SUFFIX}. Rename the file.")])
        job_type = parse_config_name(file.name, tuple(self.cfg.media_of_type))["job_type"]
        media = self.cfg.media_of_type[job_type]
        if not Path(file.path).is_relative_to(Path(os.path.abspath(self.cfg.processing)) / media):
            message = f"Jobs of the type {job_type} belong into {printable_path(self.cfg.processing / media)}."
            raise JobFileError([JobFileProblem(message)])
        return job_type

    def _read_settled(self, file: _FoundFile) -> JobText:
        """Read a file whose writer has finished."""
        before = self.memory.files.get(file.path)
        previous = before.stamp if before else None
        if not is_settled(file.stamp, previous, now_ns=self.now_ns, poll_seconds=self.cfg.poll_interval_seconds):
            raise _StillChanging(JobFileProblem(_CHANGING))
        text = read_job_text(Path(file.path))
        if text.stamp != file.stamp:
            raise _StillChanging(JobFileProblem(_CHANGING))
        return text

    def _parse(self, file: _FoundFile, text: JobText) -> YamlDocument:
        is_incomplete = not text.content.strip()
        try:
            if not is_incomplete:
                return parse_yaml(text.content)
            error = JobFileError([JobFileProblem("It is empty.")])
        except JobFileError as syntax_error:
            error = syntax_error
            is_incomplete = syntax_error.is_incomplete
        if is_incomplete and may_grow(file.stamp, now_ns=self.now_ns, poll_seconds=self.cfg.poll_interval_seconds):
            raise _StillChanging(error.problems[0])
        raise error

    def _refuse(
        self, file: _FoundFile, status: ScanStatus, problems: tuple[JobFileProblem, ...], workflow_id: str
    ) -> _KnownFile:
        first = problems[0]
        result = ScanResult(
            path=file.path,
            status=status,
            reason=first.message,
            line=first.line,
            field=first.field,
            config_name=file.name,
            problems=problems,
        )
        fingerprint = self._get_fingerprint(workflow_id)
        return _KnownFile(
            file.stamp, result, fingerprint, workflow_id, is_duplicate=self.owners[file.name] != file.path
        )


class _StillChanging(Exception):
    """A file whose writer may not have finished."""

    def __init__(self, problem: JobFileProblem) -> None:
        super().__init__(problem.message)
        self.problem = problem
