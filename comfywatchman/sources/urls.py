"""Addresses of model files: what others wrote is read strictly, what we ask for is built here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

HUGGING_FACE_HOSTS: Final = frozenset({"huggingface.co"})
CIVITAI_HOSTS: Final = frozenset({"civitai.com", "civitai.red"})
NO_HOSTS: Final[frozenset[str]] = frozenset()

_MOST_CHARS: Final = 2048
_MOST_ADDRESSES: Final = 200
_OWNER_OR_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_REVISION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
_ADDRESS: Final = re.compile(r"https?://[!-~]+", re.IGNORECASE)
_CLOSING: Final = ".,;:!?'\"*_`>"
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,17}")
_CIVITAI_CHOICES: Final = frozenset({"type", "format", "size", "fp", "quantType"})
_SHOWN: Final = _CIVITAI_CHOICES | {"fileId", "modelVersionId", "download"}
_FILE_ROUTES: Final = frozenset({"resolve", "blob", "raw"})


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
    """A model, version or file on Civitai; at least model or version is known."""

    model_id: int | None = None
    version_id: int | None = None
    file_id: int | None = None


HubAddress = HuggingFaceFile | CivitaiAddress


def parse_hub_url(url: str, *, extra_hosts: frozenset[str] = NO_HOSTS) -> HubAddress | None:
    """Read an address that somebody else wrote; None for all that is no model file on a host we know.

    Parameters that only choose among a version's files or ask for a download are dropped, all others make the address
    foreign.

    Args:
        url: The address.
        extra_hosts: Further hosts with their port (`127.0.0.1:8080`), which may also be asked by http: test servers
            and mirrors that the configuration names.
    """
    parts = _split_strictly(url, extra_hosts)
    if parts is None:
        return None
    host, path, query = parts
    place: HubAddress | None = None
    if host in HUGGING_FACE_HOSTS | extra_hosts:
        place = _parse_hugging_face(path, query)
    if place is None and host in CIVITAI_HOSTS | extra_hosts:
        place = _parse_civitai(path, query)
    return place


def reason_to_refuse(url: str, *, extra_hosts: frozenset[str] = NO_HOSTS) -> str | None:
    """Say why a file may not be fetched from an address, or None when it may.

    An address may be used only if it is, byte for byte, one that this module builds for a host on the list.

    Args:
        url: The address.
        extra_hosts: As for `hub_place`.
    """
    place = parse_hub_url(url, extra_hosts=extra_hosts)
    if place is None:
        return "it is no address of a model file on a host that is allowed"
    base_url = url[: url.index("/", url.index("//") + 2)]
    if isinstance(place, HuggingFaceFile):
        built = build_hugging_face_url(base_url, place)
    elif place.version_id is None:
        return "it names no version"
    else:
        built = build_civitai_url(base_url, place.version_id, place.file_id)
    return None if built == url else "it is not written as this program writes such an address"


def build_hugging_face_url(base_url: str, file: HuggingFaceFile) -> str:
    """Return the address of a file; give a commit as revision to get the same bytes for ever.

    Raises:
        ValueError: The file's parts cannot stand in an address (see `is_hugging_face_file`).
    """
    if not is_hugging_face_file(file):
        raise ValueError(f"no file of Hugging Face: {file!r}")
    return f"{base_url.rstrip('/')}/{file.repo}/resolve/{quote(file.revision, safe='')}/{quote(file.path)}"


def build_civitai_url(base_url: str, version_id: int, file_id: int | None = None) -> str:
    """Return the address of a version's file.

    Without the file's id, Civitai chooses one by the preferences of the account that asks.
    """
    query = f"?{urlencode({'fileId': file_id})}" if file_id is not None else ""
    return f"{base_url.rstrip('/')}/api/download/models/{version_id}{query}"


def build_civitai_page_url(base_url: str, model_id: int, version_id: int) -> str:
    """Return the address of a version's page, for people."""
    return f"{base_url.rstrip('/')}/models/{model_id}?{urlencode({'modelVersionId': version_id})}"


def is_repo_id(repo: str) -> bool:
    """Say whether a text can be a repository's id (`owner/name`)."""
    segments = repo.split("/")
    return len(segments) == 2 and all(  # noqa: PLR2004 - owner and name
        _OWNER_OR_NAME.fullmatch(one) and ".." not in one and "--" not in one for one in segments
    )


def is_hugging_face_file(file: HuggingFaceFile) -> bool:
    """Say whether repository, revision and path can stand in an address without leading elsewhere."""
    return (
        is_repo_id(file.repo)
        and _REVISION.fullmatch(file.revision) is not None
        and _has_no_dot_segments(file.revision)
        and file.path.isprintable()
        and "\\" not in file.path
        and _has_no_dot_segments(file.path)
    )


def strip_secrets(url: str) -> str:
    """Return an address that somebody else wrote, fit for reports: keys and passwords of its author are left out.

    Of its parameters only those stay that choose a file; an address that cannot be split is given up to its first `?`.
    """
    try:
        parts = urlsplit(url)
        chosen = [(name, value) for name, value in parse_qsl(parts.query, max_num_fields=32) if name in _SHOWN]
    except ValueError:
        return url.partition("?")[0].rpartition("@")[2]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, urlencode(chosen), ""))


def find_urls(text: str) -> tuple[str, ...]:
    """Return the http addresses in a text (a note of a workflow), in order, without what Markdown puts around them."""
    return tuple(dict.fromkeys(_iterate_urls(text)))[:_MOST_ADDRESSES]


def _iterate_urls(text: str) -> Iterator[str]:
    for match in _ADDRESS.finditer(text):
        address = re.split(r"[<>\"`|{}]|\]\(", match.group(), maxsplit=1)[0]
        while address and (address[-1] in _CLOSING or _has_unmatched_closing_bracket(address)):
            address = address[:-1]
        yield address


def _has_unmatched_closing_bracket(address: str) -> bool:
    return any(address.endswith(end) and address.count(end) > address.count(start) for start, end in ("()", "[]"))


def _split_strictly(url: str, extra_hosts: frozenset[str]) -> tuple[str, str, dict[str, str]] | None:
    """Split an address whose host is on the list and which every parser splits alike."""
    if len(url) > _MOST_CHARS or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), max_num_fields=8)
    except ValueError:
        return None
    known = HUGGING_FACE_HOSTS | CIVITAI_HOSTS
    allowed = (parts.scheme == "https" and parts.netloc in known) or (
        parts.scheme in {"http", "https"} and parts.netloc in extra_hosts
    )
    if not allowed or not url.startswith(f"{parts.scheme}://{parts.netloc}/") or "#" in url or ";" in url:
        return None
    return (parts.netloc, parts.path, dict(query)) if len(dict(query)) == len(query) else None


def _parse_hugging_face(path: str, query: dict[str, str]) -> HuggingFaceFile | None:
    segments = path.split("/")
    if len(segments) < 6 or segments[3] not in _FILE_ROUTES or query not in ({}, {"download": "true"}):  # noqa: PLR2004
        return None
    # The path is taken apart before escapes are undone, so that an escaped slash cannot move a boundary.
    below = [unquote(segment, errors="strict") if _is_utf8(segment) else "" for segment in segments[5:]]
    file = HuggingFaceFile(f"{segments[1]}/{segments[2]}", unquote(segments[4]), "/".join(below))
    return file if is_hugging_face_file(file) and not any("/" in segment for segment in below) else None


def _is_utf8(segment: str) -> bool:
    try:
        unquote(segment, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


def _parse_civitai(path: str, query: dict[str, str]) -> CivitaiAddress | None:
    numbers = {name: value for name, value in query.items() if name in {"fileId", "modelVersionId"}}
    if not set(query) <= {*numbers, *_CIVITAI_CHOICES} or not all(map(_NUMBER.fullmatch, numbers.values())):
        return None
    download = re.fullmatch(r"/api/download/models/([1-9][0-9]{0,17})", path)
    if download and "modelVersionId" not in numbers:
        file_id = numbers.get("fileId")
        return CivitaiAddress(version_id=int(download[1]), file_id=int(file_id) if file_id else None)
    page = re.fullmatch(r"/models/([1-9][0-9]{0,17})(?:/[A-Za-z0-9%._~-]*)?", path)
    if page and "fileId" not in numbers:
        version_id = numbers.get("modelVersionId")
        return CivitaiAddress(model_id=int(page[1]), version_id=int(version_id) if version_id else None)
    return None


def _has_no_dot_segments(path: str) -> bool:
    return all(segment not in {"", ".", ".."} for segment in path.split("/"))
