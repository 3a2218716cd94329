"""A reward model in vLLM's pooling runner."""

import gc
import os
from collections.abc import Sequence
from typing import Any

from cluster.candidate import Candidate
from cluster.engines.engine import stored_dtype
from cluster.engines.vllm import prepare_environment
from cluster.errors import EngineError
from cluster.rewards.logit_model import LogitModel
from cluster.rewards.reward_head import Pooling

_TASK = {"classify": "classify", "last_token": "token_classify"}
_CPU_CACHE_BYTES = 1 << 30
_GPU_MEMORY_SHARE = 0.9


class VllmLogits(LogitModel):
    """Logits from `LLM` in this process.

    vLLM puts a sigmoid on a head of one label unless it is told not to, and then gives what
    transformers gives. It gets token ids, so that nothing is tokenized twice.
    """

    def __init__(self, candidate: Candidate, *, pooling: Pooling) -> None:
        """Load the model.

        Raises:
            EngineError: vLLM could not load it; the message has vLLM's reason.
        """
        prepare_environment(os.environ)
        from safetensors import SafetensorError
        from vllm import LLM

        self.name = candidate.model
        self._task = _TASK[pooling]
        try:
            self.llm: Any = LLM(**_settings(candidate, task=self._task))
        except (ValueError, RuntimeError, OSError, SafetensorError) as error:
            raise EngineError(f"vLLM cannot load {candidate.model}: {error}") from error
        self.tokenizer = self.llm.get_tokenizer()
        self.context = int(self.llm.model_config.max_model_len)
        self.padding = getattr(self.llm.model_config.hf_config, "pad_token_id", None)

    def logits(self, prompts: Sequence[Sequence[int]]) -> list[float]:
        from vllm import PoolingParams

        outputs = self.llm.encode(
            [{"prompt_token_ids": list(ids)} for ids in prompts],
            PoolingParams(use_activation=False),
            pooling_task=self._task,
            use_tqdm=False,
        )
        # (1,) of a text, or (n_tokens, 1) of its tokens.
        return [float(output.outputs.data.flatten()[-1]) for output in outputs]

    def close(self) -> None:
        from vllm.distributed import cleanup_dist_env_and_memory

        self.llm.llm_engine.engine_core.shutdown()
        del self.llm, self.tokenizer
        gc.collect()
        cleanup_dist_env_and_memory()


def _settings(candidate: Candidate, *, task: str) -> dict[str, Any]:
    from vllm.config import PoolerConfig
    from vllm.platforms import current_platform

    settings: dict[str, Any] = {
        "model": candidate.model,
        "revision": candidate.revision,
        "tokenizer_revision": candidate.revision,
        "runner": "pooling",
        "pooler_config": PoolerConfig(task=task),
        "dtype": stored_dtype(candidate),
        "max_model_len": candidate.max_model_len,
        "load_format": "safetensors",
        "trust_remote_code": False,
        "seed": 0,
    }
    if not current_platform.is_cpu():
        return settings | _gpu_settings(candidate)
    if "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
        settings["kv_cache_memory_bytes"] = _CPU_CACHE_BYTES
    # What is cached would depend on what was asked before.
    return settings | {"enforce_eager": True, "enable_prefix_caching": False}


def _gpu_settings(candidate: Candidate) -> dict[str, Any]:
    gpus = candidate.resources.gpus
    share = gpus if 0 < gpus < 1 else 1.0
    return {
        "tensor_parallel_size": max(1, int(gpus)),
        "gpu_memory_utilization": _GPU_MEMORY_SHARE * share,
    }
