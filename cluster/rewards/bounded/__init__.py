"""Work on hostile input that may hang or eat memory: in processes of its own, within limits."""

from cluster.rewards.bounded.pool import Bounds, Pool, processors

__all__ = ["Bounds", "Pool", "processors"]
