"""What is made of training queries, and that it comes back from a checkpoint as it was."""

import numpy as np
import polars as pl
import pytest

from cluster.drift.drift import UNKNOWN
from cluster.drift.fit import fit_profile
from cluster.drift.kept import CONFIG, TENSORS, profile_files, profile_of
from cluster.drift.profile import Profile
from cluster.drift.space import own_encoder
from cluster.drift.trained import Profiles
from cluster.encoders.lexical import LexicalEncoder
from cluster.errors import InputError
from cluster.routers.checkpoint import CheckpointMeta, load_checkpoint, save_checkpoint
from cluster.routers.random import RandomRouter

MIX = {"sums": 0.5, "law": 0.3, "code": 0.2}


def test_shares_are_those_of_the_queries_and_names_say_what_they_are(queries):
    profile = fit_profile(queries(MIX, n=1000, seed=0), encoder=None, seed=0)
    assert profile.shares.sum() == pytest.approx(1)
    assert profile.n == pytest.approx(500, rel=0.1)
    by_task = dict.fromkeys(MIX, 0.0)
    for name, share in zip(profile.names, profile.shares, strict=True):
        by_task[name.split(":")[0]] += share
    assert by_task == pytest.approx(MIX, abs=0.08)


def test_queries_drawn_with_a_known_bias_count_for_those_left_out(queries):
    rows = queries({"sums": 0.2, "law": 0.8}, n=1000, seed=0)
    biased = rows.with_columns(
        sampling_probability=pl.when(pl.col("task") == "law").then(1.0).otherwise(0.25)
    )
    profile = fit_profile(biased, encoder=None, seed=0)
    sums = sum(
        share
        for name, share in zip(profile.names, profile.shares, strict=True)
        if name.startswith("sums")
    )
    assert sums == pytest.approx(0.5, abs=0.08)
    assert profile.n < 450


def test_the_same_queries_in_any_order_make_the_same_profile(queries):
    rows = queries(MIX, n=400, seed=0)
    first = profile_files(fit_profile(rows, encoder=None, seed=1))
    again = profile_files(
        fit_profile(rows.sample(fraction=1, shuffle=True, seed=3), encoder=None, seed=1)
    )
    assert first == again


def test_too_few_queries_and_queries_without_words_have_none(queries):
    assert fit_profile(queries(MIX, n=60, seed=0), encoder=None, seed=0) is None
    silent = queries(MIX, n=300, seed=0).with_columns(text=pl.lit(" "))
    assert fit_profile(silent, encoder=None, seed=0) is None
    assert "train the router again" in UNKNOWN


@pytest.fixture
def saved(tmp_path, queries):
    """A checkpoint with a profile: its folder, its version, the profile."""
    router = RandomRouter(("a", "b"), seed=0, completion_tokens=np.zeros(2))
    profile = Profiles(0).of(router, queries=queries(MIX, n=400, seed=0))
    meta = CheckpointMeta(candidate_ids=("1", "2"))
    version = save_checkpoint(router, str(tmp_path), meta=meta, beside=profile_files(profile))
    return tmp_path, version, profile


def test_a_checkpoint_gives_back_the_profile_it_was_saved_with(saved, queries):
    folder, version, profile = saved
    again = profile_of(load_checkpoint(str(folder), version=version))
    texts = queries(MIX, n=50, seed=5)["text"]
    before, after = profile.place(texts), again.place(texts)
    assert (before.cluster == after.cluster).all()
    assert (before.distance == after.distance).all()
    assert (again.shares == profile.shares).all()
    assert (again.names, again.n) == (profile.names, profile.n)
    assert (again.far_distance, again.far_rank) == (profile.far_distance, profile.far_rank)


def test_a_checkpoint_without_a_profile_loads_and_has_none(tmp_path):
    router = RandomRouter(("a", "b"), seed=0, completion_tokens=np.zeros(2))
    version = save_checkpoint(router, str(tmp_path), meta=CheckpointMeta(candidate_ids=("1", "2")))
    assert profile_of(load_checkpoint(str(tmp_path), version=version)) is None


@pytest.mark.parametrize("name", [CONFIG, TENSORS])
def test_a_changed_profile_is_found_out(saved, name):
    folder, version, _ = saved
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-2] + b"  ")
    with pytest.raises(InputError, match=f"{name}: damaged checkpoint"):
        load_checkpoint(str(folder), version=version)


def test_a_space_that_saw_no_training_query_is_the_router_s_own(queries):
    pretrained = LexicalEncoder(dimensions=16).fit(queries(MIX, n=300, seed=9)["text"], seed=0)
    profile = fit_profile(queries(MIX, n=400, seed=0), encoder=pretrained, seed=0)
    state = profile.state()
    assert not state.files
    again = Profile.from_state(state, routers=pretrained)
    texts = queries(MIX, n=20, seed=4)["text"]
    assert (again.place(texts).distance == profile.place(texts).distance).all()
    with pytest.raises(InputError, match="the router lacks"):
        Profile.from_state(state, routers=None)


def test_a_space_that_was_fitted_on_the_queries_is_not_taken(queries):
    router = RandomRouter(("a", "b"), seed=0, completion_tokens=np.zeros(2))
    router.encoder = LexicalEncoder(dimensions=16).fit(queries(MIX, n=300, seed=9)["text"], seed=0)
    assert own_encoder(router) is None


def test_clusters_have_names_of_their_own_in_any_script(queries):
    chinese = "天地人山水火木金土日月风云雨雪花鸟鱼虫"
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list(chinese), 6)) for _ in range(300)]
    rows = queries(MIX, n=300, seed=0).with_columns(text=pl.Series(texts), task=pl.lit("chat"))
    profile = fit_profile(rows, encoder=None, seed=0)
    assert len(set(profile.names)) == len(profile.names)
    assert set(chinese) & set("".join(profile.names))
