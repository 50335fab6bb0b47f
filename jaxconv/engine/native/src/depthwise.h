// Depthwise convolution, each channel with a kernel of its own, and its input's gradient.
//
//   y[n, i, c] = sum over m of x[n, i*stride + m*dilation - low, c] * k[m, c]
//   x[n, j, c] = sum over m of y[n, (j + low - m*dilation) / stride, c] * k[m, c]
//
// ROWS positions by COLUMNS vectors of channels stay in registers over all taps.
#pragma once
#include "gather.h"
namespace {

// `lanes`: of the last vector; all of them unless there are fewer channels than a vector has lanes.
template <int V> INLINE void channels_of(const Block& block, const float* k, int64_t channels, int64_t c, int64_t lanes,
                                         float* to) {
  vec sum[ROWS][V] = {};
  for (int64_t t = 0; t < block.length; t++) {
    vec kv[V];
    UNROLL for (int v = 0; v < V; v++) kv[v] = load(k + block.tap[t] * channels + c + v * VL, lanes);
    UNROLL for (int r = 0; r < ROWS; r++) {
      const float* cell = block.cell[t * ROWS + r] + c;
      UNROLL for (int v = 0; v < V; v++) sum[r][v] += load(cell + v * VL, lanes) * kv[v];
    }
  }
  vec kept[ROWS][V];
  UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int v = 0; v < V; v++) kept[r][v] = sum[r][v];
  for (int64_t r = 0; r < block.rows; r++)
    for (int v = 0; v < V; v++) store(to + block.at[r] * channels + c + v * VL, kept[r][v], lanes);
}

void depthwise(const Host& host, const Window& w, bool back, const float* operand, const float* k, float* result) {
  int64_t channels = w.groups;
  Gather g(host, w, back, operand);
  Runs runs(g, host.threads);
  parallel(host, runs.all, [&](int64_t run) {
    Scratch memory(host, runs.floats());
    Block* blocks;
    int64_t count = runs.fill(run, memory.p, blocks);
    for (int64_t n = 0; n < count; n++) {
      int64_t c = 0;
      for (; c + COLUMNS * VL <= channels; c += COLUMNS * VL)
        channels_of<COLUMNS>(blocks[n], k, channels, c, VL, result);
      for (; c + VL <= channels; c += VL) channels_of<1>(blocks[n], k, channels, c, VL, result);
      if (c < channels && channels >= VL)  // the last vector again from its end: some lanes twice, with equal results
        channels_of<1>(blocks[n], k, channels, channels - VL, VL, result);
      else if (c < channels)
        channels_of<1>(blocks[n], k, channels, c, channels - c, result);
    }
  });
}

void depthwise_y(const Host& host, const Window& w, const float* x, const float* k, float* y) {
  depthwise(host, w, false, x, k, y);
}
void depthwise_x(const Host& host, const Window& w, const float* k, const float* y, float* x) {
  depthwise(host, w, true, y, k, x);
}

}  // namespace
