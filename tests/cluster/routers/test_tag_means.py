import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.routers.tag_means import TagMeans

TAGS = pl.Series([["law"], ["law"], ["algebra", "proof"], [], ["algebra"]])
TARGET = np.array([1.0, 0.0, 1.0, 0.0, 1.0])


def test_a_tag_is_its_mean_residual_drawn_towards_zero():
    means = TagMeans.fit(TAGS, TARGET, strength=2.0)
    assert means.names == ("algebra", "law", "proof")
    # The mean is 0.6: algebra (0.4 + 0.4) / (2 + 2), law (0.4 - 0.6) / 4, proof 0.4 / 3.
    assert means.values == pytest.approx([0.2, -0.05, 0.4 / 3])


def test_a_query_has_the_mean_of_its_known_tags():
    means = TagMeans.fit(TAGS, TARGET, strength=2.0)
    asked = pl.Series([["law", "algebra"], ["never seen"], [], ["never seen", "law"], None])
    assert means.score(asked) == pytest.approx([0.075, 0, 0, -0.05, 0])


def test_the_order_of_rows_is_kept():
    means = TagMeans.fit(TAGS, TARGET, strength=2.0)
    backwards = means.score(TAGS.reverse())[::-1]
    assert means.score(TAGS).tolist() == backwards.tolist()


def test_without_a_single_tag():
    means = TagMeans.fit(pl.Series([[], []], dtype=pl.List(pl.String)), np.ones(2), strength=1.0)
    assert means.score(TAGS).tolist() == [0.0] * 5


def test_names_and_values_that_do_not_fit_are_refused():
    state = TagMeans.fit(TAGS, TARGET, strength=2.0).state()
    state.config["names"].pop()
    with pytest.raises(InputError, match="values"):
        TagMeans.from_state(state)
