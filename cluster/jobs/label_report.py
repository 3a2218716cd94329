"""The pages that a collection ends with, kept in the lake."""

from collections.abc import Sequence
from typing import Any

from cluster.evaluation.tag_page import tag_page
from cluster.evaluation.tag_statistics import tag_statistics
from cluster.labels import Label
from cluster.lake.lake import Lake
from cluster.lake.outcomes import has_rewards
from cluster.quality.keep import folder_name, report_on_collection
from cluster.tags.open_vocabulary import OpenTagger


def write_reports(
    lake: Lake, *, dataset: str, scorers: Sequence[Label], taggers: Sequence[Label]
) -> dict[str, Any]:
    """Write the report on the data's quality, and a page on the tags of each tagger in own words.

    Returns:
        `quality` (None where nothing is rewarded): what the report came to; `tag_pages`: the
        pages by tagger; `outputs`: all that is written.
    """
    kept = report_on_collection(
        lake, dataset=dataset, scorers=tuple(label.name for label in scorers)
    )
    scorer = kept["scorer"] if kept and has_rewards(lake, dataset=dataset) else ""
    folder = lake.storage.join("reports", folder_name(dataset))
    pages = {}
    for label in taggers:
        if isinstance(label.tagger(), OpenTagger):
            uri = f"{folder}/tags-{folder_name(label.name)}.html"
            found = tag_statistics(lake, dataset=dataset, tagger=label.name, scorer=scorer)
            lake.storage.write(uri, tag_page(found))
            pages[label.name] = uri
    outputs = [*(kept["outputs"] if kept else []), *pages.values()]
    return {"quality": kept, "tag_pages": pages, "outputs": outputs}
