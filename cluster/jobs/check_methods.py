"""What can be told of all methods of a run before the first of them is fitted."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from cluster.errors import InputError
from cluster.evaluation.folds import answers_of
from cluster.jobs.fitting import FittingSpec, lesson_of
from cluster.jobs.prepared import Prepared
from cluster.outcome import OutcomeMatrix, concatenate
from cluster.routers.fit import load_method, settings_to_try
from cluster.routers.gradient import GradientMethod

LOG = logging.getLogger("signalbox.fit")


def check_methods(
    spec: FittingSpec,
    *,
    data: Prepared,
    shared: Mapping[str, Any] | None = None,
    refused: dict[str, str] | None = None,
) -> None:
    """Refuse methods that cannot be fitted on these rows, before the first of them is fitted.

    Args:
        spec, data, shared, refused: as in `fit_all`.

    Raises:
        InputError: names the methods, unless such are to be left out.
    """
    given = replace(spec.given, shared=spec.pair | dict(shared or {}))
    faults = {}
    for name in spec.methods:
        try:
            fixed, lesson = lesson_of(name, data=data, given=given)
            check_method(
                name,
                train=lesson.train,
                validation=lesson.validation,
                test=data.test,
                fixed=fixed,
                crossed=bool(spec.folds),
            )
        except InputError as error:
            faults[name] = str(error)
    if refused is None and faults:
        raise InputError(in_words(faults))
    for name, fault in faults.items():
        if refused is not None and name not in refused:
            refused[name] = fault
            LOG.warning("%s is left out: %s", name, fault)


def in_words(faults: Mapping[str, str]) -> str:
    """What is wrong with whom; what is wrong with several is said once."""
    by_fault: dict[str, list[str]] = {}
    for name, fault in faults.items():
        by_fault.setdefault(fault, []).append(name)
    return "; ".join(f"{', '.join(names)}: {fault}" for fault, names in by_fault.items())


def check_method(
    name: str,
    *,
    train: OutcomeMatrix,
    validation: OutcomeMatrix,
    test: OutcomeMatrix,
    fixed: Mapping[str, Any],
    crossed: bool,
) -> None:
    """Refuse a method with any of its settings that cannot be fitted, or asked about test rows.

    Args:
        name: of the method.
        train, validation: what it is to be fitted on.
        test: what it is then asked about.
        fixed: its settings.
        crossed: whether settings are chosen by cross-validation on both.

    Raises:
        InputError: as the method says.
    """
    method = load_method(name)
    if crossed and not issubclass(method, GradientMethod):
        train = concatenate(train, validation)
    judges = validation.take(np.flatnonzero(validation.mask.any(axis=1)))
    for settings in settings_to_try(method, fixed=fixed):
        settings.check(train, validation=judges)
        read = settings.answer_read(train)
        if read:
            answers_of(read, outcomes=test.complete(), method=name)
