"""Queries a second of an encoder router: its encoder against the bare model and against its peer.

    python tests/bench/bench_route_encoder.py [--data ../shared/data] [--model FOLDER] [--texts 200]
        [--turns 3] [--threads 1] [--decisions 600] [--fit 900] [--rows 0] [--peer FOLDER]

The encoder is all-MiniLM-L6-v2, or the one in `--model`; the queries are RouterDC's, a clone of
which `--data` holds, or passages of the Python reference where there is none. In one run, by turns,
by processor time (others may keep the cores busy) and by the clock:

- encode: text to vectors, as the router asks for them.
- forward: the model alone in the same precision on tokens that are there, texts sorted by length,
  with and without packing, at the batch size that is best here; the best of all counts.
- the peer: `SentenceTransformer.encode` as it comes, from `--peer` where the package is installed
  in a folder of its own; else the same loop written here (fp32, batches of 32 sorted by length and
  padded to their longest, mean, unit length).

Decisions are those of a ridge router on fp32 vectors, the encoder then put in fp32 and in what
`auto` takes. `--rows` routes a file of so many rows with it by the command `signalbox route`.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import torch
from bench_train import FILES, minilm, read_rows
from route_queries import outcomes, queries, registered, write_queries
from route_watch import watched_route

from cluster.encoders.forward import Forward
from cluster.encoders.huggingface import FittedHuggingFace, HuggingFaceEncoder
from cluster.encoders.tokens import padded
from cluster.lake.lake import Lake
from cluster.outcome import OutcomeMatrix
from cluster.routers.ridge import Ridge, RidgeRouter

BATCH_TOKENS = (1024, 2048, 4096, 8192)
PEER_BATCH = 32
OF_FORWARD, OF_PEER, SAME_DECISIONS = 0.9, 1.5, 0.995


@dataclass
class Spent:
    """Seconds of some turns.

    Attributes:
        cpu, wall: of each.
    """

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def add(self, run: Callable[[], Any]) -> None:
        """One turn more."""
        cpu, wall = time.process_time(), time.perf_counter()
        run()
        self.cpu.append(time.process_time() - cpu)
        self.wall.append(time.perf_counter() - wall)


def main() -> int:
    """Measure and print; 1 where a target is missed."""
    given = parsed()
    torch.set_num_threads(given.threads)
    folder = given.model or minilm()
    rows, source = fit_rows(given)
    texts = rows.texts[-given.texts :]
    encoder, exact = loaded(folder), loaded(folder, precision="fp32")
    print(
        f"{source}, {texts.str.len_chars().mean():.0f} characters; {encoder.precision}, packed: "
        f"{encoder.forward.is_packed}; {given.threads} threads, load {os.getloadavg()[0]:.0f}",
        flush=True,
    )
    runs = contenders(texts, encoder=encoder, folder=folder, peer=given.peer)
    found = by_turns(runs, turns=given.turns)
    met = tell_speed(found, n=len(texts))
    router = fitted(rows.take(np.arange(given.fit)), encoder=exact)
    asked = rows.texts[given.fit : given.fit + given.decisions]
    met &= tell_decisions(router, texts=asked, encoder=encoder)
    if given.rows:
        tell_job(with_encoder(router, encoder), rows=given.rows)
    return int(not met)


def parsed() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="")
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--fit", type=int, default=900)
    parser.add_argument("--decisions", type=int, default=600)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--peer", default="", help="folder that sentence-transformers is in")
    return parser.parse_args()


def fit_rows(given: argparse.Namespace) -> tuple[OutcomeMatrix, str]:
    """Enough rows to fit on, to decide on and to encode, and where they are from."""
    n = given.fit + given.decisions + given.texts
    if (given.data / FILES).is_dir():
        return read_rows(given.data, n=n, seed=0).outcomes, "RouterDC's queries"
    return outcomes().take(np.arange(n)), "passages, rewards by chance"


def loaded(folder: str, *, precision: str = "auto") -> FittedHuggingFace:
    """The encoder in a folder."""
    settings = HuggingFaceEncoder.model_validate({"model": folder, "precision": precision})
    return settings.fit(pl.Series([], dtype=pl.String), seed=0)


def contenders(
    texts: pl.Series, *, encoder: FittedHuggingFace, folder: str, peer: str
) -> dict[str, Callable[[], Any]]:
    """By name, what turns the texts into vectors."""
    found = encoder.sorted_by_length(texts)
    runs: dict[str, Callable[[], Any]] = {"encode": lambda: encoder.encode(texts)}
    for packed in {False, encoder.forward.is_packed}:
        for tokens in BATCH_TOKENS:
            bare = Forward(
                encoder.model,
                pooling="mean",
                padding=encoder.padding,
                batch_tokens=tokens,
                is_packed=packed,
                first_position=0,
            )
            how = "packed" if packed else "padded"
            runs[f"forward, {how}, {tokens}"] = lambda bare=bare: bare(found)
    name, run = peer_of(folder, texts=texts, where=peer)
    return runs | {f"peer: {name}": run}


def peer_of(folder: str, *, texts: pl.Series, where: str) -> tuple[str, Callable[[], Any]]:
    """The name of the peer, and its encoding of the texts."""
    sys.path += [where] if where else []
    as_list = texts.to_list()
    try:
        from sentence_transformers import SentenceTransformer, __version__
    except ImportError:
        exact = loaded(folder, precision="fp32")
        return "its loop, written here", lambda: peer_loop(exact, texts=as_list)
    model = SentenceTransformer(folder, device="cpu")
    return f"sentence-transformers {__version__}", lambda: model.encode(
        as_list, batch_size=PEER_BATCH, show_progress_bar=False
    )


def peer_loop(encoder: FittedHuggingFace, *, texts: list[str]) -> np.ndarray:
    """Vectors as the peer makes them."""
    order = np.argsort([-len(text) for text in texts])
    found = np.zeros((len(texts), encoder.dimensions), dtype=np.float32)
    for start in range(0, len(texts), PEER_BATCH):
        rows = order[start : start + PEER_BATCH]
        ids = encoder.token_ids(pl.Series([texts[row] for row in rows]))
        table, mask = map(torch.from_numpy, padded(ids, padding=encoder.padding))
        states = encoder.model(input_ids=table, attention_mask=mask).last_hidden_state
        weights = mask[..., None].float()
        mean = (states * weights).sum(1) / weights.sum(1)
        found[rows] = torch.nn.functional.normalize(mean, dim=1).numpy()
    return found


def by_turns(runs: dict[str, Callable[[], Any]], *, turns: int) -> dict[str, Spent]:
    """What each spent, a turn of each after the other; a first one does not count."""
    found = {name: Spent() for name in runs}
    with torch.inference_mode():
        for run in runs.values():
            run()
        for _ in range(turns):
            for name, run in runs.items():
                found[name].add(run)
    return found


def tell_speed(found: dict[str, Spent], *, n: int) -> bool:
    """Print the rates, and whether both targets are met by processor time."""
    for name, spent in found.items():
        print(f"{name:28} {n / min(spent.cpu):8.1f} a core second {n / min(spent.wall):8.1f}/s")
    bare = min(
        (name for name in found if name.startswith("forward")), key=lambda k: min(found[k].cpu)
    )
    peer = next(name for name in found if name.startswith("peer"))
    shares = {
        f"encode / {bare}": (OF_FORWARD, bare),
        f"encode / {peer}": (OF_PEER, peer),
    }
    met = True
    for what, (target, other) in shares.items():
        cpu, wall = (
            min(getattr(found[other], kind)) / min(getattr(found["encode"], kind))
            for kind in ("cpu", "wall")
        )
        met &= cpu >= target
        print(
            f"{what}: {cpu:.2f} by processor time, {wall:.2f} by the clock (target {target})",
            flush=True,
        )
    return met


def fitted(rows: OutcomeMatrix, *, encoder: FittedHuggingFace) -> RidgeRouter:
    """A ridge router on the encoder's vectors."""
    return Ridge().fit_vectors(rows, vectors=encoder.encode(rows.texts), encoder=encoder, seed=0)


def with_encoder(router: RidgeRouter, encoder: FittedHuggingFace) -> RidgeRouter:
    """The same router that asks another encoder."""
    return RidgeRouter(
        router.candidates,
        encoder=encoder,
        classifier=router.classifier,
        task_means=router.task_means,
        weights=router.weights,
        length=router.length,
        length_weight=router.length_weight,
    )


def tell_decisions(router: RidgeRouter, *, texts: pl.Series, encoder: FittedHuggingFace) -> bool:
    """Print how many queries go to the same candidate; whether they are enough."""
    exact = router.predict(texts).reward.argmax(axis=1)
    others = with_encoder(router, encoder).predict(texts).reward.argmax(axis=1)
    same = float(np.mean(exact == others))
    print(
        f"{encoder.precision} and fp32 send {same:.2%} of {len(texts)} queries to the same of "
        f"{len(router.candidates)} candidates (target {SAME_DECISIONS:.1%})",
        flush=True,
    )
    return same >= SAME_DECISIONS


def tell_job(router: RidgeRouter, *, rows: int) -> None:
    """Print how fast the whole route job is with the router."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        lake = Lake.open(str(folder / "lake"))
        version, _ = registered(router, queries=outcomes().queries, lake=lake)
        write_queries(folder / "queries.parquet", rows=rows)
        words = ["--input", str(folder / "queries.parquet"), "--router", version]
        words += ["--output", str(folder / "routed"), "--policy", "best"]
        run = watched_route(folder / "lake", words=words)
    seconds, manifest = run.manifest["seconds"], run.manifest
    pace = manifest["rows_per_second"]
    steady = f"{pace:.0f} in steady state" if pace else "a single shard"
    length = queries(500, seed=1).str.len_chars().mean()
    print(
        f"route job, {rows} passages of {length:.0f} characters: "
        f"{rows / seconds['all']:.0f} queries/s over {seconds['all']:.1f} s, "
        f"{steady}, "
        f"{rows / seconds['processor']:.0f} a core second; the command took {run.wall:.1f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
