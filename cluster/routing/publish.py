"""From the parts of a run to what the user asked for: one file, or a folder with one a part."""

from collections.abc import Iterator, Sequence

from cluster.errors import InputError
from cluster.failpoint import failpoint
from cluster.files.writer import Rows, write_file, write_shard
from cluster.jobs.claim import claim, refuse_lost_claim, remove_replaced
from cluster.jobs.run import Part, Run
from cluster.routing.output import is_file, refuse_output_that_is_there
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
        InputError: it cannot be written, or another work began to write there since this one did.
    """
    refuse_output_that_is_there(spec, run=run)
    run.progress(Part("writing", done=0, total=len(summaries), unit="parts"), now=True)
    names = [] if is_file(spec.output) else _names(summaries, spec=spec)
    claim(spec.output, work=run.work_id, run=run, files=names)
    failpoint("route.before_output")
    try:
        if is_file(spec.output):
            return [_one_file(summaries, spec=spec, store=store, run=run)]
        return _folder(summaries, spec=spec, store=store, run=run)
    except OSError as error:
        raise InputError(
            f"{spec.output}: cannot be written ({error}); name another --output"
        ) from error


def _one_file(summaries: Sequence[ShardSummary], *, spec: RouteSpec, store: Store, run: Run) -> str:
    output = Storage.at(spec.output).uri

    def parts() -> Iterator[Rows]:
        for summary in summaries:
            yield Rows(store.read_rows(summary.key), summary.json_columns)
        # Whole but for its end; it appears only then.
        refuse_lost_claim(spec.output, work=run.work_id, lake=run.storage)

    write_file(parts(), output)
    return output


def _names(summaries: Sequence[ShardSummary], *, spec: RouteSpec) -> list[str]:
    return [f"{PART_PREFIX}{summary.key}.{spec.output_format}" for summary in summaries]


def _folder(
    summaries: Sequence[ShardSummary], *, spec: RouteSpec, store: Store, run: Run
) -> list[str]:
    output, names = Storage.at(spec.output), _names(summaries, spec=spec)
    for number, (summary, name) in enumerate(zip(summaries, names, strict=True)):
        refuse_lost_claim(spec.output, work=run.work_id, lake=run.storage)
        if spec.output_format == "parquet":
            output.copy_from(store.part(summary.key), output.join(name))
        else:
            rows = store.read_rows(summary.key)
            write_shard(rows, output.join(name), json_columns=summary.json_columns)
        run.progress(Part("writing", done=number + 1, total=len(summaries), unit="parts"))
    refuse_lost_claim(spec.output, work=run.work_id, lake=run.storage)
    remove_replaced(output.uri, kept=names, work=run.work_id, run=run)
    return [output.join(name) for name in names]
