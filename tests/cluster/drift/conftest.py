"""Made-up queries of a few tasks, with words of their own and some that all of them share."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

SHARED = "please tell me what is the best way to do this and explain your answer"
WORDS = {
    "sums": "add subtract multiply divide number total sum twice half remainder digit equals",
    "law": "contract court clause tenant landlord liable judge statute appeal breach tort",
    "cooking": "oven flour butter simmer onion garlic recipe bake dough salt pepper stir",
    "code": "python function loop array index error compile string class module import",
    "space": "orbit telescope galaxy nebula comet asteroid lunar eclipse quasar pulsar",
}


def draw(mix: dict[str, float], *, n: int, seed: int) -> pl.DataFrame:
    """n queries drawn from tasks with these probabilities, of about 15 words each."""
    rng = np.random.default_rng(seed)
    tasks = rng.choice(list(mix), n, p=list(mix.values())).tolist()
    texts = [
        " ".join([*rng.choice(SHARED.split(), 6), *rng.choice(WORDS[task].split(), 8), str(number)])
        for number, task in zip(rng.integers(0, 1000, n), tasks, strict=True)
    ]
    return pl.DataFrame(
        {
            "query_id": [f"{seed}-{row}" for row in range(n)],
            "text": texts,
            "task": tasks,
            "sampling_probability": [1.0] * n,
        }
    )


@pytest.fixture(scope="session")
def queries() -> Callable[..., pl.DataFrame]:
    """`queries(mix, n=, seed=)`."""
    return draw
