// Windows of one tap at stride 1, as 1×1 convolutions and dense layers have: three products of matrices.
//
//   y[position, o] = sum over c of x[position, c] * k[c, o]
//   x[position, c] = sum over o of y[position, o] * k[c, o]
//   k[c, o] = sum over positions of x[position, c] * y[position, o]
//
// All are c[m, n] = sum over k of a[m, k] * b[k, n]. A task has a part of m and of n, and some k at a time: a panel of b,
// two vectors wide, is packed and then stays in the first cache, a's part in the second, and a tile of c in registers. a
// is packed too where its k are neighbours, and read in place where its m are. Long sums, those of k's gradient, are also
// shared out; each share has a c of its own.
#pragma once
#include "dense_kernel_gradient.h"
namespace {

constexpr int64_t AT_ONCE = 192;  // k of a step, at most

// Element (i, j) is p[i * row + j * column]; one of the two is 1.
struct Matrix {
  const float* p;
  int64_t row, column;
  Matrix part(int64_t i, int64_t j) const { return {p + i * row + j * column, row, column}; }
};

// c[r][lane] (+)= sum over k of a[r, k] * b[k][lane]. a is [k][r], k `block` floats apart; deep: [block of k][r][DEPTH].
template <int R, int V, bool DEEP>
void tile(const float* a, int64_t block, const float* b, int64_t depth, bool add, float* c, int64_t row) {
  vec sum[R][V] = {};
  UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < V; v++) __builtin_prefetch(c + r * row + v * VL, 1);
  auto step = [&](const float* p, int64_t apart, const float* q) {
    vec e[V];
    UNROLL for (int v = 0; v < V; v++) e[v] = load(q + v * VL);
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < V; v++) sum[r][v] += p[r * apart] * e[v];
  };
  int64_t k = 0;
  if (DEEP) {
    for (; k + DEPTH <= depth; k += DEPTH, a += block)
#pragma GCC unroll 4
      for (int64_t i = 0; i < DEPTH; i++, b += V * VL) step(a + i, DEPTH, b);
    for (int64_t i = 0; k + i < depth; i++, b += V * VL) step(a + i, DEPTH, b);
  } else {
#pragma GCC unroll 4
    for (; k < depth; k++, a += block, b += V * VL) step(a, 1, b);
  }
  if (add) UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < V; v++) sum[r][v] += load(c + r * row + v * VL);
  UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < V; v++) store(c + r * row + v * VL, sum[r][v]);
}

using TileOf = void (*)(const float*, int64_t, const float*, int64_t, bool, float*, int64_t);

template <int V, bool DEEP, int R = MOST[V]> TileOf tile_of(int64_t rows) {
  if constexpr (R == 0)
    return nullptr;
  else
    return rows == R ? tile<R, V, DEEP> : tile_of<V, DEEP, R - 1>(rows);
}

// What a call computes, and how it is cut into tasks: parts of m, of n and of k.
struct Job {
  Matrix a, b;
  int64_t m, n, k, rows, parts_m, parts_n, shares = 1;

  Job(const Host& host, Matrix a, Matrix b, int64_t m, int64_t n, int64_t k, bool long_sums)
      : a(a), b(b), m(m), n(n), k(k), rows(MOST[n > VL ? 2 : 1]) {
    int64_t most_m = up(m, rows), most_n = up(n, PANEL), most_k = long_sums ? up(k, AT_ONCE) : 1;
    parts_m = up(m, 26 * rows), parts_n = up(n, 20 * PANEL);
    while (tasks() < 4 * host.threads) {
      // What twice as many parts cost: b is packed once more for each part of m, a for each of n, c added up.
      constexpr double never = 1e30;
      double by_m = parts_m * 2 > most_m ? never : double(k) * n * parts_m * (b.row == 1 ? 4 : 1);
      double by_n = parts_n * 2 > most_n ? never : double(k) * m * parts_n;
      double by_k = shares * 2 > most_k ? never : 2. * m * n * shares;
      if (by_m == never && by_n == never && by_k == never) break;
      (by_k <= by_m && by_k <= by_n ? shares : by_m <= by_n ? parts_m : parts_n) *= 2;
    }
  }
  int64_t tasks() const { return parts_m * parts_n * shares; }
};

// Columns n0 to n1 of b from k0 on: [panel][k][columns].
void pack_b(const Job& job, int64_t n0, int64_t n1, int64_t k0, int64_t depth, float* to) {
  int64_t whole = (n1 - n0) / PANEL, columns = n1 - n0 - whole * PANEL, wide = up(columns, VL) * VL;
  float* last = to + whole * PANEL * depth;
  if (columns < wide) memset(last, 0, depth * wide * sizeof(float));
  if (job.b.column != 1) {
    for (int64_t p = 0; p < whole; p++)
      turn(job.b.part(k0, n0 + p * PANEL).p, job.b.column, PANEL, depth, to + p * PANEL * depth, PANEL);
    return turn(job.b.part(k0, n0 + whole * PANEL).p, job.b.column, columns, depth, last, wide);
  }
  for (int64_t k = 0; k < depth; k++) {
    const float* from = job.b.part(k0 + k, n0).p;
    float* out = to + k * PANEL;
    for (int64_t p = 0; p < whole; p++, from += PANEL, out += depth * PANEL)
      for (int64_t v = 0; v < PANEL; v += VL) store(out + v, load(from + v));
    if (columns == VL)
      store(last + k * wide, load(from));
    else if (columns)
      memcpy(last + k * wide, from, columns * sizeof(float));
  }
}

// The tiles of a part of m.
struct Rows {
  int64_t m0, m1, count;
  Rows(int64_t m0, int64_t m1, int64_t most) : m0(m0), m1(m1), count(up(m1 - m0, most)) {}
  int64_t at(int64_t t) const { return m0 + (m1 - m0) * t / count; }
};

// Tiles of a, whose k are neighbours, from k0 on: [block of DEPTH k][row][DEPTH], `apart` floats from one to the next.
void pack_a(const Job& job, const Rows& rows, int64_t k0, int64_t depth, float* to, int64_t apart) {
  for (int64_t t = 0; t < rows.count; t++)
    for (int64_t first = rows.at(t), high = rows.at(t + 1) - first, r = 0; r < high; r++) {
      const float* from = job.a.part(first + r, k0).p;
      float* out = to + t * apart + r * DEPTH;
      int64_t k = 0;
      for (; k + DEPTH <= depth; k += DEPTH, out += high * DEPTH) memcpy(out, from + k, DEPTH * sizeof(float));
      if (k < depth) memcpy(out, from + k, (depth - k) * sizeof(float));
    }
}

// One task. c's rows and columns are `row` and `column` floats apart.
void part(const Host& host, const Job& job, int64_t number, float* c, int64_t row, int64_t column) {
  int64_t share = number % job.shares, i = number / job.shares % job.parts_n, j = number / job.shares / job.parts_n;
  int64_t all = up(job.n, PANEL), n0 = all * i / job.parts_n * PANEL, n1 = least(job.n, all * (i + 1) / job.parts_n * PANEL);
  int64_t k0 = job.k * share / job.shares, k1 = job.k * (share + 1) / job.shares, steps = up(k1 - k0, AT_ONCE);
  Rows rows(job.m * j / job.parts_m, job.m * (j + 1) / job.parts_m, job.rows);
  int64_t depth = up(k1 - k0, steps), apart = job.rows * up(depth, DEPTH) * DEPTH + VL, panels = up(n1 - n0, PANEL);
  // Where vectors of c cannot be stored, they are kept here: those of the last panel, or all.
  int64_t kept = column != 1 ? 0 : (n1 - n0) / VL * VL == n1 - n0 ? panels : panels - 1, own = (panels - kept) * PANEL;
  bool deep = job.a.column == 1;
  if (!deep) apart = 0;
  Scratch memory(host, rows.count * apart + panels * PANEL * depth + (rows.m1 - rows.m0) * own);
  float *a = memory.p, *b = a + rows.count * apart, *rest = b + panels * PANEL * depth;
  for (int64_t step = 0; step < steps; step++) {
    int64_t k = k0 + (k1 - k0) * step / steps, here = k0 + (k1 - k0) * (step + 1) / steps - k;
    if (deep) pack_a(job, rows, k, here, a, apart);
    pack_b(job, n0, n1, k, here, b);
    for (int64_t p = 0; p < panels; p++) {
      bool two = n1 - n0 - p * PANEL > VL, away = p >= kept;
      float* to = away ? rest + (p - kept) * PANEL : c + rows.m0 * row + n0 + p * PANEL;
      int64_t to_row = away ? own : row;
      for (int64_t t = 0; t < rows.count; t++) {
        int64_t first = rows.at(t), high = rows.at(t + 1) - first;
        TileOf f = deep ? (two ? tile_of<2, true> : tile_of<1, true>)(high) : (two ? tile_of<2, false> : tile_of<1, false>)(high);
        f(deep ? a + t * apart : job.a.part(first, k).p, deep ? high * DEPTH : job.a.column, b + p * PANEL * here, here, step > 0, to + (first - rows.m0) * to_row, to_row);
      }
    }
  }
  if (!own) return;
  n0 += kept * PANEL, c += rows.m0 * row + n0 * column;
  if (column != 1) return turn(rest, own, rows.m1 - rows.m0, n1 - n0, c, column);
  for (int64_t m = 0; m < rows.m1 - rows.m0; m++) memcpy(c + m * row, rest + m * own, (n1 - n0) * sizeof(float));
}

void product(const Host& host, Matrix a, Matrix b, int64_t m, int64_t n, int64_t k, bool long_sums, float* c,
             int64_t row, int64_t column) {
  Job job(host, a, b, m, n, k, long_sums);
  Scratch sums(host, job.shares > 1 ? job.shares * m * n : 1);
  parallel(host, job.tasks(), [&](int64_t number) {
    part(host, job, number, job.shares > 1 ? sums.p + number % job.shares * m * n : c, row, column);
  });
  if (job.shares > 1)
    parallel(host, up(m * n, 4096), [&](int64_t task) {
      for (int64_t i = task * 4096; i < least(m * n, task * 4096 + 4096); i++) {
        float sum = sums.p[i];
        for (int64_t s = 1; s < job.shares; s++) sum += sums.p[s * m * n + i];
        c[i] = sum;
      }
    });
}

// ---------------------------------------------------------------- windows

bool pointwise(const Window& w) {
  for (int i = 0; i < 3; i++)
    if (w.k[i] != 1 || w.low[i] != 0 || w.x[i] != w.y[i] || (w.stride[i] != 1 && w.x[i] != 1)) return false;
  return w.groups == 1;
}

void direct_y(const Host& host, const Window& w, const float* x, const float* k, float* y) {
  if (!pointwise(w) || w.o <= FEW) return dense_y(host, w, x, k, y);
  product(host, {x, w.c, 1}, {k, w.o, 1}, w.n * cells(w.x), w.o, w.c, false, y, w.o, 1);
}
void direct_x(const Host& host, const Window& w, const float* k, const float* y, float* x) {
  if (!pointwise(w) || w.c <= FEW) return dense_x(host, w, k, y, x);
  product(host, {y, w.o, 1}, {k, 1, w.o}, w.n * cells(w.x), w.c, w.o, false, x, w.c, 1);
}
void direct_k(const Host& host, const Window& w, const float* x, const float* y, float* k) {
  if (!pointwise(w)) return dense_k(host, w, x, y, k);
  int64_t positions = w.n * cells(w.x);
  if (w.o * up(w.c, VL) < w.c * up(w.o, VL))  // rows are y's channels
    product(host, {y, 1, w.o}, {x, w.c, 1}, w.o, w.c, positions, true, k, 1, w.o);
  else
    product(host, {x, 1, w.c}, {y, w.o, 1}, w.c, w.o, positions, true, k, w.o, 1);
}

}  // namespace
