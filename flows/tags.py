"""tags: what the tags of a dataset say, and a new version of a tagger's vocabulary."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.table import Column, Table

from cluster.evaluation.tag_page import summary, tag_page
from cluster.evaluation.tag_statistics import TagStatistics, tag_statistics
from cluster.lake.lake import Lake
from cluster.lake.outcomes import tagged_queries
from cluster.lake.tables import TAGGERS
from cluster.lake.vocabularies import renew
from cluster.storage import Storage
from flows.params import check_output, lake_field
from tasks.report import say

SHOWN = 20


class TagsParams(BaseModel):
    """Show how frequent a dataset's tags are, what they cover and what candidates earn on them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lake: str = lake_field()
    dataset: str = Field(title="Dataset", description="Whose queries", min_length=1)
    tagger: str = Field(
        default="",
        title="Tagger",
        description="Whose tags, by name or id. Empty: the only tagger beside 'task', or 'task'",
    )
    scorer: str = Field(
        default="",
        title="Scorer",
        description="Whose rewards count. Empty: the dataset's only one, or 'accuracy'",
    )
    output: str = Field(
        default="",
        title="Output",
        description="HTML file to write, with plots and all tags. Empty: only the table here",
    )
    renew: bool = Field(
        default=False,
        title="New vocabulary",
        description="First make a new version of the tagger's vocabulary from all raw tags there "
        "are, in all datasets; no model is asked",
    )


def check(params: TagsParams) -> None:
    """What can be told before anything is read.

    Raises:
        SignalboxError: the output cannot be written.
    """
    if params.output:
        check_output(params.output, is_folder=False)


def show(params: TagsParams) -> dict[str, Any]:
    """Print the most frequent tags on stderr and write the page; returns the figures.

    Raises:
        LakeError: there is no lake, or it cannot be reached.
        InputError: no such dataset, tagger or scorer.
    """
    lake = Lake.open(params.lake, create=False)
    if params.renew:
        _renew(params, lake=lake)
    found = tag_statistics(lake, dataset=params.dataset, tagger=params.tagger, scorer=params.scorer)
    _print(found)
    outputs = []
    if params.output:
        output = Storage.at(params.output)
        output.write(output.uri, tag_page(found))
        outputs.append(output.uri)
    return {
        "dataset": found.dataset,
        "tagger": found.tagger,
        "tagger_id": found.tagger_id,
        "vocabulary": found.version.sequence if found.version else None,
        "scorer": found.scorer,
        "queries": found.n_queries,
        "tagged": found.n_tagged,
        "tags": found.frequency.height,
        "untagged": dict(found.untagged.iter_rows()),
        "outputs": outputs,
    }


def _renew(params: TagsParams, *, lake: Lake) -> None:
    tagger_id = tagged_queries(lake, dataset=params.dataset, tagger=params.tagger)[1]
    taggers = lake.read(TAGGERS)
    name = str(taggers.filter(taggers["tagger_id"] == tagger_id)["name"][0])
    done = renew(lake, name=name)
    number = done.version.sequence
    say(
        f"vocabulary {number} of '{name}' is in force: {done.tags:,} tags"
        if done.is_new
        else f"vocabulary {number} of '{name}' stays: a new one would say the same"
    )


def _print(found: TagStatistics) -> None:
    say(summary(found))
    shown = Table(Column("tag", overflow="fold"), "queries", *found.candidates)
    means = {
        (tag, candidate): f"{mean:.3f}"
        for tag, candidate, mean in found.rewards.select("tag", "candidate", "mean").iter_rows()
    }
    for tag, queries in found.frequency.head(SHOWN).iter_rows():
        rewards = [means.get((tag, name), "") for name in found.candidates]
        shown.add_row(tag, f"{queries:,}", *rewards)
    Console(stderr=True).print(shown)
