"""The route job: a query file becomes a routed file, batch by batch, resumable.

A batch is a range of rows of one file; its routed rows are one Parquet part in the run's folder,
written once. A run that was killed goes on after the parts that are there.
"""

import hashlib
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.errors import InputError
from cluster.failpoint import failpoint
from cluster.files.batch import ROW, Batch, rows_with_text
from cluster.files.quarantine import Quarantine
from cluster.files.reader import read_batches, read_schema
from cluster.files.schema import FileSchema, require_column
from cluster.files.source import file_format
from cluster.files.writer import write_file
from cluster.jobs.claim import claim, owner
from cluster.jobs.ingest import PinnedFile, open_pinned
from cluster.jobs.run import Manifest, Part, Run, main
from cluster.jobs.spec import JobSpec
from cluster.policies import Policy, load_policy
from cluster.price import Price, Prices, predicted_cost
from cluster.query import normalise_texts, query_id
from cluster.routers.checkpoint import Checkpoint, load_checkpoint
from cluster.routers.router import Prediction
from cluster.routers.transfer import transfer
from cluster.storage import Storage

LOG = logging.getLogger("signalbox.route")
BATCH_ROWS = 50_000


class RouteSpec(JobSpec):
    """What to route.

    Attributes:
        files: the query files.
        output: a file, by its extension, or a folder that gets one Parquet file a batch.
        text_column: column that holds the query.
        router: version of the router.
        checkpoint: where it lies.
        strong, weak: another pair that the router's own pair speaks for; both empty for none.
        pair_ids: the pair's candidate ids, needed where they are to answer.
        policy: name of the policy.
        policy_settings: its settings.
        prices: by candidate's name; where one of the router's candidates has none, costs are not
            predicted.
        allowed: names of the candidates that may be chosen; empty for all.
        prefix: put before the names of the columns that are added.
        max_error_share: more broken rows than this share fail the job.
        answer_rows: so many rows, drawn by their texts' hash, are written to `requests.parquet`
            for their chosen candidates to answer; -1 for all.
        overwrite: replace what is at the output already.
    """

    job: ClassVar[str] = "route"

    files: tuple[PinnedFile, ...]
    output: str
    text_column: str
    router: str
    checkpoint: str
    strong: str = ""
    weak: str = ""
    pair_ids: tuple[str, ...] = ()
    policy: str
    policy_settings: dict[str, Any]
    prices: dict[str, Price]
    allowed: tuple[str, ...] = ()
    prefix: str = ""
    max_error_share: float
    answer_rows: int = 0
    overwrite: bool = False


@dataclass(frozen=True)
class Routing:
    """A loaded router with what it is to be used for."""

    spec: RouteSpec
    router: Checkpoint
    policy: Policy

    @property
    def candidates(self) -> tuple[str, ...]:
        return self.router.router.candidates

    @property
    def added(self) -> list[str]:
        """Names of the columns routing adds."""
        names = ["candidate", "predicted_reward", "predicted_cost_usd", "router", "policy"]
        names += [f"reward:{name}" for name in self.candidates]
        return [self.spec.prefix + name for name in names]

    @property
    def is_priced(self) -> bool:
        """Whether the costs of all candidates are to be predicted, or none."""
        return all(name in self.spec.prices for name in self.candidates)

    def allowed(self) -> npt.NDArray[np.bool_] | None:
        if not self.spec.allowed:
            return None
        return np.array([name in self.spec.allowed for name in self.candidates])


def route(spec: RouteSpec, run: Run) -> Manifest:
    """Route every row; returns shares, predicted quality and cost.

    Raises:
        InputError: the output's name is none, a file or column is missing, too many rows are
            broken, a candidate has no price though the policy needs one, the router reads answers,
            or the checkpoint is damaged; then there is no output.
    """
    check_name(spec.output)
    refuse_output_that_is_there(spec, run=run)
    routing = _routing(spec)
    parts: list[str] = []
    json_columns: set[str] = set()
    quarantine_uri = run.uri("quarantine.jsonl")
    with Quarantine(quarantine_uri, max_error_share=spec.max_error_share) as quarantine:
        for batch, part in _batches(routing):
            json_columns.update(batch.json_columns)
            quarantine.add(batch)
            parts.append(_routed_part(batch, routing=routing, uri=run.uri("parts", part), run=run))
            run.progress(Part("rows", done=quarantine.rows, total=0))
        quarantine.finish()
    outputs = _publish(parts, spec=spec, json_columns=json_columns, run=run)
    manifest = _summary(parts, routing=routing, run=run)
    if spec.answer_rows:
        manifest["requests"] = _requests(parts, routing=routing, run=run)
    _drop(parts, run=run)
    return {
        "outputs": outputs,
        "router": spec.router,
        "policy": spec.policy,
        "broken": quarantine.broken,
        "quarantine": quarantine_uri if quarantine.broken else None,
        **manifest,
    }


def _routing(spec: RouteSpec) -> Routing:
    checkpoint = load_checkpoint(spec.checkpoint, version=spec.router)
    if spec.strong:
        checkpoint = lent(checkpoint, strong=spec.strong, weak=spec.weak)
    unknown = [name for name in spec.allowed if name not in checkpoint.router.candidates]
    if unknown:
        raise InputError(
            f"--allowed {', '.join(unknown)}: not candidates of router {spec.router[:12]}; "
            f"its candidates: {', '.join(checkpoint.router.candidates)}"
        )
    read = checkpoint.router.reads_answer_of
    if read:
        raise InputError(
            f"router {spec.router[:12]} decides when '{read}' has answered, and a file to route "
            "holds queries alone: name another --router, such as one of method gain"
        )
    policy = load_policy(spec.policy, settings=spec.policy_settings)
    policy = policy.among(checkpoint.router.candidates)
    return Routing(spec, checkpoint, policy)


def lent(checkpoint: Checkpoint, *, strong: str, weak: str) -> Checkpoint:
    """The checkpoint with its router between another pair.

    A prompt of the pair's is expected to have as many tokens as one of the candidates in whose
    place they stand: nothing else is known of their tokenizers.

    Raises:
        InputError: the router has no pair that could speak for them.
    """
    router = transfer(checkpoint.router, strong=strong, weak=weak)
    key = "prompt_tokens_per_character"
    ratios = dict(checkpoint.meta.data.get(key, {}))
    for name, column in zip((strong, weak), router.columns, strict=True):
        ratios.setdefault(name, ratios.get(checkpoint.router.candidates[column]))
    data = {**checkpoint.meta.data, key: ratios}
    meta = checkpoint.meta.model_copy(update={"data": data})
    return replace(checkpoint, router=router, meta=meta)


def _batches(routing: Routing) -> Iterator[tuple[Batch, str]]:
    """Every batch of every file, with the name of its part."""
    spec = routing.spec
    first: FileSchema | None = None
    for number, file in enumerate(spec.files):
        source = open_pinned(file)
        schema = read_schema(source)
        _check_columns(schema, routing=routing)
        first = first or schema
        if is_file(spec.output) and schema.dtypes != first.dtypes:
            raise InputError(
                f"{schema.file}: its columns differ from those of {first.file}, so they do not "
                "fit one output file; name a folder as --output"
            )
        LOG.info("routing %s", file.uri)
        for batch in read_batches(
            source, schema=schema, rows_per_batch=BATCH_ROWS, strict_text=[spec.text_column]
        ):
            kept = rows_with_text(batch, text_column=spec.text_column)
            yield kept, f"{number:05d}-{batch.first_row:012d}.parquet"


def _check_columns(schema: FileSchema, *, routing: Routing) -> None:
    require_column(schema, column=routing.spec.text_column, flag="--text-column")
    taken = [name for name in routing.added if name in schema.dtypes]
    if taken:
        raise InputError(
            f"{schema.file}: has a column '{taken[0]}' already, which routing would add; rename "
            "it, or choose other names with --prefix"
        )


def _routed_part(batch: Batch, *, routing: Routing, uri: str, run: Run) -> str:
    """Route one batch into its part; a part that is there already is left."""
    if not run.storage.filesystem().exists(uri):
        buffer = io.BytesIO()
        _route_rows(batch.frame.drop(ROW), routing=routing).write_parquet(buffer)
        failpoint("route.before_part")
        run.storage.write(uri, buffer.getvalue())
        failpoint("route.after_part")
    return uri


def _route_rows(rows: pl.DataFrame, *, routing: Routing) -> pl.DataFrame:
    """The rows with the columns routing adds."""
    texts = rows[routing.spec.text_column]
    if rows.height == 0:
        prediction = Prediction(*(np.zeros((0, len(routing.candidates))) for _ in range(2)))
    else:
        prediction = routing.router.router.predict(texts)
    cost = _cost(texts, prediction=prediction, routing=routing)
    chosen = routing.policy.choose(prediction, texts=texts, cost=cost, allowed=routing.allowed())
    picked = (np.arange(rows.height), chosen)
    prefix = routing.spec.prefix
    names = pl.Series(routing.candidates, dtype=pl.String)
    added = {
        "candidate": names.gather(chosen),
        "predicted_reward": pl.Series(prediction.reward[picked]),
        "predicted_cost_usd": pl.Series(cost[picked]).fill_nan(None),
        "router": pl.Series([routing.spec.router] * rows.height, dtype=pl.String),
        "policy": pl.Series([routing.spec.policy] * rows.height, dtype=pl.String),
    }
    rewards = {
        f"reward:{name}": pl.Series(prediction.reward[:, column])
        for column, name in enumerate(routing.candidates)
    }
    columns = [series.alias(prefix + name) for name, series in (added | rewards).items()]
    return rows.with_columns(columns)


def _cost(texts: pl.Series, *, prediction: Prediction, routing: Routing) -> npt.NDArray[np.float64]:
    """(n_queries, n_candidates) expected USD; NaN without prices or known tokens.

    Raises:
        InputError: a candidate has no price, and the policy needs one.
    """
    if not routing.is_priced and not routing.policy.needs_cost:
        return np.full(prediction.reward.shape, np.nan)
    return expected_cost(
        texts, prediction=prediction, checkpoint=routing.router, prices=routing.spec.prices
    )


def expected_cost(
    texts: pl.Series, *, prediction: Prediction, checkpoint: Checkpoint, prices: Prices
) -> npt.NDArray[np.float64]:
    """(n_queries, n_candidates) expected USD; NaN where a prompt's or answer's tokens are unknown.

    Raises:
        InputError: a candidate has no price.
    """
    candidates = checkpoint.router.candidates
    ratios = checkpoint.meta.data.get("prompt_tokens_per_character", {})
    per_character = [ratios.get(name) for name in candidates]
    characters = texts.str.len_chars().to_numpy().astype(float)
    known = np.array([np.nan if ratio is None else ratio for ratio in per_character])
    return predicted_cost(
        characters[:, None] * known,
        completion_tokens=prediction.completion_tokens,
        candidates=candidates,
        prices=prices,
    )


def is_file(output: str) -> bool:
    """Whether an output address names a file, by its extension; otherwise it is a folder."""
    return "." in Storage.at(output).uri.rsplit("/", 1)[-1].lstrip(".")


def check_name(output: str) -> None:
    """Make sure an output that has an extension has a known one.

    Raises:
        InputError: it has not; the text lists those that are known.
    """
    if is_file(output):
        try:
            file_format(output)
        except InputError as error:
            raise InputError(f"--output {error}; a name without an extension is a folder") from None


def refuse_output_that_is_there(spec: RouteSpec, *, run: Run) -> None:
    """Never mix two runs' rows: what is at the output must be this very work's, or nothing.

    Raises:
        InputError: something else is there.
    """
    if not spec.overwrite and owner(spec.output, lake=run.storage) != run.work_id:
        refuse_what_is_there(spec.output)


def refuse_what_is_there(output: str) -> None:
    """Make sure nothing is at an output.

    Raises:
        InputError: a file is there, or a folder with a file in it.
    """
    place = Storage.at(output)
    if place.list(place.uri):
        raise InputError(
            f"{place.uri}: is there already; name another --output, or replace it with --overwrite"
        )


def _read(uri: str, *, run: Run, columns: list[str] | None = None) -> pl.DataFrame:
    return pl.read_parquet(io.BytesIO(run.storage.read_bytes(uri)), columns=columns)


def _publish(parts: list[str], *, spec: RouteSpec, json_columns: set[str], run: Run) -> list[str]:
    """Write the output: one file by its extension, or a folder with one file a part."""
    run.progress(Part("writing", done=0, total=len(parts), unit="parts"), now=True)
    claim(spec.output, work=run.work_id, run=run)
    try:
        return _written(parts, spec=spec, json_columns=json_columns, run=run)
    except OSError as error:
        raise InputError(
            f"{spec.output}: cannot be written ({error}); name another --output"
        ) from error


def _written(parts: list[str], *, spec: RouteSpec, json_columns: set[str], run: Run) -> list[str]:
    output = Storage.at(spec.output)
    if is_file(spec.output):
        failpoint("route.before_output")
        write_file((_read(part, run=run) for part in parts), output.uri, json_columns=json_columns)
        return [output.uri]
    outputs = []
    for part in parts:
        outputs.append(output.join(f"part-{part.rsplit('/', 1)[-1]}"))
        output.write(outputs[-1], run.storage.read_bytes(part))
    _remove_other_parts(output, kept=outputs)
    return outputs


def _remove_other_parts(output: Storage, *, kept: list[str]) -> None:
    """Remove the parts of a run that was replaced and had more of them."""
    others = {uri for uri, _ in output.list(output.uri)} - set(kept)
    for uri in others:
        folder, name = uri.rsplit("/", 1)
        if folder == output.uri and name.startswith("part-") and name.endswith(".parquet"):
            output.delete(uri)


def _summary(parts: list[str], *, routing: Routing, run: Run) -> Manifest:
    """Rows, shares, predicted quality and cost, and the same for always using one candidate."""
    prefix = routing.spec.prefix
    rewards = [f"{prefix}reward:{name}" for name in routing.candidates]
    columns = [prefix + "candidate", prefix + "predicted_reward", prefix + "predicted_cost_usd"]
    totals = pl.concat(
        _read(part, run=run, columns=[*columns, *rewards])
        .group_by(columns[0])
        .agg(
            pl.len().alias("rows"),
            pl.col(columns[2]).null_count().alias("unpriced"),
            pl.col(*columns[1:], *rewards).sum(),
        )
        for part in parts
    )
    rows = int(totals["rows"].sum())
    by_candidate = totals.group_by(columns[0]).agg(pl.col("rows").sum())
    shares = {name: count / rows for name, count in by_candidate.iter_rows()} if rows else {}
    is_known = routing.is_priced and not totals["unpriced"].sum()
    means = {
        name: float(totals[f"{prefix}reward:{name}"].sum()) / max(rows, 1)
        for name in routing.candidates
    }
    return {
        "rows": rows,
        "shares": {name: shares.get(name, 0.0) for name in routing.candidates},
        "predicted_reward": float(totals[columns[1]].sum()) / max(rows, 1),
        "predicted_reward_if_always": means,
        "predicted_cost_usd": float(totals[columns[2]].sum()) if is_known else None,
    }


def _requests(parts: list[str], *, routing: Routing, run: Run) -> str:
    """Write who is to answer what; drawn by the texts' hashes, so that order does not matter."""
    spec = routing.spec
    chosen = f"{spec.prefix}candidate"
    known = routing.spec.pair_ids or routing.router.meta.candidate_ids
    ids = dict(zip(routing.candidates, known, strict=True))
    drawn: pl.DataFrame | None = None
    for part in parts:
        rows = _read(part, run=run, columns=[spec.text_column, chosen]).unique(spec.text_column)
        texts = normalise_texts(rows[spec.text_column])
        rows = pl.DataFrame(
            {
                "query_id": [query_id(text, task="") for text in texts],
                "text": texts,
                "messages": pl.Series([None] * rows.height, dtype=pl.String),
                "candidate_id": rows[chosen].replace_strict(ids, return_dtype=pl.String),
                "original": rows[spec.text_column],
                "draw": [hashlib.sha256(f"answer\n{text}".encode()).hexdigest() for text in texts],
            }
        )
        drawn = rows if drawn is None else pl.concat([drawn, rows])
        drawn = drawn.unique("query_id").sort("draw")
        drawn = drawn if spec.answer_rows < 0 else drawn.head(spec.answer_rows)
    assert drawn is not None
    buffer = io.BytesIO()
    drawn.drop("draw").write_parquet(buffer)
    run.storage.write(run.uri("requests.parquet"), buffer.getvalue())
    return run.uri("requests.parquet")


def _drop(parts: list[str], *, run: Run) -> None:
    """The output is complete: the parts have served."""
    for part in parts:
        run.storage.delete(part)


if __name__ == "__main__":
    main(RouteSpec, work=route)
