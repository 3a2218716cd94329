"""What a cascade that reads the weak model's answer gains over deciding by the query alone.

    python tests/bench/bench_cascade.py --data ../shared/data [--lake DIR] [--output FILE]

GSM8K of RouteLLM's data (arXiv 2406.18665), GPT-4 against Mixtral-8x7B, contaminated prompts left
out. Scores are out of fold, 5 folds by the text's hash, and every method chooses its settings on
the training rows of each fold alone. The policies are the product's, settled on the rows they
decide: they see scores there, no rewards. The cascade pays the weak model for every query and the
strong one for those that go on. The router that decides by the query alone sends as many queries to
the strong model as the same money buys. Tokens are characters over 4, of the question and of each
model's own answer. Intervals are 95 % paired bootstraps over queries.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cluster.evaluation.bootstrap import Bootstrap, estimate, resample
from cluster.folds import text_folds
from cluster.lake.lake import Lake
from cluster.lake.outcomes import read_outcomes
from cluster.outcome import BoolMatrix, FloatMatrix, OutcomeMatrix
from cluster.policies.cascade import Cascade
from cluster.policies.policy import Scored, text_numbers
from cluster.price import Price
from cluster.routers.gain import Gain
from cluster.routers.post_answer import PostAnswer
from cluster.routers.router import Prediction

STRONG, WEAK = "gpt-4-1106-preview", "mistralai/Mixtral-8x7B-Instruct-v0.1"
PAIR: dict[str, Any] = {"strong": STRONG, "weak": WEAK}
# What the two cost when the data was made, as arXiv 2406.18665 reckons.
PRICES = {STRONG: Price(input=10, output=30), WEAK: Price(input=0.24, output=0.24)}
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)
BYTES_A_TOKEN = 4
SEED = 0


@dataclass(frozen=True)
class Point:
    """One setting of both.

    Attributes:
        share: of the queries that go on to the strong model in the cascade.
        cost: of it, as a share of always asking the strong model.
        cascade, router, mix: accuracies at that cost; the mix sends queries by lot.
        router_share: of the router's strong calls.
        gain: accuracy of the cascade minus the router's, with its interval.
    """

    share: float
    cost: float
    cascade: float
    router: float
    mix: float
    router_share: float
    gain: tuple[float, float, float]


def predictions(outcomes: OutcomeMatrix) -> tuple[Prediction, Prediction]:
    """Out of fold, by the query alone and after the weak model's answer, the strong one first."""
    assert outcomes.answers is not None, "answers were read"
    alone, after = np.empty(outcomes.reward.shape), np.empty(outcomes.reward.shape)
    folds = text_folds(outcomes.texts, n_folds=5, purpose="bench")
    for fold in np.unique(folds):
        held = folds == fold
        train, test = outcomes.take(~held), outcomes.take(held)
        assert test.answers is not None, "as above"
        alone[held] = Gain(**PAIR).fit(train, seed=SEED).predict(test.texts).reward
        reads = PostAnswer(**PAIR).fit(train, seed=SEED)
        after[held] = reads.predict_after(test.texts, test.answers[WEAK]).reward
    tokens = np.zeros(outcomes.reward.shape)
    return Prediction(alone, tokens), Prediction(after, tokens)


def costs(outcomes: OutcomeMatrix) -> FloatMatrix:
    """(n_queries, 2) USD of the models' own answers."""
    assert outcomes.answers is not None, "answers were read"
    asked = outcomes.texts.str.len_chars().to_numpy() / BYTES_A_TOKEN
    columns = []
    for name in (STRONG, WEAK):
        said = outcomes.answers[name].str.len_chars().fill_null(0).to_numpy() / BYTES_A_TOKEN
        columns.append((asked * PRICES[name].input + said * PRICES[name].output) / 1e6)
    return np.column_stack(columns)


def goes_on(prediction: Prediction, *, share: float, texts: pl.Series) -> BoolMatrix:
    """(n_queries,) whether the strong model is asked, so many of them."""
    policy = Cascade(strong_share=share).among((STRONG, WEAK))
    scored = Scored(prediction, text_numbers(texts))
    settled = policy.settle(lambda: iter([scored]))
    assert isinstance(settled, Cascade), "a cascade stays one"
    weak = np.ones(len(texts), dtype=np.int64)
    return ~settled.accepts(prediction, columns=weak, texts=texts)


def bought(alone: Prediction, *, budget: float, cost: FloatMatrix) -> BoolMatrix:
    """(n_queries,) which go to the strong model where each is asked of one model, the most
    promising first, as long as the money lasts."""
    gain = alone.reward[:, 0] - alone.reward[:, 1]
    order = np.argsort(-gain, kind="stable")
    spent = cost[:, 1].sum() + np.cumsum((cost[:, 0] - cost[:, 1])[order])
    chosen = np.zeros(len(gain), dtype=bool)
    chosen[order[spent <= budget]] = True
    return chosen


def point(
    outcomes: OutcomeMatrix, *, said: tuple[Prediction, Prediction], share: float, resamples: int
) -> Point:
    """Both at one share of strong calls."""
    cost, reward = costs(outcomes), outcomes.reward
    on = goes_on(said[1], share=share, texts=outcomes.texts)
    budget = float(cost[:, 1].sum() + cost[on, 0].sum())
    calls = bought(said[0], budget=budget, cost=cost)
    cascade, router = (np.where(one, reward[:, 0], reward[:, 1]) for one in (on, calls))
    bootstrap = Bootstrap(resamples=resamples)
    values = np.column_stack([cascade, router])
    drawn = resample(values, tasks=outcomes.tasks, bootstrap=bootstrap, each_task=False)
    known = estimate(drawn.micro[:, 0] - drawn.micro[:, 1], level=bootstrap.level)
    assert known is not None, "both are known of every query"
    lot = float(calls.mean())
    return Point(
        share=float(on.mean()),
        cost=budget / float(cost[:, 0].sum()),
        cascade=float(cascade.mean()),
        router=float(router.mean()),
        mix=float(lot * reward[:, 0].mean() + (1 - lot) * reward[:, 1].mean()),
        router_share=lot,
        gain=(known.value, known.low, known.high),
    )


def show(points: list[Point], *, outcomes: OutcomeMatrix) -> None:
    """Print the table."""
    strong, weak = outcomes.reward.mean(axis=0)
    print(f"GSM8K, {len(outcomes)} queries; always {STRONG} {strong:.3f}, always {WEAK} {weak:.3f}")
    print("cost   cascade (strong)  query alone (strong)  by lot  cascade - query alone, 95 %")
    for one in points:
        value, low, high = one.gain
        print(
            f"{one.cost:5.1%}  {one.cascade:.3f} ({one.share:.0%})       "
            f"{one.router:.3f} ({one.router_share:.0%})           {one.mix:.3f}   "
            f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
        )


def read(data: Path, lake: Path | None, *, folder: Path) -> OutcomeMatrix:
    """The pair's outcomes on GSM8K; imported where no lake is named."""
    if lake is None:
        lake = folder / "lake"
        program = str(Path(sys.executable).parent / "signalbox")
        words = ["import", "--format", "routellm", "--path", str(data / "RouteLLM")]
        subprocess.run([program, *words, "--lake", str(lake)], check=True, stdout=sys.stderr)
    outcomes = read_outcomes(
        Lake.open(str(lake), create=False),
        dataset="routellm",
        scorer="accuracy",
        candidates=(STRONG, WEAK),
        answers=True,
    )
    return outcomes.take(outcomes.tasks == "gsm8k")


def main() -> int:
    """Measure, print, write; 1 where the cascade is nowhere surely better."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--lake", type=Path)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    if given.lake is None and not (given.data / "RouteLLM").is_dir():
        print(f"skipped: no folder {given.data / 'RouteLLM'}")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        outcomes = read(given.data, given.lake, folder=Path(folder))
        said = predictions(outcomes)
    points = [
        point(outcomes, said=said, share=share, resamples=given.resamples) for share in SHARES
    ]
    show(points, outcomes=outcomes)
    if given.output:
        given.output.write_text(json.dumps([vars(one) for one in points], indent=2) + "\n")
    return 0 if any(one.gain[1] > 0 for one in points) else 1


if __name__ == "__main__":
    sys.exit(main())
