"""Peak memory of a process."""

from __future__ import annotations

from pathlib import Path


def peak_gib(process: int | str = "self") -> float | None:
    """Read the peak resident memory of a process so far, in GiB; None where the system does not tell.

    Notes
    -----
    The kernel's VmHWM, not ``resource.getrusage``: the latter counts what the process was before it became this
    program, so that a small child of a large parent starts with the parent's peak.
    """
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    kib = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")), None)
    return None if kib is None else int(kib) / 2**20
