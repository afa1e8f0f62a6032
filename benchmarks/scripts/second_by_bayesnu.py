"""Sample couplings of a card one after the other and print the seconds of those after the first.

COUPLING,… CARD [KEY=VALUE …]
"""

from __future__ import annotations

import json
import sys
import time

import bayesnu


def main(couplings: list[str], card: str, overrides: list[str]) -> None:
    """Sample each coupling, 4 × 1,000 draws after as many tuning steps."""
    from bayesnu.inference.priors import one_coupling
    from bayesnu.inference.sampling import Sampler

    experiment, sampler, seconds = bayesnu.load_experiment(card, overrides), Sampler(), []
    for k, coupling in enumerate(couplings):
        start = time.perf_counter()
        problem, prior = one_coupling(experiment, coupling)
        sampler.sample(problem, [prior], draws=1000, chains=4, tune=1000, seed=k)
        seconds.append(time.perf_counter() - start)
    print(json.dumps(seconds[1:]))


if __name__ == "__main__":
    main(sys.argv[1].split(","), sys.argv[2], sys.argv[3:])
