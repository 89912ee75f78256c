"""The command line: ``bayesmm fit | sample | compare | predict | datasets``."""

import gc
import io
import sys
import traceback

OBJECTS = 1_000_000  # made since the last collection of garbage, from which on there is another


def main() -> None:
    """Run the command line; the entry point ``bayesmm``."""
    gc.set_threshold(OBJECTS)  # imports make 200,000 that all stay: a twentieth of a process looks through them
    from bayesmm.cli.app import app
    from bayesmm.cli.encoding import ERRORS
    from bayesmm.cli.messages import FAILED

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # What the encoding lacks is written otherwise: a result must not be lost to a Greek letter.
            stream.reconfigure(errors=ERRORS)
    try:
        app(prog_name="bayesmm")
    except Exception:  # Python's own exit code would be 1, which says that something was done
        traceback.print_exc()
        sys.exit(FAILED)
