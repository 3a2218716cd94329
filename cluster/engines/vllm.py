"""The vLLM engine: `LLM` in the worker's own process."""

import gc
import os
from collections.abc import MutableMapping, Sequence
from typing import Any

from cluster.candidate import Candidate
from cluster.engines.engine import Generation, LocalEngine, Prompt, stored_dtype
from cluster.errors import EngineError

# Read by vLLM when it is imported or when it loads, so they are set before both; what the user
# has set already stays, except the first: with a process of its own, an engine takes 27-52 s to
# its first answer instead of 10 s once + 2 s for each model, and outlives a killed parent.
_ENVIRONMENT = {
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_COMPUTE_NANS_IN_LOGITS": "1",
    # Bound to cores, two workers of one machine share a core and lose nine tenths of their speed
    # (measured with a busy neighbour); unbound, threads follow OMP_NUM_THREADS.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
_CPU_CACHE_BYTES = 1 << 30
_GPU_MEMORY_SHARE = 0.9


class VllmEngine(LocalEngine):
    """A candidate in vLLM.

    `LLM`, not AsyncLLM: a shard is a batch, and `LLM` stays in this process (10 s import, then
    1.4-2.1 s a model), where AsyncLLM always starts another (27-52 s to the first answer).
    Nothing is read from the model's generation config but its end tokens: sampling is the
    candidate's alone, as its identity says.
    """

    def __init__(self, candidate: Candidate) -> None:
        """Load the candidate.

        Raises:
            EngineError: vLLM could not load it; the message has vLLM's reason.
        """
        prepare_environment(os.environ)
        from safetensors import SafetensorError
        from vllm import LLM

        self.candidate = candidate
        self.candidate_id = candidate.candidate_id
        try:
            self._llm: Any = LLM(**_settings(candidate))
        except (ValueError, RuntimeError, OSError, SafetensorError) as error:
            message = f"candidate '{candidate.name}': vLLM cannot load {candidate.model}: {error}"
            raise EngineError(message) from error
        self.tokenizer = self._llm.get_tokenizer()
        self.context = int(self._llm.model_config.max_model_len)

    def generate(self, prompts: Sequence[Prompt]) -> list[Generation]:
        try:
            outputs = self._llm.generate(
                [{"prompt_token_ids": list(prompt.token_ids)} for prompt in prompts],
                [self._sampling(prompt) for prompt in prompts],
                use_tqdm=False,
            )
        except Exception:
            self._drop_unfinished()
            raise
        return [self._generation(output) for output in outputs]

    def _drop_unfinished(self) -> None:
        """Forget what a failed call left behind: the next one would return its answers too."""
        engine = self._llm.llm_engine
        engine.abort_request(list(engine.output_processor.request_states), internal=True)

    def close(self) -> None:
        """Shut the engine down and free its weights and cache."""
        from vllm.distributed import cleanup_dist_env_and_memory

        self._llm.llm_engine.engine_core.shutdown()
        del self._llm, self.tokenizer
        gc.collect()
        cleanup_dist_env_and_memory()

    def _generation(self, output: Any) -> Generation:
        completion = output.outputs[0]
        tokens = len(completion.token_ids)
        if output.metrics is not None and output.metrics.is_corrupted:
            return Generation(None, None, tokens, "the model's logits are not numbers (NaN)")
        reason = completion.finish_reason
        if reason not in ("stop", "length"):
            return Generation(None, None, tokens, f"vLLM ended it with '{reason}'")
        likeliest = self._likeliest(completion.logprobs)
        return Generation(completion.text, reason, tokens, first_logprobs=likeliest)

    def _likeliest(self, logprobs: Any) -> str | None:
        """The first token's; the one that was drawn is among vLLM's even if it is not likely."""
        wanted = self.candidate.sampling.logprobs
        if not wanted:
            return None
        kept = {token: one.logprob for token, one in logprobs[0].items() if one.rank <= wanted}
        return self._first_logprobs(kept, kept.values())

    def _sampling(self, prompt: Prompt) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        sampling = self.candidate.sampling
        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            repetition_penalty=sampling.repetition_penalty,
            stop=list(sampling.stop),
            max_tokens=prompt.max_tokens,
            # A greedy answer needs no generator, and each costs a kernel call a step.
            seed=prompt.seed if sampling.temperature > 0 else None,
            logprobs=sampling.logprobs or None,
            structured_outputs=None
            if sampling.json_schema is None
            else StructuredOutputsParams(json=sampling.json_schema),
        )


def prepare_environment(environ: MutableMapping[str, str]) -> None:
    """Set what vLLM reads from the environment, keeping what the user has set."""
    environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    for name, value in _ENVIRONMENT.items():
        environ.setdefault(name, value)


def _settings(candidate: Candidate) -> dict[str, Any]:
    from vllm.platforms import current_platform

    settings: dict[str, Any] = {
        "model": candidate.model,
        "revision": candidate.revision,
        "tokenizer": candidate.tokenizer,
        "tokenizer_revision": None if candidate.tokenizer else candidate.revision,
        "dtype": stored_dtype(candidate),
        "max_model_len": candidate.max_model_len,
        "load_format": "safetensors",
        "trust_remote_code": False,
        "disable_log_stats": False,  # else a request does not say that its logits were NaN
        "seed": 0,
    }
    return settings | (_cpu_settings() if current_platform.is_cpu() else _gpu_settings(candidate))


def _cpu_settings() -> dict[str, Any]:
    settings: dict[str, Any] = {
        "enforce_eager": True,
        # A prompt cut in two fails with "CPU Generator does not use offset" when it has a seed
        # (vLLM 0.29), and what is cached would depend on what was asked before.
        "enable_chunked_prefill": False,
        "enable_prefix_caching": False,
    }
    if "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
        settings["kv_cache_memory_bytes"] = _CPU_CACHE_BYTES
    return settings


def _gpu_settings(candidate: Candidate) -> dict[str, Any]:
    gpus = candidate.resources.gpus
    share = gpus if 0 < gpus < 1 else 1.0
    return {
        "tensor_parallel_size": max(1, int(gpus)),
        "gpu_memory_utilization": _GPU_MEMORY_SHARE * share,
        # The samples of a query have its prompt in common.
        "enable_prefix_caching": True,
    }
