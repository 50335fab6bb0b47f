// Winograd's convolution of 3×3 windows at stride 1, and its input's gradient.
//
//   y tile = Aᵀ [sum over c of (G k[c] Gᵀ) * (Bᵀ x[c] B)] A      for tiles of M×M results; see winograd_tile.h
//
// The sum over c is one matrix product for each of the F = (M + 2)² elements of a tile: [tile][c] times [c][o]. The
// input's gradient is the same of y with the kernel's taps reversed and its channels swapped.
//
// An inf or NaN reaches every result of the tiles in which it reaches one, and no other tile.
#pragma once
#include "dense.h"
#include "winograd_tile.h"
namespace {

constexpr int64_t SUMMED = 128;  // channels of one sum: the panel's part stays in cache, and rounding stays low

// c[ROWS][PANEL] (+)= a[ROWS][length] b[length][PANEL], of the first V vectors of a panel
template <int V> INLINE void product(const float* a, int64_t lda, const float* b, float* c, int64_t length, bool add) {
  vec sum[ROWS][V] = {};
  for (int64_t k = 0; k < length; k++, b += PANEL) {
    vec bv[V];
    UNROLL for (int v = 0; v < V; v++) bv[v] = load(b + v * VL);
    UNROLL for (int r = 0; r < ROWS; r++) {
      float e = a[r * lda + k];
      UNROLL for (int v = 0; v < V; v++) sum[r][v] += e * bv[v];
    }
  }
  UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int v = 0; v < V; v++) {
    float* to = c + r * PANEL + v * VL;
    store(to, add ? load(to) + sum[r][v] : sum[r][v]);
  }
}

// The kernel of one group as the product needs it: K[tap][a][b].
struct Taps {
  const float* k;
  int64_t c, o, maps, a, b;
  bool back;
  static constexpr int64_t CHUNK = 16;  // rows transformed at once

  // G K Gᵀ of rows a0, ..., a1 - 1 and a panel's columns from b0 on: u[f * apart + row][PANEL]; 0 beyond the last column.
  template <int M> void transform(int64_t b0, int64_t a0, int64_t a1, float* u, int64_t apart) const {
    constexpr int N = M + 2;
    float packed[9 * CHUNK * PANEL] __attribute__((aligned(64)));
    int64_t columns = least(PANEL, b - b0);
    bool direct = !back && columns == PANEL;
    if (columns < PANEL) memset(packed, 0, sizeof packed);
    for (int64_t first = a0; first < a1; first += CHUNK) {
      int64_t rows = least(CHUNK, a1 - first), tap = direct ? c * maps : CHUNK * PANEL, row = direct ? maps : PANEL;
      const float* from = direct ? k + first * maps + b0 : packed;
      for (int64_t m = 0; m < 9 && !direct; m++) {
        float* to = packed + m * CHUNK * PANEL;
        if (back)
          turn(k + ((8 - m) * c + b0) * maps + first, maps, columns, rows, to, PANEL);
        else
          for (int64_t r = 0; r < rows; r++)
            memcpy(to + r * PANEL, k + (m * c + first + r) * maps + b0, columns * sizeof(float));
      }
      for (int64_t r = 0; r < rows; r++)
        for (int v = 0; v < COLUMNS; v++) {
          vec g[9], t[N * N];
          UNROLL for (int m = 0; m < 9; m++) g[m] = load(from + m * tap + r * row + v * VL);
          twice<3, N>(g, t, [](const vec* s, vec* d) { Points<M>::taps(s, d); });
          float* to = u + (first - a0 + r) * PANEL + v * VL;
          UNROLL for (int f = 0; f < N * N; f++) store(to + f * apart, t[f]);
        }
    }
  }
};

// Aᵀ m A of a tile, m[f * apart], to `columns` columns of the result, which has `channels`.
template <int M> void transform_results(const Cover<M>& tiles, const float* m, int64_t apart, int64_t tile,
                                        float* result, int64_t channels, int64_t columns) {
  int64_t n, i, j;
  tiles.corner(tile, n, i, j);
  int64_t rows = least(M, tiles.to[0] - i), cols = least(M, tiles.to[1] - j);
  float* corner = result + ((n * tiles.to[0] + i) * tiles.to[1] + j) * channels;
  for (int v = 0; v < COLUMNS && v * VL < columns; v++) {
    constexpr int N = M + 2;
    vec s[N * N], t[M * M];
    UNROLL for (int f = 0; f < N * N; f++) s[f] = load(m + f * apart + v * VL);
    twice<N, M>(s, t, [](const vec* from, vec* to) { Points<M>::results(from, to); });
    for (int64_t p = 0; p < rows; p++)
      for (int64_t q = 0; q < cols; q++)
        store(corner + (p * tiles.to[1] + q) * channels + v * VL, t[p * M + q], columns - v * VL);
  }
}

template <int M> void winograd_group(const Host& host, const Window& w, bool back, const float* operand, const float* k,
                                     float* result) {
  Cover<M> tiles(w, back);
  constexpr int64_t F = Cover<M>::F;
  int64_t a = back ? w.o : w.c, b = back ? w.c : w.o, channels = w.groups * a, results = w.groups * b;
  int64_t panels = up(b, PANEL), lda = up(a, VL) * VL + VL;  // rows apart by no power of two
  Taps taps{k, w.c, w.o, w.groups * w.o, a, b, back};
  Scratch zeros(host, a);
  memset(zeros.p, 0, a * sizeof(float));
  auto transform = [&](int64_t tile, float* to, int64_t apart) {
    tiles.transform_operand(operand, channels, a, tile, zeros.p, [=](int64_t c, const vec* t) {
      UNROLL for (int f = 0; f < F; f++) store(to + f * apart + c, t[f]);
    });
  };
  auto multiply = [&](const float* v, const float* u, float* m, int64_t rows, int64_t length, int64_t b0, bool add) {
    for (int64_t t = 0; t < rows; t += ROWS)
      if (b - b0 > VL)
        product<COLUMNS>(v + t * lda, lda, u, m + t * PANEL, length, add);
      else
        product<1>(v + t * lda, lda, u, m + t * PANEL, length, add);
  };

  if (tiles.all <= 96 && panels >= host.threads) {
    // Few tiles: all are transformed first; the kernel is as it is needed, and is never in memory.
    int64_t rows = up(tiles.all, ROWS) * ROWS, vs = rows * lda + VL, ms = rows * PANEL + VL, us = SUMMED * PANEL + VL;
    Scratch transformed(host, F * vs);
    parallel(host, up(tiles.all, 4), [&](int64_t task) {
      for (int64_t t = 4 * task; t < least(tiles.all, 4 * task + 4); t++)
        transform(t, transformed.p + t * lda, vs);
    });
    parallel(host, panels, [&](int64_t panel) {
      Scratch memory(host, F * (us + ms));
      float *u = memory.p, *m = u + F * us;
      int64_t b0 = panel * PANEL;
      for (int64_t c = 0; c < a; c += SUMMED) {
        int64_t length = least(SUMMED, a - c);
        taps.transform<M>(b0, c, c + length, u, us);
        for (int64_t f = 0; f < F; f++)
          multiply(transformed.p + f * vs + c, u + f * us, m + f * ms, rows, length, b0, c > 0);
      }
      for (int64_t t = 0; t < tiles.all; t++)
        transform_results<M>(tiles, m + t * PANEL, ms, t, result + b0, results, b - b0);
    });
    return;
  }

  // Many tiles: the kernel is transformed once, [panel][f][a][PANEL], and tiles block by block.
  int64_t us = a * PANEL, size = most(16, least(32, (1 << 18) / (F * lda))) / ROWS * ROWS;
  Scratch kernel(host, panels * F * us);
  parallel(host, panels * up(a, 32), [&](int64_t task) {
    int64_t panel = task % panels, c = task / panels * 32;
    taps.transform<M>(panel * PANEL, c, least(a, c + 32), kernel.p + panel * F * us + c * PANEL, us);
  });
  int64_t blocks = up(tiles.all, size), shares = 1;  // of the panels, where blocks alone are too few
  while (blocks * shares < 4 * host.threads && shares * 2 <= panels) shares *= 2;
  parallel(host, blocks * shares, [&](int64_t task) {
    int64_t t0 = task / shares * size, many = least(size, tiles.all - t0), share = task % shares;
    int64_t vs = size * lda + VL, ms = size * PANEL + VL;
    Scratch memory(host, F * (vs + ms));
    float* m = memory.p + F * vs;
    for (int64_t t = 0; t < many; t++) transform(t0 + t, memory.p + t * lda, vs);
    for (int64_t panel = panels * share / shares; panel < panels * (share + 1) / shares; panel++) {
      int64_t b0 = panel * PANEL;
      for (int64_t f = 0; f < F; f++)
        for (int64_t c = 0; c < a; c += SUMMED)
          multiply(memory.p + f * vs + c, kernel.p + (panel * F + f) * us + c * PANEL, m + f * ms, many,
                   least(SUMMED, a - c), b0, c > 0);
      for (int64_t t = 0; t < many; t++)
        transform_results<M>(tiles, m + t * PANEL, ms, t0 + t, result + b0, results, b - b0);
    }
  });
}

template <int M> void winograd(const Host& host, const Window& w, bool back, const float* operand, const float* k,
                               float* result) {
  for (int64_t g = 0; g < w.groups; g++)
    winograd_group<M>(host, w, back, operand + g * (back ? w.o : w.c), k + g * w.o, result + g * (back ? w.c : w.o));
}

template <int M> void winograd_y(const Host& host, const Window& w, const float* x, const float* k, float* y) {
  winograd<M>(host, w, false, x, k, y);
}
template <int M> void winograd_x(const Host& host, const Window& w, const float* k, const float* y, float* x) {
  winograd<M>(host, w, true, y, k, x);
}

}  // namespace
