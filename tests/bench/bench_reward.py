"""Tokens and answers per second of `reward_model` against bare `LLM.classify`.

    python tests/bench/bench_reward.py [--model FOLDER] [--answers 2048] [--rounds 5] [--threads 1]

One loaded model; the two sides take turns, and every other round the other one begins, so that a
busy machine slows both. Bare: one `LLM.classify` call over all prompts as text, without a sigmoid.
The scorer: `rate` on parts of 1,024 answers, from frames to frames: chat template, tokens, logits,
reasons. Prints each side's median and the ratio of the rounds (median, least, greatest), by wall
time and by processor time, which a busy machine disturbs less. Without `--model` one is drawn by
lot (2 layers of 128, one token a character).
"""

import argparse
import gzip
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from cluster.jobs.label import ROWS_OF_A_MODEL
from cluster.rewards.logit_model import LogitModel, load_logit_model
from cluster.rewards.reward_model import RewardModel

DEMO = Path(__file__).parents[2] / "infra" / "demo"
CHAT_TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
SENTENCE = "the answer follows from what was said before so we add both and get {n} in the end"
Side = Callable[[], Sequence[float]]


def make_model(folder: Path) -> None:
    """A reward model with random weights and the demo's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(DEMO / "models" / "polymath")
    tokenizer.chat_template, tokenizer.model_max_length = CHAT_TEMPLATE, 1024
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    LlamaForSequenceClassification(config).save_pretrained(folder)


def answers_of(n: int) -> pl.DataFrame:
    """The demo's questions with answers of 5 to 75 words, as a scorer sees them."""
    with gzip.open(DEMO / "questions" / "route.jsonl.gz", "rt") as lines:
        queries = [json.loads(line)["text"] for line, _ in zip(lines, range(n), strict=False)]
    words = SENTENCE.split()
    answers = [
        " ".join(words[(i + k) % len(words)] for k in range(5 + i * 37 % 70)).format(n=i)
        for i in range(len(queries))
    ]
    plain = {"messages": pl.lit(None, dtype=pl.String), "reference": pl.lit(None)}
    return pl.DataFrame({"query": queries, "text": answers}).with_columns(**plain)


def scorer_side(scorer: RewardModel, *, model: LogitModel, answers: pl.DataFrame) -> Side:
    """What the label job's actor does with one part after another."""
    parts = list(answers.iter_slices(ROWS_OF_A_MODEL))

    def work() -> list[float]:
        rated = [scorer._rate(part, model=model).ratings for part in parts]
        return pl.concat(rated)["raw"].to_list()

    return work


def bare_side(*, model: LogitModel, answers: pl.DataFrame) -> tuple[Side, int]:
    """`LLM.classify` on the same prompts as text, and how many tokens they have."""
    from vllm import PoolingParams

    turns = [
        [{"role": "user", "content": query}, {"role": "assistant", "content": text}]
        for query, text in answers.select("query", "text").iter_rows()
    ]
    texts = model.tokenizer.apply_chat_template(turns, tokenize=False)
    plain = {"add_special_tokens": False}

    def work() -> list[float]:
        params = PoolingParams(use_activation=False)
        outputs = model.llm.classify(
            texts, pooling_params=params, use_tqdm=False, tokenization_kwargs=plain
        )
        return [output.outputs.probs[0] for output in outputs]

    tokens = sum(map(len, model.tokenizer(texts, **plain)["input_ids"]))
    return work, tokens


def seconds(side: Side) -> tuple[float, float]:
    """Wall and processor time of one pass."""
    wall, processor = time.perf_counter(), time.process_time()
    side()
    return time.perf_counter() - wall, time.process_time() - processor


def compare(ours: Side, bare: Side, *, tokens: int, answers: int, rounds: int) -> None:
    """Print both sides' speeds and their ratio."""
    gaps = [abs(a - b) for a, b in zip(ours(), bare(), strict=True)]
    print(f"{answers} answers, {tokens:,} tokens, largest difference of a logit {max(gaps):.1e}")
    times: list[dict[Side, tuple[float, float]]] = []
    for number in range(rounds):
        order = (ours, bare) if number % 2 == 0 else (bare, ours)
        times.append({side: seconds(side) for side in order})
        (own, _), (other, _) = times[-1][ours], times[-1][bare]
        print(f"round {number + 1}: scorer {own:.1f} s, classify {other:.1f} s", flush=True)
    for place, clock in enumerate(("wall time", "processor time")):
        mine, theirs = ([row[side][place] for row in times] for side in (ours, bare))
        ratios = sorted(other / own for own, other in zip(mine, theirs, strict=True))
        speeds = [tokens / statistics.median(side) for side in (mine, theirs)]
        per_second = [answers / statistics.median(side) for side in (mine, theirs)]
        print(
            f"{clock}: scorer {speeds[0]:,.0f} tokens/s ({per_second[0]:,.0f} answers/s), "
            f"classify {speeds[1]:,.0f} ({per_second[1]:,.0f}), ratio "
            f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--answers", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        model_folder = options.model or Path(folder)
        if options.model is None:
            make_model(model_folder)
        scorer = RewardModel(model=str(model_folder)).resolved(Path.cwd())
        model = load_logit_model(scorer.loaded, pooling=scorer.pooling)
        answers = answers_of(options.answers)
        bare, tokens = bare_side(model=model, answers=answers)
        ours = scorer_side(scorer, model=model, answers=answers)
        print(f"load average {os.getloadavg()[0]:.1f}")
        compare(ours, bare, tokens=tokens, answers=answers.height, rounds=options.rounds)
        print(f"load average {os.getloadavg()[0]:.1f}")
        model.close()


if __name__ == "__main__":
    main()
