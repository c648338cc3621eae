"""Damage workflow files in ways that real files get damaged and in ways that nobody means well.

`mutated(content, rng)` gives one damaged copy; the same `random.Random` state gives the same copy.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator

Edit = Callable[["Place", random.Random], None]

_CLASSES = [
    "CheckpointLoaderSimple",
    "VAELoader",
    "Reroute",
    "GetNode",
    "PrimitiveNode",
    "workflow>g",
    "Note",
    "",
    "NoSuch",
]


class Place:
    """One position in a JSON tree: a container and the key or index in it."""

    def __init__(self, container: dict[str, object] | list[object], key: str | int) -> None:
        self.container = container
        self.key = key

    @property
    def value(self) -> object:
        return self.container[self.key]  # type: ignore[index]

    @value.setter
    def value(self, new: object) -> None:
        self.container[self.key] = new  # type: ignore[index]

    def remove(self) -> None:
        del self.container[self.key]  # type: ignore[arg-type]


def repeatable(seed: int) -> random.Random:
    """Give a source of chance that a seed repeats."""
    return random.Random(seed)  # noqa: S311 - not for secrets


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Give a damaged copy: one to four edits of the JSON tree, sometimes edits of the bytes after that."""
    if rng.random() < 0.7:
        content = _edited_tree(content, rng)
    if rng.random() < 0.35:
        content = _edited_bytes(content, rng)
    return content


def _edited_tree(content: bytes, rng: random.Random) -> bytes:
    root: list[object] = [json.loads(content)]
    for _ in range(rng.randint(1, 4)):
        rng.choice(_EDITS)(rng.choice(list(_places(root))), rng)
        root = root or [{}]
    return json.dumps(root[0]).encode()


def _places(root: list[object]) -> Iterator[Place]:
    pending: list[tuple[dict[str, object] | list[object], int]] = [(root, 0)]
    while pending:
        container, depth = pending.pop()
        keys: list[str | int] = list(container) if isinstance(container, dict) else list(range(len(container)))
        for key in keys:
            place = Place(container, key)
            yield place
            child = place.value
            if isinstance(child, (dict, list)) and depth < 12:
                pending.append((child, depth + 1))


def garbage(rng: random.Random) -> object:
    """Give a value of a type or size that nobody expects."""
    nested: object = "x.safetensors"
    for _ in range(rng.choice([1, 3, 60, 300])):
        nested = [nested] if rng.random() < 0.5 else {"lora": nested}
    plain: list[object] = [None, True, False, 0, -1, -10, -20, 2, 4, 1e308, -0.0, float("nan"), float("inf"), 10**25]
    texts: list[object] = ["", "None", "-10", "\ud800", "a\x00b", "embedding:x", "<lora:a:1>", "x" * 5000, "taesd"]
    trees: list[object] = [[], {}, [[]], [None], {"name": 5}, {"": {}}, ["1", 0], {"on": 1, "lora": []}, nested]
    return rng.choice([*plain, *texts, *trees, rng.randint(-20, 200)])


def _replace(place: Place, rng: random.Random) -> None:
    place.value = garbage(rng)


def _remove(place: Place, _rng: random.Random) -> None:
    place.remove()


def _wrap(place: Place, rng: random.Random) -> None:
    place.value = [place.value] if rng.random() < 0.5 else {"value": place.value}


def _double(place: Place, _rng: random.Random) -> None:
    if isinstance(place.container, list) and isinstance(place.key, int):
        place.container.insert(place.key, place.value)


def _rename(place: Place, rng: random.Random) -> None:
    if isinstance(place.container, dict):
        key = rng.choice(["id", "type", "inputs", "links", "nodes", "definitions", "extra", "widgets_values", "\udfff"])
        place.container[key] = place.value


def _shuffle(place: Place, rng: random.Random) -> None:
    if isinstance(place.value, list):
        rng.shuffle(place.value)
    elif isinstance(place.value, dict):
        values = list(place.value.values())
        rng.shuffle(values)
        place.value = dict(zip(place.value, values, strict=True))


def _retype(place: Place, rng: random.Random) -> None:
    if isinstance(place.value, dict):
        place.value["type"] = rng.choice(_CLASSES)
        place.value["mode"] = rng.choice([0, 2, 4, "4", None])


def _shorten(place: Place, rng: random.Random) -> None:
    if isinstance(place.value, list):
        del place.value[rng.randint(0, len(place.value)) :]


_EDITS: list[Edit] = [_replace, _replace, _replace, _remove, _wrap, _double, _rename, _shuffle, _retype, _shorten]


def _edited_bytes(content: bytes, rng: random.Random) -> bytes:
    raw = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        at = rng.randint(0, max(len(raw) - 1, 0))
        kind = rng.randrange(5)
        if kind == 0 and raw:
            raw[at] = rng.randrange(256)
        elif kind == 1:
            del raw[at : at + rng.randint(1, 40)]
        elif kind == 2:
            raw[at:at] = rng.choice(
                [b"NaN", b"-Infinity", b"\\ud800", b"\xff\xfe", b"[" * 2000, b"9" * 5000, b'"', b"{}"]
            )
        elif kind == 3:
            del raw[at:]
        else:
            raw[at:at] = raw[max(at - 30, 0) : at]
    if rng.random() < 0.1:
        return bytes(raw).decode("utf-8", "replace").encode(rng.choice(["utf-16", "utf-8-sig", "utf-32-le"]))
    return bytes(raw)
