from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.hosts import Host

pytestmark = pytest.mark.slow

LORA = "loras/declared.safetensors"


def declare(host: Host, *sources: str, checksum: str | None = None) -> Path:
    path = host.folder / "models.json"
    path.write_text(json.dumps([{"path": LORA, "sources": sources, "checksum": checksum}]))
    return path


def test_declared_model_is_locked_and_restored_from_a_file(tmp_path: Path) -> None:
    host = Host(tmp_path)
    lora = host.model(LORA)
    content = lora.read_bytes()
    backup = tmp_path / "my backup.safetensors"
    backup.write_bytes(content)
    spec = declare(host, "gs://bucket/x.safetensors", backup.as_uri(), checksum=hashlib.sha256(content).hexdigest())
    made = host.invoke("version", "create", "first", "--offline", "--models-spec", spec)
    assert made.exit_code == 0
    lora.unlink()
    result = host.invoke("version", "verify", "first", "--models-only")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (1, "1 part: 1 missing.")
    lock = host.home / "lockfiles" / "comfy-first.lock.json"
    assert backup.as_uri() in lock.read_text()
    backup.write_bytes(content[:-1] + b"?")
    refused = host.invoke("version", "verify", "first", "--models-only", "--restore")
    assert refused.exit_code == 1
    assert "storage.googleapis.com" in refused.output
    assert not lora.exists()
    backup.write_bytes(content)
    restored = host.invoke("version", "verify", "first", "--models-only", "--restore")
    assert restored.exit_code == 0
    # The size is shown before anything is fetched.
    assert restored.stderr.count("Restoring 1 model of ") == 1
    assert lora.read_bytes() == content
    assert lora.stat().st_ino != backup.stat().st_ino


def test_declared_model_with_another_hash_is_refused(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.model(LORA)
    made = host.invoke("version", "create", "first", "--offline", "--models-spec", declare(host, checksum="0" * 64))
    assert getattr(made.exception, "code", None) == "version-model-differs"
    assert not (host.home / "lockfiles").exists()


def test_declared_model_that_is_missing_is_named(tmp_path: Path) -> None:
    host = Host(tmp_path)
    made = host.invoke("version", "create", "first", "--offline", "--models-spec", declare(host), "--json")
    unpinned = json.loads(made.stdout)["lock"]["unpinned"]
    assert {"kind": "model", "name": LORA, "reason": "missing"} in unpinned
