"""Decoded pixels of images: their hash, and how far two images are apart.

ComfyUI writes the workflow into a PNG, and its compression differs between builds of zlib: equal pictures are not equal
files.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image, ImageChops, ImageSequence, ImageStat, UnidentifiedImageError

_COMPARED: Final = frozenset({"L", "RGB", "RGBA"})
"""Modes with eight bits a channel, which Pillow subtracts."""


@dataclass(frozen=True, slots=True)
class PixelFacts:
    """The pixels of an image.

    Attributes:
        mode: Pillow's name of the channels: `RGB`, `RGBA`, `L`, `I;16`.
        width: In pixels.
        height: In pixels.
        frames: The number of frames; 1 for a still image.
        sha256: The hash over mode, size and pixels of all frames.
    """

    mode: str
    width: int
    height: int
    frames: int
    sha256: str


def read_pixels(path: Path) -> PixelFacts | None:
    """Return the pixels of an image; None for a file that is none."""
    try:
        with Image.open(path) as image:
            digest = hashlib.sha256()
            mode, size, count = image.mode, image.size, 0
            for frame in ImageSequence.Iterator(image):
                # A palette may be in any order: colours count, not their numbers.
                decoded = frame.convert("RGBA") if frame.mode in {"P", "PA"} else frame
                digest.update(f"{decoded.mode} {decoded.width} {decoded.height}\n".encode())
                digest.update(decoded.tobytes())
                count += 1
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return None
    return PixelFacts(mode, size[0], size[1], count, digest.hexdigest())


def measure_difference(first: Path, second: Path) -> float | None:
    """Return the mean difference of two images in steps of 1 of 255, over all pixels, channels and frames.

    Returns:
        None when they cannot be compared: another size, mode or number of frames, or no images.
    """
    try:
        with Image.open(first) as left, Image.open(second) as right:
            frames = [
                (_prepare(one), _prepare(other))
                for one, other in zip(ImageSequence.Iterator(left), ImageSequence.Iterator(right), strict=True)
            ]
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return None
    means = []
    for one, other in frames:
        if (one.mode, one.size) != (other.mode, other.size) or one.mode not in _COMPARED:
            return None
        means += ImageStat.Stat(ImageChops.difference(one, other)).mean
    return sum(means) / len(means) if means else None


def _prepare(frame: Image.Image) -> Image.Image:
    return frame.convert("RGBA") if frame.mode in {"P", "PA"} else frame.copy()
