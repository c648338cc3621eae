"""Field names of the real APIs, as the services' own source and documentation give them; nested ones with dots."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


CIVITAI_MODEL: Final = _names("""
allowCommercialUse allowDerivatives allowDifferentLicense allowNoCredit availability creator creator.image
creator.username description id minor mode modelVersions modelVersions.availability modelVersions.baseModel
modelVersions.baseModelType modelVersions.covered modelVersions.createdAt modelVersions.description
modelVersions.downloadUrl modelVersions.files modelVersions.files.downloadUrl modelVersions.files.hashes
modelVersions.files.hashes.AutoV1 modelVersions.files.hashes.AutoV2 modelVersions.files.hashes.AutoV3
modelVersions.files.hashes.BLAKE3 modelVersions.files.hashes.CRC32 modelVersions.files.hashes.SHA256
modelVersions.files.id modelVersions.files.metadata modelVersions.files.metadata.format
modelVersions.files.metadata.quantType
modelVersions.files.metadata.fp modelVersions.files.metadata.size modelVersions.files.name
modelVersions.files.pickleScanMessage modelVersions.files.pickleScanResult modelVersions.files.primary
modelVersions.files.scannedAt modelVersions.files.sizeKB modelVersions.files.type
modelVersions.files.virusScanMessage modelVersions.files.virusScanResult modelVersions.id modelVersions.images
modelVersions.index modelVersions.name modelVersions.nsfwLevel modelVersions.publishedAt modelVersions.stats
modelVersions.status modelVersions.trainedWords name nsfw nsfwLevel poi sfwOnly stats supportsGeneration tags
type
""")
CIVITAI_VERSION: Final = _names("""
air baseModel baseModelType createdAt description downloadUrl files files.downloadUrl files.hashes
files.hashes.AutoV1 files.hashes.AutoV2 files.hashes.AutoV3 files.hashes.BLAKE3 files.hashes.CRC32
files.hashes.SHA256 files.id files.metadata files.metadata.format files.metadata.fp files.metadata.size
files.name files.pickleScanMessage files.pickleScanResult files.primary files.scannedAt files.sizeKB
files.type files.virusScanMessage files.virusScanResult id images licensingFee model model.name model.nsfw
model.mode model.poi model.type modelId name nsfwLevel paidAccess paidAccess.endsAt paidAccess.permanent publishedAt
stats status trainedWords trainingDetails trainingStatus updatedAt uploadType usageControl
""")
CIVITAI_IMAGE: Final = _names("""
items items.baseModel items.browsingLevel items.createdAt items.hash items.height items.id items.meta
items.modelVersionIds items.nsfw items.nsfwLevel items.postId items.stats items.type items.url items.username
items.width metadata
""")
HF_SEARCH: Final = _names("""
_id author disabled downloads gated id lastModified likes modelId private sha siblings siblings.rfilename tags
""")
HF_TREE: Final = _names("""
lastCommit lastCommit.date lastCommit.id lastCommit.title lfs lfs.oid lfs.pointerSize lfs.size oid path
securityFileStatus securityFileStatus.avScan securityFileStatus.avScan.status securityFileStatus.jFrogScan
securityFileStatus.jFrogScan.status securityFileStatus.pickleImportScan securityFileStatus.protectAiScan
securityFileStatus.protectAiScan.status securityFileStatus.status size type xetHash
""")
HF_HEAD: Final = _names("""
accept-ranges location ratelimit ratelimit-policy x-error-code x-error-message x-linked-etag x-linked-size
x-repo-commit x-xet-hash
""")
CIVITAI_ERROR: Final = _names("""
deadline error message
""")
CIVITAI_SEARCH: Final = _names("items metadata metadata.nextCursor metadata.nextPage") | {
    f"items.{name}" for name in CIVITAI_MODEL
}

FREE_FORM: Final = ("stats.", "meta.", "creator.")
"""Below these, names are data and not part of the API."""


def field_names(value: Any, prefix: str = "") -> Iterator[str]:
    """Give the names of all fields in a JSON value, as the lists above hold them."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield prefix + name
            yield from field_names(inner, f"{prefix}{name}.")
    elif isinstance(value, list):
        for inner in value:
            yield from field_names(inner, prefix)
