from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from comfywatchman.versions.pixels import measure_difference, read_pixels


def make_image(path: Path, colour: object = (10, 20, 30), *, mode: str = "RGB", size: tuple[int, int] = (4, 3)) -> Path:
    Image.new(mode, size, colour).save(path)  # type: ignore[arg-type]
    return path


def test_metadata_and_compression_do_not_count(tmp_path: Path) -> None:
    image = Image.new("RGB", (64, 64), (1, 2, 3))
    plain, other = tmp_path / "a.png", tmp_path / "b.png"
    image.save(plain, compress_level=0)
    facts = PngInfo()
    facts.add_text("prompt", "{}")
    image.save(other, pnginfo=facts, compress_level=9)
    assert plain.read_bytes() != other.read_bytes()
    assert read_pixels(plain) == read_pixels(other)
    image.save(tmp_path / "c.webp", lossless=True)
    webp = read_pixels(tmp_path / "c.webp")
    assert webp == read_pixels(plain)
    assert webp is not None
    assert (webp.mode, webp.width, webp.height, webp.frames) == ("RGB", 64, 64, 1)


def test_one_changed_pixel_counts(tmp_path: Path) -> None:
    first = make_image(tmp_path / "a.png")
    image = Image.open(first)
    image.putpixel((3, 2), (10, 20, 31))
    image.save(tmp_path / "b.png")
    one, other = read_pixels(first), read_pixels(tmp_path / "b.png")
    assert one is not None
    assert other is not None
    assert one.sha256 != other.sha256
    assert measure_difference(first, tmp_path / "b.png") == pytest.approx(1 / 36)


def test_same_bytes_in_another_shape_count(tmp_path: Path) -> None:
    wide = read_pixels(make_image(tmp_path / "a.png", size=(4, 3)))
    high = read_pixels(make_image(tmp_path / "b.png", size=(3, 4)))
    assert wide is not None
    assert high is not None
    assert wide.sha256 != high.sha256
    assert measure_difference(tmp_path / "a.png", tmp_path / "b.png") is None


def test_every_frame_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (2, 2), (value, 0, 0)) for value in (0, 100, 200)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    frames[0].save(tmp_path / "b.webp", save_all=True, append_images=[frames[1], frames[1]], lossless=True)
    frames[0].save(tmp_path / "c.webp", save_all=True, append_images=frames[1:2], lossless=True)
    first, second = read_pixels(tmp_path / "a.webp"), read_pixels(tmp_path / "b.webp")
    assert first is not None
    assert second is not None
    assert first.frames == 3
    assert first.sha256 != second.sha256
    assert measure_difference(tmp_path / "a.webp", tmp_path / "a.webp") == 0
    assert measure_difference(tmp_path / "a.webp", tmp_path / "c.webp") is None


def test_palettes_are_compared_by_colour(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png")
    swapped = Image.new("P", (2, 1))
    swapped.putpalette([255, 0, 0, 0, 0, 0])
    swapped.putdata([1, 0])
    swapped.save(tmp_path / "b.png")
    assert read_pixels(tmp_path / "a.png") == read_pixels(tmp_path / "b.png")
    assert measure_difference(tmp_path / "a.png", tmp_path / "b.png") == 0


def test_sixteen_bits_are_compared_exactly_only(tmp_path: Path) -> None:
    first = make_image(tmp_path / "a.png", 1000, mode="I;16")
    second = make_image(tmp_path / "b.png", 1001, mode="I;16")
    assert read_pixels(first) != read_pixels(second)
    assert measure_difference(first, second) is None


def test_other_files_have_no_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"text")
    assert read_pixels(path) is None
    whole = make_image(tmp_path / "b.png", size=(500, 500)).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert read_pixels(path) is None
    assert measure_difference(path, tmp_path / "b.png") is None
