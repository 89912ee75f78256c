"""A few sizes to round up to, so that designs share compiled programs."""


def pad_size(size: int) -> int:
    """Round a count of levels, pairs or list entries up to one of a few sizes, so that designs share programs."""
    for small in (16, 64, 256, 1024):
        if size <= small:
            return small
    return _round_up(int(size))


def pad_dense(size: int) -> int:
    """Round the size of a dense block up; more finely, since its cost is cubic."""
    for small in (8, 16, 32, 64, 128, 256):
        if size <= small:
            return small
    return _round_up(int(size))


def _round_up(size: int) -> int:
    unit = 1 << max((size - 1).bit_length() - 4, 0)  # at most one eighth wasted
    return -(-size // unit) * unit
