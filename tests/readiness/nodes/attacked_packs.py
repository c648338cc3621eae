"""Packs with one fault each, which a ComfyUI notices only when it imports them or lists their classes.

In the sources, NAME stands for the class of the pack.
"""

from __future__ import annotations

from textwrap import dedent
from typing import Final

_NODES: Final = dedent("""\
    class Node:
        RETURN_TYPES = ()
        FUNCTION = "run"
        CATEGORY = "test"
        OUTPUT_NODE = True

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {}}

        def run(self):
            return ()

    NODE_CLASS_MAPPINGS = {"NAME": Node}
    """)


def _with_inputs(body: str, *, before: str = "") -> dict[str, str]:
    """Return a pack whose INPUT_TYPES has a body of its own."""
    return {"__init__.py": before + _NODES.replace('return {"required": {}}', body)}


def _with_line(line: str) -> dict[str, str]:
    return {"__init__.py": f"{line}\n{_NODES}"}


ATTACKED_PACKS: Final[dict[str, dict[str, str]]] = {
    "environ_key": _with_line('import os\nTOKEN = os.environ["CW_TEST_ABSENT_VARIABLE"]'),
    "environ_in_function": _with_line(
        'import os\ndef read():\n    return os.environ["CW_TEST_ABSENT_VARIABLE"]\nTOKEN = read()'
    ),
    "file_opened": _with_line('import os\nTEXT = open(os.path.join(os.path.dirname(__file__), "gone.txt")).read()'),
    "file_json": _with_line(
        "import json\nfrom pathlib import Path\n"
        'with open(Path(__file__).parent / "data" / "gone.json") as file:\n    DATA = json.load(file)'
    ),
    "file_path_read": _with_line(
        'from pathlib import Path\nTEXT = (Path(__file__).parent / "gone.txt").read_text(encoding="utf-8")'
    ),
    "file_relative": _with_line('TEXT = open("cw_gone/file.txt").read()'),
    "folder_listed": _with_line(
        'import os\nFOUND = os.listdir(os.path.join(os.path.dirname(os.path.realpath(__file__)), "gone"))'
    ),
    "name_undefined": _with_line("VALUE = cw_never_defined + 1"),
    "name_used_before": _with_line("VALUE = later\nlater = 1"),
    "name_deleted": _with_line("value = 1\ndel value\nother = value"),
    "decorator_undefined": _with_line("@cw_never_defined\ndef helper():\n    pass"),
    "base_undefined": _with_line("class Helper(CwNeverDefined):\n    pass"),
    "default_undefined": _with_line("def helper(value=cw_never_defined):\n    pass"),
    "key_of_literal": _with_line('SIZES = {"small": 1}\nSIZE = SIZES["large"]'),
    "key_inline": _with_line('SIZE = {"small": 1}["large"]'),
    "index_of_literal": _with_line("SIZES = [1, 2]\nSIZE = SIZES[5]"),
    "zero_division": _with_line("RATIO = 1 / 0"),
    "zero_named": _with_line("COUNT = 0\nRATIO = 10 // COUNT"),
    "type_error": _with_line('TEXT = "a" + 1'),
    "value_error": _with_line('COUNT = int("many")'),
    "folder_paths_name": _with_line("import folder_paths\nFOUND = folder_paths.get_cw_gone()"),
    "folder_paths_key": _with_line('import folder_paths\nFOUND = folder_paths.get_filename_list("cw_gone_folder")'),
    "folder_paths_entry": _with_line('import folder_paths\nF = folder_paths.folder_names_and_paths["cw_gone_folder"]'),
    "folder_paths_folders": _with_line('import folder_paths\nF = folder_paths.get_folder_paths("cw_gone_folder")'),
    "numpy_int": _with_line("import numpy as np\nKIND = np.int"),
    "numpy_bool": _with_line("import numpy\nKINDS = [numpy.bool8, numpy.float]"),
    "numpy_imported": _with_line("from numpy import object as anything"),
    "inputs_missing": {"__init__.py": _NODES.replace("def INPUT_TYPES", "def INPUTS")},
    "inputs_not_a_classmethod": {"__init__.py": _NODES.replace("    @classmethod\n", "")},
    "inputs_name_error": _with_inputs('return {"required": {"x": (CW_NEVER_DEFINED,)}}'),
    "inputs_key_error": _with_inputs(
        'return {"required": {"x": (SIZES["large"],)}}', before='SIZES = {"small": ["a"]}\n'
    ),
    "inputs_attribute": _with_inputs('return {"required": {"x": (cls.GONE,)}}'),
    "inputs_zero_division": _with_inputs('return {"required": {"x": ("INT", {"default": 1 // 0})}}'),
    "inputs_environ": _with_inputs(
        'return {"required": {"x": ([os.environ["CW_TEST_ABSENT_VARIABLE"]],)}}', before="import os\n"
    ),
    "inputs_folder": _with_inputs(
        'return {"required": {"x": (folder_paths.get_filename_list("cw_gone_folder"),)}}',
        before="import folder_paths\n",
    ),
    "inputs_listdir": _with_inputs(
        'return {"required": {"x": (os.listdir(os.path.join(os.path.dirname(__file__), "gone")),)}}',
        before="import os\n",
    ),
    "no_return_types": {"__init__.py": _NODES.replace("    RETURN_TYPES = ()\n", "")},
    "return_types_not_iterable": {"__init__.py": _NODES.replace("RETURN_TYPES = ()", "RETURN_TYPES = None")},
    "emptied_on_error": {
        "__init__.py": (
            "try:\n    from .nodes import NODE_CLASS_MAPPINGS\n    import cw_gone_module\n"
            "except ImportError:\n    NODE_CLASS_MAPPINGS = {}\n"
        ),
        "nodes.py": _NODES,
    },
    "emptied_later": {
        "__init__.py": _NODES + "\ntry:\n    import cw_gone_module\nexcept ImportError:\n    NODE_CLASS_MAPPINGS = {}\n"
    },
    "cleared_on_error": {
        "__init__.py": _NODES
        + "\ntry:\n    import cw_gone_module\nexcept ImportError:\n    NODE_CLASS_MAPPINGS.clear()\n"
    },
    "deleted_on_error": {
        "__init__.py": _NODES
        + "\ntry:\n    import cw_gone_module\nexcept ImportError:\n    del NODE_CLASS_MAPPINGS['NAME']\n"
    },
    "import_two_calls_deep": _with_line(
        "def inner():\n    import cw_gone_module\ndef outer():\n    inner()\ndef start():\n    outer()\nstart()"
    ),
    "import_four_calls_deep": _with_line(
        "def one():\n    import cw_gone_module\ndef two():\n    one()\ndef three():\n    two()\n"
        "def four():\n    three()\ndef five():\n    four()\nfive()"
    ),
    "import_in_constructor": _with_line(
        "class Loader:\n    def __init__(self):\n        import cw_gone_module\nLOADER = Loader()"
    ),
    "import_in_method": _with_line(
        "class Loader:\n    def load(self):\n        import cw_gone_module\nLOADER = Loader()\nLOADER.load()"
    ),
    "import_of_other_module": {
        "__init__.py": "from .tools import start\nstart()\n" + _NODES,
        "tools.py": "def start():\n    inner()\ndef inner():\n    import cw_gone_module\n",
    },
    "computed_import": _with_line('import importlib\nMODULE = "cw_" + "gone"\nimportlib.import_module(MODULE)'),
    "exec_import": _with_line('exec("import cw_gone_module")'),
    "command_fails": _with_line('import subprocess\nsubprocess.run(["false"], check=True)'),
    "attribute_of_module": _with_line("import os\nos.cw_gone_function()"),
    "attribute_of_none": _with_line("VALUE = None\nVALUE.strip()"),
    "regular_expression": _with_line('import re\nPATTERN = re.compile("(")'),
    "json_text": _with_line("import json\nDATA = json.loads('{')"),
    "raised_in_function": _with_line("def check():\n    raise RuntimeError('no')\ncheck()"),
    "assertion": _with_line("assert 1 == 2"),
}
"""Files by path, by the name of the fault. A real ComfyUI lists the class of none of them."""


FAULTS_AT_RUN_TIME: Final = frozenset(
    {"attribute_of_module", "command_fails", "inputs_attribute", "json_text", "regular_expression"}
)
"""Faults that static analysis does not find: their packs are READY, but named as not confirmed."""


def build_files(fault: str) -> dict[str, str]:
    """Return the files of a pack, whose class is named after the fault."""
    return {path: text.replace("NAME", name_class(fault)) for path, text in ATTACKED_PACKS[fault].items()}


def name_class(fault: str) -> str:
    """Return the class of a pack."""
    return f"Attacked_{fault}"
