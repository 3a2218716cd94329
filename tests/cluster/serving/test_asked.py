"""What a client asks, read from its request's body."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.policies.best import Best
from cluster.policies.utility import Utility
from cluster.serving.asked import CHAT, COMPLETIONS, read_asked
from cluster.serving.model_name import policy_of, written
from cluster.serving.refusal import Refusal

VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(body=VALUES, path=st.sampled_from([CHAT, COMPLETIONS]))
def test_whatever_is_sent_is_read_or_refused(body, path) -> None:
    with suppress(Refusal):
        query = read_asked(json.dumps(body).encode(), path=path).query()
        assert query.text.strip()


@given(content=st.binary(max_size=40))
def test_bytes_that_are_no_request_are_refused(content) -> None:
    with pytest.raises(Refusal):
        read_asked(b"\x00" + content, path=CHAT)


@pytest.mark.parametrize("value", [r'"\ud800 x"', "NaN", "-Infinity", "1e999", '"\ud800"'])
@pytest.mark.parametrize("field", ["prompt", "user", "model"])
def test_what_other_readers_of_json_cannot_read_is_refused(field, value) -> None:
    fields = {"model": '"router"', "prompt": '"add 1 and 2"'} | {field: value}
    body = ", ".join(f'"{name}": {written}' for name, written in fields.items())
    with pytest.raises(Refusal, match="not JSON") as refused:
        read_asked(f"{{{body}}}".encode("utf-8", "surrogatepass"), path=COMPLETIONS)
    assert refused.value.status == 400


@given(extra=st.dictionaries(st.sampled_from(["n", "stop", "user", "é"]), VALUES))
def test_all_else_is_passed_on_as_it_came(extra) -> None:
    body = extra | {"model": "router", "prompt": "Wie geht’s?"}
    asked = read_asked(json.dumps(body).encode(), path=COMPLETIONS)
    assert json.loads(asked.sent("other")) == body | {"model": "other"}


def test_a_chat_is_priced_by_all_of_it_and_routed_by_its_last_user_turn() -> None:
    turns = [("system", "Be brief."), ("user", "Hi."), ("assistant", "Yes?"), ("user", "Add 1 + 2")]
    messages = [{"role": role, "content": content} for role, content in turns]
    body = json.dumps({"model": "router", "messages": messages}).encode()
    query = read_asked(body, path=CHAT).query()
    assert query.text == "Add 1 + 2"
    assert all(content in query.whole for _, content in turns)
    alone = json.dumps({"model": "router", "messages": messages[-1:]}).encode()
    assert read_asked(alone, path=CHAT).query() == ("Add 1 + 2", "Add 1 + 2")


@given(lambda_usd=st.floats(min_value=0, max_value=1e12))
def test_the_written_name_asks_for_the_same_policy(lambda_usd) -> None:
    policy = Utility(lambda_usd=lambda_usd)
    assert policy_of(written(policy), default=Best()) == policy


@given(words=st.text(max_size=30))
def test_any_name_is_a_policy_or_refused(words) -> None:
    with suppress(Refusal):
        assert not policy_of(f"router:{words}", default=Best()).needs_file


@pytest.mark.parametrize("words", ["budget,usd_per_1000=1", "threshold,strong_share=0.5"])
def test_a_policy_for_whole_files_is_refused_until_it_is_settled(words) -> None:
    with pytest.raises(Refusal, match="whole file"):
        policy_of(f"router:policy={words}", default=Best())
    settled = {"budget": "lambda_usd=50", "threshold": "at=0.1"}[words.partition(",")[0]]
    assert not policy_of(f"router:policy={words},{settled}", default=Best()).needs_file
