"""How much of each of several predictions is in their sum, and the fit of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cluster.encoders.blas import one_blas_thread
from cluster.errors import InputError
from cluster.outcome import FloatMatrix
from cluster.routers.router import RouterState
from cluster.routers.shrinkage import Parts


@dataclass(frozen=True)
class Weights:
    """How much of each part is in the sum.

    Attributes:
        common, own: (n_parts,), 0 or more.
        n_later: the last candidates, that were taken up later. What is common is the mean over the
            others, as it was when the weights were fitted; so theirs stay what they were.
    """

    common: FloatMatrix
    own: FloatMatrix
    n_later: int = 0

    def add_up(self, predictions: FloatMatrix, *, mean: FloatMatrix) -> FloatMatrix:
        """(n, n_candidates) of (n_parts, n, n_candidates) and the candidates' means.

        Where a part expects nothing, NaN, it is taken to expect the mean.
        """
        predictions = np.where(np.isnan(predictions), mean, predictions)
        total = np.broadcast_to(mean, predictions.shape[1:]).copy()
        base = self._taken_apart(total)
        for common, own, prediction in zip(self.common, self.own, predictions, strict=True):
            parts = self._taken_apart(prediction)
            total += common * (parts.common - base.common) + own * (parts.own - base.own)
        return total

    def _taken_apart(self, values: FloatMatrix) -> Parts:
        """Values, (n, n_candidates), less the mean of the candidates that were there at first."""
        first = Parts.of(values[:, : values.shape[1] - self.n_later])
        return Parts(first.common, values - first.common)


def non_negative(columns: Sequence[FloatMatrix], target: FloatMatrix) -> FloatMatrix:
    """(n_columns,) weights of 0 or more that bring the columns' sum nearest to the target.

    All of one shape; cells that are NaN in the target count for nothing.
    """
    from scipy.optimize import nnls

    known = ~np.isnan(target)
    design = np.stack([column[known] for column in columns], axis=1)
    with one_blas_thread():
        # The normal equations: a square root of the Gram matrix stands for thousands of rows.
        values, basis = np.linalg.eigh(design.T @ design)
        root = np.sqrt(np.maximum(values, 0.0))
        along = basis.T @ (design.T @ target[known])
        usable = root > 1e-9 * max(float(root.max(initial=0.0)), 1e-300)
        if not usable.any():
            return np.zeros(len(columns))
        weights: FloatMatrix = nnls(
            (root[:, None] * basis.T)[usable], along[usable] / root[usable]
        )[0]
    return weights


def read_later(state: RouterState, *, candidates: tuple[str, ...]) -> int:
    """How many candidates of a stored stack were taken up later; before there were any, none.

    Raises:
        InputError: it is not a number below that of the candidates.
    """
    later = state.value("n_later", int) if "n_later" in state.config else 0
    if not 0 <= later < len(candidates):
        raise InputError(
            f"damaged checkpoint: 'n_later' is {later}, expected 0 to {len(candidates) - 1}"
        )
    return later
