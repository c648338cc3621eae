from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from comfywatchman.base.config import load
from comfywatchman.base.settings import Settings
from comfywatchman.readiness.downloads.rules import build_allowlist, find_disk

KEYS = {"COMFYWATCHMAN_SECRETS__CIVITAI_API_KEY": "c", "COMFYWATCHMAN_SECRETS__HF_TOKEN": "h"}


@pytest.fixture
def settings() -> Settings:
    return load(folder=Path("/"), environment=KEYS).settings


def test_tokens_belong_to_the_hosts_of_their_site(settings: Settings) -> None:
    tokens = build_allowlist(settings).tokens
    assert tokens["https://civitai.com"] == "c"
    assert tokens["https://huggingface.co"] == "h"
    assert set(tokens.values()) == {"c", "h"}


def test_configured_mirror_may_be_local_and_gets_the_token_of_its_site(settings: Settings) -> None:
    search = replace(settings.search, huggingface_url="http://127.0.0.1:8080/hub")
    policy = build_allowlist(replace(settings, search=search))
    assert "127.0.0.1:8080" in policy.local_hosts
    assert policy.tokens["http://127.0.0.1:8080"] == "h"


def test_sites_themselves_are_not_local_hosts(settings: Settings) -> None:
    downloads = replace(settings.downloads, local_hosts=("nas.lan",))
    assert build_allowlist(replace(settings, downloads=downloads)).local_hosts == {"nas.lan"}


def test_missing_folder_is_on_the_disk_of_its_nearest_parent(tmp_path: Path) -> None:
    disk, free_bytes = find_disk(tmp_path / "not" / "yet" / "there")
    assert disk == find_disk(tmp_path)[0]
    assert free_bytes > 0
