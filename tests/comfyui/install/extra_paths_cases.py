"""Contents of extra_model_paths.yaml; tests beside a real ComfyUI compare its loader with them."""

from __future__ import annotations

from typing import Final

REFUSED: Final[dict[str, tuple[bytes, int | None]]] = {
    "empty": (b"", 1),
    "only comments": (b"# comfyui:\n#    base_path: /m\n", 1),
    "no value": (b"x:\n  base_path: /m\n  vae:\n", 3),
    "only a comment as value": (b"x:\n  vae: # models/vae\n", 2),
    "list": (b"x:\n  base_path: /m\n  loras:\n    - one\n    - two\n", 3),
    "flow list": (b"x:\n  vae: [a, b]\n", 2),
    "mapping as value": (b"x:\n  vae:\n    one: /a\n", 2),
    "number": (b"x:\n  vae: 5\n", 2),
    "yes": (b"x:\n  vae: yes\n", 2),
    "numeric base_path": (b"x:\n  base_path: 3\n  vae: v\n", 2),
    "empty base_path": (b"x:\n  base_path:\n  vae: v\n", 2),
    "tilde alone as base_path": (b"x:\n  base_path: ~\n  vae: v\n", 2),
    "list as base_path": (b"x:\n  base_path: [/a, /b]\n", 2),
    "Windows path in double quotes": (b'x:\n  base_path: "C:\\Users\\ann"\n  vae: v\n', 2),
    "tab after a colon": (b"x:\n  vae:\t/v\n", 2),
    "tab as indentation": (b"x:\n\tvae: /v\n", 2),
    "colon in a value": (b"x:\n  vae: models: vae\n", 2),
    "unclosed quote": (b"x:\n  vae: 'models/vae\n", 3),
    "wrong indentation": (b"x:\n    base_path: /m\n  vae: v\n", 3),
    "second document": (b"x:\n  vae: v\n---\ny:\n  vae: w\n", 3),
    "section of text": (b"x: /models\n", 1),
    "section of numbers": (b"a:\n  vae: v\nx: 3\n", 3),
    "section of a list": (b"x:\n  - vae: v\n", 1),
    "list of sections": (b"- x:\n    vae: v\n", 1),
    "list of numbers": (b"- 0\n", 1),
    "text": (b"just text", 1),
    "number alone": (b"3", 1),
    "no": (b"no\n", 1),
    "unknown alias": (b"x:\n  vae: *shared\n", 2),
    "undefined tag": (b"x: !!python/object/apply:os.system ['touch PWN']\n", 1),
    "impossible date": (b"x:\n  vae: 2020-13-45\n", None),
    "unclosed brackets": (b"x: {a: [\n", 2),
    "key of several values": (b"? [a, b]\n: {vae: v}\n", 1),
    "nested deeply": (b"[" * 3000, None),
    "not UTF-8": (b"x:\n  base_path: /m\n  vae: Mod\xe8les\n", 3),
    "UTF-16": ("x:\n  vae: v\n".encode("utf-16"), 1),
    "control character": (b"x:\n  vae: a\x07b\n", 2),
    "NUL": (b"\x00", 1),
    "section with a name that is no text": (b"yes:\n  vae: 5\n", None),
    "alias of a section without its base_path": (b"x: &x\n  base_path: 7\n  vae: v\ny: *x\n", 2),
}
"""Files on which ComfyUI's loader raises, and the line that is to be repaired."""

ACCEPTED: Final[dict[str, tuple[bytes, list[tuple[str, str, bool]]]]] = {
    "section without settings": (b"a111:\nx:\n  vae: /v\n", [("vae", "/v", False)]),
    "section of empty text": (b"a: ''\nb: []\nc: {}\nd: !!set {}\nx:\n  vae: /v\n", [("vae", "/v", False)]),
    "empty text alone": (b"''\n", []),
    "empty list alone": (b"[]\n", []),
    "empty value": (b"x:\n  base_path: /m\n  vae: ''\n", []),
    "unknown directive": (b"%SHARED x\n---\nx:\n  vae: /v\n", [("vae", "/v", False)]),
    "byte order mark": (b"\xef\xbb\xbfx:\n  vae: /v\n", [("vae", "/v", False)]),
    "Windows line ends": (
        b"x:\r\n  base_path: /m\r\n  vae: |\r\n    a\r\n    b\r\n",
        [("vae", "/m/a", False), ("vae", "/m/b", False)],
    ),
    "false as text": (b"x:\n  is_default: 'false'\n  vae: /v\n", [("vae", "/v", True)]),
    "is_default without value": (b"x:\n  is_default:\n  vae: /v\n", [("vae", "/v", False)]),
    "section twice": (b"x:\n  vae: /v\nx:\n  loras: /l\n", [("loras", "/l", False)]),
    "folder twice": (b"x:\n  vae: /v\n  vae: /w\n", [("vae", "/w", False)]),
    "Windows path without quotes": (b"x:\n  base_path: /m\n  vae: C:\\vae\n", [("vae", "/m/C:\\vae", False)]),
    "alias of a section": (
        b"x: &x\n  base_path: /m\n  is_default: true\n  vae: /v\ny: *x\n",
        [("vae", "/v", True), ("vae", "/v", False)],
    ),
}
"""Files that ComfyUI's loader accepts, and the folders that it adds."""
