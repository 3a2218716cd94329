"""Versions of a vocabulary: tags stay, a new version comes when it must, and readers see one."""

from pathlib import Path

import polars as pl
import pytest

from cluster.errors import InputError
from cluster.lake import vocabularies
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.outcomes import INPUTS, read_outcomes
from cluster.lake.tables import (
    CANDIDATES,
    COMPLETIONS,
    QUERIES,
    RAW_TAGS,
    REWARDS,
    SCORERS,
    TAGGERS,
    TAGS,
)
from cluster.lake.vocabularies import normalise, read_vocabulary, renew, vocabulary_versions
from cluster.tags.vocabulary import VocabularySettings


def spec_with(writer: str = "w", **settings) -> dict:
    settings = VocabularySettings(**({"alpha": 2} | settings)).model_dump(mode="json")
    return {"tagger": "own", "version": 1, "writer_id": writer, "vocabulary": settings}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake with 60 queries of two datasets, each with a reward."""
    lake = Lake.open(tmp_path / "lake")
    ids = [f"q{number:02}" for number in range(60)]
    queries = pl.DataFrame({"query_id": ids, "text": ids}).with_columns(
        dataset=pl.when(pl.col("query_id") < "q50").then(pl.lit("toy")).otherwise(pl.lit("other")),
        split=pl.lit("train"),
    )
    rewards = queries.select("query_id").with_columns(
        candidate_id=pl.lit("c"),
        scorer_id=pl.lit("s"),
        sample=pl.lit(0),
        value=pl.lit(1.0),
        weight=pl.lit(1.0),
    )
    tables = [
        (CANDIDATES, pl.DataFrame({"candidate_id": "c", "sequence": 0, "name": "c", "spec": "{}"})),
        (SCORERS, pl.DataFrame({"scorer_id": "s", "name": "accuracy", "spec": "{}"})),
        (QUERIES, queries),
        (REWARDS, rewards),
    ]
    for table, rows in tables:
        append_new(table.conform(rows).collect(), lake=lake, table=table)
    lake.version(COMPLETIONS)
    return lake


def write(lake: Lake, tags: dict[range, list[str]], *, writer: str = "w") -> None:
    rows = [
        (f"q{number:02}", writer, place, tag)
        for numbers, names in tags.items()
        for number in numbers
        for place, tag in enumerate(names)
    ]
    columns = ["query_id", "writer_id", "place", "raw_tag"]
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    append_new(RAW_TAGS.conform(frame).collect(), lake=lake, table=RAW_TAGS)


def read(lake: Lake, *, dataset: str = "toy", **options) -> dict[str, list[str]]:
    found = read_outcomes(lake, dataset=dataset, scorer="", tagger="own", **options).queries
    return dict(found.select("query_id", "tags").iter_rows())


def test_tags_are_read_by_the_tagger_s_name(lake: Lake) -> None:
    write(lake, {range(10): ["Sums", "digits"], range(10, 20): ["verse"], range(20, 21): ["odd"]})
    done = normalise(lake, name="own", spec=spec_with(min_support=100))
    assert (done.version.sequence, done.is_new, done.tags) == (1, True, 3)
    assert done.coverage == pytest.approx(20 / 21)
    found = read(lake)
    assert found["q00"] == ["digits", "sums"]
    assert found["q20"] == []


def test_new_queries_get_tags_by_the_vocabulary_in_force(lake: Lake) -> None:
    write(lake, {range(20): ["sums"], range(20, 30): ["verse"]})
    first = normalise(lake, name="own", spec=spec_with())
    write(lake, {range(30, 40): ["Sum!"], range(40, 42): ["new word", "verses"]})
    later = normalise(lake, name="own", spec=spec_with())
    assert later.version == first.version
    assert (later.is_new, later.new_tags) == (False, 12)
    assert read(lake)["q35"] == ["sums"]
    assert read(lake)["q41"] == ["verse"]
    assert normalise(lake, name="own", spec=spec_with()).new_tags == 0


def test_a_new_version_comes_when_new_queries_get_no_tag(lake: Lake) -> None:
    write(lake, {range(20): ["sums"]})
    normalise(lake, name="own", spec=spec_with())
    write(lake, {range(20, 21): ["verse"]})
    assert not normalise(lake, name="own", spec=spec_with()).is_new
    write(lake, {range(21, 40): ["verse"], range(50, 60): ["rhyme"]})
    done = normalise(lake, name="own", spec=spec_with())
    assert (done.is_new, done.version.sequence) == (True, 2)
    assert done.version.why == "of 30 new queries 0% had a tag"
    assert read(lake)["q00"] == ["sums"]
    assert read(lake)["q20"] == ["verse"]
    assert read(lake, dataset="other")["q50"] == ["rhyme"]


def test_other_settings_make_another_version_and_so_does_going_back(lake: Lake) -> None:
    write(lake, {range(20): ["sums"], range(20, 22): ["verse"]})
    normalise(lake, name="own", spec=spec_with())
    strict = normalise(lake, name="own", spec=spec_with(alpha=5))
    assert strict.version.why == "the tagger has other settings"
    assert read(lake)["q20"] == []
    back = normalise(lake, name="own", spec=spec_with())
    assert [one.sequence for one in vocabulary_versions(lake, name="own")] == [3, 2, 1]
    assert read(lake)["q20"] == ["verse"]
    assert not normalise(lake, name="own", spec=spec_with()).is_new
    assert back.version.tagger_id != strict.version.tagger_id


def test_on_request_a_version_is_made_only_where_it_says_something_else(lake: Lake) -> None:
    write(lake, {range(40): ["sums"]})
    first = normalise(lake, name="own", spec=spec_with())
    write(lake, {range(40, 42): ["verse"]})
    assert not normalise(lake, name="own", spec=spec_with()).is_new
    renewed = renew(lake, name="own")
    assert (renewed.is_new, renewed.version.sequence) == (True, 2)
    assert read(lake)["q41"] == ["verse"]
    again = renew(lake, name="own")
    assert (again.is_new, again.version) == (False, renewed.version)
    assert read_vocabulary(lake, tagger_id=first.version.tagger_id).names == ["sums"]


def test_a_pinned_view_stays_as_it_was(lake: Lake) -> None:
    write(lake, {range(20): ["sums"]})
    normalise(lake, name="own", spec=spec_with())
    pinned, before = lake.versions(INPUTS), read(lake)
    write(lake, {range(20, 50): ["verse"]})
    normalise(lake, name="own", spec=spec_with())
    assert read(lake, versions=pinned) == before
    assert read(lake) != before


def test_a_version_that_is_half_written_is_not_read_and_is_finished_later(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(lake, {range(20): ["sums"]})
    first = normalise(lake, name="own", spec=spec_with())
    write(lake, {range(20, 40): ["verse"]})

    def killed(rows, *, lake, table):
        if table is TAGGERS:
            raise KeyboardInterrupt
        return append_new(rows, lake=lake, table=table)

    monkeypatch.setattr(vocabularies, "append_new", killed)
    with pytest.raises(KeyboardInterrupt):
        normalise(lake, name="own", spec=spec_with())
    monkeypatch.undo()
    assert vocabulary_versions(lake, name="own") == [first.version]
    assert read(lake)["q20"] == []
    done = normalise(lake, name="own", spec=spec_with())
    assert (done.version.sequence, done.new_tags) == (2, 0)
    assert read(lake)["q20"] == ["verse"]
    assert lake.read(TAGS)["tagger_id"].n_unique() == 2


def test_nothing_written_and_then_something(lake: Lake) -> None:
    assert normalise(lake, name="own", spec=spec_with()).tags == 0
    write(lake, {range(20): ["sums"]})
    done = normalise(lake, name="own", spec=spec_with())
    assert (done.is_new, done.tags) == (True, 1)


def test_two_names_have_vocabularies_of_their_own(lake: Lake) -> None:
    write(lake, {range(20): ["sums"]})
    normalise(lake, name="own", spec=spec_with())
    normalise(lake, name="mine", spec=spec_with())
    assert [one.sequence for one in vocabulary_versions(lake, name="mine")] == [1]
    assert set(lake.read(TAGGERS)["name"]) == {"own", "mine"}


def test_a_tagger_without_a_vocabulary_cannot_renew_it(lake: Lake) -> None:
    with pytest.raises(InputError, match="'nobody' has no vocabulary"):
        renew(lake, name="nobody")
