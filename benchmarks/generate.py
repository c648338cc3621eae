"""A generated ComfyUI host, the same on every machine: models, custom node packs, workflows.

    python benchmarks/generate.py FOLDER [--scale N]

At scale 1: 2,000 safetensors files in 40 folders, 50 packs (10 of them git repositories), 600 workflows, most of them
official templates whose models are renamed to ones that this host has, or lacks.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from comfywatchman.readiness.sample.host import build_program_files, find_installed_templates
from comfywatchman.readiness.sample.workflows import build_png_with_text

MODELS: Final = 2_000
PACKS: Final = 50
REPOSITORIES: Final = 10
WORKFLOWS: Final = 600
FOLDERS: Final = (
    *("audio_encoders", "checkpoints", "clip_vision", "controlnet", "diffusion_models", "embeddings", "gligen"),
    *("hypernetworks", "latent_upscale_models", "loras", "model_patches", "photomaker", "style_models"),
    *("text_encoders", "upscale_models", "vae", "vae_approx", "ipadapter", "sams", "pulid"),
)
"""Each with one subfolder: 40 folders that hold files."""

_HEADERS: Final = 24
_PRESENT: Final = 0.7
_FILE_NAME: Final = re.compile(r'"([^"\\\n]{1,200}\.safetensors)"')
_PICTURE_EVERY: Final = 15
_PROMPT_EVERY: Final = 6


@dataclass(frozen=True, slots=True)
class GeneratedHost:
    """The generated host.

    Attributes:
        root: The ComfyUI folder.
        models: Number of model files.
        packs: Number of custom node packs.
        workflows: Number of workflow files.
    """

    root: Path
    models: int
    packs: int
    workflows: int

    @property
    def workflow_folder(self) -> Path:
        """Return the folder of the workflow files."""
        return self.root / "user" / "default" / "workflows"


def generate_host(folder: Path, *, scale: int = 1) -> GeneratedHost:
    """Make a host in an empty folder.

    Args:
        folder: Becomes the ComfyUI folder.
        scale: How many times the numbers of this module.

    Raises:
        FileNotFoundError: The package with the official templates is not installed.
    """
    templates = find_installed_templates()
    if templates is None:
        raise FileNotFoundError("comfyui-workflow-templates-json is not installed (it is in requirements/dev.txt)")
    chance = random.Random(scale)
    _program(folder)
    names = _models(folder / "models", MODELS * scale, chance)
    for number in range(PACKS * scale):
        _pack(folder / "custom_nodes" / f"pack-{number:04}", number, is_repository=number % PACKS < REPOSITORIES)
    host = GeneratedHost(folder, MODELS * scale, PACKS * scale, WORKFLOWS * scale)
    _workflows(host, templates, names, chance)
    return host


def _program(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, content in build_program_files().items():
        (folder / name).write_bytes(content)


def _models(folder: Path, count: int, chance: random.Random) -> dict[str, list[str]]:
    headers = [_header(4 + 16 * number) for number in range(_HEADERS)]
    filler = chance.randbytes(1 << 17)
    names: dict[str, list[str]] = {name: [] for name in FOLDERS}
    for number in range(count):
        place = FOLDERS[number % len(FOLDERS)]
        sub = "family/" if number // len(FOLDERS) % 2 else ""
        name = f"{sub}model_{number:06}.safetensors"
        header, size = headers[number % _HEADERS]
        path = folder / place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        start = chance.randrange(len(filler) - size)
        path.write_bytes(header + number.to_bytes(8, "little") + filler[start : start + size - 8])
        names[place].append(name)
    return names


def _header(tensors: int) -> tuple[bytes, int]:
    """Return a header with that many small tensors, as a LoRA has them, and the number of tensor bytes."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt", "modelspec.title": f"generated {tensors}"}}
    for number in range(tensors):
        span = [number * 128, (number + 1) * 128]
        name = f"lora_unet_blocks_{number}_attn_to_q.lora_down.weight"
        entries[name] = {"dtype": "F16", "shape": [8, 8], "data_offsets": span}
    text = orjson.dumps(entries)
    text = text.ljust(-(-len(text) // 8) * 8)
    return len(text).to_bytes(8, "little") + text, tensors * 128


def _pack(folder: Path, number: int, *, is_repository: bool) -> None:
    (folder / "nodes").mkdir(parents=True)
    modules = [f"part_{part}" for part in range(5)]
    imports = "".join(f"from .nodes.{module} import NODES as {module}\n" for module in modules)
    merged = ", ".join(f"**{module}" for module in modules)
    (folder / "__init__.py").write_text(f"{imports}\nNODE_CLASS_MAPPINGS = {{{merged}}}\nWEB_DIRECTORY = './web'\n")
    (folder / "nodes" / "__init__.py").touch()
    for place, module in enumerate(modules):
        (folder / "nodes" / f"{module}.py").write_text(_module(number, place))
    (folder / "requirements.txt").write_text("numpy>=1.26\npillow\nopencv-python-headless; sys_platform == 'linux'\n")
    if number % 3:
        (folder / "pyproject.toml").write_text(
            f'[project]\nname = "pack-{number}"\nversion = "1.{number}.0"\ndependencies = ["numpy"]\n'
            f'[tool.comfy]\nPublisherId = "generated"\nDisplayName = "Pack {number}"\n'
        )
    if is_repository:
        _commit(folder)


def _module(number: int, place: int) -> str:
    folder = FOLDERS[(number + place) % len(FOLDERS)]
    classes = [f"Pack{number}Node{place}{letter}" for letter in "AB"]
    bodies = "".join(_NODE.format(name=name, folder=folder) for name in classes)
    mapping = ", ".join(f'"{name}": {name}' for name in classes)
    return f"import folder_paths\n\n{bodies}\nNODES = {{{mapping}}}\n"


_NODE: Final = '''
class {name}:
    """Load a model and change it."""

    CATEGORY = "generated"
    FUNCTION = "run"
    RETURN_TYPES = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls):
        return {{
            "required": {{
                "name": (folder_paths.get_filename_list("{folder}"),),
                "strength": ("FLOAT", {{"default": 1.0, "min": -10.0, "max": 10.0, "step": 0.01}}),
                "mode": (["fast", "exact"], {{"default": "fast"}}),
            }},
            "optional": {{"mask": ("MASK",), "text": ("STRING", {{"multiline": True}})}},
        }}

    def run(self, name, strength, mode, mask=None, text=""):
        path = folder_paths.get_full_path_or_raise("{folder}", name)
        values = [strength * step for step in range(16)]
        return ({{"path": path, "values": values, "mode": mode, "text": text, "mask": mask}},)

'''


def _commit(folder: Path) -> None:
    environment = {
        **os.environ,
        **{f"GIT_{who}_{what}": "generated" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        **{f"GIT_{who}_DATE": "2026-01-01T00:00:00Z" for who in ("AUTHOR", "COMMITTER")},
        "GIT_CONFIG_GLOBAL": os.devnull,
    }
    for arguments in (
        ["init", "--initial-branch=main"],
        ["remote", "add", "origin", f"https://github.com/generated/{folder.name}"],
        ["add", "--all"],
        ["commit", "--message=generated"],
    ):
        subprocess.run(["git", "-C", str(folder), *arguments], check=True, env=environment, capture_output=True)


def _workflows(host: GeneratedHost, templates: Path, names: dict[str, list[str]], chance: random.Random) -> None:
    texts = [path.read_text() for path in sorted(templates.glob("*.json")) if not path.name.startswith("index")]
    graphs = [text for text in texts if '"nodes"' in text]
    for number in range(host.workflows):
        folder = host.workflow_folder / f"set_{number % 20:02}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"workflow_{number:05}.json"
        if number % _PROMPT_EVERY == 0:
            path.write_bytes(orjson.dumps(_prompt(number, names, chance)))
            continue
        text = _renamed(graphs[number % len(graphs)], names, chance).encode()
        if number % _PICTURE_EVERY == 1:
            # As ComfyUI writes it: without line breaks, all characters beyond ASCII escaped.
            path.with_suffix(".png").write_bytes(
                build_png_with_text("workflow", json.dumps(orjson.loads(text)).encode())
            )
        else:
            path.write_bytes(text)


def _renamed(text: str, names: dict[str, list[str]], chance: random.Random) -> str:
    folders = {model["name"]: model["directory"] for model in _declared(orjson.loads(text))}
    chosen: dict[str, str] = {}

    def replacement(found: re.Match[str]) -> str:
        name = found.group(1)
        if name not in chosen:
            there = names.get(folders.get(name, ""))
            is_present = there and chance.random() < _PRESENT
            chosen[name] = chance.choice(there) if there and is_present else f"absent_{chance.randrange(10**6)}_{name}"
        return f'"{chosen[name]}"'

    return _FILE_NAME.sub(replacement, text)


def _declared(value: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    waiting = [value]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            found += [model for model in here.get("models") or () if isinstance(model, dict) and "directory" in model]
            waiting.extend(here.values())
        elif isinstance(here, list):
            waiting.extend(here)
    return found


def _prompt(number: int, names: dict[str, list[str]], chance: random.Random) -> dict[str, Any]:
    """Return a workflow as it is sent to the server: a chain of loaders, text and samplers."""
    checkpoint = chance.choice(names["checkpoints"])
    prompt: dict[str, Any] = {"1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": checkpoint}}}
    for place in range(2, 2 + number % 12):
        lora = chance.choice(names["loras"]) if chance.random() < _PRESENT else f"absent_{number}.safetensors"
        inputs = {"lora_name": lora, "strength_model": 1.0, "strength_clip": 1.0, "model": [str(place - 1), 0]}
        prompt[str(place)] = {"class_type": "LoraLoader", "inputs": inputs}
    for place in range(100, 110):
        text = f"a generated prompt number {place} of workflow {number}, " * 8
        prompt[str(place)] = {"class_type": "CLIPTextEncode", "inputs": {"text": text, "clip": ["1", 1]}}
    return prompt


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a generated ComfyUI host.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    host = generate_host(options.folder, scale=options.scale)
    print(
        f"{host.root}: {host.models} models, {host.packs} packs, {host.workflows} workflows "
        f"in {time.monotonic() - began:.1f} s"
    )


if __name__ == "__main__":
    main()
