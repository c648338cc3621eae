"""Compare our readers with Pillow and PyAV, with which ComfyUI's save nodes write."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.workflow.embedded.extract import EmbeddedWorkflow, extract_workflow

PROMPT = json.dumps({"1": {"class_type": "VAELoader", "inputs": {"vae_name": "a.safetensors"}}})
WORKFLOWS = {
    "plain": json.dumps({"nodes": [{"id": 1, "type": "VAELoader"}], "version": 0.4}),
    "unicode": json.dumps({"nodes": [], "title": "é 画像 😀"}, ensure_ascii=False),
    "long": json.dumps({"nodes": [], "notes": ["x" * 1000] * 200}),
}
USE_METADATA_TAGS = {"movflags": "use_metadata_tags"}
RATE = 48_000


def write_video(path: Path, metadata: Mapping[str, str], codec: str, options: dict[str, str] | None = None) -> None:
    """Write one frame as ComfyUI's SaveVideo and SaveWEBM do."""
    with av.open(str(path), mode="w", container_options=options or {}) as container:
        container.metadata.update(metadata)
        stream = container.add_stream(codec, rate=Fraction(1))
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for packet in [*stream.encode(VideoFrame(64, 64, "yuv420p")), *stream.encode()]:
            container.mux(packet)


def write_audio(
    path: Path,
    metadata: Mapping[str, str],
    codec: str,
    sample_format: str,
    options: dict[str, str] | None = None,
) -> None:
    """Write a second of silence as ComfyUI's SaveAudio nodes do."""
    with av.open(str(path), mode="w", container_options=options or {}) as container:
        container.metadata.update(metadata)
        stream = container.add_stream(codec, rate=RATE, layout="mono", format=sample_format)
        assert isinstance(stream, av.AudioStream)
        frame = AudioFrame(format=sample_format, layout="mono", samples=960)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate = RATE
        frame.pts = 0
        frame.time_base = Fraction(1, RATE)
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)


Writer = Callable[[Path, Mapping[str, str]], None]

WRITERS: dict[str, tuple[str, Writer]] = {
    "a.mp4": ("mp4", lambda path, metadata: write_video(path, metadata, "mpeg4", USE_METADATA_TAGS)),
    "fast-start.mp4": (
        "mp4",
        lambda path, metadata: write_video(path, metadata, "mpeg4", {"movflags": "use_metadata_tags+faststart"}),
    ),
    "a.mov": ("mov", lambda path, metadata: write_video(path, metadata, "mpeg4", USE_METADATA_TAGS)),
    "a.webm": ("webm", lambda path, metadata: write_video(path, metadata, "libvpx")),
    "a.mkv": ("mkv", lambda path, metadata: write_video(path, metadata, "mpeg4")),
    "a.flac": ("flac", lambda path, metadata: write_audio(path, metadata, "flac", "s16")),
    "a.opus": ("ogg", lambda path, metadata: write_audio(path, metadata, "libopus", "s16")),
    "flac.ogg": ("ogg", lambda path, metadata: write_audio(path, metadata, "flac", "s16")),
    "a.mp3": ("mp3", lambda path, metadata: write_audio(path, metadata, "libmp3lame", "s16p")),
    "v2.3.mp3": (
        "mp3",
        lambda path, metadata: write_audio(path, metadata, "libmp3lame", "s16p", {"id3v2_version": "3"}),
    ),
}


def read_with_av(path: Path) -> dict[str, str]:
    """Return the metadata of the container, or of its first stream, where Ogg has it."""
    with av.open(str(path)) as container:
        metadata = {**container.streams[0].metadata, **container.metadata}
    return {key.lower(): value for key, value in metadata.items()}


@pytest.mark.parametrize("text", WORKFLOWS)
@pytest.mark.parametrize("name", WRITERS)
def test_media_files_are_read_like_av_reads_them(tmp_path: Path, name: str, text: str) -> None:
    container, write = WRITERS[name]
    write(tmp_path / name, {"workflow": WORKFLOWS[text], "prompt": PROMPT, "title": "A cat"})
    reference = read_with_av(tmp_path / name)
    assert reference["workflow"] == WORKFLOWS[text]
    assert extract_workflow(tmp_path / name) == EmbeddedWorkflow(
        container, reference["workflow"].encode(), reference["prompt"].encode()
    )


@pytest.mark.parametrize("name", WRITERS)
def test_media_files_of_other_programs_have_no_workflow(tmp_path: Path, name: str) -> None:
    _, write = WRITERS[name]
    write(tmp_path / name, {"title": "A cat", "artist": "workflow"})
    assert extract_workflow(tmp_path / name) is None


def write_png(path: Path, metadata: Mapping[str, str]) -> None:
    info = PngInfo()
    for key, value in metadata.items():
        # `add_text` writes `tEXt` for Latin-1 text and `iTXt` for any other.
        info.add_text(key, value)
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)


def write_packed_png(path: Path, metadata: Mapping[str, str]) -> None:
    info = PngInfo()
    for key, value in metadata.items():
        info.add_itxt(key, value, zip=True)
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)


def write_exif(path: Path, metadata: Mapping[str, str]) -> None:
    """Write as ComfyUI does into WebP: from tag 0x010F downwards."""
    image = Image.new("RGB", (8, 8))
    exif = image.getexif()
    for position, (key, value) in enumerate(metadata.items()):
        exif[0x010F - position] = f"{key}:{value}"
    image.save(path, exif=exif)


def read_with_pillow(path: Path) -> dict[str, str]:
    with Image.open(path) as image:
        image.load()
        texts = {str(key): str(value) for key, value in image.info.items() if isinstance(value, str)}
        for value in image.getexif().values():
            key, colon, text = str(value).partition(":")
            if colon:
                texts[key] = text
    return texts


PICTURES: dict[str, tuple[str, Callable[[Path, Mapping[str, str]], None]]] = {
    "a.png": ("png", write_png),
    "packed.png": ("png", write_packed_png),
    "a.webp": ("webp", write_exif),
    "a.jpg": ("jpeg", write_exif),
    "a.avif": ("avif", write_exif),
}
LONG_PICTURES = [name for name in PICTURES if name != "a.jpg"]


# An Exif segment of JPEG has at most 64 KiB.
@pytest.mark.parametrize(
    ("name", "text"), [("a.jpg", "plain"), *((name, text) for name in LONG_PICTURES for text in ("plain", "long"))]
)
def test_pictures_are_read_like_pillow_reads_them(tmp_path: Path, name: str, text: str) -> None:
    container, write = PICTURES[name]
    write(tmp_path / name, {"workflow": WORKFLOWS[text], "prompt": PROMPT})
    reference = read_with_pillow(tmp_path / name)
    assert reference["workflow"] == WORKFLOWS[text]
    assert extract_workflow(tmp_path / name) == EmbeddedWorkflow(
        container, reference["workflow"].encode(), reference["prompt"].encode()
    )


@pytest.mark.parametrize("name", ["a.png", "packed.png"])
def test_unicode_in_png_is_read_like_pillow_reads_it(tmp_path: Path, name: str) -> None:
    _, write = PICTURES[name]
    write(tmp_path / name, {"workflow": WORKFLOWS["unicode"]})
    found = extract_workflow(tmp_path / name)
    assert found is not None
    assert found.workflow == read_with_pillow(tmp_path / name)["workflow"].encode()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One file of each kind, whole."""
    folder = tmp_path_factory.mktemp("written")
    for name, (_, write) in {**WRITERS, **PICTURES}.items():
        write(folder / name, {"workflow": WORKFLOWS["plain"], "prompt": PROMPT})
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from([*WRITERS, *PICTURES]), share=st.floats(0, 1))
@pytest.mark.slow
def test_truncated_file_gives_its_workflow_or_none_or_a_failure(
    written: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, name: str, share: float
) -> None:
    content = written[name]
    path = tmp_path_factory.getbasetemp() / f"truncated-{name}"
    path.write_bytes(content[: int(share * len(content))])
    found: EmbeddedWorkflow | None = None
    with suppress(Failure):
        found = extract_workflow(path)
    assert found is None or found.workflow in {None, WORKFLOWS["plain"].encode()}
