import polars as pl
import pytest

from cluster.errors import InputError
from cluster.tags.clusters import ClusterTagger

TEXTS = [
    *(f"What is {n} plus {n + 3}?" for n in range(30)),
    *(f"Write the Roman numeral for {n} in capital letters" for n in range(20)),
    *(f"请问北京有多少个第{n}" for n in range(10)),
]
QUERIES = pl.DataFrame(
    {
        "query_id": [f"q{row:02}" for row in range(len(TEXTS))],
        "task": [None] * len(TEXTS),
        "text": TEXTS,
    }
)


def test_groups_are_found_and_numbered_by_size():
    tags = QUERIES.join(ClusterTagger(n_clusters=3).tag(QUERIES), on="query_id")["tag"]
    assert tags.to_list() == ["cluster-0"] * 30 + ["cluster-1"] * 20 + ["cluster-2"] * 10


def test_the_order_of_the_queries_does_not_matter():
    tagger = ClusterTagger(n_clusters=5)
    shuffled = QUERIES.sample(fraction=1.0, shuffle=True, seed=3)
    assert tagger.tag(shuffled).equals(tagger.tag(QUERIES))


def test_every_query_has_one_tag_among_n():
    tags = ClusterTagger(n_clusters=4).tag(QUERIES)
    assert tags.schema == {"query_id": pl.String, "tag": pl.String}
    assert sorted(tags["query_id"]) == sorted(QUERIES["query_id"])
    assert set(tags["tag"]) <= {f"cluster-{number}" for number in range(4)}


def test_more_clusters_than_texts():
    few = QUERIES.head(3)
    assert ClusterTagger(n_clusters=50).tag(few).height == 3


def test_no_queries_have_no_tags():
    tags = ClusterTagger().tag(QUERIES.clear())
    assert tags.is_empty()
    assert tags.columns == ["query_id", "tag"]


def test_settings_are_the_identity():
    assert ClusterTagger().tagger_id == ClusterTagger(n_clusters=20).tagger_id
    assert ClusterTagger(seed=1).tagger_id != ClusterTagger().tagger_id


def test_texts_without_words_are_refused():
    with pytest.raises(InputError, match="no text holds a word"):
        ClusterTagger().tag(QUERIES.with_columns(text=pl.lit(" ")))
