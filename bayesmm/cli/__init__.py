"""The command line: ``bayesmm fit | sample | compare | datasets``."""

import io
import sys


def main() -> None:
    """Run the command line; the entry point ``bayesmm``."""
    from bayesmm.cli.app import app
    from bayesmm.cli.encoding import ERRORS

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # What the encoding lacks is written otherwise: a result must not be lost to a Greek letter.
            stream.reconfigure(errors=ERRORS)
    app(prog_name="bayesmm")
