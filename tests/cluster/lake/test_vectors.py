import threading

import numpy as np
import polars as pl
import pytest

from cluster.encoders.encoder import FittedEncoder
from cluster.encoders.memory import RememberedEncoder
from cluster.errors import LakeError
from cluster.lake import vectors as vectors_module
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.tables import EMBEDDINGS
from cluster.lake.vectors import LakeVectors
from cluster.state import State


class Slow(FittedEncoder):
    """Three numbers a text; it counts what it was asked and can be told to say it otherwise."""

    name = "slow"

    def __init__(self, *, noise=0.0, dimensions=3, identity=1):
        self.noise, self.length, self.identity = noise, dimensions, identity
        self.asked = []

    @property
    def dimensions(self):
        return self.length

    def encode(self, texts):
        self.asked += texts.to_list()
        numbers = [[len(text) + self.noise, text.count("a"), 1 / 3] for text in texts]
        return np.array(numbers, dtype=np.float32).reshape(-1, 3)[:, : self.length]

    def state(self):
        return State({"identity": self.identity})

    @classmethod
    def from_state(cls, state):
        raise NotImplementedError


TEXTS = pl.Series(["a", "bb", "a", "ccc", "", "dada"])


def encode(texts, *, lake, encoder=None):
    encoder = encoder or Slow()
    vectors = RememberedEncoder(encoder, LakeVectors(lake)).encode(texts)
    return vectors, encoder.asked


def test_the_second_run_encodes_nothing_and_has_the_same_vectors(root):
    lake = Lake.open(root)
    first, asked = encode(TEXTS, lake=lake)
    assert sorted(asked) == sorted(set(TEXTS))
    second, asked = encode(TEXTS.reverse(), lake=Lake.open(root))
    assert asked == []
    assert np.array_equal(second[::-1], first)
    assert np.array_equal(first, Slow().encode(TEXTS))


def test_only_what_is_missing_is_encoded(tmp_path):
    lake = Lake.open(tmp_path)
    encode(TEXTS, lake=lake)
    vectors, asked = encode(pl.Series(["new", "dada", "other"]), lake=lake)
    assert asked == ["new", "other"]
    assert np.array_equal(vectors, Slow().encode(pl.Series(["new", "dada", "other"])))


def test_another_encoder_has_vectors_of_its_own(tmp_path):
    lake = Lake.open(tmp_path)
    encode(TEXTS, lake=lake)
    vectors, asked = encode(TEXTS, lake=lake, encoder=Slow(identity=2, noise=5.0))
    assert len(asked) == 5
    assert np.array_equal(vectors, Slow(noise=5.0).encode(TEXTS))


def test_a_killed_run_loses_only_what_was_not_committed(tmp_path, monkeypatch):
    monkeypatch.setattr(vectors_module, "TEXTS_A_COMMIT", 2)
    lake = Lake.open(tmp_path)

    class Dying(Slow):
        def encode(self, texts):
            if "dada" in texts.to_list():
                raise KeyboardInterrupt
            return super().encode(texts)

    with pytest.raises(KeyboardInterrupt):
        encode(TEXTS, lake=lake, encoder=Dying())
    _, asked = encode(TEXTS, lake=lake)
    assert asked == ["dada"]


def test_of_two_writers_the_first_commit_counts_for_both(tmp_path):
    lake = Lake.open(tmp_path)

    class Overtaken(Slow):
        """While it encodes, somebody else stores the same texts, rounded differently."""

        def encode(self, texts):
            vectors = super().encode(texts)
            encode(texts, lake=Lake.open(tmp_path), encoder=Slow())
            return vectors

    vectors, asked = encode(TEXTS, lake=lake, encoder=Overtaken(noise=0.5))
    assert len(asked) == 5
    assert np.array_equal(vectors, Slow().encode(TEXTS))
    assert lake.read(EMBEDDINGS).height == 5


def test_writers_at_the_same_time_leave_every_text_once(tmp_path, monkeypatch):
    monkeypatch.setattr(vectors_module, "TEXTS_A_COMMIT", 5)
    Lake.open(tmp_path)
    texts = pl.Series([f"text {number}" for number in range(20)])
    results = []

    def work(start):
        part = texts[start : start + 15]
        results.append((part, encode(part, lake=Lake.open(tmp_path, create=False))[0]))

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 5, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = Lake.open(tmp_path).read(EMBEDDINGS)
    assert sorted(stored["text_id"]) == sorted(set(stored["text_id"]))
    assert stored.height == 20
    assert len(results) == 3
    assert all(np.array_equal(found, Slow().encode(part)) for part, found in results)


def test_a_stored_vector_of_another_length_is_told(tmp_path):
    lake = Lake.open(tmp_path)
    encode(TEXTS, lake=lake)
    with pytest.raises(LakeError, match="a vector has not 2 numbers"):
        encode(TEXTS, lake=lake, encoder=Slow(dimensions=2))


def test_vectors_of_others_in_the_table_are_not_touched(tmp_path):
    lake = Lake.open(tmp_path)
    rows = pl.DataFrame(
        {"text_id": ["x"], "encoder_id": ["other"], "vector": [[1.0]]}, schema=EMBEDDINGS.schema
    )
    append_new(rows, lake=lake, table=EMBEDDINGS)
    encode(TEXTS, lake=lake)
    assert lake.read(EMBEDDINGS).filter(pl.col("encoder_id") == "other").equals(rows)
