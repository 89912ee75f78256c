"""The command line: ``bayesmm fit | sample | compare | datasets``."""

import io
import sys


def main() -> None:
    """Run the command line; the entry point ``bayesmm``."""
    from bayesmm.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Letters that the terminal's encoding lacks are replaced; a result must not be lost to a Greek one.
            stream.reconfigure(errors="replace")
    app(prog_name="bayesmm")
