"""Names of model files: their tokens, how two names differ, whether a name is valid, what to search for."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Final

PICKLE_EXTENSIONS: Final = frozenset({".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl", ".pickle"})
"""Formats that may run code when they are loaded."""

MODEL_EXTENSIONS: Final = PICKLE_EXTENSIONS | {
    ".safetensors",
    ".sft",
    ".gguf",
    ".onnx",
    ".patch",
    ".engine",
    ".task",
    ".torchscript",
    ".yaml",
}
"""Extensions of the models in workflows; a name with any other is not a model file."""

# Examples: fp8_e4m3fn_scaled, bf16, Q4_K_M, IQ3_XXS, nvfp4, e5m2.
_PRECISION: Final = (
    r"(?:(?:nv|mx)?(?:fp|float)(?:32|16|8|4)(?:[-_.]?e\dm\d(?:fn(?:uz)?)?)?(?:[-_.](?:scaled|mixed|fast|pure))*"
    r"|e\dm\d(?:fn(?:uz)?)?(?:[-_.](?:scaled|fast))*"
    r"|bf16|f16|f32|tf32|nf4|int8|int4|i?q\d(?:[-_.](?:k|xxs|xs|nl|xl|s|m|l|0|1))*)"
)
_WHOLE_PRECISION: Final = re.compile(_PRECISION, re.IGNORECASE)
# A precision that stands alone, or letters and digits with the dot of a version number.
_TOKEN: Final = re.compile(rf"(?<![^\W_]){_PRECISION}(?![^\W_])|(?:(?<=\d)\.(?=\d)|[^\W_])+", re.IGNORECASE)
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z0-9])(?=[A-Z][a-z])")
# Names that libraries and trainers give to every model: shards, diffusers' and transformers' fixed names, step counts.
_GENERIC: Final = re.compile(
    r"(?:.*[-_.])?\d{5}-of-\d{5}"
    r"|(?:open_clip_|clip_)?(?:diffusion_)?pytorch_(?:model|lora_weights)(?:[-_.].*)?"
    r"|(?:adapter|consolidated|open_clip|text_encoder|image_encoder|vision|flow|tf|flax)_?model(?:[-_. ]?\d*)"
    r"|(?:model|models|weights?|checkpoints?|lora|loras|final|latest|last|best|ema|unet|transformer|encoder|decoder"
    r"|text_encoder|image_encoder|vae_decoder|vae_encoder|controlnet|upscaler|embedding|embeddings|adapter|default"
    r"|consolidated|download|untitled|unknown|pytorch|safetensors|motion_module|ip_adapter|epoch|step|epochs|steps)"
    r"(?:[-_. ]?(?:v?\d+|" + _PRECISION + r"))*",
    re.IGNORECASE,
)
_MIN_LETTERS: Final = 6
_MIN_TERM_CHARS: Final = 3
_MAX_WORDS: Final = 10
_MAX_NAME_BYTES: Final = 255
# Windows device names and forbidden characters: model folders are often shared with Windows machines.
_RESERVED: Final = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
_FORBIDDEN: Final = re.compile(r'[<>:"|?*]')


def base_name(value: str) -> str:
    """Return the last segment of a name as a workflow writes it, with either kind of slash."""
    return value.replace("\\", "/").rpartition("/")[2]


def extension(name: str) -> str:
    """Return the lower-case suffix with its dot; empty for a name without one."""
    stem, dot, suffix = name.rpartition(".")
    return f".{suffix.lower()}" if dot and stem else ""


def is_same_name(name: str, other: str) -> bool:
    """Return whether two file names are equal, ignoring case."""
    return name.lower() == other.lower()


def tokenize(name: str) -> tuple[str, ...]:
    """Return the words and numbers of a file name in lower case, its extension last (`.gguf`).

    A precision (`fp8_e4m3fn_scaled`, `Q4_K_M`) and a version (`2.2`) are one token each.
    """
    tokens = [match.lower() for match in _TOKEN.findall(_stem(name))]
    suffix = extension(name)
    if suffix:
        tokens.append(suffix)
    return tuple(tokens)


def find_differing_tokens(wanted: str, offered: str) -> tuple[tuple[str, str], ...]:
    """Return where two file names differ, as pairs of tokens in order; a missing token is empty.

    Names that differ only in case and separators give no pair.
    """
    mine, theirs = tokenize(wanted), tokenize(offered)
    pairs: list[tuple[str, str]] = []
    # Without `autojunk=False`, frequent tokens of long names would be ignored.
    matcher = SequenceMatcher(None, mine, theirs, autojunk=False)
    for kind, start, end, other_start, other_end in matcher.get_opcodes():
        if kind != "equal":
            pairs.extend(zip_longest(mine[start:end], theirs[other_start:other_end], fillvalue=""))
    return tuple(pairs)


def is_precision(token: str) -> bool:
    """Return whether a token names a precision or quantisation (`bf16`, `fp8_scaled`, `q4_k_m`)."""
    return _WHOLE_PRECISION.fullmatch(token) is not None


def find_precision(name: str) -> str | None:
    """Return the precision or quantisation in a file name; None unless there is exactly one."""
    precisions = [token for token in tokenize(name) if is_precision(token)]
    return precisions[0] if len(precisions) == 1 else None


def is_precision_variant(wanted: str, offered: str) -> bool:
    """Return whether two names differ in exactly one token, which is a precision in both."""
    mine, theirs = tokenize(wanted), tokenize(offered)
    if len(mine) != len(theirs):
        return False
    pairs = [(own, other) for own, other in zip(mine, theirs, strict=True) if own != other]
    if len(pairs) != 1:
        return False
    own, other = pairs[0]
    return is_precision(own) and is_precision(other)


def is_generic(name: str) -> bool:
    """Return whether so many models share a name that it identifies none (`model.safetensors`)."""
    stem = _stem(name)
    letter_count = sum(char.isalpha() for char in stem)
    has_digit = any(char.isdigit() for char in stem)
    if letter_count < _MIN_LETTERS and not has_digit:
        return True
    return _GENERIC.fullmatch(stem) is not None


def reason_invalid_model_name(value: str) -> str | None:
    """Return why a value cannot name a model file below a model folder, or None when it can.

    Args:
        value: As the workflow writes it, perhaps with a folder before the name, with either kind of slash.
    """
    if not value.strip() or not value.isprintable():
        return "it is empty or has unprintable characters"
    segments = value.replace("\\", "/").split("/")
    if "://" in value or ":" in segments[0] or not segments[0]:
        return "it is a URL or an absolute path"
    for segment in segments:
        reason = _reason_invalid_segment(segment)
        if reason is not None:
            return reason
    if extension(segments[-1]) not in MODEL_EXTENSIONS:
        return "it does not have the extension of a model file"
    return None


def build_search_terms(name: str) -> tuple[str, ...]:
    """Return search terms for a site that does not index file names: words that the model's own name may contain.

    Civitai makes most file names of `model_version`, so the part before the first `_` comes first, with its joined
    words split; then all words; then all words but precisions, split too.

    Args:
        name: File name with extension.
    """
    stem = _stem(name)
    candidates = (
        _split_camel_case(_drop_precisions(stem.split("_", 1)[0])),
        _join_words(_TOKEN.findall(stem)),
        _split_camel_case(_drop_precisions(stem)),
    )
    terms: dict[str, str] = {}
    for term in candidates:
        if len(term) >= _MIN_TERM_CHARS:
            # The site ignores case.
            terms.setdefault(term.lower(), term)
    return tuple(terms.values())


def may_belong_to(name: str, model_name: str) -> bool:
    """Return whether a file may belong to a model, whose site names most files `model_version`. Only a hint.

    Args:
        name: The file.
        model_name: The name of the model on its site, without any file name.
    """
    model, stem = _squeeze(model_name), _squeeze(_stem(name))
    first_part = _squeeze(_stem(name).split("_", 1)[0])
    return (len(model) > _MIN_TERM_CHARS and model in stem) or (
        len(first_part) >= _MIN_TERM_CHARS and first_part in model
    )


def _squeeze(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalnum())


def _stem(name: str) -> str:
    return name[: len(name) - len(extension(name))]


def _drop_precisions(stem: str) -> list[str]:
    return [word for word in _TOKEN.findall(stem) if not is_precision(word)]


def _split_camel_case(words: list[str]) -> str:
    return _join_words([_CAMEL.sub(" ", word) for word in words])


def _join_words(words: list[str]) -> str:
    separate = " ".join(words).replace("_", " ").split()
    return " ".join(separate[:_MAX_WORDS])


def _reason_invalid_segment(segment: str) -> str | None:
    if segment in {"", ".", ".."}:
        return "it points outside its folder"
    if len(segment.encode("utf-8", "replace")) > _MAX_NAME_BYTES:
        return "it is longer than a file name may be"
    if segment.startswith(("-", " ")) or segment.endswith((" ", ".")):
        return "it begins or ends with a character that some systems drop or read as an option"
    if _FORBIDDEN.search(segment) or _RESERVED.fullmatch(segment):
        return "some systems do not allow it as a file name"
    return None
