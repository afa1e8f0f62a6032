"""The command line: parse, call one library function, print or save.

Machine output goes to stdout alone, everything else to stderr; a foreseen error
is one line on stderr and exit status 2, and a limit that is withheld because the
sampler did not converge is one line on stderr and exit status 1.

``app`` lists the commands; ``runs``, ``limits``, ``studies`` and ``inputs`` hold them, ``options`` what they share.
"""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from bayesnu.cli.app import start

        start()
    except KeyboardInterrupt:
        # Before the first command is known, or after the last; typer takes those in between.
        print("bayesnu: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
