"""The door of a process of our own: ``fetchq`` and ``python -m fetchq``."""

import gc
import sys

# Imports and small files make objects by the ten thousand and hardly a cycle: looking for cycles after each 700
# costs a twentieth of the start and 2 % of a long queue. So many of them hold about 5 MB.
LOOK_EVERY = 50_000


def main() -> int:
    """Run the command line as this process's only business, and give its exit code."""
    gc.set_threshold(LOOK_EVERY)
    from ._cli import main

    code = main()
    # What is left is the operating system's to free: a last look for cycles in it would take 20 ms.
    gc.freeze()
    return code


if __name__ == "__main__":
    sys.exit(main())
