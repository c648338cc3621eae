"""A host that lacks thirty models of all kinds, and the local sites that have some of them."""

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

# Whatever the program connects to or looks up is written down, in the program itself and in its children.
WITNESS = """
import os, sys
def _note(event, arguments):
    if event == "socket.connect":
        _write(repr(arguments[1]))
    elif event == "socket.getaddrinfo":
        _write(repr((arguments[0], arguments[1])))
def _write(line):
    with open(os.environ["WITNESS"], "a") as file:
        file.write(line + chr(10))
sys.addaudithook(_note)
"""


def content(name: str) -> bytes:
    """Return a model large enough for any folder, and different for each name."""
    return safetensors(extra=b"", names=tuple(f"{name}.{n}" for n in range(2_000)))


@dataclass
class Lacking:
    """The host and the sites.

    Attributes:
        host: The host.
        civitai: Civitai.
        hugging_face: Hugging Face.
        cdn: Where both send downloads; it refuses whoever brings a key.
        elsewhere: A site that nobody may ask.
        bytes_of: What a file holds that can be had, by the name in the workflow.
        blob_of: How the second origin serves a file of Civitai, by the name in the workflow.
    """

    host: Host
    civitai: CivitaiServer
    hugging_face: HuggingFaceServer
    cdn: CdnServer
    elsewhere: LocalServer
    bytes_of: dict[str, bytes] = field(default_factory=dict)
    blob_of: dict[str, Blob] = field(default_factory=dict)

    def lora(self, name: str) -> None:
        """Let a workflow name a LoRA."""
        self.host.write(f"{name.replace('/', '_')}.json", lora=name)

    def loader(self, name: str, kind: str, *, declared: Json | None = None, note: str = "") -> None:
        """Let a workflow name a model in a loader of this class."""
        written = json.loads(graph())
        node: Json = {"id": 80, "type": kind, "widgets_values": [name], "inputs": [], "outputs": [], "mode": 0}
        if declared is not None:
            node["properties"] = {"models": [{"name": name, **declared}]}
        written["nodes"].append({**node, "pos": [0, 0]})
        if note:
            written["nodes"].append({"id": 81, "type": "Note", "widgets_values": [note], "pos": [0, 0], "mode": 0})
        self.host.write(f"{name.replace('/', '_')}.json", json.dumps(written).encode())

    def embedding(self, name: str) -> None:
        """Let a workflow name an embedding in its negative prompt."""
        written = json.loads(graph())
        written["nodes"][2]["widgets_values"] = [f"blurry, embedding:{name}"]
        self.host.write(f"{name}.json", json.dumps(written).encode())

    def on_hugging_face(self, repo: str, path: str, *, had_as: str = "", **changes: Any) -> str:
        """Put a file on Hugging Face and return its address."""
        held = content(had_as or path)
        made = self.hugging_face.repos.setdefault(repo, Repo())
        made.files[path] = HubFile(held, **changes)
        self.hugging_face.put_content(repo, path)
        self.bytes_of[had_as or path.rpartition("/")[2]] = held
        return f"{self.hugging_face.url}/{repo}/resolve/main/{path}"

    def on_civitai(self, name: str, *, had_as: str = "", title: str = "", type: str = "LORA", **changes: Any) -> Json:  # noqa: A002 - Civitai's own word
        """Put a file on Civitai, whose search knows its title only, and return its version."""
        held = content(had_as or name)
        file = file_json(name, content=held, **changes)
        self.blob_of[had_as or name] = self.civitai.put_content(file, held)
        version = version_json([file])
        title = title or name.rpartition(".")[0].replace("_", " ")
        self.civitai.models.append(model_json(title, [version], type=type))
        self.bytes_of[had_as or name] = held
        return version

    def addresses(self) -> set[str]:
        """Return what the program has connected to or looked up."""
        witness = self.host.folder / "witness"
        return set(witness.read_text().split("\n")) - {""} if witness.exists() else set()


@contextmanager
def lacking(folder: Path, *, empty: bool = False) -> Iterator[Lacking]:
    """Start the sites and make the host; an empty one lacks nothing."""
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
        witness = put(folder / "site" / "sitecustomize.py", WITNESS.encode()).parent
        host.variables |= {
            "CIVITAI_API_KEY": CIVITAI_KEY,
            "HF_TOKEN": HF_KEY,
            "WITNESS": str(folder / "witness"),
            "PYTHONPATH": f"{witness}:{Path(__file__).parents[2]}",
        }
        made = Lacking(host, civitai, hugging_face, cdn, elsewhere)
        if not empty:
            _fill(made)
        yield made


def _fill(made: Lacking) -> None:
    _declared(made)
    _noted(made)
    _on_civitai(made)
    _doubtful(made)
    _closed(made)
    _nowhere(made)
    _here(made)


def _declared(made: Lacking) -> None:
    url = made.on_hugging_face("comfy/vae", "split/declared_vae.safetensors")
    made.loader("declared_vae.safetensors", "VAELoader", declared={"url": url, "directory": "vae"})
    url = made.on_hugging_face("comfy/unet", "declared_unet.safetensors", kind="xet")
    digest = sha256_of(content("declared_unet.safetensors"))
    made.loader("declared_unet.safetensors", "UNETLoader", declared={"url": url, "hash": digest, "hash_type": "SHA256"})
    url = made.on_hugging_face(
        "comfy/clip", "text/diffusion_pytorch_model.safetensors", had_as="named_clip.safetensors"
    )
    made.loader("named_clip.safetensors", "CLIPLoader", declared={"url": url, "directory": "text_encoders"})
    url = made.on_hugging_face("comfy/net", "catalogue_upscaler.safetensors")
    entry = {"filename": "catalogue_upscaler.safetensors", "url": url, "save_path": "upscale_models"}
    manager = made.host.comfyui / "custom_nodes" / "ComfyUI-Manager"
    put(manager / "model-list.json", json.dumps({"models": [entry]}).encode())
    made.loader("catalogue_upscaler.safetensors", "UpscaleModelLoader")


def _noted(made: Lacking) -> None:
    url = made.on_hugging_face("artist/loras", "noted_lora.safetensors")
    made.loader(
        "noted_lora.safetensors", "LoraLoaderModelOnly", note=f"Get it [here]({url.replace('resolve', 'blob')})."
    )
    version = made.on_civitai("linked_lora.safetensors", title="No word of its name")
    page = next(one["id"] for one in made.civitai.models if version in one["modelVersions"])
    made.loader("linked_lora.safetensors", "LoraLoaderModelOnly", note=f"From {made.civitai.url}/models/{page} .")


def _on_civitai(made: Lacking) -> None:
    for name in ("plain_style.safetensors", "second_style.safetensors", "cut_in_transit.safetensors"):
        made.on_civitai(name)
        made.lora(name)
    made.on_civitai("in_a_folder.safetensors", had_as="inks/in_a_folder.safetensors")
    made.lora("inks/in_a_folder.safetensors")
    made.on_civitai("it's a style (v2).safetensors", title="it's a style v2")
    made.lora("it's a style (v2).safetensors")
    made.on_civitai("Ink_Wash_STYLE.safetensors", had_as="ink_wash_style.safetensors")
    made.lora("ink_wash_style.safetensors")
    made.on_civitai("big_model.safetensors", type="Checkpoint")
    made.host.write("big_model.json", checkpoint="big_model.safetensors")
    made.on_civitai("line_control.safetensors", type="Controlnet")
    made.loader("line_control.safetensors", "ControlNetLoader")
    made.on_civitai("renamed_there.safetensors", had_as="known_by_hash.safetensors", title="Else", type="VAE")
    declared = {"url": "", "hash": sha256_of(content("known_by_hash.safetensors")), "hash_type": "SHA256"}
    made.loader("known_by_hash.safetensors", "VAELoader", declared=declared)
    made.on_civitai("soft_negative.safetensors", had_as="soft_negative", type="TextualInversion")
    made.embedding("soft_negative")


def _doubtful(made: Lacking) -> None:
    made.on_civitai("two_of_them.safetensors", title="two of them")
    made.on_civitai("two_of_them.safetensors", had_as="the other of two", title="two of them again")
    made.lora("two_of_them.safetensors")
    made.on_hugging_face("comfy/wan", "wan_model_fp8.safetensors")
    made.on_civitai("wan_model_fp8.safetensors", type="Checkpoint")
    made.loader("wan_model_bf16.safetensors", "UNETLoader")
    made.on_civitai("old_upscaler.pth", type="Upscaler")
    made.loader("old_upscaler.pth", "UpscaleModelLoader")
    made.on_civitai("model.safetensors", title="model")
    made.lora("model.safetensors")
    made.on_civitai("infected_style.safetensors", virusScanResult="Danger")
    made.lora("infected_style.safetensors")
    url = made.on_hugging_face("comfy/changed", "changed_since.safetensors")
    declared = {"url": url, "hash": sha256_of("what it was"), "hash_type": "SHA256"}
    made.loader("changed_since.safetensors", "VAELoader", declared=declared)


def _closed(made: Lacking) -> None:
    url = made.on_hugging_face("closed/flux", "gated_model.safetensors")
    made.hugging_face.repos["closed/flux"].gated = True
    made.loader("gated_model.safetensors", "UNETLoader", declared={"url": url, "directory": "diffusion_models"})
    early = made.on_civitai("early_style.safetensors")
    made.civitai.access[early["id"]] = EARLY_ACCESS
    made.lora("early_style.safetensors")
    members = made.on_civitai("members_style.safetensors")
    made.civitai.access[members["id"]] = LOGIN_NEEDED
    made.lora("members_style.safetensors")


def _nowhere(made: Lacking) -> None:
    for there, wanted in (
        ("lightning_8steps.safetensors", "lightning_4steps.safetensors"),
        ("wan_motion_t2v.safetensors", "wan_motion_i2v.safetensors"),
        ("portrait_v2.safetensors", "portrait_v3.safetensors"),
    ):
        made.on_civitai(there)
        made.lora(wanted)
    made.lora("nobody_knows_it.safetensors")


def _here(made: Lacking) -> None:
    url = made.on_hugging_face("comfy/same", "same_bytes.safetensors")
    digest = sha256_of(content("same_bytes.safetensors"))
    declared = {"url": url, "hash": digest, "hash_type": "SHA256"}
    made.loader("same_bytes.safetensors", "UNETLoader", declared=declared)
    same = made.host.model("diffusion_models/its old name.safetensors", content("same_bytes.safetensors"))
    # What was written just now is not hashed yet.
    os.utime(same, (1_700_000_000, 1_700_000_000))
    made.host.model("checkpoints/in_the_wrong_folder.safetensors", content("wrong folder"))
    made.lora("in_the_wrong_folder.safetensors")
    made.on_civitai("broken_here.safetensors")
    made.host.model("loras/broken_here.safetensors", b"<!DOCTYPE html><html></html>")
    made.lora("broken_here.safetensors")
