"""Builds the rules of download plans from the configuration: allowed hosts, tokens, pickles, local copies and disks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from comfywatchman.base.address import parse_address
from comfywatchman.base.settings import Settings
from comfywatchman.comfyui.install.folders import ModelFolders
from comfywatchman.readiness.downloads.plan import PlanRules
from comfywatchman.sources.download.redirects import HostPolicy
from comfywatchman.sources.urls import CIVITAI_HOSTS, HUGGING_FACE_HOSTS


def build_plan_rules(settings: Settings, folders: ModelFolders, local_copies: Mapping[str, str]) -> PlanRules:
    """Return the rules that plans and downloads are checked against.

    Args:
        settings: The effective settings.
        folders: The model folders of this ComfyUI.
        local_copies: Paths of this host's model files by SHA-256; unused if links are off.
    """
    section = settings.downloads
    return PlanRules(
        folders=folders,
        allowed=build_allowlist(settings),
        allow_pickle=section.allow_pickle,
        local_copies={} if section.link == "off" else local_copies,
        find_disk=find_disk,
    )


def build_allowlist(settings: Settings) -> HostPolicy:
    """Return the hosts from which downloads may start, and the token for each."""
    section, secrets = settings.downloads, settings.secrets
    local_hosts = set(section.local_hosts)
    tokens = {f"https://{host}": secrets.civitai_api_key for host in CIVITAI_HOSTS}
    tokens.update({f"https://{host}": secrets.hf_token for host in HUGGING_FACE_HOSTS})
    configured = (
        (settings.search.civitai_url, secrets.civitai_api_key),
        (settings.search.civitai_fallback_url, secrets.civitai_api_key),
        (settings.search.huggingface_url, secrets.hf_token),
    )
    for url, token in configured:
        if not url:
            continue
        address = parse_address(url)
        if address.netloc not in CIVITAI_HOSTS | HUGGING_FACE_HOSTS:
            # A configured mirror is trusted like the site that it replaces, and may be in a private network.
            local_hosts.add(address.netloc)
            tokens[address.origin] = token
    return HostPolicy(frozenset(section.hosts), frozenset(local_hosts), tokens)


def find_disk(directory: Path) -> tuple[str, int]:
    """Return an id of the disk of a folder, and its free bytes; for a missing folder, those of its nearest parent."""
    while not os.path.exists(directory) and directory != directory.parent:
        directory = directory.parent
    filesystem = os.statvfs(directory)
    return f"{directory.stat().st_dev}", filesystem.f_bavail * filesystem.f_frsize
