"""The one way to a picture on Civitai, and what it was made with.

The endpoint once answered a request for picture 96712457 with 9173928, and a gigabyte of wrong models was fetched: a
parameter that it does not know is dropped, and the public feed comes back. So nothing of an answer is used before the
picture in it is found to be the one that was asked for.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlencode

from comfywatchman.base.address import printable_url
from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession
from comfywatchman.sources.site_responses import read_content
from comfywatchman.sources.urls import CIVITAI_HOSTS, NO_HOSTS

_log = logging.getLogger(__name__)

_PATH: Final = "/api/v1/images"
_MOST_IDS_SHOWN: Final = 5
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,14}")
_ADDRESS: Final = re.compile(r"(?:https?://)?([A-Za-z0-9.:-]+)/images/([1-9][0-9]{0,14})(?:[/?#][!-~]*)?")
_AIR: Final = re.compile(r"urn:air:[^:]*:([a-z]+):civitai:[0-9]+@([1-9][0-9]{0,14})")
_LARGEST_ID: Final = 10**15
_LISTS: Final = (("models", "model"), ("vaes", "vae"), ("controlNets", "controlnet"), ("upscalers", "upscaler"))


@dataclass(frozen=True, slots=True)
class CivitaiImageResult:
    """Whether an answer holds the picture that was asked for.

    Attributes:
        status: `FOUND` or `NOT_FOUND`.
        message: What was asked and what came, for people.
        returned_ids: Ids of all pictures in the answer, in order.
        item: The picture asked for; None unless found.
    """

    status: Literal["FOUND", "NOT_FOUND"]
    message: str
    returned_ids: tuple[str, ...]
    item: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ImageResource:
    """A model that a picture was made with, as far as the picture says.

    Attributes:
        type: `model`, `lora`, `checkpoint`, …; lower case.
        name: As the picture's maker had it; None when only ids or hashes are known.
        hash: Any kind of hash, mostly the short AutoV2; None when unknown.
        version_id: Civitai's version; None when unknown.
        weight: Its strength; None when unknown.
    """

    type: str
    name: str | None = None
    hash: str | None = None
    version_id: int | None = None
    weight: float | None = None


def parse_image_id(text: str, *, extra_hosts: frozenset[str] = NO_HOSTS) -> int | None:
    """Return a picture's id from its number or its page's address on Civitai; None for anything else.

    Args:
        text: What a person gave; of an address only the id is used.
        extra_hosts: Further hosts, with their port, that the configuration names.
    """
    if _NUMBER.fullmatch(text):
        return int(text)
    address = _ADDRESS.fullmatch(text)
    known = CIVITAI_HOSTS | {f"www.{host}" for host in CIVITAI_HOSTS} | extra_hosts
    return int(address[2]) if address and address[1].lower() in known else None


def fetch_civitai_image(
    session: HttpSession, image_id: int, *, base_url: str, token: str | None = None
) -> CivitaiImageResult:
    """Ask for one picture, mature ones too, with what it was made with; the answer is validated.

    Raises:
        Failure: Civitai did not answer, or refused.
    """
    query = urlencode({"imageId": image_id, "nsfw": "X", "withMeta": "true"})
    url = f"{base_url.rstrip('/')}{_PATH}?{query}"
    payload = read_content(session.get(url, token=token, redirects="origin"), "Civitai")
    if payload is not None and not (isinstance(payload, dict) and isinstance(payload.get("items"), list)):
        raise Failure("http-body", f"{printable_url(url)} did not answer as Civitai does.")
    return validate_civitai_image_response(image_id, payload, url=url)


def validate_civitai_image_response(image_id: int | str, payload: object, *, url: str = "") -> CivitaiImageResult:
    """Say whether an answer holds the picture asked for; every picture in it is looked at, and no other is taken.

    Args:
        image_id: The picture asked for; a number or its digits.
        payload: The answer as JSON, whatever it holds.
        url: Where it came from, for the log.
    """
    wanted = str(image_id).strip()
    items = payload.get("items") if isinstance(payload, Mapping) else None
    pictures = [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []
    returned = tuple(_format_id(item.get("id")) for item in pictures)
    facts = {"requested_id": wanted, "returned_ids": returned, "url": url}
    _log.debug("civitai answered for a picture", extra=facts)
    for item, returned_id in zip(pictures, returned, strict=True):
        if returned_id == wanted and wanted.isascii() and wanted.isdigit():
            return CivitaiImageResult("FOUND", f"Civitai has picture {wanted}.", returned, item)
    if not returned:
        message = f"Civitai has no picture {wanted}, or does not show it: its answer is empty."
    else:
        others = ", ".join(returned[:_MOST_IDS_SHOWN])
        message = f"Civitai was asked for picture {wanted} and answered with others ({others}); they are not used."
    return CivitaiImageResult("NOT_FOUND", message, returned)


def list_image_resources(item: Mapping[str, Any]) -> tuple[ImageResource, ...]:
    """List the models that a validated picture names, in its own order; what it does not say is None.

    Args:
        item: `ImageAnswer.item`; its `meta` may stand one level deeper, as Civitai's older path answers.
    """
    meta = get_image_meta(item)
    found = [*_read_named_resources(meta), *_read_listed_resources(meta), *_read_hashed_resources(meta)]
    known = {resource.version_id for resource in found}
    versions = item.get("modelVersionIds")
    used = versions if isinstance(versions, list) else []
    found.extend(ImageResource("model", version_id=one) for one in used if _is_number(one) and one not in known)
    return tuple(dict.fromkeys(found))


def get_image_meta(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a validated picture says of its making; empty when it says nothing."""
    meta = item.get("meta")
    inner = meta.get("meta") if isinstance(meta, Mapping) else None
    meta = inner if isinstance(inner, Mapping) else meta
    return meta if isinstance(meta, Mapping) else {}


def _read_named_resources(meta: Mapping[str, Any]) -> Iterator[ImageResource]:
    for key in ("resources", "civitaiResources"):
        entries = meta.get(key)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, Mapping):
                version_id = entry.get("modelVersionId")
                yield ImageResource(
                    type=(_get_text(entry.get("type")) or "model").lower(),
                    name=_get_text(entry.get("name")) or _get_text(entry.get("modelName")),
                    hash=_get_text(entry.get("hash")),
                    version_id=version_id if _is_number(version_id) else None,
                    weight=_parse_weight(entry.get("weight")),
                )


def _read_listed_resources(meta: Mapping[str, Any]) -> Iterator[ImageResource]:
    """Yield what programs write in their own ways: A1111's `Model hash`, file names out of a graph of ComfyUI."""
    for key, kind in (("Model", "model"), ("VAE", "vae")):
        name, digest = _get_text(meta.get(key)), _get_text(meta.get(f"{key} hash"))
        if name or digest:
            yield ImageResource(kind, name, digest)
    for key, kind in _LISTS:
        names = meta.get(key)
        yield from (ImageResource(kind, name) for name in (names if isinstance(names, list) else ()) if _get_text(name))
    entries = meta.get("additionalResources")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping) and _get_text(entry.get("name")):
            name, weight = entry["name"], _parse_weight(entry.get("strength", entry.get("weight")))
            air = _AIR.fullmatch(name)
            if air:
                yield ImageResource(air[1], version_id=int(air[2]), weight=weight)
            else:
                yield ImageResource((_get_text(entry.get("type")) or "model").lower(), name, weight=weight)


def _read_hashed_resources(meta: Mapping[str, Any]) -> Iterator[ImageResource]:
    hashes = meta.get("hashes")
    for label, digest in (hashes if isinstance(hashes, Mapping) else {}).items():
        kind, _, name = str(label).partition(":")
        if _get_text(digest):
            yield ImageResource(type=kind.lower(), name=name or None, hash=digest)


def _format_id(value: object) -> str:
    return str(value).strip() if isinstance(value, (int, str)) else repr(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < _LARGEST_ID


def _parse_weight(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < _LARGEST_ID:
        return None
    return float(value)


def _get_text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
