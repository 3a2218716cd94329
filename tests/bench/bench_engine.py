"""Tokens per second of `VllmEngine.answer` against bare `LLM.generate`.

    python tests/bench/bench_engine.py MODEL [--prompts 512] [--rounds 5] [--max-tokens 24]

The same loaded model, prompts and sampling; the two take turns, so that a busy machine slows
both. Prints each side's median and, as the result, the median of the rounds' ratios, by wall
time and by processor time (which a busy machine disturbs less; set OMP_NUM_THREADS=1).
"""

import argparse
import statistics
import time
from pathlib import Path

from cluster.candidate import Candidate, resolve
from cluster.engines.engine import Request
from cluster.engines.vllm import VllmEngine

TEXTS = ("What is {a} plus {b}?", "Write {a} in Roman numerals.", "How many metres are {a} km?")


def bare(engine, texts, params) -> int:
    """Tokens that vLLM alone makes, from texts."""
    outputs = engine._llm.generate(texts, params, use_tqdm=False)
    return sum(len(output.outputs[0].token_ids) for output in outputs)


def ours(engine, requests) -> int:
    """Tokens that the engine makes, from requests to the table."""
    return engine.answer(requests)["completion_tokens"].sum()


def speed(side, *inputs, clock) -> float:
    """Tokens per second of a clock."""
    start = clock()
    return side(*inputs) / (clock() - start)


def compare(engine, texts, *, rounds: int, temperature: float, clock) -> None:
    from vllm import SamplingParams

    limit = engine.candidate.sampling.max_tokens
    params = SamplingParams(temperature=temperature, max_tokens=limit)
    requests = [Request(str(i), text) for i, text in enumerate(texts)]
    bare(engine, texts, params)
    pairs = [
        (
            speed(ours, engine, requests, clock=clock),
            speed(bare, engine, texts, params, clock=clock),
        )
        for _ in range(rounds)
    ]
    ratio = statistics.median(mine / theirs for mine, theirs in pairs)
    mine, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(
        f"{clock.__name__}: answer {mine:,.0f} tokens/s, bare {theirs:,.0f} tokens/s, "
        f"ratio {ratio:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=24)
    parser.add_argument("--temperature", type=float, default=0.0)
    options = parser.parse_args()
    sampling = {"temperature": options.temperature, "max_tokens": options.max_tokens}
    spec = {"name": "bench", "engine": "vllm", "model": str(options.model), "sampling": sampling}
    candidate = resolve(Candidate.model_validate(spec), folder=Path.cwd())
    texts = [
        TEXTS[i % len(TEXTS)].format(a=i * 37 % 1000, b=i * 91 % 1000)
        for i in range(options.prompts)
    ]
    with VllmEngine(candidate) as engine:
        for clock in (time.perf_counter, time.process_time):
            compare(
                engine,
                texts,
                rounds=options.rounds,
                temperature=options.temperature,
                clock=clock,
            )


if __name__ == "__main__":
    main()
