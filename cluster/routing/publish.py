"""From the parts of a run to what the user asked for: one file, or a folder with one a part."""

from collections.abc import Sequence
from pathlib import Path

from cluster.errors import InputError
from cluster.failpoint import failpoint
from cluster.files.writer import Rows, write_file, write_shard
from cluster.jobs.claim import claim
from cluster.jobs.run import Part, Run
from cluster.routing.output import is_file
from cluster.routing.spec import RouteSpec
from cluster.routing.store import Store
from cluster.routing.summary import ShardSummary
from cluster.storage import Storage

PART_PREFIX = "part-"


def publish(
    summaries: Sequence[ShardSummary], *, spec: RouteSpec, store: Store, run: Run
) -> list[str]:
    """Write the output; returns its addresses.

    A file appears when it is whole. The parts of a folder appear one by one, each whole; until the
    last is there the run has no manifest, and the folder belongs to this work alone.

    Raises:
        InputError: it cannot be written.
    """
    run.progress(Part("writing", done=0, total=len(summaries), unit="parts"), now=True)
    claim(spec.output, work=run.work_id, run=run)
    failpoint("route.before_output")
    try:
        if is_file(spec.output):
            return [_one_file(summaries, spec=spec, store=store)]
        return _folder(summaries, spec=spec, store=store, run=run)
    except OSError as error:
        raise InputError(
            f"{spec.output}: cannot be written ({error}); name another --output"
        ) from error


def _one_file(summaries: Sequence[ShardSummary], *, spec: RouteSpec, store: Store) -> str:
    output = Storage.at(spec.output).uri
    parts = (Rows(store.read_rows(summary.key), summary.json_columns) for summary in summaries)
    write_file(parts, output)
    return output


def _folder(
    summaries: Sequence[ShardSummary], *, spec: RouteSpec, store: Store, run: Run
) -> list[str]:
    output = Storage.at(spec.output)
    outputs = []
    for number, summary in enumerate(summaries):
        name = f"{PART_PREFIX}{summary.key}.{spec.output_format}"
        outputs.append(output.join(name))
        if spec.output_format == "parquet":
            output.copy_from(store.part(summary.key), outputs[-1])
        else:
            rows = store.read_rows(summary.key)
            write_shard(rows, outputs[-1], json_columns=summary.json_columns)
        run.progress(Part("writing", done=number + 1, total=len(summaries), unit="parts"))
    _remove_other_parts(output, kept=outputs)
    return outputs


def _remove_other_parts(output: Storage, *, kept: list[str]) -> None:
    """Remove the parts of a run that was replaced and had more of them."""
    for uri in {uri for uri, _ in output.list(output.uri)} - set(kept):
        folder, name = uri.rsplit("/", 1)
        ours = name.startswith(PART_PREFIX) and Path(name).suffix in (".parquet", ".jsonl")
        if folder == output.uri and ours:
            output.delete(uri)
