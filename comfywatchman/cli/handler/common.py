"""Shared parts of the commands of `comfywatchman handler`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from comfywatchman.cli.options import CommandT
from comfywatchman.cli.version.common import server_options

if TYPE_CHECKING:
    from comfywatchman.app.session import Session
    from comfywatchman.handler.gcs import GcsStore
    from comfywatchman.handler.handle import VersionName


def handling_options(command: CommandT) -> CommandT:
    """Add the options that say how requests are handled: `url`, `timeout`, `allow_private` and `lock`."""
    private = click.option(
        "--allow-private", is_flag=True, help="Fetch inputs also from this machine and private networks."
    )
    lock = click.option("--lock", metavar="VERSION", help="The version that ComfyUI runs, to name it in results.")
    return server_options(private(lock(command)))


def read_version_name(session: Session, version: str | None) -> VersionName | None:
    """Return the name of a version for results; None without one.

    Raises:
        Failure: A `version-…` code.
    """
    from comfywatchman.cli.version.common import open_lock
    from comfywatchman.handler.handle import VersionName

    if version is None:
        return None
    lock = open_lock(session, version)
    return VersionName(lock.tag, lock.content_sha256)


def gcs_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of Google Cloud Storage; the command gets `open_store`, which returns the store, or None."""

    @functools.wraps(command)
    def run(**values: Any) -> Any:
        names = ("bucket", "prefix", "project", "retries", "retry_sleep", "public", "signed_url_ttl", "validate")
        settings = {name: values.pop(f"gcs_{name}") for name in names}
        return command(open_store=functools.partial(_open_store, **settings), **values)

    options = (
        click.option("--gcs-bucket", envvar="GCS_BUCKET", help="The bucket of Google Cloud Storage for outputs."),
        click.option(
            "--gcs-prefix",
            envvar="GCS_PREFIX",
            default="comfy/outputs",
            show_default=True,
            help="The prefix of the names of outputs.",
        ),
        click.option(
            "--gcs-project", envvar=["GOOGLE_CLOUD_PROJECT", "GCS_PROJECT"], help="The project, if not the account's."
        ),
        click.option(
            "--gcs-signed-url-ttl",
            envvar="GCS_SIGNED_URL_TTL",
            type=int,
            default=0,
            help="Return signed links that are valid for so many seconds.",
        ),
        click.option("--gcs-public", envvar="GCS_PUBLIC", is_flag=True, help="Return links to a public bucket."),
        click.option("--gcs-retries", envvar="GCS_RETRIES", type=int, default=3, help="Retries of an upload."),
        click.option(
            "--gcs-retry-sleep",
            envvar="GCS_RETRY_BASE_SLEEP",
            type=float,
            default=0.5,
            help="Seconds before the first retry of an upload; doubled for each further one.",
        ),
        click.option(
            "--gcs-validate/--no-gcs-validate",
            envvar="GCS_VALIDATE",
            default=True,
            help="Check the permissions before anything runs.",
        ),
    )
    # The last decorator applied is shown first in the help.
    for option in reversed(options):
        run = option(run)
    return run


def allow_any(_host: str) -> bool:
    """Allow inputs from every host."""
    return True


def _open_store(
    *,
    bucket: str | None,
    prefix: str,
    project: str | None,
    retries: int,
    retry_sleep: float,
    public: bool,
    signed_url_ttl: int,
    validate: bool,
) -> GcsStore | None:
    if not bucket:
        return None
    from comfywatchman.handler.gcs import GcsSettings, GcsStore

    store = GcsStore(
        GcsSettings(
            bucket=bucket,
            prefix=prefix,
            project=project,
            retries=retries,
            retry_sleep_seconds=retry_sleep,
            is_public=public,
            signed_seconds=signed_url_ttl,
        )
    )
    if validate:
        store.check_access()
    return store
