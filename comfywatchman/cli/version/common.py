"""Shared parts of the commands of `comfywatchman version`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from comfywatchman.cli.options import CommandT

if TYPE_CHECKING:
    from comfywatchman.app.session import Session
    from comfywatchman.governance.store.settings import NetworkTable
    from comfywatchman.versions.licences import LicensedPart
    from comfywatchman.versions.lockfile import VersionLock
    from comfywatchman.versions.package_files import PackageFile


def package_options(command: CommandT) -> CommandT:
    """Add the options that say where packages come from: `index`, `find_links` and `offline`."""
    options = (
        click.option(
            "--index", help="A package index instead of the default one. Passwords belong in a keyring or netrc file."
        ),
        click.option("--find-links", multiple=True, help="A further folder or page with packages. May be repeated."),
        click.option("--offline", is_flag=True, help="Use only --find-links and uv's cache for packages."),
    )
    # The last decorator applied is shown first in the help.
    for option in reversed(options):
        command = option(command)
    return command


def server_options(command: CommandT) -> CommandT:
    """Add the options that say which ComfyUI runs workflows, and for how long: `url` and `timeout`."""
    options = (
        click.option("--url", help="The running ComfyUI, instead of `[comfyui] url`."),
        click.option("--timeout", default=3600.0, show_default=True, help="Seconds that one workflow may take."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def build_network(index: str | None, find_links: tuple[str, ...], *, offline: bool) -> NetworkTable:
    """Return the values of `package_options` as network settings of uv."""
    from comfywatchman.governance.store.settings import NetworkTable

    return NetworkTable(offline=offline, cache_dir="", index_url=index or "", no_index=offline, find_links=find_links)


def locks_folder(session: Session) -> Path:
    """Return the folder of the lock files, `lockfiles` in the home."""
    return session.home_layout.home.folder / "lockfiles"


def find_lock(session: Session, version: str) -> Path:
    """Return the lock file that a name or a path means."""
    from comfywatchman.versions.lockfile import lock_path

    if version.endswith(".json") or "/" in version:
        return Path(version)
    return lock_path(locks_folder(session), version)


def references_folder(session: Session, version: str) -> Path:
    """Return the folder of a version's reference outputs, beside its lock."""
    path = find_lock(session, version).absolute()
    return path.with_name(f"{path.name.removesuffix('.json').removesuffix('.lock')}.outputs")


def open_lock(session: Session, version: str) -> VersionLock:
    """Read the lock that a name or a path means.

    Raises:
        Failure: A `version-…` code.
    """
    from comfywatchman.base.errors import Failure
    from comfywatchman.versions.lockfile import read_lock

    try:
        return read_lock(find_lock(session, version))
    except Failure as failure:
        if failure.code != "version-lock-missing":
            raise
        hint = f"List the versions that exist: {session.format_command('version', 'list')}"
        raise Failure(failure.code, failure.message, hint=hint) from failure


def require_answer(*, yes: bool, as_json: bool) -> None:
    """Refuse a call that would have to ask and cannot, before anything is fetched.

    Raises:
        Failure: `version-unconfirmed`.
    """
    import sys

    from comfywatchman.base.errors import Failure

    if not yes and (as_json or not sys.stdin.isatty()):
        raise Failure(
            "version-unconfirmed",
            "Packages of several GiB may be fetched, and nobody can be asked.",
            hint="To accept that, run the command again with --yes.",
        )


def build_question(purpose: str, *, yes: bool) -> Callable[[tuple[PackageFile, ...]], None]:
    """Return a function that tells the size of packages and asks whether to fetch them.

    Args:
        purpose: The beginning of the sentence that names their number.
        yes: Whether the answer is known to be yes.
    """

    def ask(files: tuple[PackageFile, ...]) -> None:
        from comfywatchman.base.errors import Failure

        text = describe_packages(files)
        click.echo(f"{purpose} {text}; those in uv's cache are not fetched again.", err=True)
        if not yes and not click.confirm("Fetch them?", err=True):
            raise Failure("version-unconfirmed", f"Nothing was fetched: {text}.", hint="The same command asks again.")

    return ask


def describe_packages(files: tuple[PackageFile, ...]) -> str:
    """Return how much packages take, and how many have an unknown size."""
    from comfywatchman.base.text import format_size, pluralize
    from comfywatchman.versions.package_files import sum_sizes

    size, unknown = sum_sizes(files)
    more = f", and {unknown} of unknown size" if unknown else ""
    return f"{pluralize(len(files), 'package')} of {format_size(size)} in all{more}"


def accept_option(command: CommandT) -> CommandT:
    """Add the option that accepts restricting licences: `accept_licences`."""
    text = "Accept licences that forbid commercial use, or that must be accepted."
    return click.option("--accept-licences", is_flag=True, help=text)(command)


def confirm_licences(parts: tuple[LicensedPart, ...], *, accept: bool, as_json: bool) -> None:
    """Show the licences of parts before they are fetched, and require consent to those that restrict their use.

    Raises:
        Failure: `version-licence-unaccepted`.
    """
    import sys

    from comfywatchman.base.errors import Failure
    from comfywatchman.base.text import pluralize
    from comfywatchman.cli.render import printable

    if not as_json:
        for part in parts:
            if part.licence is not None:
                more = f", which {part.restriction}" if part.restriction else ""
                click.echo(f"Licence of {part.kind} {printable(part.name)}: {printable(part.licence)}{more}.", err=True)
        unknown = sum(part.licence is None for part in parts)
        if unknown:
            click.echo(f"{pluralize(unknown, 'part')} of unknown licence.", err=True)
    restricted = [part for part in parts if part.restriction is not None]
    if not restricted or accept:
        return
    if not as_json and sys.stdin.isatty() and click.confirm("Accept these licences?", err=True):
        return
    shown = "; ".join(f"{part.name} has the licence {part.licence}, which {part.restriction}" for part in restricted)
    raise Failure(
        "version-licence-unaccepted", f"{shown}.", hint="Read the licences. To accept them: --accept-licences"
    )


def show_progress(text: str) -> None:
    """Show a step of a command that takes long, for people only."""
    from comfywatchman.cli.render import printable

    click.echo(f"{printable(text)} …", err=True)


def ignore_progress(_text: str) -> None:
    """Show no progress."""
