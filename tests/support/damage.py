"""Files cut off and altered at many places: a right result or an error in words, never much memory."""

import tracemalloc

from jaxconv._base.errors import ConfigError, DataError


def damaged(content, rng, places):
    """`content` cut off at, and with one bit flipped in, as many places.

    Half of them are in the first 128 and the last 64 bytes, where formats have their heads and tables.
    """
    size = len(content)
    ends = [*range(min(size, 128)), *range(max(0, size - 64), size)]

    def drawn():
        return sorted({*rng.choice(ends, places // 2).tolist(), *rng.integers(0, size, places - places // 2).tolist()})

    for place in drawn():
        yield content[:place], f"cut at {place}"
    for place in drawn():
        bit = int(rng.integers(8))
        yield content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :], f"bit {bit} of {place}"


def survives(read, path, content, is_right, rng, places, most=4 << 20):
    """Reads every damaged form of a file; returns how many were refused and how many read.

    Args:
      read: `path -> result`.
      path: where to write.
      content: the bytes of a whole file.
      is_right: `result -> bool`, of what was read in spite of the damage.
      rng: where damage is drawn from.
      places: how many of each kind.
      most: bytes that one reading may allocate.
    """
    refused = whole = 0
    tracemalloc.start()
    try:
        for broken, what in damaged(content, rng, places):
            path.write_bytes(broken)
            for _ in range(3):  # threads that other tests left behind allocate, too
                tracemalloc.reset_peak()
                before = tracemalloc.get_traced_memory()[0]
                try:
                    result, error = read(path), None
                except (ConfigError, DataError) as raised:
                    result, error = None, str(raised)
                used = tracemalloc.get_traced_memory()[1] - before
                if used < most:
                    break
            assert used < most, what
            if error is None:
                assert is_right(result), what
                whole += 1
            else:
                assert str(path.name) in error, what
                refused += 1
    finally:
        tracemalloc.stop()
    return refused, whole
