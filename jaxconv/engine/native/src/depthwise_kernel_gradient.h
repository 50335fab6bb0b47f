// The kernel's gradient of a depthwise convolution.
//
//   k[m, c] = sum over n, i of x[n, i*stride + m*dilation - low, c] * y[n, i, c]
//
// Up to TAPS neighbouring taps of one vector of channels stay in registers along a row of y: where all of them meet
// the input, y is read once for all. Each row's sum is then added to the total.
#pragma once
#include "shared.h"
namespace {

constexpr int TAPS = 8;

// A row of y with a row of x: total[t] += for taps m, ..., m + J - 1 of the last axis.
template <int J> void row(const Window& w, const float* x, const float* y, int64_t m, int64_t lanes, float* total) {
  int64_t s = w.stride[2], d = w.dilation[2], channels = w.groups, first[J], end[J], from = 0, to = w.y[2];
  UNROLL for (int t = 0; t < J; t++) {
    int64_t shift = (m + t) * d - w.low[2];
    first[t] = least(w.y[2], most(0, -floor_of(shift, s)));
    end[t] = most(first[t], least(w.y[2], floor_of(w.x[2] - 1 - shift, s) + 1));
    from = most(from, first[t]), to = least(to, end[t]);
  }
  to = most(from, to);
  vec sum[J] = {};
  for (int64_t i = from; i < to; i++) {
    vec g = load(y + i * channels, lanes);
    UNROLL for (int t = 0; t < J; t++)
      sum[t] += g * load(x + (i * s + (m + t) * d - w.low[2]) * channels, lanes);
  }
  UNROLL for (int t = 0; t < J; t++) {
    for (int64_t i = first[t]; i < end[t]; i = i + 1 == from ? most(to, i + 1) : i + 1) {
      if (i >= from && i < to) continue;
      sum[t] += load(y + i * channels, lanes) * load(x + (i * s + (m + t) * d - w.low[2]) * channels, lanes);
    }
    store(total + t * VL, load(total + t * VL) + sum[t]);
  }
}

void depthwise_k(const Host& host, const Window& w, const float* x, const float* y, float* k) {
  int64_t channels = w.groups, vectors = up(channels, VL), taps = cells(w.k), each = vectors * taps * VL;
  int64_t lines = w.n * w.y[0] * w.y[1], shares = least(lines, 4 * host.threads);
  Scratch sums(host, shares * each);
  parallel(host, shares, [&](int64_t share) {
    float* total = sums.p + share * each;
    memset(total, 0, each * sizeof(float));
    for (int64_t line = lines * share / shares; line < lines * (share + 1) / shares; line++) {
      int64_t image = line / (w.y[0] * w.y[1]), i0 = line / w.y[1] % w.y[0], i1 = line % w.y[1];
      for (int64_t v = 0; v < vectors; v++) {
        // the last vector reaches back over channels that the one before it has, too
        int64_t c = channels < VL ? 0 : least(v * VL, channels - VL), lanes = least(VL, channels);
        for (int64_t m = 0; m < taps; m += w.k[2]) {
          int64_t a = i0 * w.stride[0] + m / w.k[2] / w.k[1] * w.dilation[0] - w.low[0];
          int64_t b = i1 * w.stride[1] + m / w.k[2] % w.k[1] * w.dilation[1] - w.low[1];
          if (a < 0 || a >= w.x[0] || b < 0 || b >= w.x[1]) continue;
          const float* xr = x + ((image * w.x[0] + a) * w.x[1] + b) * w.x[2] * channels + c;
          const float* yr = y + line * w.y[2] * channels + c;
          float* to = total + (v * taps + m) * VL;
          int64_t t = 0;
          for (; t + TAPS <= w.k[2]; t += TAPS) row<TAPS>(w, xr, yr, t, lanes, to + t * VL);
          for (; t + 3 <= w.k[2]; t += 3) row<3>(w, xr, yr, t, lanes, to + t * VL);
          for (; t < w.k[2]; t++) row<1>(w, xr, yr, t, lanes, to + t * VL);
        }
      }
    }
  });
  for (int64_t v = 0; v < vectors; v++) {
    int64_t c = channels < VL ? 0 : least(v * VL, channels - VL);
    for (int64_t m = 0; m < taps; m++) {
      vec sum = {};
      for (int64_t share = 0; share < shares; share++) sum += load(sums.p + share * each + (v * taps + m) * VL);
      store(k + m * channels + c, sum, least(VL, channels));
    }
  }
}

}  // namespace
