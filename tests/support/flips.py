"""Single flipped bits in files, drawn by a seed."""

import random


def flips(path, count, seed=0):
    """Yield `count` times with one bit of the file flipped, and put the file back after each."""
    content, draw = path.read_bytes(), random.Random(f"{path.name}{seed}")
    for _ in range(count):
        bit = draw.randrange(8 * len(content))
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        yield bit
    path.write_bytes(content)
