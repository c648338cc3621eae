"""Small media files, byte by byte, with texts where savers put them."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping

Tags = Mapping[str, bytes]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*before_pixels: bytes, after_pixels: bytes = b"", pixel_chunks: int = 1) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0\0")) * pixel_chunks
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before_pixels) + pixels + after_pixels + chunk(b"IEND", b"")


def text_chunk(key: str, value: bytes, kind: bytes = b"tEXt") -> bytes:
    return chunk(kind, key.encode() + b"\0" + value)


def packed_chunk(key: str, value: bytes) -> bytes:
    return chunk(b"zTXt", key.encode() + b"\0\0" + zlib.compress(value))


def international_chunk(key: str, value: bytes, *, packed: bool) -> bytes:
    flags = b"\1\0" if packed else b"\0\0"
    return chunk(b"iTXt", key.encode() + b"\0" + flags + b"en\0" + b"\0" + (zlib.compress(value) if packed else value))


def exif(labelled: list[bytes], *, order: str = "<", first_tag: int = 0x010F, comment: bytes | None = None) -> bytes:
    """Build an Exif block: one text tag for each value, downwards from `first_tag`, and a user comment if given."""
    entries: list[tuple[int, int, bytes]] = [(first_tag - n, 2, text + b"\0") for n, text in enumerate(labelled)]
    entries.append((0x0100, 3, struct.pack(order + "H", 1)))
    count = len(entries) + (comment is not None)
    heap_at = 8 + 2 + 12 * count + 4
    table, heap = b"", b""
    for tag, kind, value in sorted(entries):
        place = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(order + "I", heap_at + len(heap))
        heap += value if len(value) > 4 else b""
        table += struct.pack(order + "HHI", tag, kind, len(value) if kind == 2 else 1) + place
    if comment is not None:
        table += struct.pack(order + "HHII", 0x8769, 4, 1, heap_at + len(heap))
        start = heap_at + len(heap) + 2 + 12 + 4
        heap += struct.pack(order + "HHHIII", 1, 0x9286, 7, len(comment), start, 0) + comment
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "IH", 8, count) + table + bytes(4) + heap


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(kind + struct.pack("<I", len(part)) + part + bytes(len(part) % 2) for kind, part in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def webp(block: bytes | None) -> bytes:
    pixels = (b"VP8L", b"\x2f\0\0\0\0")
    return riff((b"VP8X", bytes(10)), pixels, *([] if block is None else [(b"EXIF", block)]))


def jpeg(block: bytes | None, comment: bytes | None = None) -> bytes:
    def segment(code: int, body: bytes) -> bytes:
        return bytes([0xFF, code]) + struct.pack(">H", len(body) + 2) + body

    parts = [b"\xff\xd8", segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"), b"\xff\x01"]
    if block is not None:
        parts.append(segment(0xE1, b"Exif\0\0" + block))
    if comment is not None:
        parts += [b"\xff", segment(0xFE, comment)]
    return b"".join(parts) + segment(0xDA, b"\0") + b"\x12\x34\xff\xd9"


def box(kind: bytes, body: bytes, *, wide: bool = False) -> bytes:
    if wide:
        return struct.pack(">I", 1) + kind + struct.pack(">Q", len(body) + 16) + body
    return struct.pack(">I", len(body) + 8) + kind + body


def ilst(tags: Tags) -> bytes:
    """Build `keys` and `ilst` boxes as `use_metadata_tags` makes them."""
    keys = b"".join(struct.pack(">I", len(name) + 8) + b"mdta" + name.encode() for name in tags)
    values = b"".join(
        box(struct.pack(">I", number), box(b"data", struct.pack(">II", 1, 0) + value))
        for number, value in enumerate(tags.values(), 1)
    )
    return box(b"keys", struct.pack(">II", 0, len(tags)) + keys) + box(b"ilst", values)


HDLR = box(b"hdlr", bytes(8) + b"mdta" + bytes(13))


def mp4(meta: bytes | None, *, media_first: bool = False) -> bytes:
    held = b"" if meta is None else box(b"udta", box(b"meta", bytes(4) + HDLR + meta))
    movie = box(b"moov", box(b"mvhd", bytes(100)) + held)
    media = box(b"mdat", b"frames" * 9, wide=True)
    return box(b"ftyp", b"isom\0\0\2\0isomiso2mp41") + (media + movie if media_first else movie + media)


def mov(tags: Tags) -> bytes:
    """Build a QuickTime file: its `meta` lies in `moov` and has no version."""
    return box(b"ftyp", b"qt  \0\0\2\0qt  ") + box(b"moov", box(b"meta", HDLR + ilst(tags)))


def avif(block: bytes | None, *, in_idat: bool = False) -> bytes:
    items = [(1, b"av01", b"pixels"), *([] if block is None else [(2, b"Exif", bytes(4) + block)])]
    infe = b"".join(box(b"infe", b"\2\0\0\0" + struct.pack(">HH", item, 0) + kind + b"\0") for item, kind, _ in items)
    iinf = box(b"iinf", bytes(4) + struct.pack(">H", len(items)) + infe)
    content = b"".join(body for _, _, body in items)

    def meta(base: int) -> bytes:
        at, rows = base, b""
        for item, _, body in items:
            rows += struct.pack(">HHHIHII", item, int(in_idat), 0, 0, 1, at, len(body))
            at += len(body)
        iloc = box(b"iloc", b"\1\0\0\0" + b"\x44\x40" + struct.pack(">H", len(items)) + rows)
        return box(b"meta", bytes(4) + HDLR + iinf + iloc + (box(b"idat", content) if in_idat else b""))

    head = box(b"ftyp", b"avif\0\0\0\0avifmif1miaf")
    return head + meta(0) if in_idat else head + meta(len(head) + len(meta(0)) + 8) + box(b"mdat", content)


def element(kind: int, body: bytes, *, width: int = 8) -> bytes:
    """Build an EBML element; width 0 gives it no length."""
    head = kind.to_bytes((kind.bit_length() + 7) // 8)
    if width == 0:
        return head + b"\x01" + b"\xff" * 7 + body
    return head + (len(body) | 1 << 7 * width).to_bytes(width) + body


CLUSTER = element(0x1F43B675, b"\xe7\x81\0" + b"frames" * 9)


def webm_tags(tags: Tags) -> bytes:
    simple = b"".join(
        element(0x67C8, element(0x45A3, name.encode(), width=1) + element(0x4487, value))
        for name, value in tags.items()
    )
    return element(0x1254C367, element(0x7373, element(0x63C0, b"") + simple))


def webm(*children: bytes, live: bool = False) -> bytes:
    header = element(0x1A45DFA3, element(0x4282, b"webm", width=1), width=1)
    return header + element(0x18538067, b"".join(children), width=0 if live else 8)


def seek_head(position: int) -> bytes:
    seek = element(0x53AB, bytes.fromhex("1254c367"), width=1) + element(0x53AC, position.to_bytes(4), width=1)
    return element(0x114D9B74, element(0xEC, b"void", width=1) + element(0x4DBB, seek, width=1), width=1)


def vorbis(tags: Tags) -> bytes:
    comments = [name.encode() + b"=" + value for name, value in tags.items()]
    listed = b"".join(struct.pack("<I", len(comment)) + comment for comment in comments)
    return struct.pack("<I", 4) + b"test" + struct.pack("<I", len(comments)) + listed


def flac(tags: Tags) -> bytes:
    comments = vorbis(tags)
    info = b"\0" + (34).to_bytes(3) + bytes(34)
    return b"fLaC" + info + b"\4" + len(comments).to_bytes(3) + comments + b"\x81\0\0\2\0\0" + b"frames"


def page(stream: int, body: bytes, *, finished: bool = True) -> bytes:
    """Build an Ogg page with one packet (or, unfinished, a part of one that fills whole lacing values)."""
    lacing = [255] * (len(body) // 255) + ([len(body) % 255] if finished else [])
    head = b"OggS\0\0" + bytes(8) + struct.pack("<II", stream, 0) + bytes(4) + bytes([len(lacing)])
    return head + bytes(lacing) + body


def ogg(tags: Tags, first: bytes = b"OpusHead", label: bytes = b"OpusTags") -> bytes:
    packet = label + vorbis(tags)
    pages = [page(7, first), page(8, b"another stream")]
    while len(packet) > 255 * 200:
        pages.append(page(7, packet[: 255 * 200], finished=False))
        packet = packet[255 * 200 :]
    return b"".join([*pages, page(7, packet), page(7, b"sound")])


def synchsafe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def text_frame(key: str, value: str, *, version: int = 4, encoding: int = 3, flags: bytes = b"\0\0") -> bytes:
    codec = ("latin-1", "utf-16", "utf-16-be", "utf-8")[encoding]
    body = bytes([encoding]) + (key + "\0").encode(codec) + value.encode(codec)
    return frame(b"TXXX", body, version=version, flags=flags)


def frame(name: bytes, body: bytes, *, version: int = 4, flags: bytes = b"\0\0") -> bytes:
    return name + (synchsafe(len(body)) if version == 4 else struct.pack(">I", len(body))) + flags + body


def mp3(*frames: bytes, version: int = 4, flags: int = 0) -> bytes:
    body = b"".join(frames) + bytes(20)
    return b"ID3" + bytes([version, 0, flags]) + synchsafe(len(body)) + body + b"\xff\xfb\x90\0" + bytes(32)


def svg(cdata: bytes) -> bytes:
    return (
        b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><metadata><![CDATA['
        + cdata
        + b"]]></metadata><rect/></svg>\n"
    )


def glb(document: object) -> bytes:
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    return b"glTF" + struct.pack("<III", 2, len(text) + 20, len(text)) + b"JSON" + text


def safetensors(metadata: object) -> bytes:
    header = json.dumps({"__metadata__": metadata, "t": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0"
