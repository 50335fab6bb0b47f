/* Sizes of windows: the same formulas as jaxconv.geometry, tested against it. */
"use strict";

const Arithmetic = {
  /** Cells of padding (low, high) for a word or a number. */
  pads(padding, n, k, s, d) {
    const reach = d * (k - 1);
    if (padding === "valid") return [0, 0];
    if (padding === "full") return [reach, reach];
    if (padding === "causal") return [reach, 0];
    if (padding === "same") {
      const all = Math.max(0, (Math.ceil(n / s) - 1) * s + reach + 1 - n);
      return [Math.floor(all / 2), all - Math.floor(all / 2)];
    }
    return [Number(padding), Number(padding)];
  },

  /** Output cells of a convolution or a pool; 0 or less where no window fits. */
  outSize(n, k, s, [lo, hi], d) {
    return Math.floor((n + lo + hi - d * (k - 1) - 1) / s) + 1;
  },

  /** Output cells of the transposed convolution of an input of n cells. */
  transposedSize(n, k, s, [lo, hi], d) {
    return (n - 1) * s + d * (k - 1) + 1 - lo - hi;
  },

  /** Input cells that output cell i sees, with negative ones and those from n on in the padding. */
  taps(i, k, s, [lo], d) {
    return Array.from({ length: k }, (_, m) => i * s + m * d - lo);
  },

  /** First and last input pixel that unit i of a layer sees, clipped to the n pixels of the image. */
  seen(i, field, n) {
    const middle = field.center + i * field.stride;
    const first = Math.round(middle - (field.size - 1) / 2);
    return [Math.max(0, first), Math.min(n - 1, first + field.size - 1)];
  },
};

if (typeof module !== "undefined") module.exports = Arithmetic;
