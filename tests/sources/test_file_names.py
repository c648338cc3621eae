from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfywatchman.sources.file_names import (
    base_name,
    build_search_terms,
    extension,
    find_differing_tokens,
    is_generic,
    is_precision,
    is_precision_variant,
    is_same_name,
    may_belong_to,
    reason_invalid_model_name,
    tokenize,
)


@pytest.mark.parametrize(
    ("wanted", "offered", "pairs"),
    [
        ("Lightning-8steps-V1.0.safetensors", "Lightning-4steps-V1.0.safetensors", (("8steps", "4steps"),)),
        ("wan2.2_i2v_high.safetensors", "wan2.2_t2v_low.safetensors", (("i2v", "t2v"), ("high", "low"))),
        ("qwen3vl_4b.safetensors", "qwen3vl_8b.safetensors", (("4b", "8b"),)),
        ("wan2.2.safetensors", "wan2.1.safetensors", (("wan2.2", "wan2.1"),)),
        ("ae.safetensors", "ae.sft", ((".safetensors", ".sft"),)),
        ("a_fp8_e4m3fn_scaled.safetensors", "a-bf16.safetensors", (("fp8_e4m3fn_scaled", "bf16"),)),
        ("a.safetensors", "a_pruned.safetensors", (("", "pruned"),)),
        ("A-b_C.safetensors", "a b c.SAFETENSORS", ()),
        ("", "a", (("", "a"),)),
    ],
)
def test_differences_are_pairs_of_tokens(wanted: str, offered: str, pairs: object) -> None:
    assert find_differing_tokens(wanted, offered) == pairs


@given(st.text(max_size=40), st.text(max_size=40))
@pytest.mark.slow
def test_differences_are_symmetric(one: str, other: str) -> None:
    assert find_differing_tokens(one, one) == ()
    assert bool(find_differing_tokens(one, other)) == (tokenize(one) != tokenize(other))


@pytest.mark.parametrize(
    ("wanted", "offered", "variant"),
    [
        ("flux1-dev-fp8.safetensors", "flux1-dev-bf16.safetensors", True),
        ("flux1-dev-Q4_K_M.gguf", "flux1-dev-Q8_0.gguf", True),
        ("flux1-dev-iq4_xs.gguf", "flux1-dev-f16.gguf", True),
        ("flux1-dev.safetensors", "flux1-dev-bf16.safetensors", False),
        ("flux1-dev-fp8.safetensors", "flux1-schnell-bf16.safetensors", False),
        ("flux1-dev-fp8.safetensors", "flux1-dev-Q8_0.gguf", False),
        ("qwen_3_4b.safetensors", "qwen_3_8b.safetensors", False),
        ("a_8steps.safetensors", "a_4steps.safetensors", False),
        ("a_fp8.safetensors", "a_fp8.safetensors", False),
    ],
)
def test_precision_variant_differs_in_one_precision(wanted: str, offered: str, *, variant: bool) -> None:
    assert is_precision_variant(wanted, offered) is variant


@pytest.mark.parametrize("token", "fp16 bf16 fp8_e4m3fn fp8_e5m2 fp8_scaled q4_k_m q8_0 iq2_xxs nf4 nvfp4 int8".split())  # noqa: SIM905
def test_precisions_are_recognised(token: str) -> None:
    assert is_precision(token)


@pytest.mark.parametrize("token", ["q", "4b", "i2v", "8steps", "fp", "v1.0", "bf16x", "e4", ""])
def test_other_tokens_are_not_precisions(token: str) -> None:
    assert not is_precision(token)


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "MODEL.safetensors",
        "diffusion_pytorch_model.safetensors",
        "diffusion_pytorch_model.fp16.safetensors",
        "diffusion_pytorch_model-00001-of-00003.safetensors",
        "pytorch_model.bin",
        "open_clip_pytorch_model.bin",
        "adapter_model.safetensors",
        "pytorch_lora_weights.safetensors",
        "model-00001-of-00002.safetensors",
        "anything-at-all-00001-of-00009.gguf",
        "lora_v2.safetensors",
        "checkpoint-1000.pt",
        "model_fp16.safetensors",
        "ae.safetensors",
        "clip_l.safetensors",
    ],
)
def test_shared_names_are_generic(name: str) -> None:
    assert is_generic(name)


@pytest.mark.parametrize(
    "name", ["sd15.safetensors", "t5xxl_fp16.safetensors", "RealESRGAN_x4plus.pth", "add_detail.safetensors"]
)
def test_specific_names_are_not_generic(name: str) -> None:
    assert not is_generic(name)


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "a\x00b.pt",
        "a\u202eb.pt",
        "https://h/x.safetensors",
        "C:\\x.safetensors",
        "/x.safetensors",
        "\\\\server\\x.safetensors",
        "../x.safetensors",
        "a/../x.safetensors",
        "a//x.safetensors",
        "a/./x.safetensors",
        "-rf.safetensors",
        " x.safetensors",
        "folder /x.safetensors",
        "folder./x.safetensors",
        "con.safetensors",
        "LPT1/x.safetensors",
        'a"b.safetensors',
        "a|b.safetensors",
        "x" * 252 + ".pth",
        "x.exe",
        "x",
        "x.safetensors.txt",
    ],
)
def test_invalid_model_name_has_a_reason(value: str) -> None:
    assert reason_invalid_model_name(value)


@pytest.mark.parametrize(
    "value", ["x.safetensors", "SDXL\\x.safetensors", "a/b/c d (v1).GGUF", "模型.ckpt", "x-1.0.1.pth", "v1.yaml"]
)
def test_valid_model_name_has_no_reason(value: str) -> None:
    assert reason_invalid_model_name(value) is None


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        (
            "dreamshaperXL_turboDPMSDE.safetensors",
            ("dreamshaper XL", "dreamshaperXL turboDPMSDE", "dreamshaper XL turbo DPMSDE"),
        ),
        ("add_detail.safetensors", ("add", "add detail")),
        ("flux1-dev-Q4_K_M.gguf", ("flux1 dev", "flux1 dev Q4 K M")),
        ("wan2.2_i2v_fp8_scaled.safetensors", ("wan2.2", "wan2.2 i2v fp8 scaled", "wan2.2 i2v")),
        ("ae.safetensors", ()),
        ("_x1.pt", ()),
    ],
)
def test_search_terms_go_from_the_model_name_to_all_words(name: str, terms: tuple[str, ...]) -> None:
    assert build_search_terms(name) == terms


def test_search_terms_have_ten_words_at_most() -> None:
    assert all(len(term.split()) <= 10 for term in build_search_terms("_".join(f"word{n}" for n in range(40)) + ".pt"))


def test_base_name_extension_and_tokens() -> None:
    assert base_name("XL\\sub/x.safetensors") == "x.safetensors"
    assert (extension("x.SafeTensors"), extension("x"), extension(".pt")) == (".safetensors", "", "")
    assert is_same_name("Add_Detail.safetensors", "add_detail.SAFETENSORS")
    assert not is_same_name("add_detail.safetensors", "add-detail.safetensors")


@pytest.mark.parametrize(
    ("name", "model_name", "expected"),
    [
        ("cyberRealistic_v33.safetensors", "CyberRealistic", True),
        ("epicrealism_naturalSin.safetensors", "epiCRealism", True),
        ("detail_tweaker.safetensors", "Detail Tweaker XL", True),
        ("my-dream-style-v2.safetensors", "Dream Style", True),
        ("cyberRealistic_v33.safetensors", "Realistic Vision", False),
        ("detail_tweaker.safetensors", "", False),
        ("ae.safetensors", "Vae Collection", False),
        ("_.safetensors", "Anything", False),
    ],
)
def test_file_may_belong_to_a_model_of_its_first_words(name: str, model_name: str, *, expected: bool) -> None:
    assert may_belong_to(name, model_name) is expected
