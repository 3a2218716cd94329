"""Tunes pretrained models on two Ray workers and in this process.

    tune_on_ray.py BERT LLAMA FOLDER

Writes FOLDER/METHOD-WORKERS.npz with the trained weights.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from cluster.ray_cluster import prepare_environment

QUICK = {"epochs": 2, "batch_size": 16, "micro_batch": 8, "precision": "fp32"}


def rows(ids_of, *, n, labels):
    """Made-up texts of differing lengths."""
    import polars as pl

    from cluster.training.examples import Examples, ragged

    texts = pl.Series(
        [f"what is {place} plus {place * 37}" * (1 + place % 3) for place in range(n)]
    )
    reward = np.stack([np.arange(n) % 2, 1 - np.arange(n) % 2], axis=1).astype(float)
    return Examples(ragged(ids_of(texts)), labels(reward), reward, np.arange(n) % 2)


def encoder_scene(folder):
    from cluster.encoders.encoder import load_encoder
    from cluster.training.plan import Plan

    model = {"model": folder, "precision": "fp32"}
    given = {"tune": True, "encoder": "huggingface", "encoder_settings": model, "hidden": 8}
    plan = Plan("multihead", QUICK | given, n_candidates=2, dimensions=32, seed=3, tuned=True)
    encoder = load_encoder("huggingface", **model).fit(None, seed=0)

    def labels(reward):
        ones = np.ones(len(reward), np.float32)
        known = {"reward": reward.astype(np.float32), "known": np.ones_like(reward, np.float32)}
        return known | {"cells_a_row": ones * 2, "pairs_a_row": ones}

    return plan, encoder.tokenized, labels


def causal_scene(folder):
    from cluster.routers.causal_lm import CausalLM
    from cluster.training.base_model import load_tokenizer
    from cluster.training.plan import Plan

    method = CausalLM(**QUICK, model=folder, template="query {text} grade", lora_rank=2)
    tokenizer, limit = load_tokenizer(Path(folder))
    plan = Plan.of(method, n_candidates=2, dimensions=0, seed=3)

    def labels(reward):
        return {"label": (4 * reward[:, 1]).astype(np.int64)}

    return plan, method.instruction(tokenizer, limit=limit), labels


def main(bert, llama, folder):
    prepare_environment()
    import ray

    from cluster.routers.context import ALONE
    from cluster.training.run import run_training

    ray.init(address="local", num_cpus=2, logging_level="WARNING")
    for plan, ids_of, labels in (encoder_scene(bert), causal_scene(llama)):
        sides = {side: rows(ids_of, n=n, labels=labels) for side, n in SIDES.items()}
        for workers in (0, 2):
            context = replace(ALONE, workers=workers)
            weights, _ = run_training(plan, **sides, context=context)
            np.savez(Path(folder) / f"{plan.method}-{workers}.npz", **weights)
    ray.shutdown()


SIDES = {"train": 45, "validation": 12}

if __name__ == "__main__":
    main(*sys.argv[1:])
