"""One small file of each kind: with a workflow, without one, damaged, and made to exhaust its reader."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.comfyui.workflow.embedded import builders as b

WORKFLOW = b'{"nodes": [{"id": 1, "title": "\xc3\xa9\xf0\x9f\x98\x80"}], "version": 0.4}'
PROMPT = b'{"1": {"class_type": "VAELoader", "inputs": {"vae_name": "a.safetensors"}}}'
BOTH = {"prompt": PROMPT, "workflow": WORKFLOW}
LABELLED = [b"workflow:" + WORKFLOW, b"prompt:" + PROMPT]
AS_OBJECT = json.dumps({"prompt": json.loads(PROMPT), "workflow": WORKFLOW.decode()}).encode()
TAGS_WITH_OTHERS = {"title": b"A cat", **BOTH, "ENCODER": b"Lavf61"}
FOREIGN_TAGS = b.element(0x1254C367, b.element(0xEC, b"") + b.element(0x7373, b.element(0x67C8, b"")))
INDEX_OF_CUES = b.seek_head(9).replace(bytes.fromhex("1254c367"), bytes.fromhex("1c53bb6b"))
ITEM_2 = b"\0\2\0\0\0\0\0\0\0\0\0\1"

SAMPLES: dict[str, tuple[str, bytes]] = {
    "png text": ("png", b.png(*(b.text_chunk(k, v) for k, v in BOTH.items()))),
    "png packed": ("png", b.png(*(b.packed_chunk(k, v) for k, v in BOTH.items()))),
    "png international": ("png", b.png(*(b.international_chunk(k, v, packed=False) for k, v in BOTH.items()))),
    "png international packed": ("png", b.png(*(b.international_chunk(k, v, packed=True) for k, v in BOTH.items()))),
    "png animated": (
        "png",
        b.png(after_pixels=b"".join(b.text_chunk(k, v, b"comf") for k, v in BOTH.items()), pixel_chunks=3),
    ),
    "webp": ("webp", b.webp(b.exif(LABELLED))),
    "webp with prefix": ("webp", b.webp(b"Exif\0\0" + b.exif(LABELLED))),
    "webp big-endian": ("webp", b.webp(b.exif(LABELLED, order=">"))),
    "webp of other savers": ("webp", b.webp(b.exif([b"Workflow:" + WORKFLOW, b"Prompt:" + PROMPT]))),
    "jpeg": ("jpeg", b.jpeg(b.exif(LABELLED))),
    "jpeg user comment": ("jpeg", b.jpeg(b.exif([], comment=b"ASCII\0\0\0" + AS_OBJECT))),
    "jpeg comment": ("jpeg", b.jpeg(None, comment=AS_OBJECT)),
    "avif": ("avif", b.avif(b.exif(LABELLED))),
    "avif in idat": ("avif", b.avif(b.exif(LABELLED, order=">"), in_idat=True)),
    "mp4": ("mp4", b.mp4(b.ilst(TAGS_WITH_OTHERS))),
    "mp4 with media first": ("mp4", b.mp4(b.ilst(BOTH), media_first=True)),
    "mp4 that ends with an open box": (
        "mp4",
        b.box(b"ftyp", b"mp42") + b"\0\0\0\0moov" + b.box(b"meta", b.HDLR + b.ilst(BOTH)),
    ),
    "mp4 comment": ("mp4", b.mp4(b.ilst({"comment": AS_OBJECT}))),
    "mp4 iTunes comment": (
        "mp4",
        b.mp4(b.box(b"ilst", b.box(b"\xa9cmt", b.box(b"data", b"\0\0\0\1\0\0\0\0" + AS_OBJECT)))),
    ),
    "mov": ("mov", b.mov(BOTH)),
    "webm": ("webm", b.webm(b.webm_tags(TAGS_WITH_OTHERS), b.CLUSTER)),
    "webm tags last": ("webm", b.webm(b.CLUSTER, b.CLUSTER, b.webm_tags({k.upper(): v for k, v in BOTH.items()}))),
    "webm indexed": (
        "webm",
        b.webm(
            b.seek_head(len(b.seek_head(0)) + len(b.CLUSTER)),
            b.CLUSTER,
            b.webm_tags({"COMMENT": AS_OBJECT}),
            live=True,
        ),
    ),
    "flac": ("flac", b.flac(TAGS_WITH_OTHERS)),
    "opus": ("ogg", b.ogg(TAGS_WITH_OTHERS)),
    "ogg over many pages": ("ogg", b.ogg({"art": b"x" * 120_000, **BOTH}, b"\1vorbis", b"\3vorbis")),
    "flac in ogg": ("ogg", b.ogg(BOTH, b"\x7fFLAC\1\0", b"\4\0\0\0")),
    "mp3": ("mp3", b.mp3(*(b.text_frame(k, v.decode()) for k, v in BOTH.items()))),
    "mp3 v2.3 utf-16": (
        "mp3",
        b.mp3(*(b.text_frame(k, v.decode(), version=3, encoding=1) for k, v in BOTH.items()), version=3),
    ),
    "mp3 utf-16 without mark": (
        "mp3",
        b.mp3(b.frame(b"TIT2", b"\3A cat"), *(b.text_frame(k, v.decode(), encoding=2) for k, v in BOTH.items())),
    ),
    "svg": ("svg", b.svg(AS_OBJECT)),
    "glb": ("glb", b.glb({"asset": {"extras": {"prompt": json.loads(PROMPT), "workflow": WORKFLOW.decode()}}})),
    "latent": ("latent", b.safetensors({k: v.decode() for k, v in BOTH.items()})),
}

PLAIN: dict[str, bytes] = {
    "png": b.png(),
    "png of another program": b.png(b.text_chunk("parameters", b"a cat\nSteps: 20"), b.text_chunk("Comment", b"{}")),
    "png with an empty workflow": b.png(b.text_chunk("workflow", b"null")),
    "webp": b.webp(None),
    "webp with a camera's exif": b.webp(b.exif([b"Canon", b"A cat"], comment=b"UNICODE\0n\0o\0")),
    "jpeg": b.jpeg(None),
    "jpeg with nothing but an end": b"\xff\xd8\xff\xd9",
    "avif": b.avif(None),
    "avif without items": b.box(b"ftyp", b"avif\0\0\0\0") + b.box(b"meta", bytes(4) + b.HDLR),
    "mp4": b.mp4(None),
    "mp4 without tags": b.mp4(b""),
    "mp4 with a tag that has no value": b.mp4(b.box(b"ilst", b.box(b"\xa9cmt", b""))),
    "old quicktime": b.box(b"mdat", b"frames") + b.box(b"moov", b""),
    "webm": b.webm(b.CLUSTER),
    "webm with foreign tags": b.webm(FOREIGN_TAGS, b.CLUSTER),
    "webm with something endless among its tags": b.webm(b.element(0x1254C367, b.element(0xEC, b"", width=0))),
    "webm with a tag that has no text": b.webm(b.webm_tags({"workflow": b""}).replace(b"\x44\x87", b"\x44\x7a")),
    "live webm": b.webm(INDEX_OF_CUES, b.element(0x1F43B675, b"x", width=0), live=True),
    "flac": b.flac({"title": b"A cat"}),
    "ogg": b.ogg({"title": b"A cat"}),
    "ogg of another codec": b.ogg({}, b"Speex   ", b""),
    "mp3": b.mp3(b.frame(b"TIT2", b"\3A cat"), b.text_frame("comment", "no JSON"), b.frame(b"TXXX", b"\x09?")),
    "mp3 without a tag": b"\xff\xfb\x90\0" + bytes(32),
    "old mp3 tag": b.mp3(version=2),
    "mp3 without an end of the name": b.mp3(b.frame(b"TXXX", b"\2\0w\0")),
    "svg": b"\xef\xbb\xbf<svg><metadata><rdf/></metadata></svg>",
    "svg with foreign metadata": b.svg(b"{not JSON"),
    "svg without": b"<svg/>",
    "glb": b.glb({"asset": {"version": "2.0"}}),
    "glb without asset": b.glb({}),
    "latent": b.safetensors(None),
    "glb with a number for a workflow": b.glb({"asset": {"extras": {"workflow": 5}}}),
    "jpeg with an unfinished label": b.jpeg(None, comment=b"workflow"),
    "svg with deep metadata": b.svg(b'{"a":' + b"[" * 100_000),
    "svg with another section first": b"<svg><metadata><rdf/></metadata><metadata><![CDATA[x]]></metadata></svg>",
    "gif": b"GIF89a",
    "wav": b"RIFF\0\0\0\0WAVE",
}  # fmt: skip

BROKEN: dict[str, bytes] = {
    "an empty file": b"",
    "a web page": b"<!DOCTYPE html><html></html>",
    "a lone byte": b"\xff",
    "a png cut off in its pixels": b.png()[:50],
    "a png cut off in its workflow": b.png(b.text_chunk("workflow", WORKFLOW))[:60],
    "a png with a damaged packed text": b.png(b.text_chunk("workflow", b"\0damaged", b"zTXt")),
    "a png with a cut packed text": b.png(b.text_chunk("workflow", b.packed_chunk("", WORKFLOW)[9:-9], b"zTXt")),
    "a png with a short international text": b.png(b.text_chunk("workflow", b"\0\0en", b"iTXt")),
    "a webp cut off": b.webp(None)[:-3],
    "a webp cut off behind a chunk": b.webp(None)[:30],
    "a webp with a strange exif": b.webp(b"strange"),
    "a webp with an exif that points outside": b.webp(b.exif(LABELLED)[:-9]),
    "a webp with half an exif": b.webp(b.exif(LABELLED)[:12]),
    "a jpeg without segments": b"\xff\xd8\xff\xe0\0\4\0\0\0\0\0\0",
    "a jpeg segment without a length": b"\xff\xd8\xff\xe0\0\0",
    "an mp4 without moov": b.mp4(None)[:28],
    "an mp4 with a broken key table": b.mp4(b.ilst(BOTH).replace(b"\0\0\0\x0emdta", b"\0\0\0\1mdta")),
    "an avif without meta": b.avif(None)[:28],
    "an avif whose item has no place": b.avif(b.exif(LABELLED)).replace(ITEM_2, b"\0\7" + ITEM_2[2:]),
    "an avif with impossible widths": b.avif(b.exif(LABELLED)).replace(b"\1\0\0\0\x44\x40", b"\1\0\0\0\x74\x40"),
    "an avif with a cut item table": b.avif(b.exif(LABELLED)).replace(b"\x44\x40\0\2", b"\x44\x80\0\2"),
    "an avif from elsewhere": b.avif(b.exif(LABELLED), in_idat=True).replace(b"\0\2\0\1\0\0", b"\0\2\0\2\0\0"),
    "a webm without a segment": b.webm()[:12],
    "a webm with a broken number": b.webm(b"\0\0\0"),
    "a webm whose index is wrong": b.webm(b.seek_head(0), b.CLUSTER),
    "a webm with tags of no length": b.webm(b.element(0x1254C367, b"", width=0)),
    "a flac without a last block": b.flac({})[:-12],
    "a flac whose comments end early": b"fLaC\x84\0\0\x08" + b"\0\0\0\0\1\0\0\0",
    "a flac with a long comment": b"fLaC\x84\0\0\x0c" + b"\0\0\0\0\1\0\0\0\xff\xff\xff\xff",
    "an ogg that stops": b.page(7, b"OpusHead"),
    "an ogg with something else between": b.page(7, b"OpusHead") + bytes(40),
    "an mp3 tag cut off": b"ID3\4\0\0\0\0\7\0",
    "an mp3 frame that is too long": b.mp3(b"TXXX\0\0\x7f\x7f\0\0"),
    "an svg cut off": b"<svg><metadata><![CDATA[{",
    "an mp4 with a tag cut short": b.mp4(b.box(b"ilst", b.box(b"\xa9cmt", b"\0\0\0\x09data"))),
    "a webm whose index points nowhere": b.webm(b.seek_head(1 << 31), b.CLUSTER),
    "a glb without JSON": b"glTF" + bytes(16),
    "a glb with broken JSON": b.glb({}).replace(b"{}", b"{]"),
    "a glb that is a list": b.glb([]),
    "a latent with deep JSON": (100_000).to_bytes(8, "little") + b'{"a":' + b"[" * 99_995,
}  # fmt: skip

GREEDY: dict[str, Callable[[], bytes]] = {
    "a png chunk of 4 GiB": lambda: b.png()[:-12] + b"\xff\xff\xff\xfftEXtworkflow\0",
    "a png bomb": lambda: b.png(b.packed_chunk("workflow", bytes(200 << 20))),
    "an international png bomb": lambda: b.png(b.international_chunk("workflow", bytes(40 << 20), packed=True)),
    "a png of a million chunks": lambda: b.png(b.chunk(b"tIME", b"") * 1_000_000),
    "a webp chunk of 4 GiB": lambda: b.webp(b"")[:-4] + b"\xff\xff\xff\xff",
    "an exif with a value of 4 GiB": lambda: b.webp(b"II*\0\x08\0\0\0\1\0\x0f\1\2\0\xff\xff\xff\xff\x08\0\0\0"),
    "a cyclic exif": lambda: b.webp(b"II*\0\x08\0\0\0\1\0\x69\x87\4\0\1\0\0\0\x08\0\0\0\0\0\0\0"),
    "boxes of 2^63 bytes": lambda: b"\0\0\0\1ftypisom" + b"\x7f" + b"\xff" * 7,
    "a million boxes": lambda: b.mp4(None)[:28] + b.box(b"free", b"") * 1_000_000,
    "keys of 4 GiB": lambda: b.mp4(b.box(b"ilst", b"") + b"\xff\xff\xff\xffkeys"),
    "a key table of 2 MiB": lambda: b.mp4(b.box(b"keys", bytes(2 << 20)) + b.box(b"ilst", b"")),
    "an item in 65,535 places": lambda: b.avif(b.exif(LABELLED)).replace(ITEM_2, ITEM_2[:-2] + b"\xff\xff"),
    "elements of 2^56 bytes": lambda: b.webm(b"\x12\x54\xc3\x67\x01" + b"\xff" * 6 + b"\xfe"),
    "a header of millions of values": lambda: b.safetensors({"workflow": [[]] * 3_000_000}),
    "a comment of millions of values": lambda: b.mp3(
        b.text_frame("comment", '{"workflow": {}, "x": [' + "[]," * 3_000_000 + "0]}")
    ),
    "endless elements": lambda: b.webm(b.element(0x1254C367, b.element(0x7373, b"", width=0)), live=True),
    "a million elements": lambda: b.webm(b.element(0xEC, b"", width=1) * 1_000_000),
    "a million comments": lambda: b"fLaC\x84\xff\xff\xff" + b"\0\0\0\0\xff\xff\xff\xff" + bytes((1 << 24) - 9),
    "an ogg packet without end": lambda: b.page(7, b"OpusHead") + b.page(7, bytes(255 * 255), finished=False) * 1100,
    "an id3 tag of 256 MiB": lambda: b"ID3\4\0\0\x7f\x7f\x7f\x7f",
    "a million id3 frames": lambda: b.mp3((b"ABCD" + bytes(6)) * 1_000_000),
    "a glb of 4 GiB": lambda: b"glTF" + bytes(8) + b"\xff\xff\xff\xffJSON",
    "a latent of 90 MiB": lambda: (90 << 20).to_bytes(8, "little") + b"{",
    "an item of 4 GiB": lambda: b.avif(b"\xaa" * 77).replace((81).to_bytes(4), b"\xff" * 4),
    "a long svg": lambda: b"<svg><metadata>" + bytes(33 << 20),
    "a long tag": lambda: b.mp4(b.ilst({"workflow": bytes(33 << 20)})),
    "a long webm tag": lambda: b.webm(b.webm_tags({"workflow": bytes(33 << 20)})),
    "a long exif": lambda: b.webp(bytes(65 << 20)),
    "a long png text": lambda: b.png(b.text_chunk("workflow", bytes(33 << 20))),
    "a long exif text": lambda: b.webp(b.exif([b"workflow:" + bytes(33 << 20)])),
}  # fmt: skip
