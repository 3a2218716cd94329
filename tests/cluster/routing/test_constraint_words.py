"""What kept a run's policy from choosing as it says, in words."""

from cluster.policies.constraints import Constraints
from cluster.policies.rules import Rule
from cluster.routing.constraint_words import constraint_words, run_words

RULES = (Rule(tag="proof", never=("small",)), Rule(language="de", only=("large",)))
ALL = Constraints(
    allowed=("small", "large"),
    context={"small": 4096},
    rules=RULES,
    tag_column="topic",
    fallback="large",
    explore=0.2,
)


def run(constraints: Constraints) -> dict:
    return {
        "policy": "best",
        "policy_facts": {},
        "rows": 12_345,
        "constraints": constraints.model_dump(mode="json", exclude_defaults=True),
        "fallbacks": 7,
        "explored": 2_468,
        "rule_rows": [1_234, 56][: len(constraints.rules)],
    }


def test_each_constraint_has_a_sentence_with_its_numbers():
    told = run_words(run(ALL))
    assert "highest predicted reward" in told[0]
    said = " ".join(told[1:])
    for words in (
        "among the candidates that may answer",
        "Allowed: small, large.",
        "in tokens: small 4,096.",
        '{"tag": ["proof"], "never": ["small"]} is about 1,234 of the queries',
        '{"language": ["de"], "only": ["large"]} is about 56 of the queries',
        "7 queries for which nobody was left go to large.",
        "2,468 of the 12,345 queries (20 % were asked for)",
    ):
        assert words in said


def test_without_constraints_nothing_is_added():
    assert constraint_words(run(Constraints())) == []
    assert constraint_words({"policy": "best", "rows": 3}) == []
    told = constraint_words(run(Constraints(explore=0.2)))
    assert len(told) == 1
    assert told[0].startswith("Exploration")
