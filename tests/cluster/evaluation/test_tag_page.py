"""Tags in numbers and as a page: frequency, coverage, reward by tag, vocabulary."""

import html
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest

from cluster.errors import InputError
from cluster.evaluation.tag_page import summary, tag_page
from cluster.evaluation.tag_statistics import tag_rewards, tag_statistics
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.outcomes import read_outcomes
from cluster.lake.tables import (
    CANDIDATES,
    QUERIES,
    RAW_TAGS,
    REWARDS,
    SCORERS,
    TAGGERS,
    TAGS,
    Table,
)
from cluster.lake.vocabularies import normalise

SPEC = {"tagger": "own", "version": 1, "writer_id": "w", "vocabulary": {"alpha": 2}}


def put(lake: Lake, table: Table, **columns) -> None:
    rows = table.conform(pl.DataFrame(columns, strict=False)).collect()
    append_new(rows, lake=lake, table=table)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """40 queries: q00-q19 sums (10 of them also long), q20-q29 verse, the others without tags."""
    lake = Lake.open(tmp_path / "lake")
    ids = [f"q{number:02}" for number in range(40)]
    put(lake, QUERIES, query_id=ids, text=ids, dataset=["toy"] * 40, split=["test"] * 40)
    tags = [(name, "Sums") for name in ids[:20]] + [(name, "long") for name in ids[:10]]
    tags += [(name, "verse") for name in ids[20:30]] + [("q30", "odd")]
    names, raw = zip(*tags, strict=True)
    place = [0] * 20 + [1] * 10 + [0] * 11
    put(lake, RAW_TAGS, query_id=names, writer_id=["w"] * 41, place=place, raw_tag=raw)
    none = {"query_id": ["q31", "q32", "q00"], "place": [0, 0, 2], "writer_id": ["w"] * 3}
    put(lake, RAW_TAGS, **none, reason=["no JSON", "no JSON", "too long"])
    normalise(lake, name="own", spec=SPEC | {"vocabulary": {"alpha": 2, "both_ways": True}})
    return lake


@pytest.fixture
def scored(lake: Lake) -> Lake:
    """The same with rewards: `adder` is right on sums, `poet` on verse and on every second sum."""
    put(lake, SCORERS, scorer_id=["s"], name=["accuracy"], spec=["{}"])
    ids = ["a" * 64, "b" * 64]
    put(
        lake, CANDIDATES, candidate_id=ids, sequence=[0, 0], name=["adder", "poet"], spec=["{}"] * 2
    )
    rows = [(f"q{n:02}", ids[0], float(n < 20)) for n in range(40)]
    rows += [(f"q{n:02}", ids[1], float(n >= 20 or n % 2)) for n in range(30)]
    names, candidates, values = zip(*rows, strict=True)
    put(
        lake,
        REWARDS,
        query_id=names,
        candidate_id=candidates,
        value=values,
        sample=[0] * 70,
        scorer_id=["s"] * 70,
        weight=[1.0] * 70,
    )
    return lake


def test_frequency_coverage_and_what_is_missing(lake: Lake) -> None:
    found = tag_statistics(lake, dataset="toy")
    assert found.tagger == "own"
    assert found.frequency.rows() == [("sums", 20), ("long", 10), ("verse", 10)]
    assert (found.n_queries, found.n_tagged, found.per_query) == (40, 30, 40 / 30)
    assert found.covered_by_top().tolist() == [0.0, 0.5, 0.5, 0.75]
    assert dict(found.untagged.iter_rows()) == {
        "the tagger has not been asked about it": 7,
        "no JSON": 2,
        "its tags are too rare to count": 1,
    }
    assert found.left_out.rows() == [("too long", 1)]
    assert summary(found) == (
        "By tagger 'own', vocabulary 1: 3 tags on 30 of 40 queries (75%), 1.3 a query that has any."
    )


def test_reward_by_tag_with_wilsons_interval(scored: Lake) -> None:
    found = tag_statistics(scored, dataset="toy")
    rows = {(row["tag"], row["candidate"]): row for row in found.rewards.iter_rows(named=True)}
    assert [rows["sums", name]["mean"] for name in ("adder", "poet")] == [1.0, 0.5]
    assert rows["verse", "adder"]["mean"] == 0.0
    cell = rows["sums", "poet"]
    wanted = binomtest(10, 20).proportion_ci(method="wilson")
    assert (cell["n"], cell["low"], cell["high"]) == pytest.approx((20, wanted.low, wanted.high))


def test_rewards_that_are_no_share_have_students_interval(scored: Lake) -> None:
    outcomes = read_outcomes(scored, dataset="toy", scorer="")
    outcomes.reward[:4, 0] = [3.0, 5.0, 7.0, np.nan]
    tags = pl.Series([["x"]] * 4 + [["y"]] + [[]] * 35)
    rows = tag_rewards(outcomes, tags_of=tags, tags=["x", "y"]).filter(candidate="adder")
    assert rows["n"].to_list() == [3, 1]
    assert rows["mean"].to_list() == [5.0, 1.0]
    half = 4.30265273 * 2 / 3**0.5
    assert rows.row(0)[4:] == pytest.approx((5 - half, 5 + half))
    assert np.isnan(rows.row(1)[4:]).all()


def test_the_page_says_it_all(scored: Lake) -> None:
    page = tag_page(tag_statistics(scored, dataset="toy")).decode()
    for word in ("sums", "adder", "75%", "no JSON", "Versions", "it is the first", "odd (1)"):
        assert word in html.unescape(page)
    assert page.count("<svg") == 3
    assert "0.500 [0.30, 0.70]" in page


def test_without_rewards_the_page_says_so(lake: Lake) -> None:
    page = tag_page(tag_statistics(lake, dataset="toy")).decode()
    assert "no query with a tag has a reward yet" in page
    assert page.count("<svg") == 2


def test_odd_names_are_shown_as_they_are(scored: Lake, recwarn) -> None:
    odd = ["诗 🔥 $x^2$", "<script>alert(1)</script>", "y" * 300]
    put(scored, TAGGERS, tagger_id=["t"], name=["wild"], spec=["{}"])
    put(scored, TAGS, query_id=["q00", "q01", "q02"], tagger_id=["t"] * 3, tag=odd)
    found = tag_statistics(scored, dataset="toy", tagger="wild")
    page = tag_page(found).decode()
    assert "<script>" not in page
    assert "诗 🔥 $x^2$" in page
    assert "from a list of its own" in page
    assert not [one for one in recwarn if "Glyph" in str(one.message)]
    assert found.untagged.rows() == [("the tagger gave it none", 37)]


def test_a_tagger_without_any_tag_is_told_of(lake: Lake) -> None:
    put(lake, RAW_TAGS, query_id=["q00"], writer_id=["v"], place=[0], reason=["no JSON"])
    normalise(lake, name="mute", spec=SPEC | {"writer_id": "v"})
    found = tag_statistics(lake, dataset="toy", tagger="mute")
    assert found.untagged.rows()[1] == ("no JSON", 1)
    assert "no query of this dataset has a tag" in tag_page(found).decode()


def test_what_is_not_there_is_named(lake: Lake) -> None:
    with pytest.raises(InputError, match="dataset 'none'"):
        tag_statistics(lake, dataset="none")
    with pytest.raises(InputError, match=r"'nobody'.*own.*--tagger"):
        tag_statistics(lake, dataset="toy", tagger="nobody")
    put(lake, TAGGERS, tagger_id=["t"], name=["other"], spec=["{}"])
    put(lake, TAGS, query_id=["q00"], tagger_id=["t"], tag=["x"])
    with pytest.raises(InputError, match=r"no tagger was named.*other, own"):
        tag_statistics(lake, dataset="toy")
