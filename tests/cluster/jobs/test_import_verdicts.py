"""Verdicts become rewards on the queries and candidates they are about, and on no others."""

import json

import polars as pl
import pytest

from cluster import registry
from cluster.errors import InputError
from cluster.feedback.keep import keep_feedback
from cluster.jobs.import_table import ImportSpec, import_table, path_digest
from cluster.jobs.run import Run
from cluster.lake.candidates import keep_specs
from cluster.lake.lake import Lake
from cluster.lake.outcomes import read_outcomes
from cluster.lake.tables import QUERIES, REWARDS
from cluster.routers.checkpoint import CheckpointMeta, save_checkpoint
from cluster.routers.random import RandomRouter


@pytest.fixture
def lake(tmp_path) -> Lake:
    """Five queries that `small` and `large` were scored on."""
    table = tmp_path / "scores.csv"
    rows = [f"question {n},{n % 2},1" for n in range(5)]
    table.write_text("\n".join(["text,small,large", *rows]) + "\n")
    spec = ImportSpec(
        lake=str(tmp_path / "lake"),
        format="table",
        path=str(table),
        digest=path_digest(str(table)),
        dataset="asked",
    )
    import_table(spec, Run.of(spec))
    return Lake.open(tmp_path / "lake")


@pytest.fixture
def do(tmp_path, lake):
    def run(rows: list[dict] | pl.DataFrame, **changes) -> dict:
        path = tmp_path / "verdicts.parquet"
        frame = rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(rows)
        frame.write_parquet(path)
        given = {"format": "verdicts", "dataset": "", "path": str(path)} | changes
        spec = ImportSpec(lake=lake.storage.uri, digest=path_digest(str(path)), **given)
        return import_table(spec, Run.of(spec))

    return run


def thumbs(*rows: tuple[str, str, str | None]) -> list[dict]:
    return [{"text": text, "candidate": name, "thumb": thumb} for text, name, thumb in rows]


def test_the_mean_of_the_verdicts_is_a_reward_that_weighs_as_many(do, lake):
    manifest = do(
        thumbs(
            ("question 1", "small", "up"),
            ("question 1", "small", "down"),
            ("question 1", "small", "up"),
            ("question 2", "large", "down"),
            ("question 3", "large", None),
        )
    )
    assert (manifest["verdicts"], manifest["rewards"], manifest["rows_without_verdict"]) == (
        4,
        2,
        1,
    )
    found = read_outcomes(lake, dataset="asked", scorer="user_verdict")
    cells = {
        (text, name): (found.reward[row, column], found.n_samples[row, column])
        for row, text in enumerate(found.texts)
        for column, name in enumerate(found.candidates)
        if found.mask[row, column]
    }
    assert cells == {
        ("question 1", "small"): (pytest.approx(2 / 3), 3),
        ("question 2", "large"): (0.0, 1),
    }
    assert lake.read(QUERIES).height == 5
    assert "chosen for" in manifest["notes"][-1]


def test_the_same_file_again_changes_nothing_and_a_longer_one_replaces(do, lake):
    first = thumbs(("question 1", "small", "up"))
    assert do(first)["new_or_changed_rewards"] == 1
    version = lake.version(REWARDS)
    assert do(first)["new_or_changed_rewards"] == 0
    assert lake.version(REWARDS) == version
    longer = thumbs(("question 1", "small", "up"), ("question 1", "small", "down"))
    assert do(longer)["new_or_changed_rewards"] == 1
    own = lake.read(REWARDS).filter(pl.col("weight") == 2)
    assert own["value"].to_list() == [0.5]


def test_an_unknown_query_or_candidate_is_set_aside_with_the_reason(do, lake):
    manifest = do(
        thumbs(
            ("question 1", "small", "up"),
            ("never asked", "small", "up"),
            ("question 2", "nobody", "up"),
            ("question 3", "small", "sideways"),
        )
    )
    assert (manifest["verdicts"], manifest["broken"]) == (1, 3)
    lines = lake.storage.read_bytes(manifest["quarantine"]).decode().splitlines()
    told = {row["row"]: row["reason"] for row in map(json.loads, lines)}
    assert "no such query in the lake" in told[2]
    assert "no candidate 'nobody'" in told[3]
    assert "expected up or down" in told[4]


def test_nothing_known_at_all_is_an_error(do):
    with pytest.raises(InputError, match="no such query in dataset 'other'") as told:
        do(thumbs(("question 1", "small", "up")), dataset="other")
    assert str(told.value).startswith("no verdict is on a known query and candidate")
    assert "max_error_share" not in str(told.value)


def test_a_query_may_go_by_its_id(do, lake):
    key = lake.read(QUERIES).filter(pl.col("text") == "question 4")["query_id"][0]
    manifest = do([{"query_id": key, "candidate": "large", "score": 0.3}])
    assert manifest["counts"] == [
        {"candidate": "large", "verdicts": 1, "mean": 0.3, "mean_over_all": None}
    ]


def two_smalls(lake: Lake) -> None:
    """Another candidate goes by the name `small` too."""
    row = {"candidate_id": "f" * 64, "name": "small", "spec": "{}"}
    keep_specs(pl.DataFrame([row]), lake=lake)


def test_a_name_of_several_is_set_aside_unless_written_long(do, lake):
    two_smalls(lake)
    rows = thumbs(("question 1", "small", "up"), ("question 2", "small@ffffffff", "down"))
    manifest = do(rows)
    assert (manifest["verdicts"], manifest["broken"]) == (1, 1)
    assert "2 candidates named 'small'" in manifest["reasons"][0]["reason"]
    assert "small@ffffffff" in manifest["reasons"][0]["reason"]


def test_a_routed_file_with_a_thumb_names_its_router_s_own_candidate(do, lake):
    two_smalls(lake)
    router = RandomRouter(
        ("small", "large"), seed=0, completion_tokens=pl.Series([1.0, 1.0]).to_numpy()
    )
    folder = lake.storage.join("checkpoints", "r")
    meta = CheckpointMeta(candidate_ids=("f" * 64, "e" * 64))
    version = save_checkpoint(router, folder, meta=meta)
    registry.register(
        lake,
        version=version,
        checkpoint=folder,
        method="random",
        dataset="asked",
        metrics={},
        why="",
    )
    routed = pl.DataFrame(
        {
            "text": ["question 1", "question 2"],
            "candidate": ["small", "small"],
            "predicted_reward": [0.5, 0.5],
            "router": [version, version],
            "policy": ["best", "best"],
            "thumb": [True, None],
        }
    )
    manifest = do(routed)
    assert (manifest["verdicts"], manifest["broken"]) == (1, 0)
    own = lake.read(REWARDS).filter(pl.col("candidate_id") == "f" * 64)
    assert own["value"].to_list() == [1.0]


def test_with_the_probabilities_of_exploration_the_mean_over_all_queries_is_estimated(do):
    """`small` is chosen where it is good, and by lot once in five elsewhere, where it is bad."""
    rows = [
        {"text": "question 1", "candidate": "small", "thumb": 1, "choice_probability": 0.8},
        {"text": "question 2", "candidate": "small", "thumb": 1, "choice_probability": 0.8},
        {"text": "question 3", "candidate": "small", "thumb": 1, "choice_probability": 0.8},
        {"text": "question 4", "candidate": "small", "thumb": 1, "choice_probability": 0.8},
        {"text": "question 0", "candidate": "small", "thumb": 0, "choice_probability": 0.2},
    ]
    manifest = do(rows)
    [counted] = manifest["counts"]
    assert counted["mean"] == pytest.approx(0.8)
    assert counted["mean_over_all"] == pytest.approx(0.5)
    assert manifest["with_choice_probability"] == 5


def test_queries_that_came_in_by_a_lottery_count_for_those_that_did_not(do, lake):
    """Unsure queries come back twice as often, and are half as good."""
    drawn = pl.DataFrame(
        {
            "text": [f"unsure {n}" for n in range(4)] + [f"sure {n}" for n in range(2)],
            "candidate": "small",
            "sampling_probability": [0.2] * 4 + [0.1] * 2,
        }
    )
    keep_feedback(drawn, dataset="routed", router="v1", lake=lake)
    rows = drawn.select(
        "text",
        "candidate",
        score=pl.Series([0.4] * 4 + [0.8] * 2),
        choice_probability=pl.lit(0.9),
    )
    [counted] = do(rows)["counts"]
    assert counted["mean"] == pytest.approx((4 * 0.4 + 2 * 0.8) / 6)
    assert counted["mean_over_all"] == pytest.approx(0.6)
