"""The report as a reader gets it: one file that fetches nothing and shows names as they are."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

from cluster.evaluation.harness import evaluate
from cluster.evaluation.report import Extras, report
from cluster.evaluation.styles import styles
from cluster.policies import load_policy
from cluster.routers.gradient import HISTORY_SCHEMA
from cluster.routers.knn import Knn

HOSTILE = "<script>alert('x')</script> $x_{1}$ & co"


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

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


@pytest.fixture
def evaluated(make):
    def run(*, priced=False, rename=None, reward=None, task="sums", **pair):
        train, test = (
            made_up(make, n, split=split, priced=priced, rename=rename, reward=reward, task=task)
            for n, split in ((120, "train"), (60, "test"))
        )
        return evaluate(
            train,
            test,
            routers={"knn": Knn(k=5).fit(train, seed=0)},
            prices={},
            policy=load_policy("best"),
            seed=0,
            dataset="made-up",
            resamples=50,
            **pair,
        )

    return run


def made_up(make, n, *, split, priced, rename, reward=None, task="sums"):
    rng = np.random.default_rng(n)
    reward = rng.random((n, 3)) < [0.2, 0.5, 0.7] if reward is None else reward[:n]
    cost = np.tile([1.0, 2.0, 3.0], (n, 1)) if priced else None
    made = make(reward, [task, "words"] * (n // 2), cost=cost, split=split)
    return replace(made, candidates=(rename, *made.candidates[1:])) if rename else made


def test_it_fetches_nothing_and_runs_nothing(evaluated):
    page = Page(report(evaluated()))
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert all(link.startswith(("data:", "#")) for link in page.links)


def test_every_method_stands_in_the_table_with_its_value(evaluated):
    found = evaluated()
    text = Page(report(found)).text
    for method in ("knn", "best_single", "task_lookup", "oracle", "random"):
        value = found.rows.filter(
            (pl.col("method") == method) & (pl.col("metric") == "macro_accuracy")
        )["value"][0]
        assert f"{method} {100 * value:.1f}" in text


def test_controls_stand_apart_and_in_no_picture(evaluated, make):
    train = made_up(make, 120, split="train", priced=True, rename=None)
    test = made_up(make, 60, split="test", priced=True, rename=None)
    knn = Knn(k=5).fit(train, seed=0)
    found = evaluate(
        train,
        test,
        routers={"knn": knn, "control:knn": knn},
        prices={},
        policy=load_policy("best"),
        seed=0,
        dataset="made-up",
        resamples=50,
    )
    page = Page(report(found))
    assert "Control The same methods" in page.text
    shown, _, _ = page.text.partition("All metrics over all tasks")
    assert "control:knn" not in shown
    assert "control:knn" in page.text
    assert "Control The same" not in Page(report(evaluated())).text


def test_names_are_shown_as_they_are(evaluated):
    content = report(evaluated(rename=HOSTILE))
    page = Page(content)
    assert b"<script>" not in content
    assert HOSTILE in page.text


def test_a_tasks_name_is_shown_as_it_is_too(evaluated):
    content = report(evaluated(task=HOSTILE, priced=True))
    assert b"<script>" not in content
    # On an axis, and in the table of every task.
    assert content.decode().count("&lt;script&gt;") >= 2
    assert Page(content).text.count(HOSTILE) >= 2


def test_costs_and_training_get_their_pictures(evaluated):
    history = pl.DataFrame(
        [(epoch, "validation", "score", 0.5 + epoch / 10) for epoch in (1, 2)],
        schema=HISTORY_SCHEMA,
        orient="row",
    )
    vectors = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    plain, full = evaluated(), evaluated(priced=True)
    extras = Extras(histories={"knn": history}, embeddings={"knn": vectors}, left_out={"near": 3})
    without, page = Page(report(plain)), Page(report(full, extras=extras))
    assert page.tags.count("svg") == without.tags.count("svg") + 3
    assert "USD per 1,000 queries" in page.text
    assert "3 (near)" in page.text


@pytest.mark.parametrize("distinct", [1, 12])
def test_queries_that_look_alike_are_laid_out_too(evaluated, distinct):
    vectors = np.eye(12, dtype=np.float32)[np.arange(60) % distinct]
    page = Page(report(evaluated(), extras=Extras(embeddings={"knn": vectors})))
    assert "t-SNE of 60 test queries" in page.text


def test_equal_evaluations_give_equal_reports(evaluated):
    assert report(evaluated()) == report(evaluated())


def test_what_could_not_be_fitted_is_told(evaluated):
    page = Page(report(evaluated(), extras=Extras(refused={"causal_lm": f"no model, {HOSTILE}"})))
    assert f"causal_lm is left out: no model, {HOSTILE}" in page.text


def test_methods_left_out_for_one_reason_stand_together(evaluated):
    refused = {"gain": "no pair", "causal_lm": "no model", "bert": "no pair"}
    page = Page(report(evaluated(), extras=Extras(refused=refused)))
    assert "gain, bert are left out: no pair" in page.text
    assert "causal_lm is left out: no model" in page.text


def test_an_empty_section_says_why(evaluated):
    text = Page(report(evaluated())).text
    for heading, why in (
        ("Strong or weak", "There are 3, and none were named; name two with --strong and --weak"),
        ("Training", "no method that was fitted here trains by gradient"),
        ("How the methods see the queries", "has a space of its own"),
        ("Cost and quality", "costs of these queries are not known"),
    ):
        assert heading in text
        assert why in text
    rounds = Page(report(evaluated(), extras=Extras(rounds=5))).text
    assert "in each of 5 rounds the methods learned another space" in rounds
    equal = Page(report(evaluated(reward=np.full((180, 3), 0.5)))).text
    assert "the rewards are as undecided for one query as for another" in equal


def test_a_pair_the_wrong_way_round_is_told_in_its_section(evaluated):
    text = Page(report(evaluated(strong="a", weak="c"))).text
    assert "'a' is not better than 'c' on these queries" in text
    assert "performance gap recovered" in Page(report(evaluated(strong="c", weak="a"))).text


def test_the_first_seventy_methods_are_drawn_apart():
    looks = styles([f"method {number}" for number in range(70)])
    assert len({(look.colour, look.marker) for look in looks.values()}) == 70


def test_zooter_is_in_the_picture_of_reward_entropy_however_it_does(make):
    train, test = (
        made_up(make, n, split=split, priced=False, rename=None)
        for n, split in ((120, "train"), (60, "test"))
    )
    router = Knn(k=5).fit(train, seed=0)
    names = [*(f"knn {number}" for number in range(8)), "zooter"]
    found = evaluate(
        train, test, routers=dict.fromkeys(names, router), prices={}, policy=load_policy("best"),
        seed=0, dataset="made-up", resamples=20,
    )  # fmt: skip
    entropy = report(found).decode().partition("Reward entropy")[2].partition("<details")[0]
    assert ">zooter<" in entropy
    assert ">knn 7<" not in entropy
