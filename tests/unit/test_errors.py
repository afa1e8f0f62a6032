import pytest

from bayesnu import errors
from bayesnu.errors import BayesnuError, nearest, unknown_name


def test_messages_are_one_line() -> None:
    assert str(BayesnuError("two\n  lines\tand  spaces")) == "two lines and spaces"


@pytest.mark.parametrize(
    "name", ["CardError", "DataError", "ResponseError", "RunError", "UsageError", "ConvergenceError"]
)
def test_one_base_class(name: str) -> None:
    assert issubclass(getattr(errors, name), BayesnuError)


def test_nearest() -> None:
    assert nearest("mu_numuu", ["mu_nue", "mu_numu"]) == "; did you mean 'mu_numu'?"
    assert nearest("zzz", ["mu_nue", "mu_numu"]) == ""


def test_nearest_takes_the_start_of_a_name() -> None:
    assert nearest("mas", ["material", "mass_tonnes"]) == "; did you mean 'mass_tonnes'?"
    assert nearest("pot", ["file", "pot_per_year"]) == "; did you mean 'pot_per_year'?"


def test_unknown_name_lists_what_is_allowed() -> None:
    message = str(unknown_name("pull", "cqe", ["ccqe", "pi0"]))
    assert message == "unknown pull 'cqe': allowed are ccqe, pi0; did you mean 'ccqe'?"
