"""Hosts for comparing verdicts with a real server: workflows, models, pictures, and one cycle of the product."""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from comfywatchman.comfyui.packs.replacements import EDITOR_RENAMES
from comfywatchman.comfyui.server.node_inputs import list_node_inputs
from scripts.real_comfyui import Installed, start
from tests.real_comfyui.editor import Editor
from tests.real_comfyui.mutations import Classes, mutate_files, mutate_prompts
from tests.real_comfyui.sandbox import FOLDERS, write_model
from tests.real_comfyui.validation_pack import Answer, Refusal, ask_server, write_validation_pack

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scripts.real_comfyui import Server

Json = dict[str, Any]

SENTINEL: Final = "zz_sentinel_of_a_folder.safetensors"
"""Lies in every model folder of the sandbox, so that no two folders of a server offer the same files."""

INNER_FOLDER: Final = "inner"

SPELLINGS: Final = ("\\", "/", None)
"""How workflows name a model of a subfolder: as on Windows, as the server does, or without the subfolder."""

_MEDIA: Final = (
    ".png",
    ".jpg",
    ".jpeg",
    ".webp",
    ".gif",
    ".mp4",
    ".webm",
    ".mov",
    ".mp3",
    ".wav",
    ".flac",
    ".m4a",
    ".glb",
)


@dataclass(frozen=True)
class HostKind:
    """One host to compare on.

    Attributes:
        models: Share of the named models that lie where they belong.
        pictures: Share of the named pictures, sounds and videos that are in the input folder.
        are_required: Whether missing ones count (`[workflows] require_inputs`).
        seed: Of every choice on this host.
        every: Takes one in so many workflows.
        mutants: How many of each kind of mutant.
    """

    models: float
    pictures: float = 1.0
    are_required: bool = False
    seed: int = 1
    every: int = 1
    mutants: int = 20


@dataclass(frozen=True)
class Comparison:
    """What the product and the server say of the same workflows.

    Attributes:
        entries: The product's report by file name.
        answers: The server's answer by file name.
        classes: The server's answer to `/object_info`.
    """

    entries: dict[str, Json]
    answers: dict[str, Answer]
    classes: Json

    def table(self) -> Counter[tuple[str, str]]:
        """Return how many workflows have each pair of verdicts."""
        return Counter(
            (self.entries[name]["status"], "accepted" if answer.is_accepted else "refused")
            for name, answer in self.answers.items()
        )

    def find_lies(self) -> dict[str, set[str]]:
        """Return the workflows that are called READY though the server would not run all of them.

        Returns:
            The kinds of the server's reasons by file name. A READY that names the outputs that are left out is none.
        """
        lies: dict[str, set[str]] = {}
        for name, answer in self.answers.items():
            entry = self.entries[name]
            is_named = any(problem["code"] == "output-left-out" for problem in entry["problems"])
            if entry["status"] == "READY" and not answer.is_accepted and not is_named:
                lies[name] = {self._classify(refusal) for refusal in answer.refusals}
        return lies

    def find_denials(self) -> dict[str, Json]:
        """Return the workflows that the server accepts whole and that are not READY, without a reason in the report."""
        return {
            name: self.entries[name]
            for name, answer in self.answers.items()
            if answer.is_accepted
            and self.entries[name]["status"] != "READY"
            and not self._names_reason(self.entries[name])
        }

    def _classify(self, refusal: Refusal) -> str:
        """Return the server's name for a reason; with `model` where the input lists a model folder."""
        is_model = SENTINEL in self._offered(refusal.class_type, refusal.input)
        return f"{refusal.type} model" if is_model else refusal.type

    def _names_reason(self, entry: Json) -> bool:
        """Return whether a verdict says what is in doubt, or names files that the server does not offer.

        ComfyUI 0.3.75 accepts every value of a combo of the newer notation, and the run then ends at the missing file;
        and it looks at no node that leads to no output.
        """
        if entry["status"] == "UNCERTAIN":
            return bool(entry["problems"] or entry["missing_models"] or entry["missing_nodes"])
        files = [(model["node_type"], model["input"], model["name"]) for model in entry["missing_models"]]
        files += [(one["node_type"], one["input"], one["name"]) for one in entry["missing_inputs"] if one["required"]]
        if not files or entry["missing_nodes"] or entry["refused_inputs"]:
            return False
        return all(name not in self._offered(node_type, input_name) for node_type, input_name, name in files)

    def _offered(self, class_type: str, name: str) -> list[Any]:
        for one in list_node_inputs(self.classes.get(class_type)):
            if one.name == name and isinstance(one.choices, list):
                return one.choices
        return []


def compare_host(installed: Installed, kind: HostKind, base: Path, home: Path) -> dict[str, Comparison]:
    """Build a host, ask its server, and run one cycle beside the server and one that may not ask it.

    Returns:
        The two comparisons: `asked` and `not asked`.
    """
    chance = random.Random(kind.seed)  # noqa: S311 - a repeatable choice, no secret
    contents = fill(base, installed, kind, chance=chance)
    write_validation_pack(base)
    server = start(installed, base)
    try:
        classes = server.get("/object_info")[1]
        editor = Editor(classes, renames=get_editor_renames(server))
        files = {name: json.loads(content) for name, content in contents.items()}
        prompts = {name: editor.build_prompt(file) for name, file in files.items()}
        accepted = sorted(name for name, answer in ask_server(server, prompts).items() if answer.is_accepted)
        known = Classes(classes)
        mutants = mutate_prompts(
            {name: prompts[name] for name in accepted}, known, per_kind=kind.mutants, chance=chance
        )
        mutated_files = mutate_files(
            {name: files[name] for name in accepted}, editor, known, per_kind=kind.mutants, chance=chance
        )
        write_workflows(base, mutants | mutated_files)
        prompts |= mutants | {name: editor.build_prompt(file) for name, file in mutated_files.items()}
        answers = ask_server(server, prompts)
        return {
            "asked": Comparison(run_cycle(installed, base, home / "asked", kind, url=server.url), answers, classes),
            "not asked": Comparison(run_cycle(installed, base, home / "not_asked", kind, url=""), answers, classes),
        }
    finally:
        server.stop()


def get_editor_renames(server: Server) -> Mapping[str, str]:
    """Return the classes that the editor of a server renames: none where the server replaces them itself."""
    return EDITOR_RENAMES if server.get("/node_replacements")[0] == http.client.NOT_FOUND else {}


def fill(base: Path, installed: Installed, kind: HostKind, *, chance: random.Random) -> dict[str, bytes]:
    """Write models, pictures and workflows; return the workflows."""
    for folder in FOLDERS:
        write_model(base / "models" / folder / SENTINEL)
    contents = corpus(installed.templates)
    contents = {name: contents[name] for name in sorted(contents)[:: kind.every]}
    inner = place_models(base, named_models(contents.values()), share=kind.models, chance=chance)
    place_pictures(base, contents.values(), share=kind.pictures, chance=chance)
    for number, (name, content) in enumerate(contents.items()):
        separator = SPELLINGS[number % len(SPELLINGS)]
        if separator is not None:
            contents[name] = with_separators(content, inner, separator=separator)
    workflows = base / "user" / "default" / "workflows"
    workflows.mkdir(parents=True)
    for name, content in contents.items():
        (workflows / name).write_bytes(content)
    return contents


def write_workflows(base: Path, workflows: dict[str, Json]) -> None:
    """Write workflows where ComfyUI keeps its user's."""
    for name, workflow in workflows.items():
        (base / "user" / "default" / "workflows" / name).write_text(json.dumps(workflow))


def run_cycle(installed: Installed, base: Path, home: Path, kind: HostKind, *, url: str) -> dict[str, Json]:
    """Run one cycle as a person would and return the report's entries by file name; an empty URL asks no server."""
    home.mkdir()
    config = home / "test.toml"
    config.write_text(
        f'[comfyui]\nroot = "{installed.tree}"\nbase_directory = "{base}"\nurl = "{url}"\n'
        '[nodes]\nask_registry = false\nclass_map_url = ""\n[schedule]\nmin_vram_gb = 0.0\n'
        "[search]\nbudget_seconds = 0.0\n"
        f"[workflows]\nrequire_inputs = {str(kind.are_required).lower()}\n"
    )
    program = Path(sys.executable).with_name("comfywatchman")
    command = [program, "--run-cycle", "--home", home, "--config", config]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((home / "output" / "reports" / "status" / "master_status.json").read_bytes())
    assert report["host"]["comfyui_running"] is bool(url)
    return {Path(entry["path"]).name: entry for entry in report["workflows"]}


def corpus(folders: Iterable[Path]) -> dict[str, bytes]:
    """Return the distinct workflow files of some folders by a name of our own."""
    found: dict[str, bytes] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.json")):
            content = path.read_bytes()
            if not path.name.startswith("index") and b'"nodes"' in content:
                found.setdefault(f"{path.stem}_{hashlib.sha256(content).hexdigest()[:8]}.json", content)
    return found


def named_models(contents: Iterable[bytes]) -> list[tuple[str, str]]:
    """Return folder and name of each model that some workflows declare, sorted."""
    found: set[tuple[str, str]] = set()
    waiting: list[Any] = [json.loads(content) for content in contents]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            listed = value.get("models")
            models = [model for model in listed if isinstance(model, dict)] if isinstance(listed, list) else []
            found |= {(model["directory"], model["name"]) for model in models if "directory" in model}
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return sorted(found)


def place_models(base: Path, models: Iterable[tuple[str, str]], *, share: float, chance: random.Random) -> set[str]:
    """Put a share of the models where they belong, and of the others some where they do not.

    Returns:
        Names that lie in a subfolder, for workflows to name with a backslash.
    """
    inner: set[str] = set()
    for folder, name in models:
        place = PurePosixPath("models") / folder
        if chance.random() < share:
            write_model(base / place / name)
            continue
        fate = chance.randrange(5)
        if fate == 0:
            write_model(base / place / name.swapcase())
        elif fate == 1:
            write_model(base / "models" / ("loras" if folder != "loras" else "vae") / name)
        elif fate == 2:
            write_model(base / place / INNER_FOLDER / name)
            inner.add(name)
        elif fate == 3:
            write_model(base / "output" / folder / name)
    return inner


def place_pictures(base: Path, contents: Iterable[bytes], *, share: float, chance: random.Random) -> None:
    """Put a share of the pictures, sounds and videos that some workflows name into the input folder."""
    found: set[str] = set()
    waiting: list[Any] = [json.loads(content) for content in contents]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and value.lower().endswith(_MEDIA) and "/" not in value and len(value) <= 200:
            found.add(value)
        elif isinstance(value, (dict, list)):
            waiting.extend(value.values() if isinstance(value, dict) else value)
    for name in sorted(found):
        if chance.random() < share:
            write_model(base / "input" / name)


def with_separators(content: bytes, inner: Iterable[str], *, separator: str) -> bytes:
    """Return a workflow that names models of the subfolder with that separator, as its author's system had it."""
    for name in inner:
        spelled = json.dumps(f"{INNER_FOLDER}{separator}{name}").encode()
        content = content.replace(json.dumps(name).encode(), spelled)
    return content
