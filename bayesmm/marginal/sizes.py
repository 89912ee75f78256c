"""A few sizes to round up to, so that designs share compiled programs."""


def pad_size(size: int) -> int:
    """Round a count of levels, pairs or list entries up to one of a few sizes, so that designs share programs."""
    for small in (16, 64, 256, 1024):
        if size <= small:
            return small
    unit = 1 << max((int(size) - 1).bit_length() - 4, 0)  # at most one eighth wasted
    return -(-int(size) // unit) * unit


def pad_dense(size: int) -> int:
    """Round the size of a dense block up; more finely, since its cost is cubic."""
    for small in (4, 8, 16, 24, 32, 48, 64, 96, 128):
        if size <= small:
            return small
    return -(-int(size) // 32) * 32


def pad_columns(p: int) -> int:
    """Round the columns of [X y] up to one of a few numbers."""
    for small in (4, 8, 16, 32):
        if p < small:
            return small
    return -(-(p + 1) // 16) * 16
