"""Tags: what a query is about."""

from cluster.tags.tagger import Tagger, load_tagger

__all__ = ["Tagger", "load_tagger"]
