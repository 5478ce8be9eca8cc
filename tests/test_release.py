"""A release names exactly what judged a part."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inspector.recipe import Recipe, parse
from inspector.release import Release


def a_recipe(limit: float = 0.5, name: str = "plate") -> Recipe:
    presence = {"method": "off", "why": "test"}
    return parse(
        {"name": name, "frame": {"width": 64, "height": 64}, "presence": presence, "classes": {"open": {"limit": limit}}}, folder=Path()
    )


RELEASE = Release(a_recipe(), "boards-v0", "ab" * 32, "CPU", "int8", "runtime 1.0")


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": a_recipe(0.51)},
        {"recipe": a_recipe(name="plate 2")},
        {"bundle_hash": "ac" * 32},
        {"device": "GPU.0"},
        {"precision": "fp32"},
        {"runtime": "runtime 1.1"},
    ],
)
def test_another_part_of_it_is_another_release(change: dict[str, Any]) -> None:
    assert replace(RELEASE, **change).id != RELEASE.id


def test_the_same_content_is_the_same_release_wherever_it_lies() -> None:
    assert replace(RELEASE, recipe=a_recipe()).id == RELEASE.id
    assert replace(RELEASE, bundle_name="a copy").id == RELEASE.id


def test_the_parts_of_an_id_cannot_run_into_each_other() -> None:
    assert replace(RELEASE, device="CPUint", precision="8").id != replace(RELEASE, device="CPU", precision="int8").id


def test_an_id_is_short_and_the_same_in_every_process() -> None:
    # A known answer: records of earlier versions refer to releases by it.
    release = Release(replace(a_recipe(), revision="0" * 64), "boards-v0", "ab" * 32, "CPU", "int8", "runtime 1.0")
    assert release.id == "c34baf4916de54a1"


def test_the_document_is_plain_json_and_tells_everything() -> None:
    document = RELEASE.document()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["recipe"]["revision"] == RELEASE.recipe.revision
    assert document["recipe"]["classes"]["open"]["limit"] == 0.5
    assert document["recipe"]["presence"] == {"method": "off", "why": "test"}
    assert document["bundle"] == {"name": "boards-v0", "sha256": "ab" * 32}
    assert (document["device"], document["precision"], document["runtime"]) == ("CPU", "int8", "runtime 1.0")
