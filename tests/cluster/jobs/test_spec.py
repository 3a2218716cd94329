"""A spec's identity: equal specs are the same work, everything in them counts."""

from typing import ClassVar

import pytest
from pydantic import ValidationError

from cluster.jobs.import_table import ImportSpec
from cluster.jobs.label import LabelSpec
from cluster.jobs.spec import JobSpec
from cluster.labels import Label

EXACT = Label(name="exact", method="exact")
LABEL = LabelSpec(
    lake="/l",
    dataset="d",
    scorers=(EXACT,),
    taggers=(),
    inputs={"queries": 1},
)
IMPORT = ImportSpec(lake="/l", format="table", path="/p", digest="0", dataset="d")


class One(JobSpec):
    job: ClassVar[str] = "one"


class Other(JobSpec):
    job: ClassVar[str] = "other"


@pytest.mark.parametrize("spec", [LABEL, IMPORT])
def test_a_spec_comes_back_from_its_json_as_the_same_work(spec: JobSpec) -> None:
    again = type(spec).parse(spec.model_dump_json(indent=2).encode())
    assert again == spec
    assert again.work_id == spec.work_id


@pytest.mark.parametrize(
    "change",
    [
        {"lake": "/m"},
        {"dataset": "e"},
        {"scorers": (EXACT, Label(name="numeric", method="numeric"))},
        {"taggers": (Label(name="task", method="task"),)},
        {"inputs": {"queries": 2}},
    ],
)
def test_every_field_is_part_of_the_identity(change: dict) -> None:
    assert LABEL.model_copy(update=change).work_id != LABEL.work_id


def test_equal_fields_of_another_job_are_other_work() -> None:
    assert One(lake="/l").work_id != Other(lake="/l").work_id


def test_another_version_of_the_code_is_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    before = LABEL.work_id
    monkeypatch.setattr("cluster.jobs.spec.version", lambda name: "999")
    assert LABEL.work_id != before


def test_a_work_id_begins_with_the_job_and_can_be_a_folder() -> None:
    assert LABEL.work_id.startswith("label-")
    assert set(LABEL.work_id) <= set("abcdefghijklmnopqrstuvwxyz_0123456789-")


def test_a_spec_is_frozen_and_knows_its_fields() -> None:
    with pytest.raises(ValidationError):
        LABEL.lake = "/other"
    with pytest.raises(ValidationError, match="secret"):
        IMPORT.parse(b'{"lake": "/l", "secret": "x"}')
