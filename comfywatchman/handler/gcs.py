"""Outputs in Google Cloud Storage: uploaded once each, whatever is retried, and returned as a link.

`google.cloud.storage` is imported with the first use: importing it takes more than a second, and it is optional.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.server.log_text import clean_line
from comfywatchman.handler.result import StoredOutput

_REQUEST_SECONDS: Final = 60.0
_UPLOAD_SECONDS: Final = 300.0
_MAX_SLEEP_SECONDS: Final = 30.0
_CHUNK_BYTES: Final = 32 << 20
_HASH_CHARS: Final = 16
_MAX_SIGNED_SECONDS: Final = 7 * 86_400
"""The longest life of a V4 signature that Google accepts."""

_TRANSIENT_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})
_NO_ACCESS_STATUSES: Final = frozenset({401, 403, 404})
_LOST_SESSION_STATUSES: Final = frozenset({308, 400, 404, 410})
"""Answers to a chunk after which a session cannot go on: nothing was kept, the checksum is wrong, or it has expired."""

_CREATE: Final = "storage.objects.create"
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class GcsSettings:
    """Where outputs go, and how.

    Attributes:
        bucket: The bucket.
        prefix: The beginning of the names of objects.
        project: The project; None for that of the credentials.
        retries: How often a request that failed for a passing reason is repeated.
        retry_sleep_seconds: The pause before the first repetition; it doubles.
        is_public: Whether the bucket is public, so that links need no signature.
        signed_seconds: How long a signed link is valid; 0 for `gs://` addresses.
        upload_seconds: The time that one output may take with its repetitions.
        chunk_bytes: The size of the parts that large outputs are sent in, a multiple of 256 KiB.
    """

    bucket: str
    prefix: str = "comfy/outputs"
    project: str | None = None
    retries: int = 3
    retry_sleep_seconds: float = 0.5
    is_public: bool = False
    signed_seconds: int = 0
    upload_seconds: float = _UPLOAD_SECONDS
    chunk_bytes: int = _CHUNK_BYTES

    def check(self) -> None:
        """Check the values that Google would refuse.

        Raises:
            Failure: `gcs-settings-invalid`.
        """
        if not _BUCKET.fullmatch(self.bucket):
            raise _invalid(f"{self.bucket!a} is not a name of a bucket.")
        if not 0 <= self.signed_seconds <= _MAX_SIGNED_SECONDS:
            raise _invalid(f"Signed links are valid for at most {_MAX_SIGNED_SECONDS} seconds.")
        if self.retries < 0 or self.retry_sleep_seconds < 0:
            raise _invalid("The number of repetitions and the pause before them cannot be negative.")


class GcsStore:
    """Stores outputs in a bucket.

    Args:
        settings: Where and how.

    Raises:
        Failure: `gcs-settings-invalid`, `gcs-extra-missing`, or `gcs-no-access` without credentials.
    """

    def __init__(self, settings: GcsSettings) -> None:
        settings.check()
        self._settings = settings
        try:
            from google.auth.exceptions import GoogleAuthError
            from google.cloud import storage
        except ImportError as error:
            raise Failure(
                "gcs-extra-missing",
                "The package for Google Cloud Storage is not installed.",
                hint="Install it with the extra `gcs`: pip install '.[gcs]' in the checkout.",
            ) from error
        try:
            self._bucket: Any = storage.Client(project=settings.project).bucket(settings.bucket)
        except (GoogleAuthError, OSError) as error:
            # The text may quote the content of a file with credentials.
            raise self._build_access_failure("there are no valid credentials") from error

    def check_access(self) -> None:
        """Check that objects can be created in the bucket.

        Raises:
            Failure: `gcs-no-access` or `gcs-failed`.
        """
        granted: list[str] = self._request(
            lambda retry: self._bucket.test_iam_permissions([_CREATE], timeout=_REQUEST_SECONDS, retry=retry)
        )
        if _CREATE not in granted:
            raise self._build_access_failure(f"the account lacks the permission {_CREATE}")

    def store(self, path: Path, *, run_name: str, filename: str, media_type: str, sha256: str) -> StoredOutput:
        """Upload a file as an object of its own; the same file of the same run is the same object.

        Args:
            path: The file.
            run_name: The idempotency key of the request, or the id of its prompt.
            filename: The name of the output.
            media_type: Its media type.
            sha256: Its hash.

        Raises:
            Failure: `gcs-no-access` or `gcs-failed`.
        """
        name = build_object_name(self._settings.prefix, run_name, filename, sha256)
        blob = self._bucket.blob(name)
        is_new = self._upload(blob, path, media_type)
        if not is_new:
            # A repetition of an upload whose answer was lost, or an earlier run of the same request.
            self._compare(blob, path)
        link, reason = build_link(blob, self._settings)
        return StoredOutput(link, f"gs://{self._settings.bucket}/{name}", reason)

    def _upload(self, blob: Any, path: Path, media_type: str) -> bool:
        """Upload a file; return False when the object existed before."""
        blob.chunk_size = self._settings.chunk_bytes
        budget = RetryBudget(self._settings.retries)
        crc32c = _hash_crc32c(path)

        def upload(retry: Any) -> bool:
            from google.api_core.exceptions import GoogleAPICallError, PreconditionFailed
            from google.auth.exceptions import GoogleAuthError
            from google.cloud.storage.exceptions import DataCorruption

            try:
                blob.upload_from_filename(
                    str(path),
                    content_type=media_type,
                    # Creates an object and never replaces one, so that it is safe to repeat.
                    if_generation_match=0,
                    timeout=_REQUEST_SECONDS,
                    retry=retry,
                    # Google refuses other bytes before they become an object.
                    crc32c_checksum_value=crc32c,
                )
            except PreconditionFailed:
                return False
            except GoogleAPICallError as error:
                if not is_session_lost(error):
                    raise
                raise InterruptedUpload from error
            except GoogleAuthError:
                # Some of them are ValueErrors too.
                raise
            except (DataCorruption, ValueError) as error:
                # ValueError: the server kept a part of a chunk, and the library cannot resume in the middle of one.
                raise InterruptedUpload from error
            return True

        restart = self._build_retry(budget.limit(lambda error: isinstance(error, InterruptedUpload)))
        return bool(self._request(restart(upload), budget))

    def _compare(self, blob: Any, path: Path) -> None:
        self._request(lambda retry: blob.reload(timeout=_REQUEST_SECONDS, retry=retry))
        if blob.size != path.stat().st_size or blob.crc32c != _hash_crc32c(path):
            raise Failure("gcs-failed", f"Another object has the name {blob.name}.", hint="Use another prefix.")

    def _build_retry(self, is_repeated: Callable[[Exception], bool]) -> Any:
        from google.api_core.retry import Retry

        return Retry(
            predicate=is_repeated,
            initial=self._settings.retry_sleep_seconds,
            maximum=_MAX_SLEEP_SECONDS,
            timeout=self._settings.upload_seconds,
        )

    def _request(self, send: Callable[[Any], Any], budget: RetryBudget | None = None) -> Any:
        """Send a request that repeats itself; translate its errors."""
        import requests
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError

        settings = self._settings
        budget = budget or RetryBudget(settings.retries)
        try:
            return send(self._build_retry(budget.limit(is_transient)))
        except GoogleAuthError as error:
            raise self._build_access_failure("the credentials are not accepted") from error
        except (GoogleAPIError, requests.RequestException, ConnectionError) as error:
            status = find_status(error)
            if status in _NO_ACCESS_STATUSES:
                raise self._build_access_failure(f"status {status}") from error
            reason = f"status {status}" if status else type(error).__name__
            message = f"Google Cloud Storage did not take an output into the bucket {settings.bucket}: {reason}."
            raise Failure("gcs-failed", message, hint="Send the request again later.") from error

    def _build_access_failure(self, reason: str) -> Failure:
        return Failure(
            "gcs-no-access",
            f"Outputs cannot be stored in the bucket {self._settings.bucket}: {reason}.",
            hint="Check the bucket, and GOOGLE_APPLICATION_CREDENTIALS or `gcloud auth application-default login`.",
        )


def build_link(blob: Any, settings: GcsSettings) -> tuple[str, str | None]:
    """Return the link to an object, and why it is not what the settings ask for; None when it is.

    Args:
        blob: The object, of Google's library.
        settings: The kind of link.
    """
    uri = f"gs://{settings.bucket}/{blob.name}"
    if settings.is_public:
        return f"https://storage.googleapis.com/{settings.bucket}/{quote(blob.name)}", None
    if not settings.signed_seconds:
        return uri, None
    from google.auth.exceptions import GoogleAuthError

    expiration = dt.timedelta(seconds=settings.signed_seconds)
    try:
        return str(blob.generate_signed_url(version="v4", expiration=expiration, method="GET")), None
    except (AttributeError, GoogleAuthError) as error:
        # Only the key of a service account signs; other credentials have none.
        return uri, clean_line(f"The link is not signed: {error}")


def build_object_name(prefix: str, run_name: str, filename: str, sha256: str) -> str:
    """Return the name of an object: unique by run and content, and safe in addresses."""
    safe = _UNSAFE.sub("_", filename).lstrip(".") or "file"
    parts = (prefix.strip("/"), _UNSAFE.sub("_", run_name), f"{sha256[:_HASH_CHARS]}-{safe}")
    return "/".join(part for part in parts if part)


class InterruptedUpload(ConnectionError):
    """An upload in chunks that cannot go on, and can begin anew."""


class RetryBudget:
    """How often one upload may still be repeated, whatever fails in it.

    Args:
        retries: The number of repetitions.
    """

    def __init__(self, retries: int) -> None:
        self._remaining = retries

    def limit(self, is_passing: Callable[[Exception], bool]) -> Callable[[Exception], bool]:
        """Return a function that returns whether to repeat after an error: for passing reasons, and so often."""

        def is_repeated(error: Exception) -> bool:
            if self._remaining <= 0 or not is_passing(error):
                return False
            self._remaining -= 1
            return True

        return is_repeated


def is_session_lost(error: Exception) -> bool:
    """Return whether an error of Google's library ends the session of an upload, and not the right to upload."""
    from google.cloud.storage.exceptions import DataCorruption

    if isinstance(error.__context__, DataCorruption):
        # The library deletes an object with other bytes first, and this account may not.
        return True
    request = getattr(getattr(error, "response", None), "request", None)
    return getattr(request, "method", None) == "PUT" and find_status(error) in _LOST_SESSION_STATUSES


def find_status(error: BaseException) -> int | None:
    """Return the HTTP status of an error of Google's library; None for one without a response."""
    status = getattr(error, "code", None)
    if not isinstance(status, int):
        status = getattr(getattr(error, "response", None), "status_code", None)
    return int(status) if isinstance(status, int) else None


def is_transient(error: Exception) -> bool:
    """Return whether an error may be gone at the next try."""
    import requests

    broken = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError, ConnectionError)
    # An interrupted upload begins anew as a whole; repeating its last request would not help.
    is_broken = isinstance(error, broken) and not isinstance(error, InterruptedUpload)
    return is_broken or find_status(error) in _TRANSIENT_STATUSES


def _hash_crc32c(path: Path) -> str:
    import base64

    import google_crc32c

    checksum = google_crc32c.Checksum()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            checksum.update(block)
    return base64.b64encode(checksum.digest()).decode()


def _invalid(message: str) -> Failure:
    return Failure("gcs-settings-invalid", message, hint="Correct the option or variable: docs/reference/handler.md")
