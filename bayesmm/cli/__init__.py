"""The command line: ``bayesmm fit | sample | compare | predict | datasets``."""

import io
import sys
import traceback


def main() -> None:
    """Run the command line; the entry point ``bayesmm``."""
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
