"""Run a plan of engines, one after another, in this process (see conftest.py)."""

import json
import sys
from pathlib import Path

from cluster.candidate import Candidate
from cluster.engines.engine import Engine, Request
from cluster.errors import EngineError
from cluster.plugins import load_plugin


def poison(engine: Engine) -> None:
    """Let vLLM raise in the middle of a batch with a `~` in it, as on a prompt it cannot take."""
    inner, mark = engine._llm.llm_engine, engine.tokenizer("~")["input_ids"][0]
    step, states = inner.step, inner.output_processor.request_states

    def failing_step() -> list:
        outputs = step()
        begun = [state for state in states.values() if state.stats.num_generation_tokens > 2]
        if any(mark in state.prompt_token_ids for state in begun):
            raise RuntimeError("poisoned")
        return outputs

    inner.step = failing_step


def main(folder: Path) -> None:
    for step in json.loads((folder / "plan.json").read_text()):
        candidate = Candidate.model_validate(step["candidate"])
        engine_class = load_plugin("engines", name=candidate.engine)
        try:
            loaded = engine_class(candidate)
        except EngineError as error:
            (folder / f"{step['name']}.error").write_text(str(error))
            continue
        with loaded as engine:
            if step["name"] == "vllm-poison":
                poison(engine)
            for shard, requests in step["shards"].items():
                answer = engine.answer(
                    [Request(**one | {"samples": tuple(one["samples"])}) for one in requests]
                )
                answer.write_parquet(folder / f"{step['name']}-{shard}.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
