"""The vocabulary of an open-vocabulary tagger: which raw tags are one tag, and which are none.

Lu et al., "#InsTag: Instruction Tagging for Analyzing Supervised Fine-tuning of Large Language
Models", ICLR 2024, arXiv 2308.07074, section 3: rare tags are left out, then tags are merged by
their form, by what they mean and by what they come with. One file beside this one a step.

A tag is called as its most frequent spelling in lower case, and not by its stems as they are
compared: "problem solving", not "problem solv".
"""

from dataclasses import dataclass
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from cluster.tags.associated_tags import associated_tags
from cluster.tags.rare_tags import scaled_alpha, tag_counts
from cluster.tags.similar_tags import similar_tags
from cluster.tags.tag_format import cleaned, stemmed

VOCABULARY_SCHEMA = pl.Schema(
    {
        "raw_tag": pl.String(),
        "count": pl.Int64(),
        "form": pl.String(),
        "tag": pl.String(),
        "step": pl.String(),
    }
)
"""`count` is on how many queries the raw tag was; `tag` null where it is none; `step` what made the
tag of it: kept, format, similar, associated, or rare, blank where it is none."""
PAIRS = ["query_id", "raw_tag"]


class VocabularySettings(BaseModel):
    """How raw tags are normalised.

    Attributes:
        alpha: queries that must have a raw tag, for it to make a tag; by default one in a
            thousand, at least 2 and at most InsTag's 20.
        encoder: an installed encoder, whose vectors say which tags mean the same. `lexical` knows
            words alone; a pretrained one knows what they mean.
        encoder_settings: its settings, such as `{model: ./minilm}`.
        max_distance: cosine distance up to which two tags are one; 0 merges none by meaning.
        min_support: queries that must have two tags, for one to be merged into the other; by
            default twice alpha, as InsTag's 40.
        min_confidence: share of the queries with one that must have the other too.
        min_lift: how many times more often than by chance.
        both_ways: whether that must hold for either of the two. InsTag's rules have one direction,
            and so addition goes into arithmetic where the model always writes both.
        renew_below: a new vocabulary is made when the share of new queries that get a tag is below
            so many times what it was on the queries it was made from.
        renew_after: new queries needed before that is asked, as a share of those it was made from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    alpha: int | None = Field(default=None, ge=1)
    encoder: str = "lexical"
    encoder_settings: dict[str, Any] = {}
    max_distance: float = Field(default=0.05, ge=0, lt=1)
    min_support: int | None = Field(default=None, ge=1)
    min_confidence: float = Field(default=0.99, gt=0, le=1)
    min_lift: float = Field(default=2.0, ge=1)
    both_ways: bool = False
    renew_below: float = Field(default=0.8, ge=0, le=1)
    renew_after: float = Field(default=0.1, gt=0)

    def alpha_for(self, n_queries: int) -> int:
        """Queries a raw tag must be on, among so many that have raw tags."""
        return self.alpha if self.alpha is not None else scaled_alpha(n_queries)

    def support_for(self, n_queries: int) -> int:
        """Queries two tags must be on together."""
        return self.min_support if self.min_support is not None else 2 * self.alpha_for(n_queries)


@dataclass(frozen=True)
class Vocabulary:
    """What raw tags become.

    Attributes:
        rows: `VOCABULARY_SCHEMA`, one row a raw tag it was made from, by raw tag.
    """

    rows: pl.DataFrame

    @property
    def names(self) -> list[str]:
        """Its tags, sorted."""
        return sorted(self.rows["tag"].drop_nulls().unique().to_list())

    def tags_of(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """`query_id`, `tag`, sorted, each once: a raw tag never seen gets the tag of its form.

        Args:
            pairs: `query_id`, `raw_tag`, one row a tag of a query.
        """
        known = self.rows.select("form", "tag").drop_nulls().unique()
        forms = with_forms(pairs.select("raw_tag").unique()).select("raw_tag", "form")
        found = pairs.select(PAIRS).join(forms, on="raw_tag").join(known, on="form")
        return found.select("query_id", "tag").unique().sort("query_id", "tag")

    def coverage(self, pairs: pl.DataFrame) -> float:
        """Share of the queries with raw tags that get a tag; 0 where there are none."""
        covered = self.tags_of(pairs)["query_id"].n_unique()
        return covered / max(1, pairs["query_id"].n_unique())


def with_forms(tags: pl.DataFrame) -> pl.DataFrame:
    """Raw tags with their `spelling`, cleaned, and their `form`, stemmed."""
    spelling = cleaned(tags["raw_tag"])
    return tags.with_columns(spelling=spelling, form=stemmed(spelling))


def learn_vocabulary(pairs: pl.DataFrame, *, settings: VocabularySettings) -> Vocabulary:
    """The vocabulary of a corpus; the order of its rows does not matter.

    Args:
        pairs: `query_id`, `raw_tag`, one row a tag of a query.
        settings: how.

    Raises:
        InputError: the encoder is not installed, or its settings are wrong.
    """
    n_queries = pairs["query_id"].n_unique()
    raw = with_forms(tag_counts(pairs))
    alpha = settings.alpha_for(n_queries)
    often = raw.filter((pl.col("count") >= alpha) & (pl.col("form") != ""))
    forms = _named_forms(often)
    similar = similar_tags(
        forms,
        encoder=settings.encoder,
        settings=settings.encoder_settings,
        max_distance=settings.max_distance,
    )
    kept = pairs.select(PAIRS).join(often.select("raw_tag", "form"), on="raw_tag")
    meant = kept.join(similar, on="form").select("query_id", form="into")
    associated = associated_tags(
        meant,
        min_support=settings.support_for(n_queries),
        min_confidence=settings.min_confidence,
        min_lift=settings.min_lift,
        both_ways=settings.both_ways,
    )
    return Vocabulary(_rows(raw, forms=forms, similar=similar, associated=associated))


def _named_forms(often: pl.DataFrame) -> pl.DataFrame:
    """`form`, `name`, `count`: every form with its most frequent spelling."""
    spelled = often.group_by("form", "spelling").agg(pl.col("count").sum())
    ranked = spelled.sort("count", "spelling", descending=[True, False])
    return ranked.group_by("form", maintain_order=True).agg(
        pl.col("spelling").first().alias("name"), pl.col("count").sum()
    )


def _rows(
    raw: pl.DataFrame, *, forms: pl.DataFrame, similar: pl.DataFrame, associated: pl.DataFrame
) -> pl.DataFrame:
    """Every raw tag with what became of it, and by which step."""
    last = associated.rename({"form": "meant", "into": "last"})
    names = forms.select(last="form", tag="name")
    rows = raw.join(similar.rename({"into": "meant"}), on="form", how="left")
    rows = rows.join(last, on="meant", how="left").join(names, on="last", how="left")
    step = (
        pl.when(pl.col("form") == "")
        .then(pl.lit("blank"))
        .when(pl.col("tag").is_null())
        .then(pl.lit("rare"))
        .when(pl.col("last") != pl.col("meant"))
        .then(pl.lit("associated"))
        .when(pl.col("meant") != pl.col("form"))
        .then(pl.lit("similar"))
        .when(pl.col("raw_tag") != pl.col("tag"))
        .then(pl.lit("format"))
        .otherwise(pl.lit("kept"))
    )
    return rows.with_columns(step=step).select(VOCABULARY_SCHEMA.names()).sort("raw_tag")
