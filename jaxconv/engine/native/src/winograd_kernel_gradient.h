// The kernel's gradient of a 3×3 convolution at stride 1 by Winograd's transforms.
//
//   k[c, o] = Gᵀ [sum over tiles of (Bᵀ x[c] B) * (A y[o] Aᵀ)] G      for tiles of M×M cells of y; see winograd_tile.h
//
// The sum over tiles is one matrix product for each of the F = (M + 2)² elements of a tile: [c][tile] times [tile][o].
// A task has SIDE×SIDE channels and maps and a share of the tiles: the sums of all elements, and what is transformed of
// LENGTH tiles, stay in its core's cache. So x is transformed again for every SIDE maps, and y for every SIDE channels,
// which is less work than to read them, 36 / 16 of their size, from memory.
#pragma once
#include "winograd.h"
namespace {

// Rounding grows with the root of the number of terms of a sum, and what the tiles' sums lose the last transform enlarges.
// So PART tiles are summed in registers, TILES in memory, and all others after the transform.
constexpr int64_t PART = 8, LENGTH = 32, TILES = 64, SIDE = 64;
constexpr int STRIP = VL == 16 ? 8 : 4;  // channels of a block of accumulators, a part of a vector

// c[STRIP][PANEL] (+)= sum over `length` tiles of a[tile][STRIP] b[tile][PANEL]
INLINE void outer_products(const float* a, const float* b, float* c, int64_t length, bool add) {
  UNROLL for (int r = 0; r < STRIP; r++) __builtin_prefetch(c + r * PANEL), __builtin_prefetch(c + r * PANEL + PANEL / 2);
  vec sum[STRIP][COLUMNS] = {};
  for (int64_t p = 0; p < length; p++, a += STRIP, b += PANEL) {
    vec bv[COLUMNS];
    UNROLL for (int v = 0; v < COLUMNS; v++) bv[v] = load(b + v * VL);
    UNROLL for (int r = 0; r < STRIP; r++) UNROLL for (int v = 0; v < COLUMNS; v++) sum[r][v] += a[r] * bv[v];
  }
  UNROLL for (int r = 0; r < STRIP; r++) UNROLL for (int v = 0; v < COLUMNS; v++) {
    float* to = c + r * PANEL + v * VL;
    store(to, add ? load(to) + sum[r][v] : sum[r][v]);
  }
}

// Gᵀ m G, m[f * apart], to `columns` columns of the gradient of one input channel, or added to them.
template <int M> void transform_taps(const float* m, int64_t apart, float* k, int64_t tap, int64_t columns, bool add) {
  constexpr int N = M + 2;
  for (int64_t v = 0; v < columns; v += VL) {
    vec s[N * N], t[9];
    UNROLL for (int f = 0; f < N * N; f++) s[f] = load(m + f * apart + v);
    twice<N, 3>(s, t, [](const vec* from, vec* to) { Points<M>::taps_back(from, to); });
    for (int i = 0; i < 9; i++) {
      float* to = k + i * tap + v;
      store(to, add ? load(to, columns - v) + t[i] : t[i], columns - v);
    }
  }
}

// The gradient k[tap][o], of c channels x and o maps y, by tiles from first to end - 1.
template <int M> void winograd_k_block(const Host& host, const Window& w, const float* x, const float* y, float* k,
                                       int64_t c, int64_t o, int64_t first, int64_t end, const float* zeros) {
  Cover<M> tiles(w, false);
  constexpr int64_t F = Cover<M>::F;
  int64_t strips = up(c, STRIP), panels = up(o, PANEL), maps = w.groups * w.o;
  // [f][strip][tile][STRIP], [f][panel][tile][PANEL] and [f][panel][strip][STRIP][PANEL], apart by no power of two
  int64_t xs = up(c, VL) * VL * LENGTH + VL, ys = panels * PANEL * LENGTH + VL, ds = panels * strips * STRIP * PANEL + VL;
  Scratch memory(host, F * (xs + ys + ds));
  float *xt = memory.p, *yt = xt + F * xs, *total = yt + F * ys;
  for (int64_t t0 = first; t0 < end; t0 += LENGTH) {
    int64_t many = least(LENGTH, end - t0), since = (t0 - first) % TILES;
    for (int64_t t = 0; t < many; t++) {
      tiles.transform_operand(x, w.groups * w.c, c, t0 + t, zeros, [=](int64_t at, const vec* s) {
        UNROLL for (int f = 0; f < F; f++) UNROLL for (int part = 0; part < VL / STRIP; part++)
          memcpy(xt + f * xs + (at + part * STRIP) * LENGTH + t * STRIP, (const float*)(s + f) + part * STRIP,
                 STRIP * sizeof(float));
      });
      tiles.transform_result(y, maps, o, t0 + t, zeros, [=](int64_t at, const vec* s) {
        float* to = yt + at / PANEL * PANEL * LENGTH + t * PANEL + at % PANEL;
        UNROLL for (int f = 0; f < F; f++) store(to + f * ys, s[f]);
      });
    }
    for (int64_t f = 0; f < F; f++)
      for (int64_t panel = 0; panel < panels; panel++)
        for (int64_t strip = 0; strip < strips; strip++)
          for (int64_t t = 0; t < many; t += PART)
            outer_products(xt + f * xs + (strip * LENGTH + t) * STRIP, yt + f * ys + (panel * LENGTH + t) * PANEL,
                           total + f * ds + (panel * strips + strip) * STRIP * PANEL, least(PART, many - t),
                           since + t > 0);
    if (since + many < TILES && t0 + many < end) continue;
    for (int64_t panel = 0; panel < panels; panel++)
      for (int64_t r = 0; r < c; r++)
        transform_taps<M>(total + (panel * strips * STRIP + r) * PANEL, ds, k + r * maps + panel * PANEL, w.c * maps,
                          least(PANEL, o - panel * PANEL), t0 - since > first);
  }
}

template <int M> void winograd_k(const Host& host, const Window& w, const float* x, const float* y, float* k) {
  Cover<M> tiles(w, false);
  int64_t maps = w.groups * w.o, size = 9 * w.c * maps, down = up(w.c, SIDE), across = up(w.o, SIDE);
  int64_t blocks = w.groups * down * across, shares = 1;  // of the tiles, each with a sum of its own
  while (blocks * shares < 4 * host.threads && shares * 2 * LENGTH <= tiles.all) shares *= 2;
  Scratch sums(host, shares > 1 ? shares * size : 1), zeros(host, SIDE);
  memset(zeros.p, 0, SIDE * sizeof(float));
  parallel(host, blocks * shares, [&](int64_t task) {
    int64_t share = task % shares, block = task / shares, group = block / down / across;
    int64_t c0 = block / across % down * SIDE, o0 = block % across * SIDE;
    float* to = shares > 1 ? sums.p + share * size : k;
    winograd_k_block<M>(host, w, x + group * w.c + c0, y + group * w.o + o0, to + c0 * maps + group * w.o + o0,
                        least(SIDE, w.c - c0), least(SIDE, w.o - o0), tiles.all * share / shares,
                        tiles.all * (share + 1) / shares, zeros.p);
  });
  if (shares > 1)
    parallel(host, up(size, 4096), [&](int64_t task) {
      for (int64_t i = task * 4096; i < least(size, task * 4096 + 4096); i++) {
        float sum = sums.p[i];
        for (int64_t s = 1; s < shares; s++) sum += sums.p[s * size + i];
        k[i] = sum;
      }
    });
}

}  // namespace
