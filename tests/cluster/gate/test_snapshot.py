"""A frozen snapshot: even test rows, one a text, that never change whatever the lake gets."""

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError, LakeError
from cluster.gate.decision import Comparison, Decision
from cluster.gate.files import snapshot_uri
from cluster.gate.frozen import read_snapshot, snapshot_texts
from cluster.gate.rules import GateRules
from cluster.gate.snapshot import (
    Measure,
    current,
    current_or_frozen,
    freeze,
    load_snapshot,
    snapshots,
)
from cluster.gate.spending import note_decision, take_look
from cluster.lake.commit import append_new, put_rewards
from cluster.lake.lake import Lake
from cluster.lake.tables import CANDIDATES, QUERIES, REWARDS, SCORERS

TOY = Measure("toy")


def fill(lake, *, n=60, candidates=("a", "b"), biased=0, repeated=0, rare=0):
    """Test queries (and as many of train) with a reward of every candidate."""
    rows = [(f"q{i}", f"text {i}", "test", 1.0) for i in range(n)]
    rows += [(f"b{i}", f"biased {i}", "test", 0.5) for i in range(biased)]
    rows += [(f"r{i}", f"text {i}", "test", 1.0) for i in range(repeated)]
    rows += [(f"rare{i}", f"rare {i}", "test", 1.0) for i in range(rare)]
    rows += [(f"t{i}", f"train {i}", "train", 1.0) for i in range(n)]
    names = ["query_id", "text", "split", "sampling_probability"]
    queries = pl.DataFrame(rows, schema=names, orient="row")
    queries = queries.with_columns(
        dataset=pl.lit("toy"),
        task=pl.when(pl.col("query_id").str.starts_with("rare"))
        .then(pl.lit("rare"))
        .otherwise(pl.lit("sum")),
    )
    append_new(QUERIES.conform(queries).collect(), lake=lake, table=QUERIES)
    scorer = pl.DataFrame({"scorer_id": ["s"], "name": ["exact"], "spec": ["{}"]})
    append_new(scorer, lake=lake, table=SCORERS)
    for name in candidates:
        join(lake, name, queries=queries["query_id"])


def join(lake, name, *, queries):
    spec = {"candidate_id": f"id-{name}", "sequence": 1, "name": name, "spec": "{}"}
    append_new(pl.DataFrame([spec]), lake=lake, table=CANDIDATES)
    append_new(rewards(name, queries=queries), lake=lake, table=REWARDS)


def rewards(name, *, queries, value=None):
    drawn = np.random.default_rng(sum(map(ord, name))).integers(0, 2, len(queries))
    rows = pl.DataFrame({"query_id": queries}).with_columns(
        candidate_id=pl.lit(f"id-{name}"),
        sample=pl.lit(0),
        scorer_id=pl.lit("s"),
        value=pl.Series(drawn.astype(float)) if value is None else pl.lit(value),
        weight=pl.lit(1.0),
    )
    return REWARDS.conform(rows).collect()


@pytest.fixture
def lake(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    fill(lake, biased=5, repeated=3)
    return lake


def test_rows_that_were_picked_or_that_repeat_are_not_in_it(lake) -> None:
    made = freeze(lake, measure=TOY)
    assert (made.name, made.scorer, made.rows, made.tasks) == ("toy-1", "exact", 60, {"sum": 60})
    assert sorted(made.left_out.values()) == [3, 5]
    texts = snapshot_texts(lake, snapshot=made)
    assert texts.n_unique() == 60
    assert not texts.str.starts_with("biased").any()
    assert load_snapshot(lake, name="toy-1") == made


def test_it_never_changes_whatever_the_lake_gets(lake) -> None:
    made = freeze(lake, measure=TOY)
    before = read_snapshot(lake, snapshot=made)
    every = lake.read(QUERIES)["query_id"]
    put_rewards(rewards("a", queries=every, value=0.25), lake=lake)
    again = read_snapshot(lake, snapshot=load_snapshot(lake, name=made.name))
    assert np.array_equal(before.reward, again.reward)
    assert before.texts.equals(again.texts)
    assert freeze(lake, measure=TOY).digest != made.digest


def test_a_candidate_that_comes_later_is_added_once_and_beside(lake) -> None:
    made = freeze(lake, measure=TOY)
    every = lake.read(QUERIES)["query_id"]
    with pytest.raises(InputError, match="'new' has rewards on 0 of the 60"):
        read_snapshot(lake, snapshot=made, candidates={"id-new": "new"})
    join(lake, "new", queries=every)
    found = read_snapshot(lake, snapshot=made, candidates={"id-new": "new", "id-a": "a"})
    assert found.candidates == ("new", "a")
    assert found.mask.all()
    put_rewards(rewards("new", queries=every, value=0.25), lake=lake)
    again = read_snapshot(lake, snapshot=made, candidates={"id-new": "new"})
    assert np.array_equal(again.reward[:, 0], found.reward[:, 0])
    assert read_snapshot(lake, snapshot=made).candidates == ("a", "b", "new")


def test_files_that_were_touched_are_told_of(lake) -> None:
    made = freeze(lake, measure=TOY)
    _, sha = made.outcomes["id-a"]
    uri = snapshot_uri(lake, made.name, "files", f"{sha}.parquet")
    lake.storage.write(uri, lake.storage.read_bytes(uri) + b" ")
    with pytest.raises(LakeError, match=f"{sha}.parquet: was changed since"):
        read_snapshot(lake, snapshot=made)
    lake.storage.delete(uri)
    with pytest.raises(LakeError, match="is gone since"):
        read_snapshot(lake, snapshot=made)


def test_a_name_is_taken_once_and_names_a_folder_below_the_lake(lake) -> None:
    freeze(lake, measure=TOY, name="mine")
    with pytest.raises(InputError, match="'mine' already"):
        freeze(lake, measure=TOY, name="mine")
    for name in ("../out", "a/b", "", ".hidden"):
        with pytest.raises(InputError, match="expected letters"):
            load_snapshot(lake, name=name)


def test_the_newest_of_the_same_measure_is_current_and_frozen_on_first_use(lake) -> None:
    assert current(lake, measure=TOY) is None
    first = current_or_frozen(lake, measure=TOY)
    assert current_or_frozen(lake, measure=Measure("toy", scorer="exact")) == first
    other = Measure("toy", normalisation="rank")
    assert current(lake, measure=other) is None
    assert current_or_frozen(lake, measure=other).name == "toy-2"
    newest = freeze(lake, measure=TOY)
    assert current(lake, measure=TOY) == newest
    assert [one.name for one in snapshots(lake)] == ["toy-1", "toy-2", "toy-3"]


def test_too_few_rows_are_refused_with_a_reason(tmp_path) -> None:
    lake = Lake.open(tmp_path / "small")
    fill(lake, n=10, biased=30)
    with pytest.raises(
        InputError, match=r"10 test queries with a reward of every.*picked with a bias"
    ):
        freeze(lake, measure=TOY)


def test_a_candidate_that_is_half_collected_stays_out_until_it_is_whole(lake) -> None:
    every = lake.read(QUERIES)["query_id"]
    join(lake, "half", queries=every.head(40))
    made = freeze(lake, measure=TOY)
    assert made.waiting == {"half": 40}
    assert {name for name, _ in made.outcomes.values()} == {"a", "b"}
    with pytest.raises(InputError, match=r"'half' has rewards on 40 of the 60.*snapshot create"):
        read_snapshot(lake, snapshot=made, candidates={"id-half": "half"})
    append_new(rewards("half", queries=every.slice(40)), lake=lake, table=REWARDS)
    found = read_snapshot(lake, snapshot=made, candidates={"id-half": "half", "id-a": "a"})
    assert found.mask.all()
    assert load_snapshot(lake, name=made.name) == made


def test_nothing_is_frozen_before_enough_queries_have_every_reward(tmp_path) -> None:
    lake = Lake.open(tmp_path / "sparse")
    fill(lake, candidates=())
    tests = lake.read(QUERIES).filter(split="test")["query_id"].sort()
    join(lake, "a", queries=tests.head(40))
    join(lake, "b", queries=tests.tail(40))
    with pytest.raises(InputError, match=r"0 test queries with.*95% of 60 queries: 'a' 40, 'b' 40"):
        freeze(lake, measure=TOY)


def look(lake, *, snapshot, seen=True):
    taken = take_look(
        lake, snapshot=snapshot, comparison="c", version="v", champion="", rules=GateRules()
    )
    rows = (Comparison("best single", 0.1, 0.05, 0.2, n=9),) if seen else ()
    decided = Decision(promote=False, why="why", comparisons=rows)
    note_decision(lake, look=taken, version="v", decision=decided)


def test_rows_that_were_looked_at_get_no_second_error_rate(lake) -> None:
    first = freeze(lake, measure=TOY)
    look(lake, snapshot=first.name, seen=False)
    second = freeze(lake, measure=TOY)
    look(lake, snapshot=second.name)
    with pytest.raises(InputError, match=r"60 of the 60 .* 60 more new test queries are needed"):
        freeze(lake, measure=TOY)
    more(lake, n=59)
    with pytest.raises(InputError, match=r"60 of the 119 .*\(toy-2\).* 1 more new"):
        freeze(lake, measure=TOY)
    assert freeze(lake, measure=Measure("toy", normalisation="rank")).rows == 119
    more(lake, n=60)
    assert freeze(lake, measure=TOY).rows == 120


def more(lake, *, n):
    """New test queries up to a number, with a reward of every candidate."""
    queries = pl.DataFrame({"query_id": [f"n{i}" for i in range(n)]}).with_columns(
        text=pl.format("new {}", "query_id"),
        split=pl.lit("test"),
        sampling_probability=pl.lit(1.0),
        dataset=pl.lit("toy"),
        task=pl.lit("sum"),
    )
    append_new(QUERIES.conform(queries).collect(), lake=lake, table=QUERIES)
    for name in ("a", "b"):
        append_new(rewards(name, queries=queries["query_id"]), lake=lake, table=REWARDS)


def test_a_rare_task_is_left_out_and_told(tmp_path) -> None:
    lake = Lake.open(tmp_path / "rare")
    fill(lake, n=300, rare=3)
    made = freeze(lake, measure=TOY)
    assert made.tasks == {"sum": 300}
    assert list(made.left_out.values()) == [3]
    assert "fewer than 20 rows" in next(iter(made.left_out))
