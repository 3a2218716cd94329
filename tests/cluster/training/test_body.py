import numpy as np
import polars as pl
import pytest
import torch

from cluster.encoders.huggingface import HuggingFaceEncoder
from cluster.training.batches import MicroBatch
from cluster.training.body import load_body
from cluster.training.examples import Examples, ragged
from cluster.training.network import to_batch

TEXTS = pl.Series(
    ["What is 3 plus 4?", "  ", "write", None, "Write 12 as a roman numeral, case 7 " * 9, "?"]
)


def encoder_of(folder, **settings):
    return HuggingFaceEncoder(model=folder, precision="fp32", **settings)


def batch_of(encoder, texts=TEXTS):
    n = len(texts)
    rows = Examples(
        ragged(encoder.fit(texts, seed=0).tokenized(texts)),
        {},
        np.zeros((n, 1)),
        np.zeros(n, dtype=np.int64),
    )
    return to_batch(rows, MicroBatch(np.arange(n), seed=0), device=torch.device("cpu"))


def vectors(body, batch):
    return body(batch.inputs["tokens"], batch.inputs["mask"])


@pytest.mark.parametrize("kind", ["bert", "modernbert", "deberta"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_its_vectors_are_the_encoders(pretrained, kind, pooling):
    encoder = encoder_of(pretrained(kind), pooling=pooling, prefix="case ", keep="end")
    body = load_body(encoder, checkpointing=False).eval()
    found = vectors(body, batch_of(encoder)).detach().numpy()
    np.testing.assert_allclose(found, encoder.fit(TEXTS, seed=0).encode(TEXTS), atol=1e-5)
    assert np.count_nonzero(np.linalg.norm(found, axis=1) > 0.5) == 4


@pytest.mark.parametrize("kind", ["bert", "modernbert", "deberta"])
def test_every_weight_but_those_of_blanks_learns(pretrained, kind):
    """A gradient that is missing would stop workers that average theirs."""
    encoder = encoder_of(pretrained(kind))
    body = load_body(encoder, checkpointing=False).train()
    vectors(body, batch_of(encoder)).square().mul(torch.arange(32.0)).sum().backward()
    for name, weight in body.named_parameters():
        assert weight.requires_grad, name
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name


def test_it_drops_units_in_training_only(pretrained):
    encoder = encoder_of(pretrained("bert"))
    body, batch = load_body(encoder, checkpointing=False), batch_of(encoder)

    def drawn(seed):
        torch.manual_seed(seed)
        return vectors(body, batch)

    body.train()
    assert torch.equal(drawn(1), drawn(1))
    assert not torch.allclose(drawn(1), drawn(2), atol=1e-3)
    body.eval()
    assert torch.equal(drawn(1), drawn(2))


def test_weights_stay_in_fp32_where_the_encoder_is_asked_in_less(pretrained):
    encoder = HuggingFaceEncoder(model=pretrained("bert"), precision="bf16")
    body = load_body(encoder, checkpointing=False)
    assert {weight.dtype for weight in body.parameters()} == {torch.float32}
