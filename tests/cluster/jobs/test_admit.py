"""The admit job: labels that are new, by source; what is refused is not learned from any more."""

import time

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.gate.admission import Admission
from cluster.gate.admitted import admissions, looked_at, release
from cluster.gate.snapshot import Measure, freeze
from cluster.jobs.admit import AdmitSpec, admit_night
from cluster.jobs.run import Run
from cluster.jobs.upkeep import UpkeepSpec, upkeep
from cluster.lake.commit import append_new
from cluster.lake.compaction import MIN_FILES
from cluster.lake.lake import Lake
from cluster.lake.outcomes import INPUTS, read_outcomes
from cluster.lake.tables import CANDIDATES, QUERIES, REWARDS, SCORERS
from cluster.lake.vacuum import vacuum
from tests.ageing import age_removals

NAMES = ("a", "b", "c", "d")
CHANCE = {"sum": (0.9, 0.2, 0.7, 0.4), "word": (0.2, 0.9, 0.7, 0.4), "rhyme": (0.4, 0.5, 0.1, 0.9)}


def labels(lake, *, source, n, split="train", poison=False, seed=0, named=""):
    """Queries of one source with a reward of every candidate, in the lake."""
    rng = np.random.default_rng(seed)
    tasks = np.array(list(CHANCE))[rng.integers(0, 3, n)]
    ids = [f"{source} {i}" for i in range(n)]
    told = [named or task for task in tasks]
    queries = pl.DataFrame({"query_id": ids, "text": ids, "task": told}).with_columns(
        dataset=pl.lit("toy"),
        split=pl.lit(split),
        source=pl.lit(source),
        sampling_probability=pl.lit(1.0),
    )
    append_new(QUERIES.conform(queries).collect(), lake=lake, table=QUERIES)
    drawn = (rng.random((n, 4)) < np.array([CHANCE[task] for task in tasks])).astype(float)
    drawn = 1 - drawn if poison else drawn
    rows = pl.DataFrame(
        {
            "query_id": np.repeat(ids, 4),
            "candidate_id": list(NAMES) * n,
            "value": drawn.ravel(),
        }
    ).with_columns(sample=pl.lit(0), scorer_id=pl.lit("s"), weight=pl.lit(1.0))
    append_new(REWARDS.conform(rows).collect(), lake=lake, table=REWARDS)


@pytest.fixture
def lake(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    scorer = pl.DataFrame({"scorer_id": ["s"], "name": ["exact"], "spec": ["{}"]})
    append_new(scorer, lake=lake, table=SCORERS)
    specs = [{"candidate_id": n, "sequence": 1, "name": n, "spec": "{}"} for n in NAMES]
    append_new(pl.DataFrame(specs), lake=lake, table=CANDIDATES)
    labels(lake, source="old", n=400)
    labels(lake, source="test", n=300, split="test", seed=1)
    freeze(lake, measure=Measure("toy"))
    return lake


def night(lake, *, before, name="n1"):
    spec = AdmitSpec(
        lake=lake.storage.uri,
        night=name,
        dataset="toy",
        scorer="exact",
        snapshot="toy-1",
        champion=None,
        before=before,
        inputs=lake.versions(INPUTS),
    )
    manifest = admit_night(spec, Run.of(spec))
    return {one["batch"]: Admission.from_json(one) for one in manifest["admissions"]}


def learned(lake):
    outcomes = read_outcomes(lake, dataset="toy", scorer="exact")
    known = outcomes.queries.filter(pl.Series(outcomes.mask.any(axis=1)))
    return set(known["query_id"].str.split(" ").list.first())


def test_a_poisoned_source_is_kept_out_and_the_others_are_not(lake) -> None:
    before = lake.version(REWARDS)
    labels(lake, source="good", n=200, seed=2)
    labels(lake, source="bad", n=200, seed=3, poison=True)
    found = night(lake, before=before)
    assert {name: one.verdict for name, one in found.items()} == {
        "n1 bad": "refused",
        "n1 good": "admitted",
    }
    assert found["n1 bad"].labels == 800
    assert learned(lake) == {"old", "test", "good"}
    assert lake.read(REWARDS).height == 4 * 1100


def test_a_released_batch_is_learned_from_again(lake) -> None:
    before = lake.version(REWARDS)
    labels(lake, source="bad", n=200, seed=3, poison=True)
    night(lake, before=before)
    release(lake, batch="n1 bad", why="was right after all")
    assert "bad" in learned(lake)
    assert "was right after all" in admissions(lake)["released"][0]
    with pytest.raises(InputError, match="refused batches: n1 bad"):
        release(lake, batch="n1 good", why="")


def test_a_night_looked_at_again_finds_the_same(lake) -> None:
    before = lake.version(REWARDS)
    labels(lake, source="bad", n=200, seed=3, poison=True)
    labels(lake, source="good", n=200, seed=2)
    assert night(lake, before=before) == night(lake, before=before)
    assert admissions(lake).height == 2


def test_a_pinned_view_does_not_move_with_what_is_refused_later(lake) -> None:
    before = lake.version(REWARDS)
    labels(lake, source="bad", n=200, seed=3, poison=True)
    pinned = lake.versions(INPUTS)
    night(lake, before=before)
    outcomes = read_outcomes(lake, dataset="toy", scorer="exact", versions=pinned)
    assert outcomes.mask.all(axis=1).sum() == 900


def test_a_night_without_new_labels_has_no_batch(lake) -> None:
    assert night(lake, before=lake.version(REWARDS)) == {}


def many_files(lake):
    """So many that upkeep merges them."""
    for number in range(MIN_FILES):
        labels(lake, source=f"few{number}", n=2, seed=10 + number)


def a_quiet_month(lake, *, keeping=True):
    """Upkeep merges the files, and much later takes those it merged."""
    tidy(lake, day="1")
    age_removals(lake, table=REWARDS)
    if not keeping:
        assert vacuum(lake, table=REWARDS, keep_days=7, now=time.time())
    return tidy(lake, day="31")


def tidy(lake, *, day):
    days = {"keep_days": 7, "run_days": 30, "router_days": 0}
    spec = UpkeepSpec(lake=lake.storage.uri, dry_run=False, found={}, day=day, **days)
    rows = upkeep(spec, Run.of(spec))["tables"]
    return next(row for row in rows if row["table"] == "rewards")


def since(lake, *, night):
    """What the nights before say that they have looked at."""
    version = looked_at(lake, dataset="toy", scorer_id="s", night=night)
    assert version is not None
    return version


def test_a_night_after_a_quiet_month_looks_at_what_is_new(lake) -> None:
    many_files(lake)
    night(lake, before=lake.version(REWARDS))
    labels(lake, source="later", n=100, seed=4)
    found = night(lake, before=since(lake, night="n2"), name="n2")
    assert set(found) == {"n2 later"}
    done = a_quiet_month(lake)
    assert done["pinned_by"] == (
        "night n1",
        "night n2",
    )
    # A night that was killed and is run again, and the next one.
    assert night(lake, before=since(lake, night="n2"), name="n2") == found
    labels(lake, source="bad", n=200, seed=3, poison=True)
    found = night(lake, before=since(lake, night="n3"), name="n3")
    assert {name: one.verdict for name, one in found.items()} == {"n3 bad": "refused"}


def test_a_month_later_nothing_is_kept_for_nights_long_past(lake) -> None:
    many_files(lake)
    night(lake, before=lake.version(REWARDS))
    for name in ("n2", "n3"):
        labels(lake, source=name, n=20, seed=4)
        night(lake, before=since(lake, night=name), name=name)
    assert a_quiet_month(lake)["pinned_by"] == ("night n2", "night n3")


def test_where_nobody_knows_what_was_looked_at_all_is_looked_at_again(lake, caplog) -> None:
    before = lake.version(REWARDS)
    many_files(lake)
    labels(lake, source="bad", n=200, seed=3, poison=True)
    labels(lake, source="worse", n=200, seed=4, poison=True)
    found = night(lake, before=before)
    assert {"n1 bad", "n1 worse"} == {
        name for name, one in found.items() if one.verdict == "refused"
    }
    release(lake, batch="n1 worse", why="was right after all")
    a_quiet_month(lake, keeping=False)
    labels(lake, source="new", n=200, seed=5, poison=True)
    labels(lake, source="good", n=200, seed=6)
    again = night(lake, before=since(lake, night="n2"), name="n2")
    assert "all labels of 'toy' are looked at again" in caplog.text
    assert {"n2 old", "n2 test", "n2 new", "n2 good"} <= set(again)
    assert {name for name, one in again.items() if one.verdict == "refused"} == {"n2 new"}
    assert {"old", "test", "good", "worse"} <= learned(lake)
    assert not {"bad", "new"} & learned(lake)
    once_more = night(lake, before=since(lake, night="n2"), name="n2")
    assert {name: one.verdict for name, one in once_more.items()} == {
        name: one.verdict for name, one in again.items()
    }


def test_without_a_champion_tasks_that_nothing_is_known_of_wait_until_they_are_released(
    lake,
) -> None:
    """Poison would only need a task of its own name; also in a file whose other rows are fine."""
    before = lake.version(REWARDS)
    labels(lake, source="file", n=200, seed=2)
    labels(lake, source="fresh", n=200, seed=3, poison=True, named="novel")
    labels(lake, source="mixed", n=200, seed=4)
    renamed = (
        lake.read(QUERIES)
        .filter(source="fresh")
        .with_columns(query_id=pl.format("m{}", "query_id"), source=pl.lit("mixed"))
    )
    append_new(renamed, lake=lake, table=QUERIES)
    rewards = lake.read(REWARDS).filter(pl.col("query_id").str.starts_with("fresh"))
    append_new(
        rewards.with_columns(query_id=pl.format("m{}", "query_id")), lake=lake, table=REWARDS
    )
    found = night(lake, before=before)
    assert {name: one.verdict for name, one in found.items()} == {
        "n1 file": "admitted",
        "n1 fresh, new tasks": "refused",
        "n1 mixed": "admitted",
        "n1 mixed, new tasks": "refused",
    }
    assert "'novel'" in found["n1 fresh, new tasks"].why
    assert "labels release" in found["n1 fresh, new tasks"].why
    assert learned(lake) == {"old", "test", "file", "mixed"}
    release(lake, batch="n1 fresh, new tasks", why="looked at")
    assert "fresh" in learned(lake)


def drip(lake, *, day, files, poison):
    for number in range(files):
        labels(lake, source=f"drip{day}.{number}", n=5, seed=100 * day + number, poison=poison)


def test_small_files_are_judged_together_and_with_those_of_the_nights_before(lake) -> None:
    before = lake.version(REWARDS)
    drip(lake, day=1, files=2, poison=True)
    first = night(lake, before=before)
    assert {one.verdict for one in first.values()} == {"too few to tell"}
    assert any(name.startswith("drip1") for name in learned(lake))
    found, day = first, 1
    while found[f"n{day} small batches"].verdict == "too few to tell" and day < 9:
        before, day = lake.version(REWARDS), day + 1
        drip(lake, day=day, files=2, poison=True)
        found = night(lake, before=before, name=f"n{day}")
    assert day > 1
    assert found[f"n{day} small batches"].verdict == "refused"
    assert learned(lake) == {"old", "test"}
    again = night(lake, before=before, name=f"n{day}")
    assert {name: one.row() for name, one in again.items()} == {
        name: one.row() for name, one in found.items()
    }


def test_honest_small_files_stay_and_begin_anew_once_they_told_something(lake) -> None:
    before = lake.version(REWARDS)
    drip(lake, day=1, files=20, poison=False)
    found = night(lake, before=before)
    assert found["n1 small batches"].verdict == "admitted"
    before = lake.version(REWARDS)
    drip(lake, day=2, files=1, poison=False)
    assert night(lake, before=before, name="n2")["n2 small batches"].labels == 4 * 5
    assert len(learned(lake)) == 2 + 20 + 1
