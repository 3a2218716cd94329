"""What a route job tells of a file beside the routed rows, and what of it comes back."""

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import pytest

from cluster.drift.counts import count_rows
from cluster.drift.kept import profile_files, profile_of
from cluster.drift.trained import Profiles
from cluster.errors import InputError
from cluster.jobs import route as route_module
from cluster.jobs.ingest import pin_files
from cluster.jobs.route import route
from cluster.jobs.run import Run
from cluster.lake.lake import Lake
from cluster.lake.tables import QUERIES
from cluster.outcome import OutcomeMatrix
from cluster.policies.best import Best
from cluster.policies.constraints import Constraints
from cluster.policies.load import POLICIES
from cluster.price import Price
from cluster.query import split_of
from cluster.routers.checkpoint import CheckpointMeta, load_checkpoint, save_checkpoint
from cluster.routers.knn import Knn
from cluster.routing.spec import RouteSpec

WORDS = {
    "sums": "add subtract multiply divide twice half total digit sum remainder",
    "poems": "tree river moon autumn snow heart song silent golden morning",
    "space": "orbit nebula comet quasar pulsar lunar eclipse galaxy meteor probe",
}


def texts_of(task: str, n: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join([*rng.choice(WORDS[task].split(), 7), str(row)]) for row in range(n)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(version, folder) of a router that sends sums to `cheap` and poems to `strong`."""
    texts = texts_of("sums", 200, 0) + texts_of("poems", 200, 1)
    reward = np.array([[1.0, 0.0]] * 200 + [[0.0, 1.0]] * 200)
    queries = pl.DataFrame({"query_id": texts, "text": texts, "split": "train", "dataset": "d"})
    queries = queries.with_columns(
        task=pl.Series(["sums"] * 200 + ["poems"] * 200), sampling_probability=pl.lit(1.0)
    )
    tokens = np.full(reward.shape, 10.0)
    outcomes = OutcomeMatrix(
        queries, ("cheap", "strong"), ("1", "2"), reward, tokens, tokens, tokens, tokens, tokens * 0
    )
    router = Knn(k=5).fit(outcomes, seed=0)
    ratios = {"prompt_tokens_per_character": {"cheap": 0.5, "strong": 0.5}}
    folder = str(tmp_path_factory.mktemp("checkpoint") / "router")
    beside = profile_files(Profiles(0).of(router, queries=queries))
    meta = CheckpointMeta(candidate_ids=("1", "2"), data=ratios)
    return save_checkpoint(router, folder, meta=meta, beside=beside), folder


@pytest.fixture
def routed(tmp_path: Path, checkpoint: tuple[str, str]):
    """Route rows; the manifest."""

    def run(rows: pl.DataFrame, name: str = "out.parquet", **changes) -> dict:
        rows.write_parquet(tmp_path / "in.parquet")
        settings = {
            "lake": str(tmp_path / "lake"),
            "files": pin_files(str(tmp_path / "in.parquet")),
            "output": str(tmp_path / name),
            "text_column": "text",
            "router": checkpoint[0],
            "checkpoint": checkpoint[1],
            "policy": "best",
            "policy_settings": {},
            "prices": {"cheap": Price(input=1, output=1), "strong": Price(input=10, output=10)},
            "max_error_share": 0.5,
        }
        spec = RouteSpec(**(settings | changes))
        manifest = route(spec, Run.of(spec))
        Run.of(spec).write_manifest(manifest)
        return manifest

    return run


def mixed(sums: int, poems: int, seed: int = 7) -> pl.DataFrame:
    texts = texts_of("sums", sums, seed) + texts_of("poems", poems, seed + 1)
    tasks = ["sums"] * sums + ["poems"] * poems
    return pl.DataFrame({"text": texts, "task": tasks}).sample(fraction=1, shuffle=True, seed=1)


def test_the_page_lies_beside_the_manifest_and_says_what_it_says(routed) -> None:
    manifest = routed(mixed(120, 80))
    page = Path(manifest["report"]).read_text()
    assert (Path(manifest["report"]).parent / "manifest.json").exists()
    assert "always strong" in page
    assert "like those the router was trained on" in page
    assert manifest["drift"]["alarms"] == []
    by_task = {tag["tag"]: tag for tag in manifest["tags"]}
    assert by_task["sums"]["rows"] == 120
    assert by_task["sums"]["shares"]["cheap"] > 0.95
    assert manifest["tags_by"] == "the column 'task'"


def test_costs_of_one_candidate_alone_stand_beside_the_run_s(routed) -> None:
    manifest = routed(mixed(120, 80))
    always = manifest["predicted_cost_usd_if_always"]
    assert always["strong"] == pytest.approx(10 * always["cheap"])
    assert always["cheap"] < manifest["predicted_cost_usd"] < always["strong"]


def test_another_mix_and_a_new_topic_are_told(routed) -> None:
    manifest = routed(mixed(20, 300))
    assert "mix of queries" in manifest["drift"]["alarms"][0]
    new = pl.DataFrame({"text": texts_of("sums", 100, 3) + texts_of("space", 60, 4)})
    manifest = routed(new, "new.parquet")
    assert any("unlike all training queries" in alarm for alarm in manifest["drift"]["alarms"])
    assert "Drift: " in Path(manifest["report"]).read_text()


def test_without_a_task_column_kinds_are_clusters_of_training_queries(routed) -> None:
    manifest = routed(mixed(120, 80).drop("task"))
    assert manifest["tags_by"] == "cluster of training queries"
    assert sum(tag["rows"] for tag in manifest["tags"]) == pytest.approx(200, abs=3)
    assert {tag["tag"].split(":")[0] for tag in manifest["tags"]} == {"sums", "poems"}


def test_what_is_told_is_the_same_however_the_file_is_cut(routed, monkeypatch) -> None:
    rows = mixed(120, 80)
    whole = routed(rows)
    monkeypatch.setattr(route_module, "BATCH_ROWS", 37)
    parts = routed(rows, "parts.parquet")
    for name in ("psi", "far", "sampled", "rows"):
        assert parts["drift"][name] == pytest.approx(whole["drift"][name])
    assert [tag["rows"] for tag in parts["tags"]] == [tag["rows"] for tag in whole["tags"]]


def test_rows_that_are_left_out_are_told_with_their_reasons(routed) -> None:
    rows = pl.concat([mixed(30, 30), pl.DataFrame({"text": ["", None, " "], "task": ["x"] * 3})])
    manifest = routed(rows)
    assert manifest["broken"] == 3
    reasons = {one["reason"]: one["rows"] for one in manifest["left_out"]["reasons"]}
    assert sorted(reasons.values()) == [1, 2]
    assert len(manifest["left_out"]["first"]) == 3
    assert "is blank" in Path(manifest["report"]).read_text()


def test_a_checkpoint_without_a_profile_says_that_drift_is_not_known(
    routed, checkpoint, tmp_path
) -> None:
    loaded = load_checkpoint(checkpoint[1])
    fields = {name: getattr(loaded.meta, name) for name in CheckpointMeta.model_fields}
    folder = str(tmp_path / "older")
    version = save_checkpoint(loaded.router, folder, meta=CheckpointMeta(**fields))
    manifest = routed(mixed(30, 30).drop("task"), router=version, checkpoint=folder)
    assert manifest["drift"] is None
    assert manifest["tags"] == []
    assert "drift is not known" in Path(manifest["report"]).read_text().lower()


class Heeding(Best):
    """Promises something about new queries, and says what it was told of them."""

    name: ClassVar[str] = "heeding"

    told: str | None = "nothing yet"
    is_settled: bool = False

    @property
    def needs_file(self) -> bool:
        return not self.is_settled

    def heeding(self, drift):
        return self.model_copy(update={"told": drift})

    def settle(self, scored):
        return self.model_copy(update={"is_settled": True})


def test_a_policy_that_promises_hears_of_drift_before_it_settles(routed, monkeypatch) -> None:
    monkeypatch.setitem(POLICIES, "heeding", Heeding)
    same = routed(mixed(120, 120), policy="heeding")
    assert "told" not in same["policy_facts"]
    other = routed(mixed(20, 300), "other.parquet", policy="heeding")
    assert "mix of queries" in other["policy_facts"]["told"]
    assert other["drift"]["rows"] == 320


def test_a_promise_is_for_files_like_the_calibration_rows(routed, checkpoint) -> None:
    profile = profile_of(load_checkpoint(checkpoint[1]))
    texts = mixed(40, 600, seed=3)["text"]
    like = count_rows(texts, profile=profile, weight=np.ones(640))[0].as_json()
    settings = {"floor": 0.9, "reference": "strong", "tau": 0.1, "like": like}
    promised = {"policy": "quality_floor", "policy_settings": settings}
    manifest = routed(mixed(20, 300), **promised)
    assert manifest["rows"] == 320
    assert "like" not in manifest["policy_facts"]
    with pytest.raises(InputError, match="mix of queries than it was calibrated on"):
        routed(mixed(160, 160), "other.parquet", **promised)


def test_exploration_and_who_may_answer_are_told_beside_the_policy(routed) -> None:
    own = Constraints(allowed=("cheap", "strong"), explore=0.2)
    manifest = routed(mixed(120, 80), constraints=own)
    page = Path(manifest["report"]).read_text()
    assert "Allowed: cheap, strong." in page
    assert f"Exploration: {manifest['explored']} of the 200 queries (20 %" in page


def test_a_pair_goes_by_its_names(routed) -> None:
    share = {"policy": "threshold", "policy_settings": {"strong_share": 0.5}}
    manifest = routed(mixed(60, 60), strong="strong", weak="cheap", **share)
    assert "A query goes to strong instead of cheap" in Path(manifest["report"]).read_text()


def test_a_sample_comes_back_once_and_says_where_it_is_from(routed, checkpoint, tmp_path) -> None:
    rows = mixed(600, 400)
    manifest = routed(rows, feedback=0.1, feedback_dataset="asked")
    told = manifest["feedback"]
    assert 70 < told["drawn"] == told["new"] < 135
    queries = Lake.open(tmp_path / "lake").read(QUERIES)
    assert queries.height == told["new"]
    assert set(queries["dataset"]) == {"asked"}
    assert set(queries["split"]) == {"train"} == {split_of(text) for text in queries["text"]}
    chosen = dict(pl.read_parquet(manifest["outputs"][0]).select("text", "candidate").iter_rows())
    for text, source in queries.select("text", "source").iter_rows():
        assert source == f"routed by {checkpoint[0]} to {chosen[text]}"
    again = routed(rows, "again.parquet", feedback=0.1, feedback_dataset="asked")
    assert again["feedback"] | {"new": told["new"]} == told
    assert again["feedback"]["new"] == 0


def test_a_chat_comes_back_with_what_was_said_before(routed, tmp_path) -> None:
    before = [{"role": "user", "content": "sum?"}, {"role": "assistant", "content": "twice"}]
    texts = mixed(300, 200)["text"].to_list()
    chats = [json.dumps([*before, {"role": "user", "content": text}]) for text in texts]
    settled = {"policy": "threshold", "policy_settings": {"strong_share": 0.5}}
    for name, policy in (("out.parquet", {}), ("settled.parquet", settled)):
        where = {"lake": str(tmp_path / f"{name}.lake"), "texts": "messages", "text_column": "chat"}
        routed(pl.DataFrame({"chat": chats}), name, feedback=0.1, **where, **policy)
        queries = Lake.open(tmp_path / f"{name}.lake").read(QUERIES)
        assert queries.height > 20
        for text, chat in queries.select("text", "messages").iter_rows():
            assert json.loads(chat) == [*before, {"role": "user", "content": text}]


def test_a_run_that_broke_after_the_copy_copies_nothing_twice(
    routed, tmp_path, monkeypatch
) -> None:
    def broken(*_, **__):
        raise OSError("no space left")

    rows = mixed(600, 400)
    with monkeypatch.context() as patched:
        patched.setattr(route_module, "keep_page", broken)
        with pytest.raises(OSError, match="no space left"):
            routed(rows, feedback=0.1)
    copied = Lake.open(tmp_path / "lake").read(QUERIES)
    manifest = routed(rows, feedback=0.1)
    assert manifest["feedback"]["drawn"] == copied.height > 0
    assert Lake.open(tmp_path / "lake").read(QUERIES).equals(copied)


def test_nothing_comes_back_unless_asked_for(routed, tmp_path) -> None:
    assert routed(mixed(50, 50))["feedback"] is None
    assert not (tmp_path / "lake" / "queries").exists()


def test_as_much_comes_back_however_the_file_is_cut(routed, tmp_path, monkeypatch) -> None:
    rows = mixed(600, 400)
    whole = routed(rows, feedback=0.2)["feedback"]["drawn"]
    monkeypatch.setattr(route_module, "BATCH_ROWS", 100)
    cut = routed(rows, "cut.parquet", feedback=0.2, feedback_dataset="cut")["feedback"]["drawn"]
    assert cut == pytest.approx(whole, rel=0.2)
