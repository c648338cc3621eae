"""A host with thirty missing models of all kinds, and local sites that have some of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hosts import Host, graph
from tests.model_files import put, safetensors
from tests.servers.base import LocalServer
from tests.servers.cdn import Blob, CdnServer
from tests.servers.civitai import (
    EARLY_ACCESS,
    LOGIN_NEEDED,
    CivitaiServer,
    Json,
    file_json,
    model_json,
    sha256_of,
    version_json,
)
from tests.servers.huggingface import HubFile, HuggingFaceServer, Repo

CIVITAI_KEY = "canary-civitai-key"
HF_KEY = "canary-hf-key"

# Loaded as sitecustomize: logs every connection and name lookup of the program and of its children.
AUDIT_HOOK = """
import os, sys
def _note(event, arguments):
    if event == "socket.connect":
        _write(repr(arguments[1]))
    elif event == "socket.getaddrinfo":
        _write(repr((arguments[0], arguments[1])))
def _write(line):
    with open(os.environ["AUDIT_LOG"], "a") as file:
        file.write(line + chr(10))
sys.addaudithook(_note)
"""


def content(name: str) -> bytes:
    """Return a model file that is large enough for any folder and different for each name."""
    return safetensors(extra=b"", names=tuple(f"{name}.{n}" for n in range(2_000)))


@dataclass
class Scenario:
    """A host and the model sites.

    Attributes:
        host: The host.
        civitai: Civitai.
        hugging_face: Hugging Face.
        cdn: The server to which both redirect downloads; it rejects requests with a key.
        elsewhere: A site that must not receive any request.
        bytes_of: Content of each available file, by its name in the workflow.
        blob_of: Each file of Civitai as the CDN serves it, by its name in the workflow.
    """

    host: Host
    civitai: CivitaiServer
    hugging_face: HuggingFaceServer
    cdn: CdnServer
    elsewhere: LocalServer
    bytes_of: dict[str, bytes] = field(default_factory=dict)
    blob_of: dict[str, Blob] = field(default_factory=dict)

    def lora(self, name: str) -> None:
        """Write a workflow that names a LoRA."""
        self.host.write(f"{name.replace('/', '_')}.json", lora=name)

    def loader(self, name: str, kind: str, *, declared: Json | None = None, note: str = "") -> None:
        """Write a workflow that names a model in a loader of this class."""
        workflow = json.loads(graph())
        node: Json = {"id": 80, "type": kind, "widgets_values": [name], "inputs": [], "outputs": [], "mode": 0}
        if declared is not None:
            node["properties"] = {"models": [{"name": name, **declared}]}
        workflow["nodes"].append({**node, "pos": [0, 0]})
        if note:
            workflow["nodes"].append({"id": 81, "type": "Note", "widgets_values": [note], "pos": [0, 0], "mode": 0})
        self.host.write(f"{name.replace('/', '_')}.json", json.dumps(workflow).encode())

    def embedding(self, name: str) -> None:
        """Write a workflow that names an embedding in its negative prompt."""
        workflow = json.loads(graph())
        workflow["nodes"][2]["widgets_values"] = [f"blurry, embedding:{name}"]
        self.host.write(f"{name}.json", json.dumps(workflow).encode())

    def on_hugging_face(self, repo: str, path: str, *, had_as: str = "", **changes: Any) -> str:
        """Publish a file on Hugging Face and return its URL."""
        file_content = content(had_as or path)
        repo_files = self.hugging_face.repos.setdefault(repo, Repo())
        repo_files.files[path] = HubFile(file_content, **changes)
        self.hugging_face.put_content(repo, path)
        self.bytes_of[had_as or path.rpartition("/")[2]] = file_content
        return f"{self.hugging_face.url}/{repo}/resolve/main/{path}"

    def on_civitai(self, name: str, *, had_as: str = "", title: str = "", type: str = "LORA", **changes: Any) -> Json:  # noqa: A002 - Civitai's own word
        """Publish a file on Civitai, whose search knows only its title, and return its version."""
        file_content = content(had_as or name)
        file = file_json(name, content=file_content, **changes)
        self.blob_of[had_as or name] = self.civitai.put_content(file, file_content)
        version = version_json([file])
        title = title or name.rpartition(".")[0].replace("_", " ")
        self.civitai.models.append(model_json(title, [version], type=type))
        self.bytes_of[had_as or name] = file_content
        return version

    def addresses(self) -> set[str]:
        """Return the addresses that the program connected to or looked up."""
        log = self.host.folder / "audit.log"
        if not log.exists():
            return set()
        return set(log.read_text().splitlines())


@contextmanager
def start_scenario(folder: Path, *, empty: bool = False) -> Iterator[Scenario]:
    """Start the sites and create the host; an empty scenario has no workflows."""
    with ExitStack() as stack:
        cdn = stack.enter_context(CdnServer())
        civitai = stack.enter_context(CivitaiServer(cdn=cdn))
        hugging_face = stack.enter_context(HuggingFaceServer(cdn=cdn))
        elsewhere = stack.enter_context(LocalServer())
        host = Host(
            folder,
            search__civitai_url=civitai.url,
            search__civitai_fallback_url="",
            search__huggingface_url=hugging_face.url,
            search__civarchive_url=elsewhere.url,
            search__budget_seconds=60,
            downloads__local_hosts=[f"127.0.0.1:{cdn.port}"],
            downloads__keep_free_gb=0,
        )
        hook_folder = put(folder / "site" / "sitecustomize.py", AUDIT_HOOK.encode()).parent
        host.variables |= {
            "CIVITAI_API_KEY": CIVITAI_KEY,
            "HF_TOKEN": HF_KEY,
            "AUDIT_LOG": str(folder / "audit.log"),
            "PYTHONPATH": f"{hook_folder}:{Path(__file__).parents[2]}",
        }
        scenario = Scenario(host, civitai, hugging_face, cdn, elsewhere)
        if not empty:
            _add_missing_models(scenario)
        yield scenario


def _add_missing_models(scenario: Scenario) -> None:
    _add_declared(scenario)
    _add_linked_in_notes(scenario)
    _add_on_civitai(scenario)
    _add_uncertain(scenario)
    _add_restricted(scenario)
    _add_unavailable(scenario)
    _add_local(scenario)


def _add_declared(scenario: Scenario) -> None:
    url = scenario.on_hugging_face("comfy/vae", "split/declared_vae.safetensors")
    scenario.loader("declared_vae.safetensors", "VAELoader", declared={"url": url, "directory": "vae"})
    url = scenario.on_hugging_face("comfy/unet", "declared_unet.safetensors", kind="xet")
    digest = sha256_of(content("declared_unet.safetensors"))
    scenario.loader(
        "declared_unet.safetensors", "UNETLoader", declared={"url": url, "hash": digest, "hash_type": "SHA256"}
    )
    url = scenario.on_hugging_face(
        "comfy/clip", "text/diffusion_pytorch_model.safetensors", had_as="named_clip.safetensors"
    )
    scenario.loader("named_clip.safetensors", "CLIPLoader", declared={"url": url, "directory": "text_encoders"})
    url = scenario.on_hugging_face("comfy/net", "catalogue_upscaler.safetensors")
    entry = {"filename": "catalogue_upscaler.safetensors", "url": url, "save_path": "upscale_models"}
    manager = scenario.host.comfyui / "custom_nodes" / "ComfyUI-Manager"
    put(manager / "model-list.json", json.dumps({"models": [entry]}).encode())
    scenario.loader("catalogue_upscaler.safetensors", "UpscaleModelLoader")


def _add_linked_in_notes(scenario: Scenario) -> None:
    url = scenario.on_hugging_face("artist/loras", "noted_lora.safetensors")
    scenario.loader(
        "noted_lora.safetensors", "LoraLoaderModelOnly", note=f"Get it [here]({url.replace('resolve', 'blob')})."
    )
    version = scenario.on_civitai("linked_lora.safetensors", title="No word of its name")
    page = next(model["id"] for model in scenario.civitai.models if version in model["modelVersions"])
    scenario.loader(
        "linked_lora.safetensors", "LoraLoaderModelOnly", note=f"From {scenario.civitai.url}/models/{page} ."
    )


def _add_on_civitai(scenario: Scenario) -> None:
    for name in ("plain_style.safetensors", "second_style.safetensors", "cut_in_transit.safetensors"):
        scenario.on_civitai(name)
        scenario.lora(name)
    scenario.on_civitai("in_a_folder.safetensors", had_as="inks/in_a_folder.safetensors")
    scenario.lora("inks/in_a_folder.safetensors")
    scenario.on_civitai("it's a style (v2).safetensors", title="it's a style v2")
    scenario.lora("it's a style (v2).safetensors")
    scenario.on_civitai("Ink_Wash_STYLE.safetensors", had_as="ink_wash_style.safetensors")
    scenario.lora("ink_wash_style.safetensors")
    scenario.on_civitai("big_model.safetensors", type="Checkpoint")
    scenario.host.write("big_model.json", checkpoint="big_model.safetensors")
    scenario.on_civitai("line_control.safetensors", type="Controlnet")
    scenario.loader("line_control.safetensors", "ControlNetLoader")
    scenario.on_civitai("renamed_there.safetensors", had_as="known_by_hash.safetensors", title="Else", type="VAE")
    declared = {"url": "", "hash": sha256_of(content("known_by_hash.safetensors")), "hash_type": "SHA256"}
    scenario.loader("known_by_hash.safetensors", "VAELoader", declared=declared)
    scenario.on_civitai("soft_negative.safetensors", had_as="soft_negative", type="TextualInversion")
    scenario.embedding("soft_negative")


def _add_uncertain(scenario: Scenario) -> None:
    scenario.on_civitai("two_of_them.safetensors", title="two of them")
    scenario.on_civitai("two_of_them.safetensors", had_as="the other of two", title="two of them again")
    scenario.lora("two_of_them.safetensors")
    scenario.on_hugging_face("comfy/wan", "wan_model_fp8.safetensors")
    scenario.on_civitai("wan_model_fp8.safetensors", type="Checkpoint")
    scenario.loader("wan_model_bf16.safetensors", "UNETLoader")
    scenario.on_civitai("old_upscaler.pth", type="Upscaler")
    scenario.loader("old_upscaler.pth", "UpscaleModelLoader")
    scenario.on_civitai("model.safetensors", title="model")
    scenario.lora("model.safetensors")
    scenario.on_civitai("infected_style.safetensors", virusScanResult="Danger")
    scenario.lora("infected_style.safetensors")
    url = scenario.on_hugging_face("comfy/changed", "changed_since.safetensors")
    declared = {"url": url, "hash": sha256_of("what it was"), "hash_type": "SHA256"}
    scenario.loader("changed_since.safetensors", "VAELoader", declared=declared)


def _add_restricted(scenario: Scenario) -> None:
    url = scenario.on_hugging_face("closed/flux", "gated_model.safetensors")
    scenario.hugging_face.repos["closed/flux"].gated = True
    scenario.loader("gated_model.safetensors", "UNETLoader", declared={"url": url, "directory": "diffusion_models"})
    early = scenario.on_civitai("early_style.safetensors")
    scenario.civitai.access[early["id"]] = EARLY_ACCESS
    scenario.lora("early_style.safetensors")
    members = scenario.on_civitai("members_style.safetensors")
    scenario.civitai.access[members["id"]] = LOGIN_NEEDED
    scenario.lora("members_style.safetensors")


def _add_unavailable(scenario: Scenario) -> None:
    for there, wanted in (
        ("lightning_8steps.safetensors", "lightning_4steps.safetensors"),
        ("wan_motion_t2v.safetensors", "wan_motion_i2v.safetensors"),
        ("portrait_v2.safetensors", "portrait_v3.safetensors"),
    ):
        scenario.on_civitai(there)
        scenario.lora(wanted)
    scenario.lora("nobody_knows_it.safetensors")


def _add_local(scenario: Scenario) -> None:
    url = scenario.on_hugging_face("comfy/same", "same_bytes.safetensors")
    digest = sha256_of(content("same_bytes.safetensors"))
    declared = {"url": url, "hash": digest, "hash_type": "SHA256"}
    scenario.loader("same_bytes.safetensors", "UNETLoader", declared=declared)
    same = scenario.host.model("diffusion_models/its old name.safetensors", content("same_bytes.safetensors"))
    # A file modified a moment ago is not hashed yet.
    os.utime(same, (1_700_000_000, 1_700_000_000))
    scenario.host.model("checkpoints/in_the_wrong_folder.safetensors", content("wrong folder"))
    scenario.lora("in_the_wrong_folder.safetensors")
    scenario.on_civitai("broken_here.safetensors")
    scenario.host.model("loras/broken_here.safetensors", b"<!DOCTYPE html><html></html>")
    scenario.lora("broken_here.safetensors")
