"""Builds wheels and runs commands in other environments."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def command(*arguments: str | Path, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    return subprocess.run(
        [str(a) for a in arguments], cwd=cwd, check=check, capture_output=True, text=True, env=kept, timeout=900
    )


def build(kind: str, source: Path, out: Path) -> Path:
    command(sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", out, source, cwd=source)
    (found,) = out.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return found
