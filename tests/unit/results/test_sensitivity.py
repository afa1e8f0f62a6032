"""Quantiles of expected bounds and their errors, and what their table says."""

import numpy as np
import pytest
from scipy.stats import norm

from bayesnu.inference.cls import BAND_SIGMAS
from bayesnu.report.coverage import sensitivity_table
from bayesnu.results.sensitivity import ExpectedLimit, Sensitivity, _expected, sensitivity_json


def test_lower_and_upper_bounds_are_treated_alike() -> None:
    """Of bounds that mirror each other; those of normal values have the errors √(p (1 - p)/n)/φ."""
    upper = 2 + norm.ppf((np.arange(1000) + 0.5) / 1000)
    found = _expected("delta_chi2", "delta_chi2", (-2.0, 2.0), np.column_stack([-upper, upper]), True)
    assert found.lower == tuple(-value for value in found.upper)
    assert found.lower_error == found.error
    p = norm.cdf(BAND_SIGMAS)
    np.testing.assert_allclose(found.lower_error, np.sqrt(p * (1 - p) / 1000) / norm.pdf(BAND_SIGMAS), rtol=0.05)
    one = _expected("delta_chi2", "delta_chi2", (0.0, 2.0), np.column_stack([0 * upper, upper]), False)
    assert (one.lower, one.lower_error, one.upper) == ((), (), found.upper)


@pytest.mark.parametrize(("methods", "said"), [
    (("delta_chi2",), "No asymptotic cls: bins expect nothing without the coupling."),
    (("delta_chi2", "cls"), "cls: asymptotic, pulls at their constraints."),
])  # fmt: skip
def test_the_table_speaks_of_what_it_shows(methods: tuple[str, ...], said: str) -> None:
    up, error = (1.0, 1.2, 1.4, 1.7, 2.0), (0.01, 0.01, 0.01, 0.01, 0.02)
    limits = tuple(
        ExpectedLimit(name, name, (-1.4, 1.4), tuple(-v for v in up), up, error, tuple(2 * e for e in error))
        for name in methods
    )
    result = Sensitivity("card", "q_nue", "e", "flat", 0.9, 200, 1, limits)
    table = sensitivity_table(result)
    assert str(table.caption).endswith(f"prior flat. {said}")
    assert list(table.columns[3].cells)[:2] == ["-1.000 ±0.02", "1.000 ±0.01"]
    assert sensitivity_json(result)["limits"][0]["lower_error"] == [0.02, 0.02, 0.02, 0.02, 0.04]
