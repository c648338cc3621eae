"""Look up one image on Civitai and the models it was made with; no other module requests images.

The endpoint once returned image 9173928 for a request for image 96712457, and a gigabyte of wrong models was
downloaded: it ignores parameters that it does not know and returns the public feed. So nothing in a response is used
before the requested image is found in it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlencode

from comfywatchman.base.address import mask_password, printable_url
from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession
from comfywatchman.base.json_values import as_list, as_text
from comfywatchman.sources.site_responses import read_content
from comfywatchman.sources.urls import CIVITAI_HOSTS, NO_HOSTS

_log = logging.getLogger(__name__)

_PATH: Final = "/api/v1/images"
_MAX_IDS_SHOWN: Final = 5
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,14}")
_IMAGE_URL: Final = re.compile(r"(?:https?://)?([A-Za-z0-9.:-]+)/images/([1-9][0-9]{0,14})(?:[/?#][!-~]*)?")
_AIR: Final = re.compile(r"urn:air:[^:]*:([a-z]+):civitai:[0-9]+@([1-9][0-9]{0,14})")
_MAX_ID: Final = 10**15
_NAME_LISTS: Final = (("models", "model"), ("vaes", "vae"), ("controlNets", "controlnet"), ("upscalers", "upscaler"))


@dataclass(frozen=True, slots=True)
class CivitaiImageResult:
    """Whether a response contains the requested image.

    Attributes:
        status: `FOUND` or `NOT_FOUND`.
        message: The result, for people.
        returned_ids: Ids of all images in the response, in order.
        item: The requested image; None unless found.
    """

    status: Literal["FOUND", "NOT_FOUND"]
    message: str
    returned_ids: tuple[str, ...]
    item: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ImageResource:
    """A model that an image was made with, according to its metadata.

    Attributes:
        type: `model`, `lora`, `checkpoint`, …; lower case.
        name: As the author's program wrote it; None when only ids or hashes are known.
        hash: A hash of any kind, mostly the short AutoV2; None when unknown.
        version_id: Civitai's version; None when unknown.
        weight: Its strength; None when unknown.
    """

    type: str
    name: str | None = None
    hash: str | None = None
    version_id: int | None = None
    weight: float | None = None


def parse_image_id(text: str, *, extra_hosts: frozenset[str] = NO_HOSTS) -> int | None:
    """Return the id in an image's number or Civitai page URL; None for anything else.

    Args:
        text: User input; only the id in it is used.
        extra_hosts: Further hosts, with their port, from the configuration.
    """
    if _NUMBER.fullmatch(text):
        return int(text)
    match = _IMAGE_URL.fullmatch(text)
    if match is None:
        return None
    known_hosts = CIVITAI_HOSTS | {f"www.{host}" for host in CIVITAI_HOSTS} | extra_hosts
    return int(match[2]) if match[1].lower() in known_hosts else None


def fetch_civitai_image(
    session: HttpSession, image_id: int, *, base_url: str, token: str | None = None
) -> CivitaiImageResult:
    """Request one image with its metadata, mature ones included, and validate the response.

    Raises:
        Failure: Civitai could not be reached, refused, or sent entries that cannot be read instead of the image.
    """
    query = urlencode({"imageId": image_id, "nsfw": "X", "withMeta": "true"})
    url = f"{base_url.rstrip('/')}{_PATH}?{query}"
    payload = read_content(session.get(url, token=token, redirects="origin"), "Civitai")
    if payload is not None and not (isinstance(payload, dict) and isinstance(payload.get("items"), list)):
        raise Failure("http-body", f"{printable_url(url)} did not send a response of Civitai's API.")
    result = validate_civitai_image_response(image_id, payload, url=url)
    entries = payload["items"] if payload is not None else []
    if result.item is None and any(not isinstance(entry, Mapping) for entry in entries):
        # One of them may be the image.
        raise Failure("http-body", f"{printable_url(url)} sent images that cannot be read.")
    return result


def validate_civitai_image_response(image_id: int | str, payload: object, *, url: str = "") -> CivitaiImageResult:
    """Return the requested image of a response, which may contain others in any order.

    Args:
        image_id: The requested image; a number or its digits.
        payload: The response as JSON, of any form.
        url: Its address, for the log.
    """
    requested_id = str(image_id).strip()
    images = _list_mappings(payload.get("items") if isinstance(payload, Mapping) else None)
    returned_ids = tuple(_format_id(image.get("id")) for image in images)
    fields = {"requested_id": requested_id, "returned_ids": returned_ids, "url": mask_password(url)}
    _log.debug("civitai returned images", extra=fields)
    is_valid_request = requested_id.isascii() and requested_id.isdigit()
    for image, returned_id in zip(images, returned_ids, strict=True):
        if is_valid_request and returned_id == requested_id:
            return CivitaiImageResult("FOUND", f"Civitai has image {requested_id}.", returned_ids, image)
    if not returned_ids:
        message = f"Civitai has no image {requested_id}, or hides it: the response is empty."
    else:
        others = ", ".join(returned_ids[:_MAX_IDS_SHOWN])
        message = f"Civitai returned other images ({others}) than the requested {requested_id}; they are not used."
    return CivitaiImageResult("NOT_FOUND", message, returned_ids)


def list_image_resources(item: Mapping[str, Any]) -> tuple[ImageResource, ...]:
    """Return the models in the metadata of a validated image, in its order; unknown facts are None.

    Args:
        item: `CivitaiImageResult.item`; its `meta` may be nested one level deeper, as Civitai's older API has it.
    """
    meta = get_image_meta(item)
    resources = [*_read_named_resources(meta), *_read_listed_resources(meta), *_read_hashed_resources(meta)]
    known_versions = {resource.version_id for resource in resources}
    for entry in as_list(item.get("modelVersionIds")):
        version_id = _parse_id(entry)
        if version_id is not None and version_id not in known_versions:
            resources.append(ImageResource("model", version_id=version_id))
    return tuple(dict.fromkeys(resources))


def get_image_meta(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the generation metadata of a validated image; empty when it has none."""
    meta = item.get("meta")
    if not isinstance(meta, Mapping):
        return {}
    nested = meta.get("meta")
    return nested if isinstance(nested, Mapping) else meta


def _read_named_resources(meta: Mapping[str, Any]) -> Iterator[ImageResource]:
    for key in ("resources", "civitaiResources"):
        for entry in _list_mappings(meta.get(key)):
            yield ImageResource(
                type=_get_type(entry),
                name=as_text(entry.get("name")) or as_text(entry.get("modelName")),
                hash=as_text(entry.get("hash")),
                version_id=_parse_id(entry.get("modelVersionId")),
                weight=_parse_weight(entry.get("weight")),
            )


def _read_listed_resources(meta: Mapping[str, Any]) -> Iterator[ImageResource]:
    """Yield the models that other programs list: A1111's `Model hash`, file names of a ComfyUI graph."""
    for key, kind in (("Model", "model"), ("VAE", "vae")):
        name = as_text(meta.get(key))
        digest = as_text(meta.get(f"{key} hash"))
        if name or digest:
            yield ImageResource(kind, name, digest)
    for key, kind in _NAME_LISTS:
        for entry in as_list(meta.get(key)):
            name = as_text(entry)
            if name is not None:
                yield ImageResource(kind, name)
    for entry in _list_mappings(meta.get("additionalResources")):
        if as_text(entry.get("name")):
            yield _parse_additional_resource(entry)


def _parse_additional_resource(entry: Mapping[str, Any]) -> ImageResource:
    name = entry["name"]
    weight = _parse_weight(entry.get("strength", entry.get("weight")))
    # Civitai's generator writes an AIR (`urn:air:sd1:lora:civitai:1@2`) in place of a name.
    air = _AIR.fullmatch(name)
    if air:
        return ImageResource(air[1], version_id=int(air[2]), weight=weight)
    return ImageResource(_get_type(entry), name, weight=weight)


def _read_hashed_resources(meta: Mapping[str, Any]) -> Iterator[ImageResource]:
    hashes = meta.get("hashes")
    if not isinstance(hashes, Mapping):
        return
    for label, digest in hashes.items():
        kind, _, name = str(label).partition(":")
        if as_text(digest):
            yield ImageResource(type=kind.lower(), name=name or None, hash=digest)


def _list_mappings(value: object) -> list[Mapping[str, Any]]:
    return [entry for entry in as_list(value) if isinstance(entry, Mapping)]


def _get_type(entry: Mapping[str, Any]) -> str:
    return (as_text(entry.get("type")) or "model").lower()


def _format_id(value: object) -> str:
    # Anything but a number or text is shown as Python writes it, so that it equals no requested id.
    return str(value).strip() if isinstance(value, (int, str)) else repr(value)


def _parse_id(value: object) -> int | None:
    # In Python, a boolean is an integer too.
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 < value < _MAX_ID else None


def _parse_weight(value: object) -> float | None:
    # The comparison is written so that it refuses NaN as well.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < _MAX_ID:
        return None
    return float(value)
