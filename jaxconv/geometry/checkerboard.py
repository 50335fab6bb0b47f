"""Overlap of the outputs of transposed convolutions."""

from jaxconv.geometry.sizes import integer


def overlap(kernel_size: int, stride: int = 1, dilation: int = 1) -> tuple[int, ...]:
    """Number of input cells that reach each of `stride` consecutive output cells of a transposed convolution.

    If the numbers differ, the output has a checkerboard pattern; with dilation 1 they are equal if the kernel is a
    multiple of the stride.

    Source: Odena et al., Deconvolution and Checkerboard Artifacts, 2016.

    >>> overlap(3, 2), overlap(4, 2), overlap(2, 3)
    ((2, 1), (2, 2), (1, 1, 0))
    """
    kernel_size, stride, dilation = (
        integer(v, name) for v, name in ((kernel_size, "kernel_size"), (stride, "stride"), (dilation, "dilation"))
    )
    reached = [tap * dilation % stride for tap in range(kernel_size)]
    return tuple(map(reached.count, range(stride)))
