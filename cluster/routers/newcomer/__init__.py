"""A candidate that a fitted router has not seen, taken up from a few hundred scored queries.

`own_part` says what the probes tell of it beside how hard the queries are for everybody, `tables`
how tables, neighbours and means take it up, and `vectors` how a trained network does.
"""

from cluster.routers.newcomer.take_up import with_candidate

__all__ = ["with_candidate"]
