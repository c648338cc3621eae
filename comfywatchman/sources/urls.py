"""URLs of model files: foreign ones are parsed strictly, and every URL to be requested is built here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

HUGGING_FACE_HOSTS: Final = frozenset({"huggingface.co"})
CIVITAI_HOSTS: Final = frozenset({"civitai.com", "civitai.red"})
NO_HOSTS: Final[frozenset[str]] = frozenset()

_MAX_URL_CHARS: Final = 2048
_MAX_URLS: Final = 200
# Hugging Face's rule for names (`huggingface_hub.utils.validate_repo_id`); `--` and `..` are checked separately.
_OWNER_OR_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_REVISION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
_URL_START: Final = re.compile(r"https?://[!-~]+", re.IGNORECASE)
_MARKUP: Final = re.compile(r"[<>\"`|{}]|\]\(")
_PUNCTUATION: Final = ".,;:!?'\"*_`>"
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,17}")
_DOWNLOAD_PATH: Final = re.compile(r"/api/download/models/([1-9][0-9]{0,17})")
_MODEL_PAGE_PATH: Final = re.compile(r"/models/([1-9][0-9]{0,17})(?:/[A-Za-z0-9%._~-]*)?")
# Preferences that select one of a version's files; the file id is more exact, so they are dropped.
_CIVITAI_CHOICES: Final = frozenset({"type", "format", "size", "fp", "quantType"})
_CIVITAI_IDS: Final = frozenset({"fileId", "modelVersionId"})
_PUBLIC_PARAMETERS: Final = _CIVITAI_CHOICES | _CIVITAI_IDS | {"download"}
# Civitai's identifiers (AIR): `urn:air:sdxl:lora:civitai:328553@368189`; the version and a format may be missing.
_AIR: Final = re.compile(
    r"urn:air:[a-z0-9_-]{1,40}:[a-z0-9_-]{1,40}:civitai:([1-9][0-9]{0,17})(?:@([1-9][0-9]{0,17}))?(?:\.[a-z]{1,20})?",
    re.IGNORECASE,
)
_AIR_START: Final = re.compile(r"urn:air:[a-z0-9_:@.-]+", re.IGNORECASE)
_FILE_ROUTES: Final = frozenset({"resolve", "blob", "raw"})
_MIN_FILE_SEGMENTS: Final = 6


@dataclass(frozen=True, slots=True)
class HuggingFaceFile:
    """A file of a repository on Hugging Face.

    Attributes:
        repo: `owner/name`.
        revision: Branch, tag or commit.
        path: Below the repository's root.
    """

    repo: str
    revision: str
    path: str


@dataclass(frozen=True, slots=True)
class CivitaiAddress:
    """A model, version or file on Civitai; the model or the version is always known."""

    model_id: int | None = None
    version_id: int | None = None
    file_id: int | None = None


HubAddress = HuggingFaceFile | CivitaiAddress


def parse_hub_url(url: str, *, extra_hosts: frozenset[str] = NO_HOSTS) -> HubAddress | None:
    """Parse a foreign URL or AIR identifier; None for anything but a model file on a known host.

    Parameters that choose among a version's files or ask for a download are dropped; a URL with any other is refused.

    Args:
        url: The URL.
        extra_hosts: Further hosts with their port (`127.0.0.1:8080`), which may also use http: test servers and
            mirrors from the configuration.
    """
    air = _AIR.fullmatch(url)
    if air is not None:
        return CivitaiAddress(int(air[1]), int(air[2]) if air[2] else None)
    parts = _split_strictly(url, extra_hosts)
    if parts is None:
        return None
    host, path, query = parts
    if host in HUGGING_FACE_HOSTS | extra_hosts:
        file = _parse_hugging_face(path, query)
        if file is not None:
            return file
    if host in CIVITAI_HOSTS | extra_hosts:
        return _parse_civitai(path, query)
    return None


def reason_to_refuse(url: str, *, extra_hosts: frozenset[str] = NO_HOSTS) -> str | None:
    """Return why a file must not be downloaded from a URL, or None when it may.

    A URL is accepted only if it equals, byte for byte, the one that this module builds for an allowed host.

    Args:
        url: The URL.
        extra_hosts: As for `parse_hub_url`.
    """
    address = parse_hub_url(url, extra_hosts=extra_hosts)
    if address is None:
        return "it is not the URL of a model file on an allowed host"
    parts = urlsplit(url)
    base_url = f"{parts.scheme}://{parts.netloc}"
    if isinstance(address, HuggingFaceFile):
        canonical = build_hugging_face_url(base_url, address)
    elif address.version_id is None:
        return "it names no version"
    else:
        canonical = build_civitai_url(base_url, address.version_id, address.file_id)
    return None if url == canonical else "it is not in canonical form"


def build_hugging_face_url(base_url: str, file: HuggingFaceFile) -> str:
    """Return the URL of a file; a commit as revision makes its content permanent.

    Raises:
        ValueError: The file has a part that cannot stand in a URL (see `is_hugging_face_file`).
    """
    if not is_hugging_face_file(file):
        raise ValueError(f"not a file of Hugging Face: {file!r}")
    return f"{base_url.rstrip('/')}/{file.repo}/resolve/{quote(file.revision, safe='')}/{quote(file.path)}"


def build_hugging_face_page_url(base_url: str, file: HuggingFaceFile) -> str:
    """Return the URL of a file's page, for people.

    Raises:
        ValueError: See `build_hugging_face_url`.
    """
    return build_hugging_face_url(base_url, file).replace(f"/{file.repo}/resolve/", f"/{file.repo}/blob/", 1)


def build_civitai_url(base_url: str, version_id: int, file_id: int | None = None) -> str:
    """Return the download URL of a version's file.

    Without the file's id, Civitai chooses one by the preferences of the account.
    """
    query = "" if file_id is None else f"?{urlencode({'fileId': file_id})}"
    return f"{base_url.rstrip('/')}/api/download/models/{version_id}{query}"


def build_civitai_page_url(base_url: str, model_id: int, version_id: int) -> str:
    """Return the URL of a version's page, for people."""
    return f"{base_url.rstrip('/')}/models/{model_id}?{urlencode({'modelVersionId': version_id})}"


def is_repo_id(repo: str) -> bool:
    """Return whether a text can be a repository's id (`owner/name`)."""
    owner, slash, name = repo.partition("/")
    return bool(slash) and _is_owner_or_name(owner) and _is_owner_or_name(name)


def _is_owner_or_name(text: str) -> bool:
    return _OWNER_OR_NAME.fullmatch(text) is not None and ".." not in text and "--" not in text


def is_hugging_face_file(file: HuggingFaceFile) -> bool:
    """Return whether repository, revision and path can stand in a URL without leading elsewhere."""
    return (
        is_repo_id(file.repo)
        and _REVISION.fullmatch(file.revision) is not None
        and _has_no_dot_segments(file.revision)
        and file.path.isprintable()
        and "\\" not in file.path
        and _has_no_dot_segments(file.path)
    )


def strip_secrets(url: str) -> str:
    """Return a foreign URL without its author's keys and passwords, fit for reports.

    Only parameters that choose a file are kept; a URL that cannot be split is cut at its first `?`.
    """
    try:
        parts = urlsplit(url)
        parameters = parse_qsl(parts.query, max_num_fields=32)
    except ValueError:
        return url.partition("?")[0].rpartition("@")[2]
    public = [(name, value) for name, value in parameters if name in _PUBLIC_PARAMETERS]
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, urlencode(public), ""))


def find_urls(text: str) -> tuple[str, ...]:
    """Return the http URLs in a text (a note of a workflow), without surrounding Markdown, then the AIR identifiers."""
    identifiers = (match.group().rstrip(_PUNCTUATION) for match in _AIR_START.finditer(text))
    return tuple(dict.fromkeys((*_iterate_urls(text), *identifiers)))[:_MAX_URLS]


def _iterate_urls(text: str) -> Iterator[str]:
    for match in _URL_START.finditer(text):
        url = _MARKUP.split(match.group(), maxsplit=1)[0]
        while url and (url[-1] in _PUNCTUATION or _has_unmatched_closing_bracket(url)):
            url = url[:-1]
        yield url


def _has_unmatched_closing_bracket(url: str) -> bool:
    """Return whether the last character closes a bracket that was opened before the URL."""
    # `(see https://host/a)` ends before the bracket, `https://host/a_(b)` with it.
    return any(url.endswith(close) and url.count(close) > url.count(start) for start, close in ("()", "[]"))


def _split_strictly(url: str, extra_hosts: frozenset[str]) -> tuple[str, str, dict[str, str]] | None:
    """Return host, path and query of a URL on an allowed host that every parser splits alike; else None."""
    if not _has_plain_characters(url):
        return None
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), max_num_fields=8)
    except ValueError:
        return None
    if not _is_allowed_host(parts.scheme, parts.netloc, extra_hosts):
        return None
    query = dict(pairs)
    has_repeated_names = len(query) != len(pairs)
    # `urlsplit` lower-cases the scheme and accepts an address without a path.
    is_canonical = url.startswith(f"{parts.scheme}://{parts.netloc}/")
    if has_repeated_names or not is_canonical:
        return None
    return parts.netloc, parts.path, query


def _has_plain_characters(url: str) -> bool:
    if len(url) > _MAX_URL_CHARS or not url.isascii() or not url.isprintable():
        return False
    # Parsers disagree about these: spaces, backslashes as slashes, fragments, and `;` as a separator.
    return not any(char in url for char in " \\#;")


def _is_allowed_host(scheme: str, host: str, extra_hosts: frozenset[str]) -> bool:
    if scheme == "https" and host in HUGGING_FACE_HOSTS | CIVITAI_HOSTS:
        return True
    return scheme in {"http", "https"} and host in extra_hosts


def _parse_hugging_face(path: str, query: Mapping[str, str]) -> HuggingFaceFile | None:
    """Parse `/owner/name/resolve/revision/path`."""
    if query not in ({}, {"download": "true"}):
        return None
    segments = path.split("/")
    if len(segments) < _MIN_FILE_SEGMENTS or segments[3] not in _FILE_ROUTES:
        return None
    # The path is split before it is unescaped, so that an escaped slash cannot move a boundary.
    names: list[str] = []
    for segment in segments[5:]:
        name = _unescape(segment)
        if name is None or "/" in name:
            return None
        names.append(name)
    file = HuggingFaceFile(f"{segments[1]}/{segments[2]}", unquote(segments[4]), "/".join(names))
    return file if is_hugging_face_file(file) else None


def _unescape(segment: str) -> str | None:
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        return None


def _parse_civitai(path: str, query: Mapping[str, str]) -> CivitaiAddress | None:
    """Parse `/api/download/models/version` or `/models/model`."""
    if not set(query) <= _CIVITAI_CHOICES | _CIVITAI_IDS:
        return None
    ids: dict[str, int] = {}
    for name in _CIVITAI_IDS & set(query):
        if not _NUMBER.fullmatch(query[name]):
            return None
        ids[name] = int(query[name])
    download = _DOWNLOAD_PATH.fullmatch(path)
    if download and "modelVersionId" not in ids:
        return CivitaiAddress(version_id=int(download[1]), file_id=ids.get("fileId"))
    page = _MODEL_PAGE_PATH.fullmatch(path)
    if page and "fileId" not in ids:
        return CivitaiAddress(model_id=int(page[1]), version_id=ids.get("modelVersionId"))
    return None


def _has_no_dot_segments(path: str) -> bool:
    return all(segment not in {"", ".", ".."} for segment in path.split("/"))
