from __future__ import annotations

import codecs
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from comfywatchman.governance.uv.requirement_files import (
    NodeRequirements,
    collect_requirements,
    parse_name,
    read_comfyui_requirements,
    read_requirements,
)


def read(text: str | bytes, **files: str) -> NodeRequirements:
    content = text if isinstance(text, bytes) else text.encode()
    known = {"requirements.txt": content, **{name: own.encode() for name, own in files.items()}}
    return collect_requirements(known.get, sorted(name for name in files if name.startswith("requirements")))


@pytest.mark.parametrize(
    "content",
    [
        b"numpy>=1.26\r\nscipy\r\n",
        codecs.BOM_UTF8 + b"numpy>=1.26\nscipy",
        codecs.BOM_UTF16_LE + "numpy>=1.26\nscipy\n".encode("utf-16-le"),
        codecs.BOM_UTF16_BE + "numpy>=1.26\nscipy\n".encode("utf-16-be"),
        "numpy>=1.26\r\nscipy\r\n".encode("utf-16-le"),
        "numpy>=1.26 # größer\nscipy".encode("latin-1"),
        b"\n\n# all\nnumpy>=1.26# no comment"[:0] + b'\n# all\n"numpy>=1.26"   # why\n\tscipy\n',
        b"numpy \\\n  >=1.26\nscipy\n",
        b"numpy>=1.26\nscipy\nnumpy>=1.26\n",
        b"numpy>=1.26 --hash=sha256:abc --hash=sha256:def\nscipy\n",
        b"numpy>=1.26 \\\n    --hash=sha256:abc \\\n    --hash=sha256:def\nscipy\n",
    ],
)
def test_common_text_encodings_are_read(content: bytes) -> None:
    found = read(content)
    assert found.lines == ("numpy>=1.26", "scipy")
    assert found.unparseable == ()


def test_extras_markers_and_urls_are_kept() -> None:
    found = read(
        "uvicorn[standard]==0.30\n"
        "triton-windows; sys_platform == 'win32'\n"
        "sam2 @ git+https://github.com/facebookresearch/sam2@main\n"
    )
    assert found.lines == (
        "uvicorn[standard]==0.30",
        'triton-windows; sys_platform == "win32"',
        "sam2 @ git+https://github.com/facebookresearch/sam2@main",
    )
    assert all(Requirement(line) for line in found.lines)


def test_git_url_is_named_by_its_egg_or_stays_unnamed() -> None:
    found = read(
        "git+https://github.com/facebookresearch/sam2\n"
        "git+https://github.com/a/b@v1#egg=bee&subdirectory=x\n"
        "-e git+https://github.com/a/c.git#egg=sea[extra]\n"
        "--editable=git+ssh://git@github.com/a/d\n"
    )
    assert found.lines == (
        "bee @ git+https://github.com/a/b@v1#subdirectory=x",
        "sea[extra] @ git+https://github.com/a/c.git",
    )
    assert found.unnamed == ("git+https://github.com/facebookresearch/sam2", "git+ssh://git@github.com/a/d")
    assert found.unparseable == ()


def test_wheel_url_is_named_by_its_file() -> None:
    url = "https://github.com/x/y/releases/download/v1/insightface-0.7.3-cp311-cp311-linux_x86_64.whl"
    assert read(f'{url} ; python_version == "3.11"').lines == (f'insightface @ {url} ; python_version == "3.11"',)
    assert read(url).lines == (f"insightface @ {url}",)


def test_includes_are_followed_only_inside_the_pack() -> None:
    found = read("-r more.txt\n-r ../../etc/passwd\n-r/abs.txt\nnumpy\n", **{"more.txt": "-r requirements.txt\nscipy"})
    assert found.lines == ("scipy", "numpy")
    assert [line.split(":")[0] for line in found.unparseable] == ["../../etc/passwd", "/abs.txt"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("--extra-index-url https://me:s3cret@example.org/simple?token=s3cret", "option"),
        ("-i https://example.org/simple", "option"),
        ("--find-links /wheels", "option"),
        ("--no-binary :all:", "option"),
        ("-c constraints.txt", "option"),
        ("-e .", "path"),
        ("./local", "path"),
        ("wheels/x-1.0-py3-none-any.whl", "path"),
        ("file:///srv/x-1.0-py3-none-any.whl", "https"),
        ("git+file:///srv/x", "https"),
        ("x @ file:///srv/x", "https"),
        ("http://example.org/x-1.0-py3-none-any.whl", "https"),
        ("https://example.org/x.zip", "without a package name"),
        ("git+https://me:s3cret@github.com/a/b", "credentials"),
        ("x @ git+https://s3cret@github.com/a/b", "credentials"),
        ("git+https://github.com/a/b ; python_version < '3.9'", "condition"),
        ("x==${VERSION}", "environment variable"),
        ("numpy>=", "not a requirement"),
        ("pip install numpy", "not a requirement"),
        ("import torch", "not a requirement"),
        ("git+ext::sh", "not a requirement"),
    ],
)
def test_unsupported_lines_are_reported_without_secrets(line: str, why: str) -> None:
    found = read(f"numpy\n{line}\nscipy\n")
    assert found.lines == ("numpy", "scipy")
    assert found.unnamed == ()
    (trouble,) = found.unparseable
    assert trouble.startswith(f"requirements.txt: {line[:5]}")
    assert why in trouble
    assert "s3cret" not in trouble


def test_pyproject_is_read_without_a_requirements_file() -> None:
    project = b'[project]\nname = "x"\ndependencies = ["numpy", "scipy>=1"]\n'
    assert collect_requirements({"pyproject.toml": project}.get, []).lines == ("numpy", "scipy>=1")
    with_both = {"pyproject.toml": project, "requirements.txt": b"numpy"}
    assert collect_requirements(with_both.get, []) == NodeRequirements(lines=("numpy",), hints=("scipy>=1",))


def test_other_requirement_files_only_give_hints() -> None:
    found = read("numpy", **{"requirements-gpu.txt": "onnxruntime-gpu>=1.18\nnumpy\n--odd"})
    assert found.lines == ("numpy",)
    assert found.hints == ("onnxruntime-gpu>=1.18",)
    assert found.unparseable == ()


@pytest.mark.parametrize(
    "text", ["[project", "project = 1", "[project]\ndependencies = 3", "[project]\ndependencies=[1]"]
)
def test_malformed_pyproject_declares_nothing(text: str) -> None:
    assert collect_requirements({"pyproject.toml": text.encode()}.get, []).lines == ()


def test_symlinked_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("password: s3cret")
    pack = tmp_path / "pack"
    pack.mkdir()
    (pack / "requirements.txt").symlink_to(tmp_path / "secret")
    (pack / "requirements-more.txt").write_text("scipy")
    (pack / "sub").symlink_to(tmp_path)
    assert read_requirements(pack) == NodeRequirements(hints=("scipy",))
    (pack / "requirements.txt").unlink()
    (pack / "requirements.txt").write_text("-r sub/secret\n-r ../secret\nnumpy")
    found = read_requirements(pack)
    assert found.lines == ("numpy",)
    assert len(found.unparseable) == 2


def test_name_of_a_line_is_normalized() -> None:
    assert parse_name("Foo_Bar.baz[x]>=1; python_version>'3'") == "foo-bar-baz"


@given(st.binary(max_size=300))
@pytest.mark.slow
def test_arbitrary_bytes_never_raise(content: bytes) -> None:
    found = collect_requirements({"requirements.txt": content, "pyproject.toml": content}.get, [])
    for line in found.lines:
        Requirement(line)


@given(st.text(max_size=200))
@pytest.mark.slow
def test_arbitrary_text_never_raises(text: str) -> None:
    for line in read(text).lines:
        Requirement(line)


def test_number_of_files_is_limited() -> None:
    files = {f"r{number}.txt": f"package{number}\n" for number in range(30)}
    includes = "".join(f"-r {name}\n" for name in files)
    requirements = read(includes, **files)
    # requirements.txt itself is the first of twenty.
    assert requirements.lines == tuple(f"package{number}" for number in range(19))


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("\ufefftorch\nnumpy", ("torch", "numpy")),
        ("numpy \\\n  >=1.26", ("numpy>=1.26",)),
        ("numpy==1.26 --hash=sha256:ab", ("numpy==1.26",)),
        ("-r more.txt\ntorch", ("scipy", "torch")),
        ("sam @ git+https://host/sam", ("sam @ git+https://host/sam",)),
        ("-e git+https://host/sam#egg=sam", ("sam @ git+https://host/sam",)),
    ],
)
def test_comfyui_file_is_read_like_that_of_a_node(tmp_path: Path, text: str, lines: tuple[str, ...]) -> None:
    (tmp_path / "requirements.txt").write_text(text)
    (tmp_path / "more.txt").write_text("scipy")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\ndependencies = ["other"]\n')
    requirements = read_comfyui_requirements(tmp_path)
    assert requirements is not None
    assert requirements.lines == lines


def test_options_are_told_from_other_lines(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("--extra-index-url https://me:pw@host/cu126\n-e .\ntorch\n")
    requirements = read_comfyui_requirements(tmp_path)
    assert requirements is not None
    (option,) = requirements.options
    assert "--extra-index-url https://host/cu126" in option
    assert len(requirements.unparseable) == 2


def test_manager_requirements_count_only_with_the_manager(tmp_path: Path) -> None:
    assert read_comfyui_requirements(tmp_path, with_manager=True) is None
    (tmp_path / "requirements.txt").write_text("torch\n")
    (tmp_path / "manager_requirements.txt").write_text("comfyui_manager==4.0\n")
    with_manager = read_comfyui_requirements(tmp_path, with_manager=True)
    without = read_comfyui_requirements(tmp_path)
    assert with_manager is not None
    assert without is not None
    assert with_manager.lines == ("torch", "comfyui_manager==4.0")
    assert without.lines == ("torch",)


def test_indexes_are_read_from_options_without_credentials(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(
        "--extra-index-url https://host.example/cu126\n-i=https://pypi.example/simple\n"
        "--index-url https://me:secret@host.example\n--find-links https://host.example/wheels\n"
    )
    requirements = read_requirements(tmp_path)
    assert requirements.index_urls == ("https://host.example/cu126", "https://pypi.example/simple")
    assert len(requirements.options) == 4
