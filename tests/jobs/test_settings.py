from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from comfywatchman.base import config
from comfywatchman.base.errors import Failure
from comfywatchman.base.settings import JobsSection
from comfywatchman.jobs.records import MEDIA_OF_TYPE
from comfywatchman.jobs.settings import JobSettings, build_settings

HOME = Path("/srv/home")
COMFYUI = "http://127.0.0.1:8188"


def build(**changes: object) -> JobSettings:
    section: JobsSection = msgspec.structs.replace(config.load().settings.jobs, **changes)
    return build_settings(section, home=HOME, comfyui_url=COMFYUI)


def test_defaults_of_the_configuration_are_those_of_the_code() -> None:
    assert build() == JobSettings(
        processing=HOME / "jobs" / "processing",
        finished=HOME / "jobs" / "finished",
        database_url="sqlite:////srv/home/state/jobs.db",
        workflows=HOME / "config" / "workflows.yaml",
        global_config=HOME / "config" / "global_config.yaml",
        previews=HOME / "state" / "previews",
    )


def test_configured_places_replace_those_of_the_home_folder() -> None:
    settings = build(root="/jobs", database="sqlite:////x.db", workflows="/w.yaml", global_config="/g.yaml")
    assert (settings.processing, settings.finished) == (Path("/jobs/processing"), Path("/jobs/finished"))
    assert settings.database_url == "sqlite:////x.db"
    assert (settings.workflows, settings.global_config) == (Path("/w.yaml"), Path("/g.yaml"))


def test_own_address_of_comfyui_comes_first() -> None:
    assert build(comfyui_url="http://127.0.0.1:9").comfyui_url == "http://127.0.0.1:9"


def test_heartbeat_of_a_third_of_the_lease_is_accepted() -> None:
    assert build(heartbeat_seconds=20.0, lease_seconds=60.0).heartbeat_seconds == 20.0


def test_heartbeat_of_more_than_a_third_of_the_lease_is_refused() -> None:
    with pytest.raises(Failure, match=r"jobs\.heartbeat_seconds is 20\.5") as caught:
        build(heartbeat_seconds=20.5, lease_seconds=60.0)
    assert caught.value.code == "config-wrong-type"
    assert "20 or less" in str(caught.value.hint)


def test_extra_types_join_the_known_ones() -> None:
    assert build(extra_types=("UPSCALE=image", "LIP2=lip_sync")).media_of_type == {
        **MEDIA_OF_TYPE,
        "UPSCALE": "image",
        "LIP2": "lip_sync",
    }


@pytest.mark.parametrize("entry", ["UPSCALE", "=image", "UPSCALE=", "up=image", "UP_2=image", "UP=../x", "ÜP=image"])
def test_extra_type_of_another_form_is_refused(entry: str) -> None:
    with pytest.raises(Failure, match=r"jobs\.extra_types") as caught:
        build(extra_types=(entry,))
    assert caught.value.code == "config-wrong-type"
