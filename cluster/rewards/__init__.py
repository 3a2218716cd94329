"""Rewards: what an answer is worth."""

from cluster.rewards.scorer import Scorer, load_scorer

__all__ = ["Scorer", "load_scorer"]
