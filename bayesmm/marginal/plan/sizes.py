"""A few sizes to round up to, so that designs share compiled programs."""


def pad_size(size: int) -> int:
    """Round a count of levels, pairs or list entries up, by no more than seven or an eighth."""
    return _round_up(size, max(8, 1 << max((int(size) - 1).bit_length() - 4, 0)))


def pad_dense(size: int) -> int:
    """Round the size of a dense block up."""
    for small in (4, 8, 16, 24, 32, 48, 64, 96, 128):
        if size <= small:
            return small
    return _round_up(size, 32)


def pad_columns(p: int) -> int:
    """Round the columns of [X y] up, by no more than a third."""
    return _round_up(p + 1, 1 << max(int(p).bit_length() - 2, 0))


def _round_up(size: int, unit: int) -> int:
    return max(-(-int(size) // unit), 1) * unit
