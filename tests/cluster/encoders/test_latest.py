import numpy as np
import polars as pl
import pytest

from cluster.encoders import load_encoder
from cluster.encoders.encoder import pack_encoder, unpack_encoder
from cluster.encoders.latest import LatestEncoder
from cluster.encoders.memory import RememberedEncoder, VectorMemory
from cluster.state import State

TEXTS = pl.Series(["one apple", "two apples", "three pears"])


@pytest.fixture
def fitted():
    return load_encoder("lexical", min_texts=1).fit(TEXTS, seed=0)


def test_it_says_what_the_encoder_says_of_whatever_it_is_asked(fitted):
    latest = LatestEncoder(fitted)
    for texts in (TEXTS, TEXTS[:1], TEXTS, TEXTS[1:], TEXTS.clone()):
        assert np.array_equal(latest.encode(texts), fitted.encode(texts))


def test_the_same_series_is_encoded_once(fitted, monkeypatch):
    asked, real = [], type(fitted).encode
    monkeypatch.setattr(
        type(fitted), "encode", lambda self, texts: asked.append(len(texts)) or real(self, texts)
    )
    latest = LatestEncoder(fitted)
    for texts in (TEXTS, TEXTS, TEXTS, TEXTS[:1], TEXTS):
        latest.encode(texts)
    assert asked == [3, 1, 3]


def test_a_checkpoint_holds_the_innermost_encoder(fitted):
    latest = LatestEncoder(RememberedEncoder(fitted, VectorMemory()))
    assert latest.encoder_id == fitted.encoder_id
    stored = unpack_encoder(pack_encoder(latest, into=State({})))
    assert type(stored) is type(fitted)
    assert np.array_equal(stored.encode(TEXTS), fitted.encode(TEXTS))
