"""Tokens per second of a candidate through the flow against bare `LLM.generate`.

    python tests/bench/bench_flow.py [--rounds 3] [--threads 2] [--model FOLDER]

Same prompts, model, sampling and threads; each side in processes of its own, in turn, so that a
busy machine slows both. Bare: one `LLM.generate` call over all prompts, after a warm-up. The flow:
`signalbox collect` into an empty lake, its tokens over the wall time from the loaded engine to
the last shard (tokenizing, writing and reporting included). What the rest of the run is made of
is printed beside it.
"""

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "infra" / "demo"
MAX_TOKENS = 16
TEMPLATE = "{text}\nA:"

BARE = """
import json, sys, time
from vllm import LLM, SamplingParams
from cluster.engines.vllm import prepare_environment
prompts = json.load(open(sys.argv[2]))
llm = LLM(model=sys.argv[1], dtype="float32", enforce_eager=True, kv_cache_memory_bytes=1 << 30,
          enable_prefix_caching=False, enable_chunked_prefill=False, disable_log_stats=True)
params = SamplingParams(temperature=0.0, max_tokens=int(sys.argv[3]))
llm.generate(prompts[:256], params, use_tqdm=False)
start = time.perf_counter()
outputs = llm.generate(prompts, params, use_tqdm=False)
seconds = time.perf_counter() - start
print(json.dumps({"tokens": sum(len(o.outputs[0].token_ids) for o in outputs), "seconds": seconds}))
"""


def texts() -> list[str]:
    """The demo's 10,000 questions to route."""
    with gzip.open(DEMO / "questions" / "route.jsonl.gz", "rt") as lines:
        return [json.loads(line)["text"] for line in lines]


def bare(model: Path, prompts: list[str], folder: Path, *, threads: int) -> float:
    """Tokens per second of vLLM alone."""
    file = folder / "prompts.json"
    file.write_text(json.dumps(prompts))
    command = [sys.executable, "-c", BARE, str(model), str(file), str(MAX_TOKENS)]
    environment = os.environ | {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "OMP_NUM_THREADS": str(threads),
    }
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(out.stdout.splitlines()[-1])
    return found["tokens"] / found["seconds"]


def through_flow(
    model: Path, queries: list[str], folder: Path, *, threads: int
) -> dict[str, float]:
    """What one `signalbox collect` says of its candidate, and how long it took in all."""
    file = folder / "queries.jsonl"
    file.write_text("\n".join(json.dumps({"text": text, "reference": "x"}) for text in queries))
    candidate = {
        "name": "model",
        "engine": "vllm",
        "model": str(model),
        "dtype": "float32",
        "template": TEMPLATE,
        "sampling": {"max_tokens": MAX_TOKENS},
        "resources": {"cpus": threads},
    }
    (folder / "candidates.yaml").write_text(json.dumps([candidate]))
    lake = tempfile.mkdtemp(dir=folder)
    command = [sys.executable, "-m", "flows.cli", "collect", "--lake", lake]
    command += ["--queries", str(file), "--candidates", str(folder / "candidates.yaml")]
    start = time.perf_counter()
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    whole = time.perf_counter() - start
    tally = json.loads(out.stdout.splitlines()[-1])["generate"]["candidates"][0]
    return tally | {"whole": whole}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", type=Path, default=DEMO / "models" / "polymath")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    asked = texts()
    prompts = [TEMPLATE.replace("{text}", text) for text in asked]
    ratios = []
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(arguments.rounds):
            side = {"folder": Path(temporary), "threads": arguments.threads}
            alone = bare(arguments.model, prompts, **side)
            tally = through_flow(arguments.model, asked, **side)
            speed = tally["completion_tokens"] / tally["answer_seconds"]
            ratios.append(speed / alone)
            rest = tally["whole"] - tally["answer_seconds"] - tally["load_seconds"]
            print(
                f"round {number + 1}: flow {speed:,.0f} tokens/s, bare {alone:,.0f} tokens/s, "
                f"ratio {ratios[-1]:.3f}; {tally['whole']:.0f} s in all: answering "
                f"{tally['answer_seconds']:.1f} s (worker busy {tally['seconds']:.1f} s), loading "
                f"{tally['load_seconds']:.1f} s, Prefect, Ray and three jobs {rest:.1f} s"
            )
    print(f"median ratio {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
