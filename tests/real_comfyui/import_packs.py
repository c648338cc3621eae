"""Small node packs, each with one way of importing its modules, some of which a real ComfyUI cannot import.

`import_packs.toml` holds their files by path. Each pack has, unless it says otherwise, an empty `nodes/__init__.py` and
the modules `nodes/one.py` and `nodes/two.py`, each with one node class; `two` stands for what the last one executes
first. In all files ONE and TWO stand for the names of these classes, and a line `#NODES ONE` for the source of a class
with its mapping. In packs of the V3 API, `#V3 ONE more=arguments` stands for a class whose schema has these arguments,
and `#ENTRY ONE TWO` for the entry point of a pack with these classes.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Final

_DATA: Final = Path(__file__).with_suffix(".toml")
_NODES: Final = re.compile(r"^#NODES (\w+)$", re.MULTILINE)
_CLASS: Final = dedent("""\
    class NAME:
        RETURN_TYPES = ()
        FUNCTION = "run"
        CATEGORY = "test"
        OUTPUT_NODE = True

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {}}

        def run(self):
            return ()

    NODE_CLASS_MAPPINGS = {"NAME": NAME}
    """)

_V3_NODE: Final = re.compile(r"^#V3 (\w+) ?(.*)$", re.MULTILINE)
_V3_CLASS: Final = dedent("""\
    class NAME(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return io.Schema(node_id="NAME", is_output_node=True, ARGUMENTS)

        @classmethod
        def execute(cls):
            return io.NodeOutput()
    """)
_ENTRY: Final = re.compile(r"^#ENTRY (.+)$", re.MULTILINE)
_ENTRY_POINT: Final = dedent("""\
    class Extension(ComfyExtension):
        async def get_node_list(self):
            return [NAMES]

    async def comfy_entrypoint():
        return Extension()
    """)


@dataclass(frozen=True)
class ImportPack:
    """A pack.

    Attributes:
        files: Its files by path.
        classes: The node classes that it means to bring.
    """

    files: dict[str, str]
    classes: tuple[str, ...]


def read_import_packs() -> dict[str, ImportPack]:
    """Return the packs by the names of their folders."""
    packs: dict[str, ImportPack] = {}
    for folder, entries in tomllib.loads(_DATA.read_text("utf-8")).items():
        names = {"ONE": f"{folder}_one", "TWO": f"{folder}_two"}
        files: dict[str, str] = {}
        if not entries.pop("is_v3", False):
            files = {"nodes/__init__.py": "", "nodes/one.py": "#NODES ONE\n"}
            files["nodes/two.py"] = entries.pop("two", "") + "\n#NODES TWO\n"
        for path, text in (files | entries).items():
            source = _write_classes(text)
            for placeholder, name in names.items():
                source = source.replace(placeholder, name)
            files[path] = source
        packs[folder] = ImportPack(files, tuple(names.values()))
    return packs


def _write_classes(text: str) -> str:
    text = _NODES.sub(lambda match: _CLASS.replace("NAME", match[1]), text)
    text = _V3_NODE.sub(lambda match: _V3_CLASS.replace("NAME", match[1]).replace("ARGUMENTS", match[2]), text)
    return _ENTRY.sub(lambda match: _ENTRY_POINT.replace("NAMES", match[1].replace(" ", ", ")), text)


def write_import_packs(custom_nodes: Path, packs: dict[str, ImportPack]) -> None:
    """Write packs into a folder for custom nodes."""
    for folder, pack in packs.items():
        for name, text in pack.files.items():
            path = custom_nodes / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
