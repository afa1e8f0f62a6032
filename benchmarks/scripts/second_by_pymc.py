"""Sample hand-written models one after the other and print the seconds of those after the first: ARRAYS.npz …"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

from benchmarks.handwritten import Analysis, sample


def main(arrays: list[Path]) -> None:
    """Sample each analysis."""
    seconds = []
    for k, path in enumerate(arrays):
        start = time.perf_counter()
        sample(Analysis.load(path), k)
        seconds.append(time.perf_counter() - start)
    print(json.dumps(seconds[1:]))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main([Path(name) for name in sys.argv[1:]])
