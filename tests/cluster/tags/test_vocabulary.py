"""Raw tags become tags: rare ones are left out, those that are one are merged, each maps once."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.tags.rare_tags import scaled_alpha
from cluster.tags.vocabulary import Vocabulary, VocabularySettings, learn_vocabulary

SCHEMA = {"query_id": pl.String, "raw_tag": pl.String}
LOOSE = VocabularySettings(alpha=1, min_support=2)
WORDS = ["Math", "maths", "MATH problem", "problem math", "C++", "c", "🔥", "2d plot", "3D plots"]
QUERIES = st.lists(
    st.lists(st.sampled_from(WORDS) | st.text(max_size=6), max_size=4, unique=True), max_size=12
)


def pairs_of(*queries: list[str]) -> pl.DataFrame:
    rows = [(f"q{number}", tag) for number, tags in enumerate(queries) for tag in tags]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def learned(*queries: list[str], **given_settings) -> Vocabulary:
    return learn_vocabulary(pairs_of(*queries), settings=VocabularySettings(**given_settings))


def tags(vocabulary: Vocabulary) -> dict[str, str | None]:
    return dict(vocabulary.rows.select("raw_tag", "tag").iter_rows())


def steps(vocabulary: Vocabulary) -> dict[str, str]:
    return dict(vocabulary.rows.select("raw_tag", "step").iter_rows())


def test_rare_tags_are_none() -> None:
    found = learned(["sums", "odd"], ["sums"], ["sums", "🔥"], ["🔥"], alpha=2)
    assert tags(found) == {"sums": "sums", "odd": None, "🔥": None}
    assert steps(found) == {"sums": "kept", "odd": "rare", "🔥": "blank"}


def test_a_rare_spelling_of_a_known_tag_is_that_tag() -> None:
    found = learned(["sums"], ["sums"], ["Sum!"], alpha=2)
    assert tags(found) == {"sums": "sums", "Sum!": "sums"}
    assert steps(found)["Sum!"] == "format"


@pytest.mark.parametrize(
    ("queries", "alpha"), [(0, 2), (500, 2), (2_001, 3), (20_000, 20), (10**7, 20)]
)
def test_alpha_grows_with_the_corpus_to_the_papers(queries: int, alpha: int) -> None:
    assert scaled_alpha(queries) == alpha


def test_the_most_frequent_spelling_names_a_tag() -> None:
    found = learned(["Solving Problems"], ["solving problems"], ["solved problem"], ["other"])
    assert learned(["a"], ["a"], alpha=2).names == ["a"]
    assert found.names == []
    loose = learned(["Solving Problems"], ["solving problems"], ["solved problem"], alpha=1)
    assert loose.names == ["solving problems"]


def test_the_same_words_in_another_order_are_one_tag_and_other_digits_are_another() -> None:
    queries = [["problem math"], ["math problem"], ["math problem"], ["2d plot"], ["3d plot"]]
    found = learned(*queries, ["biology"], ["history"], alpha=1)
    assert found.names == ["2d plot", "3d plot", "biology", "history", "math problem"]
    assert steps(found)["problem math"] == "similar"
    apart = learned(*queries, alpha=1, max_distance=0)
    assert "problem math" in apart.names


def test_any_encoder_says_what_is_similar() -> None:
    loose = learned(["math sum"], ["math"], ["math"], ["verse"], alpha=1, max_distance=0.5)
    assert loose.names == ["math", "verse"]


def test_tags_that_come_together_are_one() -> None:
    together = [["sums", "arithmetic", "always"], ["sums", "arithmetic", "always"]]
    apart = [["verse", "always"], ["rhyme", "always"], ["verse", "always"], ["always"]]
    found = learned(*together, *apart, alpha=1, min_support=2)
    assert found.names == ["always", "arithmetic", "rhyme", "verse"]
    assert steps(found)["sums"] == "associated"


def test_a_part_of_another_tag_stays_where_rules_must_hold_both_ways() -> None:
    queries = [["arithmetic", "addition"], ["arithmetic", "subtraction"]] * 3 + [["verse"]] * 9
    assert learned(*queries, alpha=1, min_support=2).names == ["arithmetic", "verse"]
    found = learned(*queries, ["verse", "poem"], alpha=1, min_support=2, both_ways=True)
    assert found.names == ["addition", "arithmetic", "poem", "subtraction", "verse"]
    same = [["arithmetic", "sums"]] * 3 + [["verse"]] * 9
    assert learned(*same, alpha=1, both_ways=True).names == ["arithmetic", "verse"]


def test_what_every_query_has_swallows_nothing() -> None:
    queries = [["verse", "text"], ["sums", "text"]] * 3
    assert learned(*queries, alpha=1, min_support=2, min_lift=1.0).names == ["text"]
    assert learned(*queries, alpha=1, min_support=2, min_lift=2.5).names == [
        "sums",
        "text",
        "verse",
    ]


def test_merging_goes_on_with_what_is_merged() -> None:
    # "c" comes with "a" or with "b", and with neither nearly always, until they are one.
    queries = [["a", "b"]] * 18 + [["a"]] * 8 + [["a", "c"], ["b", "c"]] + [["d"]] * 40
    rules = {"alpha": 1, "min_support": 1, "min_confidence": 0.9, "min_lift": 2.0}
    assert learned(*queries, **rules).names == ["a", "d"]


def test_a_tag_never_seen_gets_the_tag_of_its_form_or_none() -> None:
    found = learned(["Sums"], ["sums"], alpha=1)
    new = pairs_of(["SUM", "sums", "verse"], ["verse"])
    assert found.tags_of(new).rows() == [("q0", "sums")]
    assert found.coverage(new) == 0.5


def test_nothing_to_learn_from() -> None:
    found = learn_vocabulary(pairs_of(), settings=VocabularySettings())
    assert found.names == []
    assert found.coverage(pairs_of()) == 0
    assert found.tags_of(pairs_of(["sums"])).is_empty()


@settings(max_examples=40)
@given(QUERIES)
def test_normalising_again_changes_nothing(queries: list[list[str]]) -> None:
    pairs = pairs_of(*queries)
    found = learn_vocabulary(pairs, settings=LOOSE)
    once = found.tags_of(pairs)
    again = found.tags_of(once.rename({"tag": "raw_tag"}))
    assert again.equals(once)


@settings(max_examples=40)
@given(QUERIES, st.randoms(use_true_random=False))
def test_the_order_of_the_queries_does_not_matter(queries: list[list[str]], chance) -> None:
    pairs = pairs_of(*queries)
    rows = pairs.rows()
    chance.shuffle(rows)
    shuffled = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    found = learn_vocabulary(pairs, settings=LOOSE)
    assert learn_vocabulary(shuffled, settings=LOOSE).rows.equals(found.rows)


@settings(max_examples=40)
@given(QUERIES)
def test_a_form_never_maps_to_two_tags(queries: list[list[str]]) -> None:
    rows = learn_vocabulary(pairs_of(*queries), settings=LOOSE).rows
    assert rows["raw_tag"].is_unique().all()
    assert rows.group_by("form").agg(pl.col("tag").n_unique())["tag"].max() in (None, 1)
