"""Where reports on the quality of datasets are kept."""

import re
from typing import Any

from cluster.lake.lake import Lake
from cluster.lake.outcomes import scorer_names
from cluster.quality.quality import Quality, as_json, headline, quality
from cluster.quality.report import report
from cluster.query import digest
from cluster.storage import Storage

PAGE, NUMBERS = "quality.html", "quality.json"


def keep_report(found: Quality, *, folder: str) -> dict[str, Any]:
    """Write page and numbers into a folder, local or s3://, over what is there; returns what it
    came to, for a manifest."""
    storage = Storage.at(folder)
    page, numbers = storage.join(PAGE), storage.join(NUMBERS)
    storage.write(page, report(found))
    storage.write(numbers, as_json(found))
    return {
        "outputs": [page, numbers],
        "dataset": found.dataset,
        "scorer": found.scorer,
        "headline": [{"measure": name, "value": value} for name, value in headline(found)],
        "alarms": [f"{alarm.words} {alarm.todo}" for alarm in found.alarms],
    }


def report_on_collection(
    lake: Lake, *, dataset: str, scorers: tuple[str, ...]
) -> dict[str, Any] | None:
    """The report of a dataset in its place in the lake; None where nothing is rewarded.

    Args:
        lake: the lake.
        dataset: its name.
        scorers: the first of these with rewards is reported on; else whichever has most.
    """
    there = scorer_names(lake, dataset=dataset)
    if not there:
        return None
    scorer = next((name for name in scorers if name in there), there[0])
    folder = lake.storage.join("reports", folder_name(dataset))
    return keep_report(quality(lake, dataset=dataset, scorer=scorer), folder=folder)


def folder_name(dataset: str) -> str:
    """A dataset's name as that of a folder, different for different datasets."""
    plain = re.sub(r"[^\w.-]+", "-", dataset).strip(".-")
    return plain if plain == dataset else f"{plain}-{digest([dataset])[:8]}".strip("-")
