"""Versions of a vocabulary in the lake, and which of them is in force.

Raw tags are facts. A version of a vocabulary has a `tagger_id` of its own, under which its tags
stand in `tags`; its row in `taggers` is written last, and from then on it is in force under its
name: a reader sees the tags of one version or of another, never of both. The one in force is the
one with the highest sequence. Queries that come later get tags by it, so tags stay what they are
from night to night, until a new version is asked for, or too few of the new queries get a tag.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from cluster.errors import InputError
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.tables import RAW_TAGS, TAGGERS, TAGS, VOCABULARIES
from cluster.query import digest
from cluster.tags.vocabulary import (
    VOCABULARY_SCHEMA,
    Vocabulary,
    VocabularySettings,
    learn_vocabulary,
)

RECORD = "vocabulary_version"
SEQUENCE = f"$.{RECORD}.sequence"


@dataclass(frozen=True)
class Version:
    """One version of a vocabulary, as `taggers` tells of it.

    Attributes:
        tagger_id: of its tags.
        name: the tagger's in the lake.
        spec: the tagger's, with `writer_id` and the settings of the vocabulary.
        sequence: from 1, by name.
        queries: with raw tags, that it was made from.
        coverage: share of them that got a tag.
        why: it was made, in words.
    """

    tagger_id: str
    name: str
    spec: dict[str, Any]
    sequence: int
    queries: int
    coverage: float
    why: str

    @property
    def settings(self) -> VocabularySettings:
        """How it was made."""
        return VocabularySettings.model_validate(self.spec["vocabulary"])


@dataclass(frozen=True)
class Normalised:
    """What normalising did.

    Attributes:
        version: in force now.
        new_tags: rows that `tags` got.
        tags: of the vocabulary.
        queries: with raw tags, now.
        coverage: share of them that have a tag now.
        is_new: whether the version was made by this.
    """

    version: Version
    new_tags: int
    tags: int
    queries: int
    coverage: float
    is_new: bool


def vocabulary_versions(lake: Lake, *, name: str) -> list[Version]:
    """Versions of a tagger's vocabulary, the one in force first; none of other taggers."""
    rows = lake.scan(TAGGERS).filter(pl.col("name") == name).collect()
    found = [
        Version(row["tagger_id"], name, spec, **spec.pop(RECORD))
        for row in rows.iter_rows(named=True)
        if RECORD in (spec := json.loads(row["spec"]))
    ]
    return sorted(found, key=lambda one: (-one.sequence, one.tagger_id))


def sequence_of(spec: pl.Expr) -> pl.Expr:
    """The sequence of the vocabulary a tagger's spec tells of; 0 for taggers without."""
    return spec.str.json_path_match(SEQUENCE).cast(pl.Int64).fill_null(0)


def read_vocabulary(lake: Lake, *, tagger_id: str) -> Vocabulary:
    """The vocabulary behind an id; empty for another tagger's."""
    rows = lake.scan(VOCABULARIES).filter(pl.col("tagger_id") == tagger_id)
    return Vocabulary(rows.select(VOCABULARY_SCHEMA.names()).sort("raw_tag").collect())


def read_raw_tags(lake: Lake, *, writer_id: str) -> pl.DataFrame:
    """`query_id`, `raw_tag`: all that a writer has written, in any dataset."""
    rows = lake.scan(RAW_TAGS).filter(pl.col("writer_id") == writer_id)
    return rows.select("query_id", "raw_tag").drop_nulls().collect()


def renew(lake: Lake, *, name: str) -> Normalised:
    """Make a new version of a tagger's vocabulary from all its raw tags; no model is asked.

    Where it says the same as the one in force, that one stays.

    Raises:
        InputError: no such tagger, or one without a vocabulary.
    """
    there = vocabulary_versions(lake, name=name)
    if not there:
        raise InputError(
            f"tagger '{name}' has no vocabulary in {lake.storage.uri}; taggers with one are named "
            "by 'signalbox tags', and get it from 'signalbox collect'"
        )
    return normalise(lake, name=name, spec=there[0].spec, why="it was asked for")


def normalise(lake: Lake, *, name: str, spec: Mapping[str, Any], why: str = "") -> Normalised:
    """Give every query with raw tags its tags, by the vocabulary in force or by a new one.

    Args:
        lake: the lake.
        name: the tagger's in the lake.
        spec: the tagger's, with `writer_id` and `vocabulary`.
        why: a new version is wanted; empty: one is made where it is needed.

    Raises:
        InputError: the vocabulary's encoder is not installed, or its settings are wrong.
    """
    pairs = read_raw_tags(lake, writer_id=spec["writer_id"])
    there = vocabulary_versions(lake, name=name)
    in_force = there[0] if there else None
    old = read_vocabulary(lake, tagger_id=in_force.tagger_id) if in_force else None
    reason = why or _why_new(in_force, spec=spec, pairs=pairs, vocabulary=old)
    if reason:
        settings = VocabularySettings.model_validate(spec["vocabulary"])
        learned = learn_vocabulary(pairs, settings=settings)
        same = old is not None and _says(old) == _says(learned)
        if in_force is None or not same or _identity(in_force.spec) != _identity(spec):
            sequence = in_force.sequence + 1 if in_force else 1
            version = _version(learned, name=name, spec=spec, sequence=sequence, pairs=pairs)
            made = replace(version, why=reason)
            return _in_force(lake, version=made, vocabulary=learned, pairs=pairs)
    assert in_force is not None
    assert old is not None
    return _applied(lake, version=in_force, vocabulary=old, pairs=pairs, is_new=False)


def _why_new(
    version: Version | None,
    *,
    spec: Mapping[str, Any],
    pairs: pl.DataFrame,
    vocabulary: Vocabulary | None,
) -> str:
    """Why the version in force will not do, in words; empty where it will."""
    if version is None or vocabulary is None:
        return "it is the first"
    if _identity(version.spec) != _identity(spec):
        return "the tagger has other settings"
    settings = version.settings
    queries = pairs["query_id"].n_unique()
    since = queries - version.queries
    if since < max(1.0, settings.renew_after * version.queries):
        return ""
    # Raw tags stay, so what it covered when it was made it covers now.
    covered = vocabulary.coverage(pairs) * queries - version.coverage * version.queries
    if version.coverage and covered / since >= settings.renew_below * version.coverage:
        return ""
    return f"of {since:,} new queries {max(0.0, covered / since):.0%} had a tag"


def _identity(spec: Mapping[str, Any]) -> tuple[str, str]:
    return str(spec["writer_id"]), json.dumps(spec["vocabulary"], sort_keys=True)


def _says(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """What a vocabulary makes of forms: without counts, and without what it makes nothing of."""
    pairs = vocabulary.rows.select("form", "tag").drop_nulls().unique().sort("form")
    return [(form, tag) for form, tag in pairs.iter_rows()]


def _version(
    vocabulary: Vocabulary,
    *,
    name: str,
    spec: Mapping[str, Any],
    sequence: int,
    pairs: pl.DataFrame,
) -> Version:
    """The version, whose id is what it says: made again after a kill, it is the same."""
    said = [part for pair in _says(vocabulary) for part in pair]
    return Version(
        tagger_id=digest([name, *_identity(spec), sequence, *said]),
        name=name,
        spec=dict(spec),
        sequence=sequence,
        queries=pairs["query_id"].n_unique(),
        coverage=vocabulary.coverage(pairs),
        why="",
    )


def _in_force(
    lake: Lake, *, version: Version, vocabulary: Vocabulary, pairs: pl.DataFrame
) -> Normalised:
    """Write the vocabulary, then all its tags, and last the row that puts it in force."""
    key = {"tagger_id": version.tagger_id, "sequence": version.sequence}
    rows = vocabulary.rows.with_columns(pl.lit(value).alias(name) for name, value in key.items())
    append_new(rows.select(VOCABULARIES.columns), lake=lake, table=VOCABULARIES)
    done = _applied(lake, version=version, vocabulary=vocabulary, pairs=pairs, is_new=True)
    record = {
        "sequence": version.sequence,
        "queries": version.queries,
        "coverage": version.coverage,
        "why": version.why,
    }
    spec = json.dumps(version.spec | {RECORD: record}, sort_keys=True)
    row = {"tagger_id": [version.tagger_id], "name": [version.name], "spec": [spec]}
    append_new(pl.DataFrame(row), lake=lake, table=TAGGERS)
    return done


def _applied(
    lake: Lake, *, version: Version, vocabulary: Vocabulary, pairs: pl.DataFrame, is_new: bool
) -> Normalised:
    """Append the tags that queries do not have yet."""
    tags = vocabulary.tags_of(pairs).with_columns(tagger_id=pl.lit(version.tagger_id))
    new = append_new(tags.select(TAGS.columns), lake=lake, table=TAGS) if tags.height else 0
    queries = pairs["query_id"].n_unique()
    covered = tags["query_id"].n_unique() / max(1, queries)
    return Normalised(version, new, len(vocabulary.names), queries, covered, is_new)
