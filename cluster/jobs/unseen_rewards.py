"""What methods are compared by before one is chosen: rows that none of them had seen."""

from collections.abc import Mapping

import numpy as np

from cluster.jobs.prepared import Prepared
from cluster.outcome import FloatMatrix
from cluster.routers.fit import Fit
from cluster.routers.means import macro_means


def validation_rewards(fits: Mapping[str, Fit], *, data: Prepared) -> dict[str, float | None]:
    """By method, macro mean reward of its choices on rows that its chosen settings had not seen.

    All on the same rows, or they could not be compared: the validation rows, or where there are
    none what all of them were judged on. None for a method that was judged on nothing, and for all
    where no row is common to them.
    """
    outcomes = data.fitted_on
    found = {name: _unseen(fit, data=data) for name, fit in fits.items()}
    judged = {name: values for name, values in found.items() if values is not None}
    nothing: dict[str, float | None] = dict.fromkeys(fits)
    if not judged:
        return nothing
    common = ~np.isnan(np.stack(list(judged.values()))).any(axis=0)
    is_validation = np.arange(len(outcomes)) >= len(data.train)
    rows = common & is_validation if (common & is_validation).any() else common
    if not rows.any():
        return nothing
    tasks = outcomes.tasks[rows]
    return nothing | {
        name: float(macro_means(values[rows, None], tasks)[0]) for name, values in judged.items()
    }


def _unseen(fit: Fit, *, data: Prepared) -> FloatMatrix | None:
    """`Fit.unseen` on the rows of `data.fitted_on`; None where none of these judged the method.

    With battles a method has rows of its own, of which only the outcomes' validation rows, which
    are then its last ones, are those of the others.
    """
    if fit.unseen is None or np.isnan(fit.unseen).all():
        return None
    lesson = data.lesson(fit.settings)
    if lesson.train is data.train:
        return fit.unseen
    n_judged = len(data.validation)
    same = lesson.validation.queries["query_id"].equals(data.validation.queries["query_id"])
    if not n_judged or not same:
        return None
    values = np.full(len(data.train) + n_judged, np.nan)
    values[-n_judged:] = fit.unseen[-n_judged:]
    return values
