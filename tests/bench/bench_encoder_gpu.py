"""How fast encoder routers are on a GPU: end to end, the forward pass alone, and a training.

    python tests/bench/bench_encoder_gpu.py --texts QUERIES.parquet --tokenizer FOLDER
        [--device cuda] [--queries 60000] [--seconds 200] [--output FILE]

`--texts` has a column `text`; `--tokenizer` is a folder with a WordPiece tokenizer (that of
all-MiniLM-L6-v2 is taken where its package is installed). Speed does not depend on what weights
are, so encoders are made by their configuration, with weights by chance: all-MiniLM-L6-v2's (22
million parameters), BERT base's (110 million) and BERT large's (335 million).

- end to end: `RidgeRouter.predict`, text to expected rewards, second call.
- forward: the same batches, tokenized before, without a padding.
- padded: transformers' own forward pass on length-sorted batches padded to their longest, each
  batch on the GPU before; at the best of some batch sizes.
- parts: `encode` by texts a part and threads that tokenize, each a second call.
- shards: `predict` of 5,000 texts at a time, as the route job asks, in one process and in two.
- sentence-transformers: `SentenceTransformer.encode` as it comes, and in bf16, batches of 32.
- one by one: one prompt a forward pass, in bf16, as peers route.

The share of the peak is of a bf16 product of 8192 × 8192 × 8192 in the same run: 2 · parameters
outside embeddings · tokens, and 4 · layers · width · sum of squared lengths for attention.

Each step that would begin after `--seconds` is left out and named; `--steps` are the only ones.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from cluster.encoders import huggingface
from cluster.encoders.huggingface import FittedHuggingFace, HuggingFaceEncoder
from cluster.encoders.tokens import batches, padded
from cluster.outcome import OutcomeMatrix
from cluster.routers.checkpoint import CheckpointMeta, load_router, save_checkpoint
from cluster.routers.context import FitContext
from cluster.routers.ridge import Ridge
from cluster.routers.router import Router
from cluster.routers.routerdc import RouterDC
from cluster.routers.zooter import Zooter

ARCHITECTURES = {
    "MiniLM-L6 22M": (384, 6, 12, 1536),
    "BERT base 110M": (768, 12, 12, 3072),
    "BERT large 335M": (1024, 24, 16, 4096),
    "small": (64, 2, 2, 128),
}
LIMIT = 256
CANDIDATES = ("small", "medium", "large")
FORWARD_TOKENS = (16_384, 65_536, 131_072, 262_144)
# Texts that the encoders after the first are timed with.
FEW = 8192
SHARD = 5000
PARTS = (2048, 4096, 8192, 20_000)
THREADS = (1, 4, 8)
PADDED_TOKENS = (16_384, 65_536, 131_072)


@dataclass
class Bench:
    """What is measured, and until when.

    Attributes:
        texts: queries.
        tokenizer: folder of the tokenizer.
        device: of the encoders.
        until: when the last step begins, by `time.monotonic`.
        n_forward: texts whose forward pass is timed.
        steps: names of those wanted, without the encoder's; all where there is none.
        facts: the figures so far.
    """

    texts: pl.Series
    tokenizer: Path
    device: torch.device
    until: float
    n_forward: int = 20_000
    steps: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def step(self, name: str, run: Callable[[], Any]) -> Any:
        """Run a step, print what it found and keep it; one that is late or fails is named."""
        if self.steps and name.rsplit(": ", maxsplit=1)[-1] not in self.steps:
            return None
        if time.monotonic() > self.until:
            self.facts[name] = "left out: no time"
        else:
            started = time.monotonic()
            try:
                self.facts[name] = run()
            except Exception as error:  # noqa: BLE001 - the other steps are to be seen all the same
                self.facts[name] = f"FAILED: {type(error).__name__}: {error}"[:600]
            self.facts[f"{name}, seconds"] = round(time.monotonic() - started, 1)
        print(f"{name}: {json.dumps(self.facts[name])}", flush=True)
        return self.facts[name]

    def settle(self) -> None:
        """Wait until the GPU has done what it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, run: Callable[[], Any], *, times: int = 2) -> float:
        """The least of some runs, after one that does not count."""
        run()
        found = []
        for _ in range(times):
            self.settle()
            started = time.perf_counter()
            run()
            self.settle()
            found.append(time.perf_counter() - started)
        return min(found)


def peak(bench: Bench) -> float:
    """bf16 operations a second of a large product."""
    n = 8192 if bench.device.type == "cuda" else 1024
    left, right = (torch.randn(n, n, device=bench.device, dtype=torch.bfloat16) for _ in range(2))
    return 10 * 2 * n**3 / bench.seconds(lambda: [left @ right for _ in range(10)])


def made_encoder(name: str, *, bench: Bench, folder: Path) -> str:
    """A folder with an encoder of that architecture."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    width, layers, heads, inner = ARCHITECTURES[name]
    tokenizer = AutoTokenizer.from_pretrained(bench.tokenizer)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def loaded(folder: str, *, precision: str = "auto") -> FittedHuggingFace:
    """The encoder in a folder."""
    settings = HuggingFaceEncoder(model=folder, max_length=LIMIT, precision=precision)
    return settings.fit(pl.Series([], dtype=pl.String), seed=0)


def operations(encoder: FittedHuggingFace, lengths: np.ndarray) -> float:
    """Floating-point operations of the forward pass over texts of these lengths."""
    config = encoder.model.config
    matrices = sum(w.numel() for n, w in encoder.model.named_parameters() if "embed" not in n)
    attention = 4 * config.num_hidden_layers * config.hidden_size
    return 2 * matrices * float(lengths.sum()) + attention * float((lengths**2).sum())


def tokenizing(bench: Bench, encoder: FittedHuggingFace) -> dict[str, float]:
    """Texts tokenized a second: by the tokenizer itself, and by words, new ones and known ones."""
    few = bench.texts[: bench.n_forward]
    fresh = loaded(encoder.settings.model)
    started = time.perf_counter()
    found = fresh.sorted_by_length(few)
    return {
        "cores": os.cpu_count() or 1,
        "by words, all new": len(few) / (time.perf_counter() - started),
        "by texts": len(few) / bench.seconds(lambda: fresh.token_ids(few), times=1),
        "by words, all known": len(few) / bench.seconds(lambda: fresh.sorted_by_length(few)),
        "tokens a text": float(found.lengths.mean()),
    }


def forward(bench: Bench, encoder: FittedHuggingFace) -> dict[str, Any]:
    """Texts a second of the forward pass alone, by tokens a batch."""
    found = encoder.sorted_by_length(bench.texts[: bench.n_forward])
    n, usual, facts = len(found.rows), encoder.forward.batch_tokens, {}
    with torch.inference_mode():
        for tokens in FORWARD_TOKENS:
            encoder.forward.batch_tokens = tokens
            facts[str(tokens)] = n / bench.seconds(lambda: encoder.forward(found))
    encoder.forward.batch_tokens = usual
    if bench.device.type == "cuda":
        facts["most memory, GB"] = torch.cuda.max_memory_allocated() / 1e9
    best = max(facts[str(tokens)] for tokens in FORWARD_TOKENS)
    rate = operations(encoder, found.lengths) / n * best
    return {
        "packed": encoder.forward.is_packed,
        "usual batch": usual,
        **facts,
        "share of peak": rate / bench.facts["peak"],
    }


def profile(bench: Bench, encoder: FittedHuggingFace) -> dict[str, Any]:
    """Milliseconds of the kernels that take longest in one forward pass, and of all together."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    found = encoder.sorted_by_length(bench.texts[: bench.n_forward])
    kinds = [ProfilerActivity.CUDA] if bench.device.type == "cuda" else [ProfilerActivity.CPU]
    with torch.inference_mode(), profiled(activities=kinds) as kept:
        started = time.perf_counter()
        encoder.forward(found)
        launched = time.perf_counter() - started
        bench.settle()
        passed = time.perf_counter() - started
    name = "self_device_time_total" if bench.device.type == "cuda" else "self_cpu_time_total"
    times = sorted(((getattr(k, name) / 1e3, k.key) for k in kept.key_averages()), reverse=True)
    facts = {key[:90]: round(spent, 2) for spent, key in times[:12]}
    whole = {"launched": launched * 1e3, "passed": passed * 1e3, "sum": sum(t for t, _ in times)}
    return whole | facts


def padded_forward(bench: Bench, encoder: FittedHuggingFace) -> dict[str, float]:
    """The same of transformers' own pass over padded batches that are on the GPU already."""
    found = encoder.sorted_by_length(bench.texts[: bench.n_forward])
    texts = np.split(found.tokens, np.cumsum(found.lengths)[:-1])
    facts = {}
    for tokens in PADDED_TOKENS:
        tables = [
            [torch.from_numpy(array).to(bench.device) for array in padded(part, padding=0)]
            for rows in batches(found.lengths, batch_tokens=tokens)
            for part in [texts[int(rows[0]) : int(rows[-1]) + 1]]
        ]

        def run(tables: list[Any] = tables) -> None:
            with torch.inference_mode():
                for ids, mask in tables:
                    encoder.model(input_ids=ids, attention_mask=mask)

        facts[str(tokens)] = len(texts) / bench.seconds(run)
    return facts


def compiled(bench: Bench, folder: str) -> dict[str, float]:
    """The forward pass under `torch.compile`, which is told that lengths differ."""
    encoder = loaded(folder)
    found = encoder.sorted_by_length(bench.texts[: bench.n_forward])
    encoder.forward.model.compile(dynamic=True)
    started = time.perf_counter()
    with torch.inference_mode():
        encoder.forward(found)
        bench.settle()
        first = time.perf_counter() - started
        return {
            "first seconds": first,
            "rate": len(found.rows) / bench.seconds(lambda: encoder.forward(found)),
        }


def outcomes_of(texts: pl.Series) -> OutcomeMatrix:
    """Rewards by chance for some texts."""
    n = len(texts)
    reward = np.random.default_rng(0).random((n, len(CANDIDATES)))
    unknown = np.full(reward.shape, np.nan)
    queries = pl.DataFrame(
        {
            "query_id": [str(place) for place in range(n)],
            "dataset": "bench",
            "task": [f"task {place % 5}" for place in range(n)],
            "split": "train",
            "text": texts,
            "sampling_probability": 1.0,
        }
    )
    ones = np.ones_like(reward)
    return OutcomeMatrix(queries, CANDIDATES, CANDIDATES, reward, *(unknown,) * 3, ones, unknown)


def ridge_router(texts: pl.Series, *, encoder: FittedHuggingFace) -> Router:
    """A router over the encoder's vectors, fitted on rewards by chance."""
    outcomes = outcomes_of(texts[:2000])
    vectors = encoder.encode(outcomes.texts)
    return Ridge().fit_vectors(outcomes, vectors=vectors, encoder=encoder, seed=0)


def end_to_end(bench: Bench, encoder: FittedHuggingFace) -> dict[str, float]:
    """Texts routed a second: tokenized, encoded, scored."""
    router = ridge_router(bench.texts, encoder=encoder)
    n = len(bench.texts)
    return {
        "predict": n / bench.seconds(lambda: router.predict(bench.texts), times=1),
        "encode": n / bench.seconds(lambda: encoder.encode(bench.texts), times=1),
    }


def by_parts(bench: Bench, encoder: FittedHuggingFace) -> dict[str, float]:
    """Texts encoded a second, by texts a part and threads."""
    usual, facts = (huggingface.GPU_TEXTS, huggingface.TOKENIZING_THREADS), {}
    for texts in PARTS:
        for threads in THREADS:
            huggingface.GPU_TEXTS, huggingface.TOKENIZING_THREADS = texts, threads
            started = time.perf_counter()
            encoder.encode(bench.texts)
            seconds = time.perf_counter() - started
            facts[f"{texts} texts, {threads} threads"] = len(bench.texts) / seconds
    huggingface.GPU_TEXTS, huggingface.TOKENIZING_THREADS = usual
    return facts


def routed_by_shards(
    folder: str, texts: pl.Series, *, others: Any, told: Any, seconds: float
) -> None:
    """Put (shards' texts, seconds) into `told`, measured while the others measure."""
    router = ridge_router(texts, encoder=loaded(folder))
    shards = list(texts.to_frame().iter_slices(SHARD))
    router.predict(texts)
    others.wait()
    started, turn, done = time.perf_counter(), 0, 0
    while time.perf_counter() - started < seconds:
        shard = shards[turn % len(shards)].to_series()
        router.predict(shard)
        done, turn = done + len(shard), turn + 1
    told.put((done, time.perf_counter() - started))


def by_shards(bench: Bench, folder: str) -> dict[str, float]:
    """Texts routed a second in shards, by processes that share the device."""
    spawn, facts = multiprocessing.get_context("spawn"), {}
    for processes in (1, 2, 3):
        others, told = spawn.Barrier(processes), spawn.Queue()
        options = {"others": others, "told": told, "seconds": 3.0}
        running = [
            spawn.Process(
                target=routed_by_shards, args=(folder, bench.texts), kwargs=options, daemon=True
            )
            for _ in range(processes)
        ]
        for process in running:
            process.start()
        found = [told.get(timeout=120) for _ in running]
        for process in running:
            process.join()
        facts[str(processes)] = sum(texts / seconds for texts, seconds in found)
    return facts


def sentence_transformers(bench: Bench, folder: str) -> dict[str, float]:
    """Texts a second of `SentenceTransformer.encode`."""
    from sentence_transformers import SentenceTransformer

    few = bench.texts[:8000].to_list()
    facts = {}
    for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        peer = SentenceTransformer(folder, device=bench.device.type, model_kwargs={"dtype": kind})
        peer.max_seq_length = LIMIT
        peer.encode(few[:100])
        facts[name] = len(few) / bench.seconds(
            lambda peer=peer: peer.encode(few, batch_size=32, show_progress_bar=False), times=1
        )
    return facts


def one_by_one(bench: Bench, encoder: FittedHuggingFace) -> float:
    """Texts a second, one a forward pass."""
    few = bench.texts[:300]
    return len(few) / bench.seconds(lambda: [encoder.encode(few[i : i + 1]) for i in range(300)])


def agreement(bench: Bench, folder: str) -> dict[str, Any]:
    """How near vectors are: to the CPU's in fp32, to another batch's, to padded ones."""
    few = bench.texts[:256]
    encoder = loaded(folder)
    vectors = encoder.encode(few)
    encoder.forward.batch_tokens = 1024
    other_batch = encoder.encode(few)
    packs, encoder.forward.is_packed = encoder.forward.is_packed, False
    without_packing = encoder.encode(few)
    full = loaded(folder, precision="fp32")
    full.model.to("cpu")
    full.forward.on_gpu = False
    exact = full.encode(few)
    return {
        "packed": packs,
        "again equal": bool(np.array_equal(vectors, loaded(folder).encode(few))),
        "another batch, largest difference": float(np.abs(vectors - other_batch).max()),
        "padded, largest difference": float(np.abs(vectors - without_packing).max()),
        "fp32 on the CPU, least cosine": float((vectors * exact).sum(axis=1).min()),
        "padded against fp32, least cosine": float((without_packing * exact).sum(axis=1).min()),
    }


def training(bench: Bench, folder: str) -> dict[str, Any]:
    """Samples a second of RouterDC that tunes the encoder and of ZOOTER; the router is stored."""
    rows = outcomes_of(bench.texts[:2560])
    train, validation = rows.take(np.arange(2048)), rows.take(np.arange(2048, 2560))
    encoder = {"encoder": "huggingface", "encoder_settings": {"model": folder, "max_length": LIMIT}}
    shared = {"epochs": 3, "patience": 3, "batch_size": 64, "micro_batch": 64, **encoder}
    facts: dict[str, Any] = {}
    for method in (RouterDC(tune=True, **shared), Zooter(**shared)):
        notes: list[dict[str, Any]] = []
        context = FitContext(tell=notes.append)
        router = method.train(train, validation=validation, seed=0, context=context).router
        facts[method.name] = len(train) / min(note["train_seconds"] for note in notes)
        facts[f"{method.name} losses"] = [round(note["train_loss"], 4) for note in notes]
        with tempfile.TemporaryDirectory() as stored:
            save_checkpoint(router, stored, meta=CheckpointMeta(candidate_ids=CANDIDATES))
            again = load_router(stored)
        some = bench.texts[:200]
        same = np.array_equal(again.predict(some).reward, router.predict(some).reward)
        facts[f"{method.name} loaded predicts the same"] = same
    return facts


def measure(name: str, *, bench: Bench, folder: str, brief: bool) -> None:
    """The steps of one encoder; `brief`: its speed alone."""
    encoder = loaded(folder)
    bench.facts[f"{name}: precision"] = encoder.precision
    bench.step(f"{name}: forward", lambda: forward(bench, encoder))
    bench.step(f"{name}: end to end", lambda: end_to_end(bench, encoder))
    bench.step(f"{name}: padded forward", lambda: padded_forward(bench, encoder))
    if not brief:
        bench.step("parts", lambda: by_parts(bench, encoder))
        bench.step("tokenizer", lambda: tokenizing(bench, encoder))
        bench.step(f"{name}: profile", lambda: profile(bench, encoder))
        bench.step("vectors", lambda: agreement(bench, folder))
        bench.step("training", lambda: training(bench, folder))
        bench.step("one by one", lambda: one_by_one(bench, encoder))
        bench.step("shards", lambda: by_shards(bench, folder))
        bench.step("sentence-transformers", lambda: sentence_transformers(bench, folder))


def measure_all(names: list[str], *, bench: Bench, compiles: bool) -> None:
    """All steps: all of the first encoder's, the others' speed, and last what takes longest."""
    bench.step("peak", lambda: peak(bench))
    with tempfile.TemporaryDirectory() as made:
        folders = {name: str(Path(made) / str(place)) for place, name in enumerate(names)}
        for name, folder in folders.items():
            made_encoder(name, bench=bench, folder=Path(folder))
            measure(name, bench=bench, folder=folder, brief=name != names[0])
            bench.texts, bench.n_forward = bench.texts[:FEW], FEW
        if compiles:
            bench.step(f"{names[0]}: compiled", lambda: compiled(bench, folders[names[0]]))


def main() -> int:
    """Measure and print; the last line is all of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--queries", type=int, default=60_000)
    parser.add_argument("--seconds", type=float, default=200.0)
    parser.add_argument("--encoders", nargs="+", default=list(ARCHITECTURES)[:3])
    parser.add_argument("--compile", action="store_true", help="torch.compile too, for minutes")
    parser.add_argument("--steps", nargs="+", default=[])
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    known = pl.read_parquet(given.texts)["text"]
    texts = pl.concat([known] * (given.queries // len(known) + 1))[: given.queries]
    until = time.monotonic() + given.seconds
    bench = Bench(texts, given.tokenizer, torch.device(given.device), until, steps=given.steps)
    on_gpu = given.device == "cuda"
    bench.facts["device"] = torch.cuda.get_device_name() if on_gpu else "cpu"
    bench.facts["torch"] = torch.__version__
    print(f"{bench.facts['device']}, torch {torch.__version__}", flush=True)
    measure_all(given.encoders, bench=bench, compiles=given.compile)
    print(json.dumps(bench.facts))
    if given.output:
        given.output.write_text(json.dumps(bench.facts, indent=2) + "\n")
    return int(any(str(fact).startswith("FAILED") for fact in bench.facts.values()))


if __name__ == "__main__":
    sys.exit(main())
