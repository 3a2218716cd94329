"""Training an encoder's own weights along with a method's head."""

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.routers.multihead import Multihead
from cluster.routers.routerdc import RouterDC
from cluster.routers.zooter import Zooter

QUICK = {
    "batch_size": 32,
    "micro_batch": 16,
    "epochs": 2,
    "hidden": 8,
    "precision": "fp32",
    "tuned_learning_rate": 1e-3,
}


@pytest.fixture
def tuned(pretrained):
    def method_of(method, *, kind="bert", **settings):
        encoder = {"model": pretrained(kind), "precision": "fp32"}
        given = {"tune": True, "encoder": "huggingface", "encoder_settings": encoder}
        return method(**(QUICK | given | settings))

    return method_of


@pytest.fixture
def rows(make_two_tasks):
    return {"validation": make_two_tasks(60, seed=1), "seed": 0}


@pytest.mark.parametrize("method", [RouterDC, Zooter, Multihead])
def test_the_router_is_an_encoder_with_new_weights_and_a_head(tuned, rows, make_two_tasks, method):
    router = tuned(method).train(make_two_tasks(120), **rows).router
    frozen = tuned(method, tune=False).train(make_two_tasks(120), **rows).router
    texts = pl.Series(["What is 3 plus 4?", "Write 5 as a Roman numeral", "", None])
    before, after = frozen.encoder.encode(texts), router.encoder.encode(texts)
    assert np.abs(before[:2] - after[:2]).max() > 1e-3
    assert (after[2:] == 0).all()
    assert router.head.keys() == frozen.head.keys()
    kind = type(router)
    loaded = kind.from_state(router.state(), candidates=router.candidates)
    np.testing.assert_array_equal(router.predict(texts).reward, loaded.predict(texts).reward)


@pytest.mark.parametrize("kind", ["modernbert", "deberta"])
def test_a_tuned_encoder_learns_what_tells_the_tasks_apart(tuned, make_two_tasks, kind):
    """The words are in the text, and the encoder's first weights are by lot."""
    method = tuned(Multihead, kind=kind, epochs=3)
    trained = method.train(make_two_tasks(240), validation=make_two_tasks(80, seed=1), seed=0)
    fresh = make_two_tasks(40, seed=2)
    chosen = trained.router.predict(fresh.texts).reward.argmax(axis=1)
    assert (chosen == np.where(fresh.tasks == "sums", 0, 1)).mean() > 0.9


def test_equal_input_gives_equal_output(tuned, rows, make_two_tasks):
    one, two = (tuned(RouterDC).train(make_two_tasks(64), **rows).router for _ in range(2))
    texts = make_two_tasks(10, seed=3).texts
    np.testing.assert_array_equal(one.predict(texts).reward, two.predict(texts).reward)


def test_checkpointing_saves_memory_and_changes_nothing(tuned, rows, make_two_tasks):
    texts = make_two_tasks(10, seed=3).texts
    one, two = (
        tuned(Zooter, gradient_checkpointing=on).train(make_two_tasks(64), **rows).router
        for on in (False, True)
    )
    np.testing.assert_allclose(
        one.predict(texts).reward, two.predict(texts).reward, rtol=1e-4, atol=1e-5
    )


def test_the_head_and_the_encoder_have_rates_of_their_own(tuned, rows, make_two_tasks):
    """At a rate near 0 the encoder stays as it was while the head learns."""
    slow = tuned(Multihead, tuned_learning_rate=1e-12).train(make_two_tasks(64), **rows).router
    frozen = tuned(Multihead, tune=False).train(make_two_tasks(64), **rows).router
    texts = make_two_tasks(10, seed=3).texts
    np.testing.assert_allclose(slow.encoder.encode(texts), frozen.encoder.encode(texts), atol=1e-6)
    assert np.abs(slow.head["bias"]).max() > 1e-3


def test_an_encoder_without_pretrained_weights_is_refused(rows, make_two_tasks):
    with pytest.raises(InputError, match="'tune' trains a pretrained encoder's weights"):
        Multihead(tune=True).train(make_two_tasks(20), **rows)


def test_blank_texts_alone_are_refused(tuned, make_outcomes):
    blank = make_outcomes([" "] * 4, ["t"] * 4, [[0.0, 1.0]] * 4)
    with pytest.raises(InputError, match="every text is blank"):
        tuned(Multihead).train(blank, validation=blank, seed=0)
