"""Reading node classes and model inputs from source that is never run."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from textwrap import dedent

import pytest

from comfywatchman.comfyui.packs import definitions
from comfywatchman.comfyui.packs.definitions import (
    NodeDefinitions,
    list_core_files,
    read_core_definitions,
    read_pack_definitions,
)

NODE = "class A: pass\nclass B: pass\nclass C: pass\n"


def write_pack(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), "utf-8")
    return folder


def read_definitions(folder: Path) -> NodeDefinitions:
    sources = [str(path.relative_to(folder)) for path in folder.rglob("*.py")]
    return read_pack_definitions(folder, sources, label=folder.name)


def read_one_file(tmp_path: Path, text: str) -> NodeDefinitions:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text(NODE + dedent(text), "utf-8")
    return read_definitions(tmp_path / "pack")


def test_choices_of_a_pack_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(definitions, "_MAX_CHOICES", 4)
    classes = "".join(
        f"class C{number}:\n    @classmethod\n    def INPUT_TYPES(cls): return {{'required': {{'a': (X,)}}}}\n"
        for number in range(4)
    )
    found = read_one_file(
        tmp_path, f"X = ['u', 'v', 'w']\n{classes}NODE_CLASS_MAPPINGS = {{'a': C0, 'b': C1, 'c': C2}}\n"
    )
    assert len(found.classes) == 3
    assert len(found.signatures) == 2, "of the third class nothing is known"


@pytest.mark.parametrize(
    "end",
    [
        "del NODE_CLASS_MAPPINGS['A']",
        "NODE_CLASS_MAPPINGS.clear()",
        "key = compute()\ndel NODE_CLASS_MAPPINGS[key]",
    ],
)
def test_class_is_only_possible_if_removed(tmp_path: Path, end: str) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text(f"{NODE}NODE_CLASS_MAPPINGS = {{'A': A}}\n{end}\n", "utf-8")
    definitions = read_definitions(tmp_path / "pack")
    assert (definitions.classes, definitions.possible_classes) == (set(), {"A"})


@pytest.mark.parametrize(
    "end",
    [
        "if broken():\n    raise ImportError",
        "try:\n    from .gone import D\nexcept ImportError:\n    pass",
        "assert True",
        "from .compiled import D",
        "from .circle import D",
        "from ....above import D",
        "del NODE_CLASS_MAPPINGS['B'], other['A']",
    ],
)
def test_class_is_certain_after_a_guarded_error(tmp_path: Path, end: str) -> None:
    write_pack(tmp_path, pack__in__circle="from .circle import D")
    (tmp_path / "pack" / "compiled.cpython-311.so").touch()
    text = f"{NODE}NODE_CLASS_MAPPINGS = {{'A': A, 'B': B}}\n{end}\n"
    (tmp_path / "pack" / "__init__.py").write_text(text, "utf-8")
    assert "A" in read_definitions(tmp_path / "pack").classes


def test_classes_of_a_folder_without_init_are_read(tmp_path: Path) -> None:
    write_pack(tmp_path, pack__in__nodes=f"{NODE}NODE_CLASS_MAPPINGS = {{'A': A}}")
    definitions = read_definitions(tmp_path / "pack")
    assert (definitions.possible_classes, definitions.complete) == ({"A"}, False)
    assert definitions.outline.modules["."] is None


SHAPES = {
    "a dict": "NODE_CLASS_MAPPINGS = {'A': A, 'B': B}",
    "an annotated dict": "NODE_CLASS_MAPPINGS: dict[str, type] = {'A': A, 'B': B}",
    "dict()": "NODE_CLASS_MAPPINGS = dict(A=A, B=B)",
    "unpacked dicts": "X = {'A': A}\nY = {'B': B}\nNODE_CLASS_MAPPINGS = {**X, **Y}",
    "a union": "NODE_CLASS_MAPPINGS = {'A': A} | {'B': B}",
    "a union in place": "NODE_CLASS_MAPPINGS = {'A': A}\nNODE_CLASS_MAPPINGS |= {'B': B}",
    "update": "NODE_CLASS_MAPPINGS = {'A': A}\nNODE_CLASS_MAPPINGS.update({'B': B})",
    "update by keywords": "NODE_CLASS_MAPPINGS = {}\nNODE_CLASS_MAPPINGS.update(A=A, B=B)",
    "subscripts": "NODE_CLASS_MAPPINGS = {}\nNODE_CLASS_MAPPINGS['A'] = A\nNODE_CLASS_MAPPINGS['B'] = B",
    "a comprehension over a list": "NODE_CLASS_MAPPINGS = {c.__name__: c for c in [A, B]}",
    "a comprehension with a condition": "NODE_CLASS_MAPPINGS = {c.__name__: c for c in (A, B, C) if c is not None "
    "and c.__name__ != 'C'}",
    "a comprehension over pairs": "NODE_CLASS_MAPPINGS = {k: v for k, v in {'A': A, 'B': B}.items()}",
    "a loop": "NODE_CLASS_MAPPINGS = {}\nfor c in [A, B]:\n    NODE_CLASS_MAPPINGS[c.__name__] = c",
    "a loop with zip": "NODE_CLASS_MAPPINGS = {}\nfor n, c in zip(['A', 'B'], [A, B]):\n    NODE_CLASS_MAPPINGS[n] = c",
    "dict of zip's rows": "NODE_CLASS_MAPPINGS = {n: c for n, c in zip(('A', 'B'), (A, B))}",
    "a function's result": "def make():\n    m = {}\n    m['A'] = A\n    m['B'] = B\n    return m\n"
    "NODE_CLASS_MAPPINGS = make()",
    "a function with a default": "def make(more={'B': B}):\n    return {'A': A, **more}\nNODE_CLASS_MAPPINGS = make()",
    "a function that fills it": "NODE_CLASS_MAPPINGS = {}\ndef fill(m):\n    m['A'] = A\n    m['B'] = B\n"
    "fill(NODE_CLASS_MAPPINGS)",
    "a kept function result": "NODE_CLASS_MAPPINGS = {}\ndef fill():\n"
    "    NODE_CLASS_MAPPINGS.update({'A': A, 'B': B})\n    return 1\ndone = fill()",
    "a global of a function": "NODE_CLASS_MAPPINGS = {}\ndef fill():\n    global NODE_CLASS_MAPPINGS\n"
    "    NODE_CLASS_MAPPINGS = {'A': A, 'B': B}\nfill()",
    "a decorator": "NODE_CLASS_MAPPINGS = {}\ndef node(name):\n    def mark(c):\n"
    "        NODE_CLASS_MAPPINGS[name] = c\n        return c\n    return mark\n"
    "@node('A')\nclass D: pass\n@node(name='B')\nclass E: pass",
    "format": "def name(x):\n    return '{}{}'.format(x, '')\nNODE_CLASS_MAPPINGS = {name('A'): A, name('B'): B}",
    "f-strings": "S = ''\nNODE_CLASS_MAPPINGS = {f'A{S}': A, f'B{S}': B}",
    "percent": "NODE_CLASS_MAPPINGS = {'%s' % 'A': A, 'B' + '': B}",
    "class attributes": "class P:\n    NAME = 'A'\nclass Q(P):\n    pass\nNODE_CLASS_MAPPINGS = {Q.NAME: Q, 'B': B}",
    "try around it": "try:\n    import torch\n    NODE_CLASS_MAPPINGS = {'A': A, 'B': B}\n"
    "except ImportError:\n    NODE_CLASS_MAPPINGS = {}",
    "a decided branch": "ON = True\nif ON:\n    NODE_CLASS_MAPPINGS = {'A': A, 'B': B}\nelse:\n"
    "    NODE_CLASS_MAPPINGS = {'C': C}",
    "a choice": "NODE_CLASS_MAPPINGS = {'A': A, 'B': B} if True else {}",
    "or": "NODE_CLASS_MAPPINGS = {} or {'A': A, 'B': B}",
    "a removed key": "NODE_CLASS_MAPPINGS = {'A': A, 'B': B, 'C': C}\nNODE_CLASS_MAPPINGS.pop('C')",
    "a copy": "X = {'A': A}\nNODE_CLASS_MAPPINGS = X.copy()\nNODE_CLASS_MAPPINGS.setdefault('B', B)",
    "with": "with open('x') as f:\n    NODE_CLASS_MAPPINGS = {'A': A, 'B': B}",
    "a lambda": "make = lambda x: {x: A, 'B': B}\nNODE_CLASS_MAPPINGS = make('A')",
    "joined text": "NODE_CLASS_MAPPINGS = {''.join(['A']): A, ' B '.strip(): B}",
}


@pytest.mark.parametrize("shape", SHAPES, ids=SHAPES)
def test_names_are_read_from_mappings(shape: str, tmp_path: Path) -> None:
    definitions = read_one_file(tmp_path, SHAPES[shape])
    assert (definitions.classes, definitions.complete, definitions.problems) == ({"A", "B"}, True, [])


INCOMPLETE = {
    "a loop over a folder": "import os\nNODE_CLASS_MAPPINGS = {'A': A}\nfor f in os.listdir('.'):\n"
    "    NODE_CLASS_MAPPINGS[f] = A",
    "an outside dict": "from elsewhere import MORE\nNODE_CLASS_MAPPINGS = {'A': A}\nNODE_CLASS_MAPPINGS.update(MORE)",
    "an outside function that may fill it": "import elsewhere\nNODE_CLASS_MAPPINGS = {'A': A}\n"
    "elsewhere.register(NODE_CLASS_MAPPINGS)",
    "a computed union": "import elsewhere\nNODE_CLASS_MAPPINGS = {'A': A} | elsewhere.MORE",
    "a computed key": "import elsewhere\nNODE_CLASS_MAPPINGS = {'A': A, elsewhere.name(): B}",
    "an unknown method": "NODE_CLASS_MAPPINGS = {'A': A}\nNODE_CLASS_MAPPINGS.__ior__({'B': B})",
    "a width that could be a bomb": "NODE_CLASS_MAPPINGS = {'A': A, '{:>999999999}'.format('B'): B}",
    "text that grows without end": "t = 'x' * 3\nfor i in range(1000):\n    t = 'y'\n"
    "for i in range(60):\n    t = t + t\nNODE_CLASS_MAPPINGS = {'A': A, t: B}",
}


@pytest.mark.parametrize("shape", INCOMPLETE, ids=INCOMPLETE)
def test_computed_names_make_the_list_incomplete(shape: str, tmp_path: Path) -> None:
    definitions = read_one_file(tmp_path, SHAPES["a dict"].replace("'B': B", "") + "\n" + INCOMPLETE[shape])
    assert "A" in definitions.classes
    assert not definitions.complete


def test_class_under_an_undecided_condition_is_only_possible(tmp_path: Path) -> None:
    definitions = read_one_file(
        tmp_path,
        """
        import os
        try:
            import rare
            HAS_RARE = True
        except ImportError:
            HAS_RARE = False
        NODE_CLASS_MAPPINGS = {'A': A}
        if HAS_RARE:
            NODE_CLASS_MAPPINGS['B'] = B
        if 'X' in os.environ:
            NODE_CLASS_MAPPINGS.update({'C': C})
        """,
    )
    assert (definitions.classes, definitions.possible_classes, definitions.complete) == ({"A"}, {"B", "C"}, True)


def test_mappings_of_modules_are_merged_through_every_kind_of_import(tmp_path: Path) -> None:
    write_pack(
        tmp_path,
        __init__="""
        import importlib
        from .one import NODE_CLASS_MAPPINGS as ONE
        from . import two
        from .sub.three import *
        NODE_CLASS_MAPPINGS = {**ONE, **two.NODE_CLASS_MAPPINGS, 'Three': Three}
        for name in ['four', 'five']:
            module = importlib.import_module(f'.sub.{name}', package=__name__)
            NODE_CLASS_MAPPINGS.update(getattr(module, 'NODE_CLASS_MAPPINGS', {}))
        six = importlib.import_module('.six', __package__)
        if hasattr(six, 'NODE_CLASS_MAPPINGS'):
            NODE_CLASS_MAPPINGS |= six.NODE_CLASS_MAPPINGS
        """,
        one="from .sub.three import Three\nNODE_CLASS_MAPPINGS = {'One': Three}",
        two="NODE_CLASS_MAPPINGS = {'Two': None}",
        sub__in__three="class Three: pass\nclass _Hidden: pass",
        sub__in__four="NODE_CLASS_MAPPINGS = {'Four': None}",
        sub__in__five="from ..one import Three\nNODE_CLASS_MAPPINGS = {'Five': Three}",
        six="NODE_CLASS_MAPPINGS = {'Six': None}",
    )
    definitions = read_definitions(tmp_path)
    assert (definitions.classes, definitions.complete) == ({"One", "Two", "Three", "Four", "Five", "Six"}, True)


def test_modules_loaded_from_an_unknown_folder_are_possible(tmp_path: Path) -> None:
    write_pack(
        tmp_path,
        __init__="""
        import glob, importlib
        NODE_CLASS_MAPPINGS = {}
        for file in glob.glob('py/*.py'):
            module = importlib.import_module('.py.' + file[:-3], __name__)
            NODE_CLASS_MAPPINGS.update(module.NODE_CLASS_MAPPINGS)
        """,
        py__in__a="class X: pass\nNODE_CLASS_MAPPINGS = {'X': X}",
        py__in__b="NODE_CLASS_MAPPINGS = {'Y': None}",
        py__in__plain="nothing = 1",
    )
    definitions = read_definitions(tmp_path)
    assert (definitions.classes, definitions.complete) == (set(), False)
    assert definitions.possible_classes == {"X", "Y"}


LISTINGS = [
    "[n[:-3] for n in os.listdir(HERE + '/py') if n.endswith(('.py', '.pyw')) and not n.startswith('_')]",
    "[os.path.splitext(os.path.basename(f))[0] for f in glob.glob(os.path.join(HERE, 'py', '[a-z]*.py'))]",
    "[p.stem for p in (Path(__file__).parent / 'py').glob('*.py') if p.name != '__init__.py']",
    "[p.stem for p in Path(HERE).joinpath('py').iterdir() if p.is_file() and p.stem[:2] != '__']",
    "[e.name.rsplit('.', 1)[0] for e in os.scandir(f'{Path(HERE)}/py') if e.is_file() and '__' not in e.name]",
    "[os.path.basename(f)[:-3] for f in glob.glob(HERE + '/py/**/*.py', recursive=True) if '__' not in f]",
    "[p.stem for p in (Path(HERE) / 'py').rglob('*.py') if not p.stem.startswith('__')]",
    "[i.name for i in pkgutil.iter_modules([os.path.join(HERE, 'py')])]",
    "[n for _, n, is_package in pkgutil.iter_modules(py.__path__) if not is_package]",
    "[f.partition('.')[0] for r, d, files in os.walk(os.path.join(HERE, 'py')) for f in files if f[0:1] != '_']",
]


@pytest.mark.parametrize("listing", LISTINGS)
def test_modules_of_a_listed_folder_are_followed(tmp_path: Path, listing: str) -> None:
    write_pack(
        tmp_path,
        __init__=f"""
        import glob, importlib, os, pkgutil
        from pathlib import Path
        from . import py
        HERE = os.path.dirname(os.path.realpath(__file__))
        NODE_CLASS_MAPPINGS = {{}}
        for name in {listing}:
            module = importlib.import_module('.py.' + name, __name__)
            NODE_CLASS_MAPPINGS.update(module.NODE_CLASS_MAPPINGS)
        """,
        py__in__a="class X: pass\nNODE_CLASS_MAPPINGS = {'X': X}",
        py__in__b="NODE_CLASS_MAPPINGS = {'Y': None}",
        py__in____init__="",
    )
    # Links may lead in circles.
    (tmp_path / "py" / "data").mkdir()
    (tmp_path / "py" / "data" / "up").symlink_to(tmp_path)
    (tmp_path / "py" / "data" / "here").symlink_to(tmp_path / "py" / "data")
    definitions = read_definitions(tmp_path)
    assert (definitions.classes, definitions.complete) == ({"X", "Y"}, True)


def test_v3_nodes_are_read_from_their_schemas(tmp_path: Path) -> None:
    definitions = read_one_file(
        tmp_path,
        """
        import folder_paths
        from comfy_api.latest import ComfyExtension, io
        class Base(io.ComfyNode):
            @classmethod
            def define_schema(cls):
                return io.Schema(node_id="Load It", inputs=[
                    io.Model.Input("model"),
                    io.Int.Input("seed", default=0),
                    io.Combo.Input("later", options=["a"], optional=True),
                    io.Combo.Input("lora", options=["None"] + folder_paths.get_filename_list("loras")),
                    io.Custom("THING").Input("thing"),
                    io.Combo.Input("unet", options=folder_paths.get_filename_list("unet")),
                ])
        class Second(Base): pass
        class Extension(ComfyExtension):
            async def get_node_list(self) -> list:
                nodes = [Base]
                return nodes
        async def comfy_entrypoint():
            return Extension()
        """,
    )
    assert (definitions.classes, definitions.complete) == ({"Load It"}, True)
    lora, unet = definitions.loader_inputs
    assert (lora.class_type, lora.name, lora.folder, lora.widget_index) == ("Load It", "lora", "loras", 2)
    assert "None" in lora.not_files
    assert (unet.name, unet.folder, unet.widget_index) == ("unet", "diffusion_models", 3)


def test_later_changes_of_a_schema_count(tmp_path: Path) -> None:
    definitions = read_one_file(
        tmp_path,
        """
        import folder_paths
        from comfy_api.latest import io
        class Base(io.ComfyNode):
            @classmethod
            def define_schema(cls):
                return io.Schema(node_id="Base", inputs=[])
        class Child(Base):
            @classmethod
            def define_schema(cls):
                schema = super().define_schema()
                schema.node_id = "Child of " + schema.node_id
                schema.display_name = "x"
                schema.inputs.append(io.Combo.Input("vae", options=folder_paths.get_filename_list("vae")))
                return schema
        class Extension:
            async def get_node_list(self):
                return [Base, Child]
        def comfy_entrypoint():
            return Extension()
        """,
    )
    assert (definitions.classes, definitions.complete) == ({"Base", "Child of Base"}, True)
    assert [(i.class_type, i.name) for i in definitions.loader_inputs] == [("Child of Base", "vae")]


def test_attribute_that_is_set_on_a_class_counts(tmp_path: Path) -> None:
    source = "class A: pass\nA.KIND = 'vae'\nNODE_CLASS_MAPPINGS = {A.KIND: A}"
    assert read_one_file(tmp_path, source).classes == {"vae"}


def test_duplicate_node_id_makes_the_list_incomplete(tmp_path: Path) -> None:
    definitions = read_one_file(
        tmp_path,
        """
        from comfy_api.latest import io
        class Base:
            def define_schema():
                return io.Schema(node_id="Base")
        class Child(Base): pass
        class Extension:
            async def get_node_list(self):
                return [Base, Child]
        def comfy_entrypoint():
            return Extension()
        """,
    )
    assert (definitions.classes, definitions.complete) == ({"Base"}, False)


@pytest.mark.parametrize(
    "listing",
    [
        "[]\n                return [*nodes, *unknown()]",
        "undefined()\n                return nodes",
        "[lambda: 1]\n                return nodes",
    ],
)
def test_v3_list_that_cannot_be_followed_is_incomplete(listing: str, tmp_path: Path) -> None:
    definitions = read_one_file(
        tmp_path,
        f"""
        class Extension:
            async def get_node_list(self):
                nodes = {listing}
        def comfy_entrypoint():
            return Extension()
        """,
    )
    assert (definitions.classes, definitions.complete) == (set(), False)


def test_model_inputs_are_found_wherever_the_listing_stands(tmp_path: Path) -> None:
    definitions = read_one_file(
        tmp_path,
        """
        import folder_paths
        from folder_paths import get_filename_list as names_of
        LORAS = ["None"] + sorted(folder_paths.get_filename_list("loras"))
        def choices(kind, extra=()):
            files = folder_paths.get_filename_list(kind)
            return list(extra) + [x for x in files if x.endswith(".safetensors")]
        class Base:
            KIND = "vae"
            @classmethod
            def INPUT_TYPES(cls):
                return {"required": {"image": ("IMAGE",), "first": (LORAS, {"tooltip": "x"})}}
        class Child(Base):
            @classmethod
            def INPUT_TYPES(cls):
                types = super().INPUT_TYPES()
                types["required"]["second"] = (choices("checkpoints", ["auto"]),)
                types["optional"] = {"third": (names_of(cls.KIND),)}
                types["optional"].update(both=(names_of("clip") + names_of("clip_gguf"),))
                return types
        class New:
            def INPUT_TYPES():
                return {"required": {"n": ("COMBO", {"options": folder_paths.get_filename_list("style_models")})}}
        NODE_CLASS_MAPPINGS = {"Child": Child, "New": New}
        """,
    )
    inputs = {(i.class_type, i.name): (i.folder, i.also_folders, i.widget_index) for i in definitions.loader_inputs}
    assert inputs == {
        ("Child", "first"): ("loras", (), 0),
        ("Child", "second"): ("checkpoints", (), 1),
        ("Child", "third"): ("vae", (), 2),
        ("Child", "both"): ("clip_gguf", ("text_encoders",), 3),
        ("New", "n"): ("style_models", (), 0),
    }
    assert "auto" in next(i for i in definitions.loader_inputs if i.name == "second").not_files
    assert {i.evidence for i in definitions.loader_inputs} == {"source of pack"}


@pytest.mark.parametrize(
    ("before", "place"),
    [
        ('"m": ("MODEL",), "c": ("CLIP", {"default": 1})', 0),
        ('"n": ("INT", {"default": 1}), "f": ("FLOAT",), "s": ("STRING",), "b": ("BOOLEAN",), "l": (["a", "b"],)', 5),
        ('"seed": ("INT", {"min": 0})', 2),
        ('"seed": ("INT", {"control_after_generate": False})', 1),
        ('"steps": ("INT", {"control_after_generate": True})', 2),
        ('"n": ("INT", {"forceInput": True})', 0),
        ('"image": (["a.png"], {"image_upload": True})', 2),
        ('"n": ("INT", unknown())', None),
        ('"n": unknown()', None),
        ('"n": ("COMFY_DYNAMICCOMBO_V3", {})', None),
        ('"n": (["a"], {"control_after_generate": True})', None),
        ("**unknown()", None),
    ],
)
def test_widget_index_counts_the_values_before_it(before: str, place: int | None, tmp_path: Path) -> None:
    definitions = read_one_file(
        tmp_path,
        f"""
        import folder_paths
        class N:
            @classmethod
            def INPUT_TYPES(s):
                return {{"required": {{{before}}}, "optional": {{"x": (folder_paths.get_filename_list("loras"),)}}}}
        NODE_CLASS_MAPPINGS = {{"N": N}}
        """,
    )
    assert [(i.name, i.widget_index) for i in definitions.loader_inputs] == [("x", place)]


def test_pack_is_never_executed(tmp_path: Path) -> None:
    mark = tmp_path / "PWN"
    definitions = read_one_file(
        tmp_path,
        f"""
        import os, pathlib
        open({str(mark)!r}, 'w').close()
        pathlib.Path({str(mark)!r}).touch()
        os.system("touch {mark}")
        exec("open({str(mark)!r}, 'w')")
        class Meta(type):
            def __getattr__(cls, name): os.system("touch {mark}")
        class N(metaclass=Meta):
            NAME = eval("os.system('touch {mark}')")
            @classmethod
            def INPUT_TYPES(s): return __import__('os').system("touch {mark}")
        NODE_CLASS_MAPPINGS = {{N.NAME: N, "A": A, **__import__("os").environ}}
        """,
    )
    assert not mark.exists()
    assert definitions.classes == {"A"}
    assert not definitions.complete


EVIL = {
    "broken syntax": b"def (:\n",
    "NUL bytes": b"NODE_CLASS_MAPPINGS = {}\x00",
    "deep nesting": b"NODE_CLASS_MAPPINGS = " + b"[" * 5000 + b"]" * 5000,
    "a deep sum": b"NODE_CLASS_MAPPINGS = " + b"+".join([b"{}"] * 20000),
    "ten megabytes": b"#" * (10 << 20),
    "no text": bytes(range(256)) * 8,
}


@pytest.mark.parametrize("evil", EVIL, ids=EVIL)
def test_unreadable_pack_reports_a_problem(evil: str, tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_bytes(EVIL[evil])
    definitions = read_definitions(tmp_path)
    assert definitions.classes == set()
    assert not definitions.complete


LOOPING = {
    "recursion": "def f(x):\n    return f(x) or f(x)\nNODE_CLASS_MAPPINGS = {'A': A, **f(1)}",
    "mutual recursion": "def f():\n    return g()\ndef g():\n    return f()\nX = f()\n"
    "NODE_CLASS_MAPPINGS = {'A': A, **X}",
    "a class that is its own base": "class Z(Z): pass\nclass Y(Z): pass\nZ = Y\n"
    "NODE_CLASS_MAPPINGS = {'A': A, Y.NAME: Y}",
    "a list that doubles": "l = [1]\nfor i in range(1000):\n    l += l\n"
    "NODE_CLASS_MAPPINGS = {'A': A, **{x: A for x in l}}",
    "endless": "NODE_CLASS_MAPPINGS = {'A': A}\nwhile True:\n    NODE_CLASS_MAPPINGS[input()] = A",
    "many rounds": "NODE_CLASS_MAPPINGS = {'A': A}\nr = range(1000)\nfor a in r:\n  for b in r:\n    for c in r:\n"
    "      NODE_CLASS_MAPPINGS['x'] = [a, b, c]",
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("loop", LOOPING, ids=LOOPING)
@pytest.mark.slow
def test_endless_source_is_abandoned(loop: str, tmp_path: Path) -> None:
    definitions = read_one_file(tmp_path, LOOPING[loop])
    assert "A" in definitions.classes or definitions.problems
    assert not definitions.complete


def test_import_cycles_and_link_cycles_end(tmp_path: Path) -> None:
    write_pack(
        tmp_path,
        __init__="from .a import *\nfrom .loop.a import M\nNODE_CLASS_MAPPINGS = {**M, 'X': None}",
        a="from .b import *\nfrom . import *\nM = {'FromA': None}",
        b="from .a import *\nfrom .a import M",
    )
    os.symlink(tmp_path, tmp_path / "loop")
    definitions = read_pack_definitions(tmp_path, ["__init__.py", "a.py", "b.py"], label="p")
    assert definitions.classes == {"FromA", "X"}


def test_relative_import_cannot_leave_the_pack(tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text("NODE_CLASS_MAPPINGS = {'Outside': 1}", "utf-8")
    pack = write_pack(tmp_path / "pack", __init__="from ..secret import NODE_CLASS_MAPPINGS")
    definitions = read_definitions(pack)
    assert (definitions.classes, definitions.complete) == (set(), False)


def test_unreadable_module_does_not_affect_the_others(tmp_path: Path) -> None:
    write_pack(
        tmp_path,
        __init__="from .good import NODE_CLASS_MAPPINGS as G\nfrom .bad import NODE_CLASS_MAPPINGS as B\n"
        "NODE_CLASS_MAPPINGS = {**G, **B}",
        good="NODE_CLASS_MAPPINGS = {'Good': None}",
        bad="def (",
    )
    definitions = read_definitions(tmp_path)
    assert (definitions.classes, definitions.complete) == ({"Good"}, False)
    assert "bad.py" in definitions.problems[0]


def test_pack_of_one_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "single.py"
    path.write_text("NODE_CLASS_MAPPINGS = {'One': None}", "utf-8")
    assert read_pack_definitions(path, ["single.py"], label="single").classes == {"One"}


def test_core_is_read_from_all_its_node_files(tmp_path: Path) -> None:
    write_pack(
        tmp_path,
        nodes="""
        import folder_paths
        class Loader:
            @classmethod
            def INPUT_TYPES(s):
                return {"required": {"ckpt_name": (folder_paths.get_filename_list("checkpoints"), )}}
        NODE_CLASS_MAPPINGS = {"Loader": Loader}
        """,
        comfy_extras__in__nodes_x="import nodes\nclass M(nodes.Loader): pass\nNODE_CLASS_MAPPINGS = {'Extra': M}",
        comfy_extras__in__other="NODE_CLASS_MAPPINGS = {'NotLoaded': None}",
        comfy_api_nodes__in__nodes_y="NODE_CLASS_MAPPINGS = {'Api': None}",
    )
    definitions = read_core_definitions(tmp_path)
    assert (definitions.classes, definitions.complete) == ({"Loader", "Extra", "Api"}, True)
    assert {(i.class_type, i.folder) for i in definitions.loader_inputs} == {
        ("Loader", "checkpoints"),
        ("Extra", "checkpoints"),
    }


def test_missing_core_is_incomplete(tmp_path: Path) -> None:
    assert list_core_files(tmp_path) == []
    assert not read_core_definitions(tmp_path).complete


@pytest.mark.parametrize("source", ["", "raise SystemExit"])
def test_core_without_classes_in_nodes_is_incomplete(tmp_path: Path, source: str) -> None:
    (tmp_path / "comfy_extras").mkdir()
    (tmp_path / "comfy_extras" / "nodes_x.py").write_text("NODE_CLASS_MAPPINGS = {'Extra': None}", "utf-8")
    (tmp_path / "nodes.py").write_text(source, "utf-8")
    definitions = read_core_definitions(tmp_path)
    assert (definitions.classes, definitions.complete) == ({"Extra"}, False)


def test_garbage_collector_setting_is_restored(tmp_path: Path) -> None:
    read_one_file(tmp_path, "NODE_CLASS_MAPPINGS = {}")
    assert gc.isenabled()


def test_class_that_is_not_understood_has_no_signature(tmp_path: Path) -> None:
    definitions = read_one_file(tmp_path, "def N(): pass\nNODE_CLASS_MAPPINGS = {'N': N, 'A': A}")
    assert definitions.signatures.keys() == {"A"}


def test_later_mapping_of_a_name_gives_the_signature(tmp_path: Path) -> None:
    text = "class D:\n    OUTPUT_NODE = True\nNODE_CLASS_MAPPINGS = {'N': A}\nNODE_CLASS_MAPPINGS['N'] = D"
    assert read_one_file(tmp_path, text).signatures["N"].is_output


def test_core_signatures_follow_imports_of_comfy(tmp_path: Path) -> None:
    node = """
    import comfy.samplers
    class K:
        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"sampler_name": (comfy.samplers.KSampler.SAMPLERS,)}}
    NODE_CLASS_MAPPINGS = {"K": K}
    """
    samplers = "NAMES = ['euler'] + ['dpm']\nclass KSampler:\n    SAMPLERS = NAMES\n"
    write_pack(tmp_path, nodes=node, comfy__in__samplers=samplers, comfy__in____init__="")
    signature = read_core_definitions(tmp_path).signatures["K"]
    assert signature.inputs[0].choices == ("euler", "dpm")
    assert (signature.is_core, signature.has_plain_types, signature.may_offer_more) == (True, True, False)
