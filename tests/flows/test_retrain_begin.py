"""When an unfinished night is gone on with, and when it is given up for another."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.gate.admission import Admission
from cluster.lake.lake import Lake
from cluster.nightly.night import Night
from flows.retrain_begin import begin, give_up
from flows.retrain_params import RetrainParams
from flows.retrain_steps import Steps

Open = Callable[..., Night]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "candidates.yaml"
    write(file, "dead", "alive")
    return file


def write(file: Path, *names: str, **settings: Any) -> None:
    """Candidates of a server that nobody asks here."""
    endpoint = {"endpoint": {"url": "http://127.0.0.1:9/v1"}}
    entries = [{"name": name, "engine": "openai", "model": name} | endpoint for name in names]
    file.write_text(json.dumps([entry | settings for entry in entries]))


@pytest.fixture
def night(file: Path, tmp_path: Path) -> Open:
    """Opens a night as a run with these flags would."""
    root = str(tmp_path / "lake")
    lake = Lake.open(root)

    def opened(**flags: Any) -> Night:
        params = RetrainParams(**({"lake": root, "candidates": str(file), "budget": 50} | flags))
        return Night.open(
            lake,
            series=params.series(),
            begin=lambda before: begin(params, before=before, lake=lake),
            give_up=lambda night: give_up(params, night=night),
        )

    return opened


def test_nothing_has_changed(night: Open, file: Path) -> None:
    first = night()
    file.write_text(file.read_text() + "\n# a remark\n")
    again = night()
    assert (again.number, again.resumed, again.begun) == (1, True, first.begun)


def test_a_dead_candidate_is_taken_out_and_the_next_night_asks_without_it(
    night: Open, file: Path
) -> None:
    night()
    write(file, "alive", "new")
    after = night()
    assert (after.number, after.resumed) == (2, False)
    assert [one["name"] for one in after.begun["candidates"]] == ["alive", "new"]
    assert after.begun["abandoned"]["number"] == 1
    assert "without dead, with new" in after.begun["abandoned"]["why"]
    assert night().resumed


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ({"budget": 60}, "--budget is 60 and was 50"),
        ({"abandon_night": 1}, "by hand, with --abandon-night"),
    ],
)
def test_a_flag_that_ends_a_night(night: Open, flags: dict[str, int], why: str) -> None:
    night()
    after = night(**flags)
    assert (after.number, after.resumed) == (2, False)
    assert why in after.begun["abandoned"]["why"]
    again = night(**flags)
    assert (again.number, again.resumed) == (2, True)


def test_a_candidate_file_that_was_moved_changes_nothing(
    night: Open, file: Path, tmp_path: Path
) -> None:
    first = night()
    moved = file.rename(tmp_path / "moved.yaml")
    again = night(candidates=str(moved))
    assert (again.name, again.resumed) == (first.name, True)
    again.finish({"verdict": "kept", "rewards_version": 0, "standing": None})
    after = night(candidates=str(moved.rename(tmp_path / "again.yaml")))
    assert (after.series, after.number, after.resumed) == (first.series, 2, False)


@pytest.mark.parametrize("name", ["settings", "labels"])
def test_of_a_file_of_what_is_learned_counts_what_it_holds(name: str, tmp_path: Path) -> None:
    one, same, other = (tmp_path / f"{name}-{number}.yaml" for number in range(3))
    for path, content in ((one, "a: 1"), (same, "a: 1"), (other, "a: 2")):
        path.write_text(content)
    series = [RetrainParams(**{name: str(path)}).series() for path in (one, same, other)]
    assert series[0] == series[1] != series[2]
    assert RetrainParams().series() not in series


def test_the_night_s_manifest_says_how_many_queries_were_too_few_not_which(
    night: Open, file: Path, tmp_path: Path
) -> None:
    small = Admission("n1 a.csv", "too few to tell", "7 labels", labels=7, small=("q1", "q2"))
    one = night()
    params = RetrainParams(lake=str(tmp_path / "lake"), candidates=str(file))
    steps = Steps(params, night=one, lake=Lake.open(params.lake))
    manifest = steps.manifest({"admissions": [small.as_json()]})
    [told] = manifest["admissions"]
    assert told["small"] == 2
    assert "q1" not in json.dumps(manifest)


def test_other_settings_of_the_same_names_are_told(night: Open, file: Path) -> None:
    night()
    write(file, "dead", "alive", seed=1)
    assert "the same names, with other settings" in night().begun["abandoned"]["why"]


def test_a_cap_that_was_raised_counts_for_the_next_night(night: Open, file: Path) -> None:
    write(file, "alive", price={"input": 1.0, "output": 1.0})
    night(max_usd=1)
    after = night(max_usd=50)
    assert (after.number, after.begun["max_usd"]) == (2, 50)
    assert "--max-usd is 50 and was 1" in after.begun["abandoned"]["why"]


def test_a_night_that_has_decided_is_finished_whatever_has_changed(night: Open, file: Path) -> None:
    night().settle("decision", lambda: {"promoted": True})
    write(file, "alive")
    assert night().resumed
    # Unless somebody gives it up by hand.
    assert not night(abandon_night=1).resumed
