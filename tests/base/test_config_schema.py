from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from comfywatchman.base.config_schema import ConfigOrigin, ConfigSchema, describe_value_type, expand_user
from comfywatchman.base.errors import Failure
from comfywatchman.base.settings import PathText, Secret, UrlText


class Cup(msgspec.Struct, frozen=True):
    path: PathText
    label: str


class TeaSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    minutes: Annotated[int, msgspec.Meta(ge=1)] = 3
    folder: PathText = ""
    key: Secret = ""
    cups: tuple[Cup, ...] = ()
    shop: UrlText = ""


class TeaSettings(msgspec.Struct, frozen=True):
    tea: TeaSection = TeaSection()


SCHEMA = ConfigSchema(TeaSettings, prefix="TEA_", reserved=frozenset({"TEA_HOME"}))
HERE = Path("/here")


def build(*layers: dict[str, object], environment: dict[str, str] | None = None) -> TeaSettings:
    origins = [(ConfigOrigin(f"layer {number}", HERE), layer) for number, layer in enumerate(layers)]
    return SCHEMA.build(origins, environment or {})[0]


def refuse(text: str) -> Failure:
    with pytest.raises(Failure) as raised:
        SCHEMA.parse(text, "tea.toml")
    return raised.value


def test_keys_have_their_section_in_front() -> None:
    assert list(SCHEMA.keys) == ["tea.minutes", "tea.folder", "tea.key", "tea.cups", "tea.shop"]
    assert [key for key in SCHEMA.keys if SCHEMA.is_secret(key)] == ["tea.key"]


def test_later_layer_wins_and_is_the_origin() -> None:
    layers = [(ConfigOrigin("one", HERE), {"tea.minutes": 4}), (ConfigOrigin("two", HERE), {"tea.minutes": 5})]
    settings, origins = SCHEMA.build(layers, {})
    assert (settings.tea.minutes, origins["tea.minutes"].label) == (5, "two")


def test_overridden_value_is_checked_too() -> None:
    with pytest.raises(Failure, match=r"tea\.minutes in layer 0 is 0: it must be a whole number of at least 1\."):
        build({"tea.minutes": 0}, {"tea.minutes": 5})


def test_toml_becomes_values_by_key() -> None:
    assert SCHEMA.parse("[tea]\nminutes = 4\n", "tea.toml") == {"tea.minutes": 4}


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[tea]\nminute = 4", "Unknown configuration key 'tea.minute' in tea.toml.", "tea.minutes"),
        ("[teas]\nminutes = 4", "Unknown configuration key 'teas' in tea.toml.", "'tea'"),
        ("tea = 4", "tea in tea.toml is a single value, but it is the name of a section.", "[tea]"),
    ],
)
def test_unknown_keys_and_sections_are_refused_with_a_hint(text: str, message: str, hint: str) -> None:
    failure = refuse(text)
    assert failure.message == message
    assert hint in (failure.hint or "")


def test_message_about_a_value_holds_no_password() -> None:
    with pytest.raises(Failure) as raised:
        build({"tea.cups": [{"https://me:secret@host.example/x": ["ftp://me:secret@host.example/"]}]})
    assert "https://***@host.example/x" in raised.value.message
    assert "ftp://***@host.example/" in raised.value.message
    assert "secret" not in raised.value.message


def test_file_with_a_secret_must_be_private(tmp_path: Path) -> None:
    file = tmp_path / "tea.toml"
    file.write_text('[tea]\nkey = "earl grey"\n')
    file.chmod(0o644)
    with pytest.raises(Failure) as raised:
        SCHEMA.read_file(file)
    assert raised.value.code == "config-secret-exposed"
    file.chmod(0o600)
    assert SCHEMA.read_file(file)[1] == {"tea.key": "earl grey"}


def test_variables_of_text_keys_are_taken_literally() -> None:
    variables = {"TEA_TEA__KEY": "007", "TEA_TEA__MINUTES": "7", "TEA_HOME": "/x", "OTHER": "y"}
    layers = [layer for _origin, layer in SCHEMA.read_variables(variables, HERE)]
    assert layers == [{"tea.key": "007"}, {"tea.minutes": 7}]


def test_relative_paths_start_at_the_folder_of_their_origin() -> None:
    settings = build(
        {"tea.folder": "pot", "tea.cups": ["~/mug", {"path": "glass", "label": "best"}]},
        environment={"HOME": "/home/me"},
    )
    assert settings.tea.folder == "/here/pot"
    assert settings.tea.cups == (Cup("/home/me/mug", "mug"), Cup("/here/glass", "best"))


def test_empty_path_stays_empty() -> None:
    assert build({"tea.folder": ""}).tea.folder == ""


def test_home_folder_of_an_unknown_user_is_refused() -> None:
    with pytest.raises(Failure, match="user that does not exist"):
        expand_user("~no-such-user-here/x", {"HOME": "/home/me"})


@pytest.mark.parametrize("address", ["localhost:8188", "127.0.0.1", "ftp://shop", "http://", "http:///x", "http:shop"])
def test_address_without_scheme_or_host_is_refused(address: str) -> None:
    with pytest.raises(Failure, match=r'must be an address such as "http://127\.0\.0\.1:8188"'):
        build({"tea.shop": address})


@pytest.mark.parametrize(
    "address", ["", "http://shop", "https://shop:8188/a?b=c", "http://[::1]:8188", "http://a:b@shop/"]
)
def test_address_may_be_empty_or_a_url(address: str) -> None:
    assert build({"tea.shop": address}).tea.shop == address


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (bool, "true or false"),
        (str, "a string in quotes"),
        (PathText, "a path in quotes"),
        (UrlText, 'an address such as "http://127.0.0.1:8188", which begins with http:// or https://'),
        (int, "a whole number"),
        (Annotated[float, Meta(gt=0)], "a number of more than 0"),
        (Annotated[int, Meta(ge=1, le=16)], "a whole number of at least 1 and at most 16"),
        (Annotated[float, Meta(lt=0.5)], "a number of less than 0.5"),
        (Annotated[float, Meta(ge=0, le=1e9)], "a number of at least 0"),
        (Literal["a", "b"], "one of 'a', 'b'"),
        (tuple[Literal["a", "b"], ...], "a list, each one of 'a', 'b'"),
        (tuple[PathText, ...], 'a list of paths such as ["/one", "/two"]'),
        (tuple[str, ...], 'a list of strings such as ["one", "two"]'),
    ],
)
def test_each_type_is_described(annotation: Any, text: str) -> None:
    assert describe_value_type(annotation) == text
