from hypothesis import given
from hypothesis import strategies as st

from cluster.completion import seed_of


@given(st.text(), st.text(), st.integers(0, 10**6))
def test_seed_is_a_function_of_the_key(query, candidate, sample):
    seed = seed_of(query, candidate_id=candidate, sample=sample)
    assert 0 <= seed < 2**31
    assert seed == seed_of(query, candidate_id=candidate, sample=sample)
    assert seed != seed_of(query, candidate_id=candidate, sample=sample + 1)
