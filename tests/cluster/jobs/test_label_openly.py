"""Tags in a model's own words, on Ray, with an engine that answers by a script."""

import json
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cluster.errors import EngineError
from cluster.jobs import label_openly
from cluster.jobs.label import LabelSpec, label
from cluster.jobs.run import Run
from cluster.jobs.train import TrainSpec, train
from cluster.labels import read_labels
from cluster.lake.lake import Lake
from cluster.lake.outcomes import read_outcomes
from cluster.lake.tables import QUERIES, RAW_TAGS, TAGGERS
from cluster.routers.checkpoint import load_router

PLUGINS = Path(__file__).parents[2] / "plugins"
SCRIPT = {
    "plus 7": "I will not.",
    "plus": '{"tags": ["Arithmetic", "sums"]}',
    "spell": '{"tags": ["Spelling", "letters", "' + "x" * 99 + '"]}',
    "rhyme": '{"tags": ["poetry 🔥", "诗"]}',
}


@pytest.fixture(scope="module")
def on_ray() -> Iterator[None]:
    """This process joined to a Ray of its own, whose workers know the scripted engine."""
    import ray

    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(PLUGINS))
        patched.delenv("RAY_ADDRESS", raising=False)
        ray.init(
            address="local",
            num_cpus=1,
            include_dashboard=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": {"PYTHONPATH": str(PLUGINS)}},
        )
        yield
        ray.shutdown()


class Tagged:
    """A lake whose queries are tagged again and again."""

    def __init__(self, lake: str, folder: Path) -> None:
        self.lake, self.folder = lake, folder
        self.write(SCRIPT)

    def write(self, script: dict[str, str]) -> None:
        (self.folder / "script.json").write_text(json.dumps(script))

    def labels(self, **settings: Any) -> tuple:
        candidate = {
            "engine": "scripted",
            "model": str(self.folder / "script.json"),
            "price": {"input": 1, "output": 2},
        }
        entry = {"tagger": "instag", "candidate": candidate, "vocabulary": {"alpha": 2}} | settings
        file = self.folder / "labels.json"
        file.write_text(json.dumps({"taggers": {"words": entry}}))
        return read_labels(str(file), scorers=[], taggers=[]).taggers

    def tag(self, *, retry_errors: bool = False, **settings: Any) -> dict[str, Any]:
        spec = LabelSpec(
            lake=self.lake,
            dataset="toy",
            scorers=(),
            taggers=self.labels(**settings),
            inputs=Lake.open(self.lake).versions((QUERIES,)),
            retry_errors=retry_errors,
        )
        return label(spec, Run.of(spec))["tags"]["words"]

    def asked(self) -> Counter:
        return Counter((self.folder / "script.log").read_text().split())


@pytest.fixture
def tagged(on_ray, make_lake, scores, tmp_path: Path) -> Tagged:
    return Tagged(make_lake(toy=scores(60)), tmp_path)


def test_what_was_written_is_kept_and_counted(tagged: Tagged, caplog) -> None:
    told = tagged.tag()
    odd = told["without_tag"]["the answer is not the JSON that was asked for"]
    assert told["asked"] == 60
    assert told["not_answered"] == 0
    assert told["without_tag"]["the tag is too long"] == 20
    assert told["coverage"] == 1.0
    assert told["cost_usd"] == pytest.approx(60 * (10 * 1 + 5 * 2) / 1e6)
    raw = Lake.open(tagged.lake).read(RAW_TAGS)
    assert raw.filter(pl.col("raw_tag") == "poetry 🔥").height == 20
    assert raw.group_by("query_id").len().height == 60
    assert 0 < odd < 20
    assert f"words: the answer is not the JSON that was asked for ({odd} times)" in caplog.text


def test_tags_are_what_the_loop_reads(tagged: Tagged) -> None:
    tagged.tag()
    outcomes = read_outcomes(Lake.open(tagged.lake), dataset="toy", scorer="", tagger="words")
    by_task = outcomes.queries.group_by("task").agg(pl.col("tags").explode().unique().sort())
    assert dict(by_task.iter_rows()) == {
        "sum": ["arithmetic"],
        "word": ["letters"],
        "rhyme": ["poetry"],
    }


def test_nobody_is_asked_twice_not_even_about_queries_without_tags(tagged: Tagged) -> None:
    first = tagged.tag()
    again = tagged.tag(vocabulary={"alpha": 3})
    assert (again["asked"], again["vocabulary"]) == (0, first["vocabulary"] + 1)
    assert set(tagged.asked().values()) == {1}


def test_what_was_written_before_a_run_broke_is_not_asked_for_again(
    tagged: Tagged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_openly, "QUERIES_A_PART", 15)
    ids = Lake.open(tagged.lake).read(RAW_TAGS)["query_id"]
    assert ids.is_empty()
    texts = read_outcomes(Lake.open(tagged.lake), dataset="toy", scorer="").queries
    tagged.write({texts["text"][-1]: "broken: no memory left", **SCRIPT})
    with pytest.raises(EngineError, match="no memory left"):
        tagged.tag()
    done = set(Lake.open(tagged.lake).read(RAW_TAGS)["query_id"])
    assert done
    assert Lake.open(tagged.lake).read(TAGGERS).filter(pl.col("name") == "words").is_empty()
    tagged.write(SCRIPT)
    told = tagged.tag()
    assert told["asked"] == 60 - len(done)
    assert all(tagged.asked()[query_id] == 1 for query_id in done)


def test_queries_the_engine_could_not_answer_are_asked_about_again(tagged: Tagged) -> None:
    tagged.write(SCRIPT | {"rhyme": "error: too many requests"})
    told = tagged.tag()
    assert (told["asked"], told["not_answered"]) == (60, 20)
    tagged.write(SCRIPT)
    assert tagged.tag()["asked"] == 20


def test_a_vocabulary_for_which_all_tags_are_too_rare(tagged: Tagged, caplog) -> None:
    caplog.set_level(logging.INFO, logger="signalbox.label")
    assert tagged.tag(vocabulary={"alpha": 61})["tags"] == 0
    assert "no tag is on enough queries to count (setting vocabulary.alpha)" in caplog.text
    assert "0 tags, on 0 % of 58 queries the model tagged" in caplog.text


def test_a_tagger_that_fails_is_named_and_the_report_is_written(tagged: Tagged) -> None:
    tagged.write({"": "broken: no memory left"})
    lake = Lake.open(tagged.lake)
    spec = LabelSpec(
        lake=tagged.lake,
        dataset="toy",
        scorers=(),
        taggers=tagged.labels(),
        inputs=lake.versions((QUERIES,)),
        reports=True,
    )
    with pytest.raises(EngineError, match=r"^tagger 'words': .*no memory left.*What succeeded"):
        label(spec, Run.of(spec))
    page = lake.storage.join("reports", "toy", "quality.html")
    assert lake.storage.read_bytes(page).startswith(b"<!doctype html>")


def test_a_tagger_with_no_tags_at_all(tagged: Tagged, caplog) -> None:
    caplog.set_level(logging.INFO, logger="signalbox.label")
    tagged.write({"": '{"tags": []}'})
    told = tagged.tag()
    assert (told["tags"], told["coverage"]) == (0, 0.0)
    assert told["without_tag"] == {"the model gave no tag": 60}
    assert "words: no query has a tag in the model's own words, of 60 asked now" in caplog.text
    assert "of 0 queries" not in caplog.text
    assert "vocabulary.alpha" not in caplog.text
    assert tagged.tag()["asked"] == 0
    tagged.write(SCRIPT)
    again = tagged.tag(retry_errors=True)
    assert (again["asked"], again["tags"], again["vocabulary"]) == (60, 3, 2)
    assert tagged.tag(retry_errors=True)["asked"] < 20


def test_zooter_learns_from_its_tags(tagged: Tagged, versions_of) -> None:
    tagged.write({"1": '{"tags": ["with a one"]}', "": '{"tags": ["without"]}'})
    tagged.tag()
    spec = TrainSpec(
        lake=tagged.lake,
        methods=("zooter",),
        dataset="toy",
        scorer="",
        normalisation="none",
        candidates=(),
        prices={},
        champion=None,
        seed=0,
        inputs=versions_of(tagged.lake),
        tagger="words",
        settings={"zooter": {"beta": 0.3, "epochs": 2}},
    )
    by_tags, by_task = (
        train(one, Run.of(one))["routers"][0]
        for one in (spec, spec.model_copy(update={"tagger": ""}))
    )
    loaded = load_router(by_tags["checkpoint"], version=by_tags["version"])
    assert loaded.settings.beta == 0.3
    assert by_tags["version"] != by_task["version"]
