"""quality: what a dataset in the lake is worth training on."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from cluster.lake.lake import Lake
from cluster.lake.outcomes import check_outcomes
from cluster.storage import Storage
from flows.params import ScorerField, check_output, lake_field
from tasks.report import say, show_pairs


class QualityParams(BaseModel):
    """Report what is missing, broken, repeated or undecided in a dataset, and what can be gained.

    Writes quality.html, a page with pictures, and quality.json, its numbers. Nothing is run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lake: str = lake_field()
    dataset: str = Field(
        default="default", title="Dataset", description="Whose outcomes to look at", min_length=1
    )
    scorer: ScorerField = ""
    output: str = Field(
        title="Output",
        description="Folder or s3://bucket/prefix for quality.html and quality.json",
    )


def check(params: QualityParams) -> None:
    """What can be told before anything is read.

    Raises:
        SignalboxError: lake, dataset, scorer or output are not what they must be.
    """
    lake = Lake.open(params.lake, create=False)
    check_outcomes(lake, dataset=params.dataset, scorer=params.scorer)
    check_output(params.output, is_folder=True)


def report(params: QualityParams) -> dict[str, Any]:
    """Measure and write; returns the headline numbers and the alarms.

    Raises:
        SignalboxError: as `check`.
    """
    from cluster.quality.keep import keep_report
    from cluster.quality.quality import quality

    lake = Lake.open(params.lake, create=False)
    found = quality(lake, dataset=params.dataset, scorer=params.scorer)
    kept = keep_report(found, folder=Storage.at(params.output).uri)
    return {"flow": "quality", "lake": lake.storage.uri, **kept}


def show_result(manifest: dict[str, Any]) -> None:
    """The headline numbers, the alarms and where to look, on stderr."""
    show_pairs(manifest["headline"], title=f"{manifest['dataset']}, scorer {manifest['scorer']}")
    for alarm in manifest["alarms"]:
        say(alarm)
    say(f"report: {manifest['outputs'][0]}")
