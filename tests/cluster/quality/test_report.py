"""The page as a reader gets it: one file that fetches nothing and shows names as they are."""

import re
from html.parser import HTMLParser

import numpy as np
import polars as pl

from cluster.quality.report import report

HOSTILE = "<script>alert('x')</script> $x_{1}$ & co"


class Page(HTMLParser):
    """Tags, links and text of a page."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.tags, self.links, self.words = [], [], []
        self.feed(content.decode())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href")]

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def test_it_fetches_nothing_runs_nothing_and_shows_names_as_they_are(collect, specialists):
    failed = pl.when(pl.col("query_id") > "q0070").then(pl.lit("error")).otherwise(pl.lit("ok"))
    made = collect(
        np.repeat(specialists[:, :, None], 2, axis=2),
        names=(HOSTILE, "b"),
        queries={"task": [HOSTILE, "words"] * 40},
        answers={"outcome": failed, "error": pl.lit(HOSTILE), "text": pl.lit(HOSTILE)},
    )
    content = report(made.measure())
    page = Page(content)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert all(link.startswith(("data:", "#")) for link in page.links)
    # In the alarms, on the axes and in the tables.
    assert page.text.count(HOSTILE) >= 5
    assert f"b says '{HOSTILE}' to 100 % of the queries" in page.text


def test_every_alarm_is_told_with_what_to_do(collect):
    found = collect(np.full((40, 2), 0.5), answers={"text": pl.lit("")}).measure()
    text = Page(report(found)).text
    assert len(found.alarms) >= 3
    for alarm in found.alarms:
        assert f"{alarm.words} {alarm.todo}" in text


def test_a_sound_collection_is_called_so(collect, specialists):
    text = Page(report(collect(specialists).measure())).text
    assert "Nothing found that speaks against training on this." in text
    assert "Rewards of scorer 'exact' on 80 queries (40 train" in text
    assert "gains 40.0 points over" in text


def test_what_a_table_without_answers_cannot_tell_is_said(collect, specialists):
    text = Page(report(collect(specialists, answers=False).measure())).text
    assert "the table came without answers, tokens or costs" in text
    assert "no other scorer has rewarded these answers" in text


def test_of_many_candidates_and_tasks_the_pictures_stay_small(collect):
    reward = np.random.default_rng(0).random((160, 60))
    names = [f"candidate {number}" for number in range(60)]
    tasks = [f"task {row % 40}" for row in range(160)]
    reward[:5, 7] = np.nan
    found = collect(reward, names=names, queries={"task": tasks}, answers=False).measure()
    content = report(found)
    text = Page(content).text
    assert "Of 60 candidates the 30 with most lacking" in text
    assert "The first 30 of 40 tasks" in text
    assert all(name in text for name in (*names, *tasks))
    assert len(content) < 2_000_000


def test_equal_collections_give_equal_reports(collect, specialists):
    first, second = (collect(specialists, name=name).measure() for name in ("one", "two"))
    assert report(first) == report(second)
