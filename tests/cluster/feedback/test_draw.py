"""Which routed queries come back."""

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.feedback.draw import draw_shard, inclusion, together
from cluster.query import split_of

N = 20_000


@pytest.fixture(scope="module")
def shard() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    texts = [f"query number {n}" for n in range(N)]
    return pl.DataFrame({"text": texts, "candidate": "small", "margin": rng.random(N)})


def drawn(rows: pl.DataFrame, share: float = 0.05) -> pl.DataFrame:
    return draw_shard(
        rows["text"],
        margin=rows["margin"].to_numpy(),
        candidates=rows["candidate"],
        share=share,
    )


def test_the_share_comes_back_more_of_it_where_the_router_is_unsure(shard):
    found = drawn(shard).join(shard, on="text")
    assert found.height == pytest.approx(0.05 * N, rel=0.1)
    unsure = found.filter(pl.col("margin") < 0.5).height
    assert 0.6 < unsure / found.height < 0.75
    assert found["sampling_probability"].is_between(0, 1).all()


def test_each_row_keeps_its_own_probability_so_means_over_all_can_be_had(shard):
    found = drawn(shard, share=0.2).join(shard, on="text")
    weight = 1 / found["sampling_probability"]
    assert found["margin"].mean() < 0.45
    assert (found["margin"] * weight).sum() / weight.sum() == pytest.approx(0.5, abs=0.02)


def test_only_texts_that_are_train_by_their_hash_come_back(shard):
    assert {split_of(text) for text in drawn(shard)["text"]} == {"train"}


def test_the_same_texts_are_drawn_whatever_their_order(shard):
    shuffled = shard.sample(fraction=1.0, shuffle=True, seed=1)
    assert set(drawn(shard).iter_rows()) == set(drawn(shuffled).iter_rows())


def test_a_text_that_repeats_comes_back_once(shard):
    twice = pl.concat([shard.head(500), shard.head(500)])
    assert drawn(twice, share=0.5)["text"].is_unique().all()


def test_a_text_in_two_shards_has_the_greater_of_its_probabilities(shard):
    sure = shard.head(1000).with_columns(margin=pl.lit(9.0))
    first, second = drawn(shard.head(2000)), drawn(pl.concat([shard.tail(1000), sure]))
    whole = together([first, second])
    either = pl.concat([first, second])
    assert set(whole["text"]) == set(either["text"])
    greatest = either.group_by("text").agg(pl.col("sampling_probability").max())
    same = whole.join(greatest, on=["text", "sampling_probability"])
    assert same.height == whole.height == whole["text"].n_unique()


@given(
    st.lists(st.floats(0, 10) | st.just(float("inf")), min_size=1, max_size=60),
    st.floats(0.001, 0.4),
)
def test_probabilities_fall_with_the_margin_and_their_mean_is_the_share(margin, share):
    found = inclusion(pl.Series(margin), share=share)
    assert found.mean() == pytest.approx(share / 0.7)
    ordered = pl.DataFrame({"m": margin, "p": found}).sort("m")["p"]
    assert ordered.diff().drop_nulls().max() is None or ordered.diff().drop_nulls().max() <= 1e-12


def test_a_chat_comes_back_with_its_query_and_not_where_it_is_more_than_texts(shard):
    rows = shard.head(200)
    said = [[{"role": "system", "content": f"be {n}"}] for n in range(200)]
    images = [{"role": "user", "content": [{"type": "image_url"}]}]
    chats = [json.dumps(images if n % 2 else said[n]) for n in range(200)]
    chats[0] = None
    found = draw_shard(
        rows["text"],
        margin=np.zeros(200),
        candidates=rows["candidate"],
        share=1.0,
        chats=pl.Series(chats),
    )
    train = [n for n, text in enumerate(rows["text"]) if split_of(text) == "train" and n % 2 == 0]
    assert dict(found.select("text", "messages").iter_rows()) == {
        rows["text"][n]: chats[n] for n in train
    }


def test_an_empty_shard_gives_nothing_back():
    empty = pl.DataFrame(schema={"text": pl.String, "candidate": pl.String, "margin": pl.Float64})
    assert together([drawn(empty)]).height == 0
    assert together([]).columns == ["text", "messages", "candidate", "sampling_probability"]
