// Dense convolution and its input's gradient, for any window and number of groups.
//
//   y[n, i, g, o] = sum over m, c of x[n, i*stride + m*dilation - low, g, c] * k[m, c, g, o]
//   x[n, j, g, c] = sum over m, o of y[n, (j + low - m*dilation) / stride, g, o] * k[m, c, g, o]
//
// Both are: result[position, b] = sum over taps and a of operand[cell of the tap at the position, a] * K[tap, a, b].
// K is packed once into panels of COLUMNS vectors of b. A block of ROWS positions times one panel stays in registers
// over all taps and all a; the operand is read where it is, by one pointer for each position.
#pragma once
#include "gather.h"
namespace {

constexpr int64_t PANEL = COLUMNS * VL;

// One panel, [tap][a][PANEL], from column b0 on; what is beyond the last column is 0.
void pack(const Window& w, bool back, const float* k, int64_t group, int64_t b0, float* panel) {
  int64_t a = back ? w.o : w.c, b = least(PANEL, (back ? w.c : w.o) - b0), maps = w.groups * w.o;
  for (int64_t m = 0; m < cells(w.k); m++) {
    const float* tap = k + m * w.c * maps + group * w.o;
    for (int64_t i = 0; i < a; i++, panel += PANEL) {
      if (back)
        for (int64_t l = 0; l < b; l++) panel[l] = tap[(b0 + l) * maps + i];
      else
        memcpy(panel, tap + i * maps + b0, b * sizeof(float));
      if (b < PANEL) memset(panel + b, 0, (PANEL - b) * sizeof(float));
    }
  }
}

// A block of positions times the first V vectors of a panel.
template <int V> void multiply(const Block& block, const float* panel, int64_t a, int64_t shift, float* to,
                               int64_t channels, int64_t columns) {
  vec sum[ROWS][V] = {};
  for (int64_t t = 0; t < block.length; t++) {
    const float *b = panel + block.tap[t] * a * PANEL, *row[ROWS];
    UNROLL for (int r = 0; r < ROWS; r++) row[r] = block.cell[t * ROWS + r] + shift;
    for (int64_t i = 0; i < a; i++, b += PANEL) {
      vec bv[V];
      UNROLL for (int v = 0; v < V; v++) bv[v] = load(b + v * VL);
      UNROLL for (int r = 0; r < ROWS; r++) {
        float e = row[r][i];
        UNROLL for (int v = 0; v < V; v++) sum[r][v] += e * bv[v];
      }
    }
  }
  vec kept[ROWS][V];
  UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int v = 0; v < V; v++) kept[r][v] = sum[r][v];
  for (int64_t r = 0; r < block.rows; r++) {
    float* out = to + block.at[r] * channels;
    for (int v = 0; v < V; v++)
      if (columns > v * VL) store(out + v * VL, kept[r][v], columns - v * VL);
  }
}

void dense(const Host& host, const Window& w, bool back, const float* operand, const float* k, float* result) {
  int64_t a = back ? w.o : w.c, b = back ? w.c : w.o, panels = up(b, PANEL), each = cells(w.k) * a * PANEL;
  Scratch packed(host, w.groups * panels * each);
  parallel(host, w.groups * panels, [&](int64_t i) {
    pack(w, back, k, i / panels, i % panels * PANEL, packed.p + i * each);
  });
  Gather g(host, w, back, operand);
  Runs runs(g, host.threads);
  int64_t all = w.groups * panels, shares = 1;  // of the panels, where runs alone are too few
  while (runs.all * shares < 4 * host.threads && shares * 2 <= all) shares *= 2;
  parallel(host, runs.all * shares, [&](int64_t task) {
    Scratch memory(host, runs.floats());
    Block* blocks;
    int64_t count = runs.fill(task / shares, memory.p, blocks), share = task % shares;
    for (int64_t i = all * share / shares; i < all * (share + 1) / shares; i++) {
      int64_t group = i / panels, b0 = i % panels * PANEL;
      for (int64_t n = 0; n < count; n++)
        (b - b0 > VL ? multiply<COLUMNS> : multiply<1>)(blocks[n], packed.p + i * each, a, group * a,
                                                         result + group * b + b0, w.groups * b, b - b0);
    }
  });
}

void dense_y(const Host& host, const Window& w, const float* x, const float* k, float* y) {
  dense(host, w, false, x, k, y);
}
void dense_x(const Host& host, const Window& w, const float* k, const float* y, float* x) {
  dense(host, w, true, y, k, x);
}

}  // namespace
