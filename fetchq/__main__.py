"""Entry point of the process: ``fetchq`` and ``python -m fetchq``."""

import gc
import sys

# Objects allocated between two garbage collections; the default is 700. The imports allocate 60,000, and jobs
# leave hardly a cycle: one collection amid the imports took 20 ms, a tenth of the start. 100,000 objects are
# about 10 MB.
GC_THRESHOLD = 100_000


def main() -> int:
    """Run the command line and return its exit code.

    Sets the garbage collector for the whole process, which :func:`fetchq._cli.main` does not.
    """
    gc.set_threshold(GC_THRESHOLD)
    from ._cli import main

    code = main()
    # The operating system frees the memory: the interpreter's last collection would take 20 ms.
    gc.freeze()
    return code


if __name__ == "__main__":
    sys.exit(main())
