from hypothesis import given
from hypothesis import strategies as st

from cluster.candidate import Candidate
from cluster.engines.engine import Request, render

HUB = {"name": "a", "engine": "vllm", "model": "owner/model", "revision": "abc"}


@given(st.text(min_size=1).filter(str.strip), st.text().filter(lambda t: "{text}" not in t))
def test_template_takes_any_text_as_it_is(text, before):
    candidate = Candidate.model_validate(HUB | {"template": before + "{text}{0}{x"})
    assert render(Request("q", text), candidate, None) == (before + text + "{0}{x", None)
