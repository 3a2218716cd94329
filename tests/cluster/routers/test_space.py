"""A declared space: every combination in the order given, and no more than anybody waits for."""

import pytest

from cluster.errors import InputError
from cluster.routers.fit import fit_method, settings_to_try
from cluster.routers.knn import Knn
from cluster.routers.settings import GivenSettings, check_settings
from cluster.routers.space import combinations
from cluster.routers.stack import Stack
from cluster.routers.zooter import Zooter


def test_every_combination_in_the_order_of_the_file():
    found = combinations({"a": {"try": [2, 1]}, "b": 7, "c": {"try": ["x", "y"]}}, method="m")
    assert found == [{"a": a, "b": 7, "c": c} for a in (2, 1) for c in ("x", "y")]
    assert combinations({"b": [1, 2]}, method="m") == [{"b": [1, 2]}]
    assert combinations({}, method="m") == [{}]


def test_a_space_takes_the_place_of_the_methods_own_values():
    own = settings_to_try(Zooter, fixed={})
    found = settings_to_try(Zooter, fixed={"beta": {"try": [1.0, 0.5]}, "hidden": 8})
    temperatures = list(dict.fromkeys(entry.reward_temperature for entry in own))
    assert [(entry.beta, entry.reward_temperature) for entry in found] == [
        (beta, temperature) for beta in (1.0, 0.5) for temperature in temperatures
    ]
    assert {entry.hidden for entry in found} == {8}


def test_a_list_is_a_value_and_so_may_lists_be_tried():
    parts = [[{"method": "knn"}], [{"method": "ridge"}, {"method": "knn"}]]
    assert len(settings_to_try(Stack, fixed={"parts": parts[1]})) == 1
    found = settings_to_try(Stack, fixed={"parts": {"try": parts}})
    assert [len(entry.parts) for entry in found] == [1, 2]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"k": {"try": []}}, ("knn", "k", "expected a list", "{try: [10, 20, 40]}")),
        ({"k": {"try": 20}}, ("found 20",)),
        ({"k": {"try": [5, 0]}}, ("knn", "k", "greater")),
        ({"k": {"try": list(range(1, 202))}}, ("201 combinations", "at most 200", "fewer")),
        (
            {"k": {"try": list(range(1, 21))}, "shrinkage": {"try": list(range(1, 21))}},
            ("400 combinations",),
        ),
        ({"neighbours": {"try": [1, 2]}}, ("neighbours", "its settings: ")),
    ],
)
def test_what_cannot_be_tried_is_refused_in_words(settings, words):
    with pytest.raises(InputError) as error:
        check_settings(GivenSettings(by_method={"knn": settings}), methods=["knn"])
    for word in words:
        assert word in str(error.value)


def test_the_methods_own_values_count_with_the_declared_ones():
    assert len(settings_to_try(Knn, fixed={"k": {"try": [1, 2]}})) < 200
    with pytest.raises(InputError, match="combinations"):
        settings_to_try(Zooter, fixed={"hidden": {"try": list(range(1, 101))}})


def test_a_part_of_a_stack_has_no_space(make_two_tasks):
    stack = Stack(parts=[{"method": "knn", "settings": {"k": {"try": [5, 9]}}}])
    with pytest.raises(InputError, match=r"part 'knn'.*leave out 'try'"):
        stack.fit(make_two_tasks(60), seed=0)


def test_the_best_of_a_declared_space_is_chosen(make_two_tasks):
    train, validation = make_two_tasks(150), make_two_tasks(60, seed=1)
    fixed = {"k": {"try": [150, 5]}, "shrinkage": 0.01}
    found = fit_method("knn", train=train, validation=validation, seed=0, fixed=fixed)
    assert [trial.settings.k for trial in found.trials] == [150, 5]
    assert found.settings.k == 5
    # With nothing to judge by, the first counts.
    nobody = validation.take(validation.mask.any(axis=1) & False)
    undecided = fit_method("knn", train=train, validation=nobody, seed=0, fixed=fixed)
    assert undecided.settings.k == 150
