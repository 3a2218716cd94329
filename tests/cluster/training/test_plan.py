from dataclasses import replace

import numpy as np

from cluster.training.plan import Plan, run_name


def test_the_name_changes_with_everything_that_is_trained(scene):
    """What is resumed is found by name: under an old name a changed run would be taken for done."""
    sides = scene.sides()
    plan = Plan(**scene.PLAN)
    train, validation = sides["train"], sides["validation"]

    def named(plan=plan, name="run", workers=2, train=train, validation=validation):
        return run_name(plan, name=name, workers=workers, train=train, validation=validation)

    names = [
        named(),
        named(name="other"),
        named(workers=1),
        named(plan=replace(plan, seed=6)),
        named(plan=replace(plan, settings=plan.settings | {"dropout": 0.1})),
        named(plan=replace(plan, method="zooter")),
        named(train=scene.rows(2_021, seed=2)),
        named(train=replace(train, reward=1 - train.reward)),
        named(train=replace(train, tasks=train.tasks.astype(np.int32))),
        named(
            validation=replace(
                validation, labels=validation.labels | {"group": np.zeros(150, np.int64)}
            )
        ),
    ]
    assert len(set(names)) == len(names)
    assert named() == named(**scene.sides())
    assert names[0].startswith("run-routerdc-")
    assert named(name="").startswith("routerdc-")
