import pytest

from cluster.errors import InputError
from flows.train import best_of


def test_what_reads_an_answer_is_never_promoted() -> None:
    """A file to route holds no answers, so it would serve as another router than was measured."""
    entry = {"method": "post_answer", "metrics": {"lift_over_best_single_low": 0.1}}
    manifest = {"routers": [{**entry, "reads_answer_of": "small"}]}
    with pytest.raises(InputError, match="by the query alone"):
        best_of(manifest)
