"""Validate the ids, URLs and refs of custom nodes. All of them come from outside and are not trusted."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from comfywatchman.base.address import redact_url
from comfywatchman.base.errors import Failure

_ID: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
_RESERVED: Final = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
)
"""Names that Windows reserves for devices: a folder with such a name cannot be copied there."""

_RESERVED_ENDINGS: Final = (".disabled", ".git", ".py", ".lock")
"""Endings with a meaning for ComfyUI, git or a package manager."""

_MAX_URL_CHARS: Final = 2048
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_USER: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*)")
_SCP: Final = re.compile(r"(?:([^@/:]+)@)?([^@/:]+):(?!/)(.+)")
_PAGE: Final = re.compile(r"(/[^/]+/[^/]+?)(?:\.git)?/(?:tree|blob|commit|releases/tag)/([^/]+)")
_REF: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+-]{0,199}")
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class NodeOrigin:
    """The repository that a node is cloned from.

    Attributes:
        url: The URL without any secret, fit for files, logs and reports.
        user: The user name of an https URL; empty for none.
        secret: Its password or token; never written anywhere.
        is_local: Whether it is a folder of this machine.
    """

    url: str
    user: str = ""
    secret: str = ""
    is_local: bool = False

    def __repr__(self) -> str:
        return f"Origin(url={self.url!r}, is_local={self.is_local})"


def check_existing_id(node_id: str, *, is_file: bool) -> str:
    """Return the id of an installed pack, which is the name of its folder or of its one Python file.

    Raises:
        Failure: `gov-bad-id`.
    """
    check_id(node_id.removesuffix(".py") if is_file else node_id)
    return node_id


def check_id(node_id: str) -> str:
    """Return an id that is valid as a folder name and as a part of a dependency group's name.

    Raises:
        Failure: `gov-bad-id`.
    """
    problem = _find_id_problem(node_id)
    if problem is None:
        return node_id
    raise Failure(
        "gov-bad-id",
        f"{node_id[:120]!r} is not a valid node id: {problem}.",
        hint="Use at most 100 letters, digits, dots, dashes and underscores, with a letter or digit at both ends; "
        "choose an id with --id.",
    )


def normalize_id(node_id: str) -> str:
    """Return an id in the form in which ids are compared.

    Two ids conflict when some systems store them as one folder, or uv reads them as one dependency group (PEP 735:
    case does not matter, and a run of dots, dashes and underscores counts as one dash).
    """
    return re.sub(r"[-_.]+", "-", node_id).lower()


def find_conflicting_id(node_id: str, others: Iterable[str]) -> str | None:
    """Return the first id among others that conflicts with an id; None when there is none."""
    normalized = normalize_id(node_id)
    return next((other for other in others if normalize_id(other) == normalized), None)


def parse_origin(url: str, *, allow_local: bool = False) -> NodeOrigin:
    """Parse a URL that a user or a registry gave; refuse those that git would read as an option or a program.

    https, ssh (`ssh://user@host/path`, `user@host:path`) and, on this machine alone, http are accepted; folders and
    `file://` only with `allow_local`.

    Raises:
        Failure: `gov-bad-url`; its message holds no secret.
    """
    _require_safe_characters(url, allow_local=allow_local)
    if not url:
        raise _bad_url(url, "it is empty")
    if url.startswith("-"):
        raise _bad_url(url, "git would read it as an option")
    # `ext::program` makes git run a program; an IPv6 address in brackets may contain `::`.
    if "::" in url.split("[", 1)[0]:
        raise _bad_url(url, "it names a helper program of git")
    if "://" in url:
        return _parse_url(url, allow_local=allow_local)
    if url.startswith(("/", "./", "../")) or url in {".", ".."}:
        return _parse_local(url, url, allow_local=allow_local)
    if match := _SCP.fullmatch(url):
        return _parse_scp(url, *match.groups())
    raise _bad_url(url, "it is neither a URL nor the id of a registered pack")


def _require_safe_characters(url: str, *, allow_local: bool) -> None:
    reason = "it contains spaces, control characters or others that no URL has, or is too long"
    if len(url) > _MAX_URL_CHARS:
        raise _bad_url(url, reason)
    # Paths of folders may contain spaces and letters of any language.
    if allow_local and url.startswith("/") and url.isprintable():
        return
    if not url.isascii() or not url.isprintable() or re.search(r"[\s\\]", url):
        raise _bad_url(url, reason)


def is_address(target: str) -> bool:
    """Return whether a user's argument is meant as a URL or folder rather than as an id of the registry."""
    return "/" in target or ":" in target or target.startswith(".") or not target


def check_ref(ref: str) -> str:
    """Return a branch, tag or commit that git cannot misread; an empty one is the default branch.

    Raises:
        Failure: `gov-bad-ref`.
    """
    # As git-check-ref-format(1).
    is_malformed = ".." in ref or "//" in ref or ref.endswith(("/", ".", ".lock")) or "/." in ref
    if not ref or (_REF.fullmatch(ref) and not is_malformed):
        return ref
    raise Failure(
        "gov-bad-ref",
        f"{ref[:200]!r} is not the name of a branch, tag or commit.",
        hint="Give one as `git ls-remote URL` prints it, without refs/heads/ or refs/tags/.",
    )


def derive_id(url: str) -> str:
    """Return the name of a repository as an id.

    Raises:
        Failure: `gov-bad-id` when the name is not a valid id.
    """
    # The part after the colon in `git@host:owner/name`.
    path = url.partition("://")[2] or url.rpartition(":")[2]
    name = unquote(path.rstrip("/").rpartition("/")[2])
    return check_id(name.removesuffix(".git"))


def is_same_origin(url: str, other: str) -> bool:
    """Return whether two URLs lead to one repository, whatever their protocol and ending."""
    if not url or not other:
        return False
    return _build_repository_key(url) == _build_repository_key(other)


def _find_id_problem(node_id: str) -> str | None:
    if not _ID.fullmatch(node_id):
        return "it is empty or too long, or contains an invalid character or one in the wrong place"
    if ".." in node_id:
        return "it contains two dots in a row"
    if node_id.lower().partition(".")[0] in _RESERVED:
        return "some systems reserve this name for a device"
    for ending in _RESERVED_ENDINGS:
        if node_id.lower().endswith(ending):
            return f"a folder name that ends with {ending} has a special meaning"
    return None


def _parse_url(url: str, *, allow_local: bool) -> NodeOrigin:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise _bad_url(url, "it is not a valid URL") from error
    scheme = parts.scheme.lower()
    if scheme == "file":
        return _parse_local(url, unquote(parts.path), allow_local=allow_local and not parts.netloc)
    _require_safe_parts(url, scheme, host, parts)
    netloc = f"{host}:{port}" if port else host
    if scheme == "ssh":
        if parts.username:
            netloc = f"{parts.username}@{netloc}"
        return NodeOrigin(url=urlunsplit((scheme, netloc, parts.path, "", "")))
    return NodeOrigin(
        url=urlunsplit((scheme, netloc, parts.path, "", "")),
        user=unquote(parts.username or ""),
        secret=unquote(parts.password or ""),
    )


def _require_safe_parts(url: str, scheme: str, host: str, parts: SplitResult) -> None:
    if scheme not in {"https", "ssh"} and not (scheme == "http" and host in _LOOPBACK):
        raise _bad_url(url, "nodes are only cloned over https or ssh, which protect the code from tampering")
    is_host = _HOST.fullmatch(host) or host in _LOOPBACK
    if not is_host or not parts.path.strip("/") or parts.path.startswith("/-"):
        raise _bad_url(url, "it names no host and repository")
    if page := _PAGE.match(parts.path):
        hint = _build_page_hint(scheme, parts.netloc, *page.groups())
        raise _bad_url(url, "it is a web page of one branch, tag or commit", hint=hint)
    if parts.query or parts.fragment:
        raise _bad_url(url, "the URL of a repository must not contain ? or #")
    if scheme == "ssh" and (parts.password or not _USER.fullmatch(parts.username or "git")):
        raise _bad_url(url, "ssh uses keys, not passwords in URLs")


def _build_page_hint(scheme: str, netloc: str, repository: str, ref: str) -> str:
    host = netloc.rpartition("@")[2]
    return f"Use {scheme}://{host}{repository} --ref {unquote(ref)}."


def _parse_scp(url: str, user: str | None, host: str, path: str) -> NodeOrigin:
    if not _HOST.fullmatch(host) or not _USER.fullmatch(user or "git") or path.startswith("-") or "@" in path:
        raise _bad_url(url, "it is not of the form user@host:path")
    return NodeOrigin(url=f"{user or 'git'}@{host}:{path}")


def _parse_local(url: str, path: str, *, allow_local: bool) -> NodeOrigin:
    if not allow_local:
        raise _bad_url(
            url,
            "it is a folder on this machine, or names one",
            hint="Register a folder that is already in custom_nodes with `gov node add --adopt ID`; "
            "to clone from a folder of this machine, give --allow-local.",
        )
    if not path.startswith("/"):
        raise _bad_url(url, "the path of a folder must be absolute")
    return NodeOrigin(url=f"file://{path}" if "://" in url else path, is_local=True)


def _build_repository_key(url: str) -> str:
    """Return host and path of a URL; the account that ssh logs in with does not change the repository."""
    key = url
    if "://" in url:
        parts = urlsplit(url)
        key = f"{parts.netloc.rpartition('@')[2]}{parts.path}"
    elif match := _SCP.fullmatch(url):
        key = f"{match[2]}/{match[3]}"
    # The hosts of packs (GitHub, GitLab, Hugging Face) ignore the case of repository names.
    return key.rstrip("/").removesuffix(".git").rstrip("/").lower()


def _bad_url(url: str, reason: str, *, hint: str | None = None) -> Failure:
    shown = redact_url(url)[:200]
    default_hint = "Give the repository's https URL, for example https://github.com/OWNER/NAME, or a registry id."
    return Failure("gov-bad-url", f"{shown!r} cannot be cloned: {reason}.", hint=hint or default_hint)
