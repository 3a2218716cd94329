"""Routers: expected reward and completion tokens of every candidate, for each query."""

from cluster.routers.checkpoint import (
    Checkpoint,
    CheckpointMeta,
    load_checkpoint,
    load_router,
    save_checkpoint,
)
from cluster.routers.router import Method, Prediction, Router, RouterState

__all__ = [
    "Checkpoint",
    "CheckpointMeta",
    "Method",
    "Prediction",
    "Router",
    "RouterState",
    "load_checkpoint",
    "load_router",
    "save_checkpoint",
]
