"""``python -m bayesnu.cli``."""

from bayesnu.cli.app import main

if __name__ == "__main__":
    main()
