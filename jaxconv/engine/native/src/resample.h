// Interpolation along one axis or two.
//
//   y[n, i, j, c] = sum over s, t of u[i, s] * v[j, t] * x[n, a[i, s], b[j, t], c]
//
// with the cells a and weights u of each row of y, b and v of each of its columns. A line of y first sums rows of x into
// scratch, or takes the one row as it is, then the columns of that; where columns share no cell it sums both at once. An
// axis that stays as it is has one cell.
#pragma once
#include "shared.h"

namespace {

// to[c] = sum over t of weight[t] * from[cell[t] * step + c], of `all` numbers
INLINE void weighted(const Taps& taps, int64_t out, int64_t step, const float* from, int64_t all, float* to) {
  const int64_t* cell = taps.cell + out * taps.count;
  const float* weight = taps.weight + out * taps.count;
  channels(all, [&](int64_t c, auto count, int64_t lanes) {
    constexpr int N = count.value;
    vec sum[N];
    UNROLL for (int v = 0; v < N; v++) sum[v] = weight[0] * load(from + cell[0] * step + c + v * VL, N > 1 ? VL : lanes);
    for (int64_t t = 1; t < taps.count; t++)
      UNROLL for (int v = 0; v < N; v++) sum[v] += weight[t] * load(from + cell[t] * step + c + v * VL, N > 1 ? VL : lanes);
    UNROLL for (int v = 0; v < N; v++) store(to + c + v * VL, sum[v], N > 1 ? VL : lanes);
  });
}

// to[c] = sum over s, t of u[i, s] * v[j, t] * from[(a[i, s] * row + b[j, t]) * all + c], of `all` numbers
INLINE void weighted(const Taps& rows, int64_t i, const Taps& columns, int64_t j, const float* from, int64_t all, float* to) {
  channels(all, [&](int64_t c, auto count, int64_t lanes) {
    constexpr int N = count.value;
    vec sum[N] = {};
    for (int64_t s = i * rows.count; s < (i + 1) * rows.count; s++)
      for (int64_t t = j * columns.count; t < (j + 1) * columns.count; t++) {
        const float* cell = from + (rows.cell[s] * columns.cells + columns.cell[t]) * all + c;
        UNROLL for (int v = 0; v < N; v++)
          sum[v] += rows.weight[s] * columns.weight[t] * load(cell + v * VL, N > 1 ? VL : lanes);
      }
    UNROLL for (int v = 0; v < N; v++) store(to + c + v * VL, sum[v], N > 1 ? VL : lanes);
  });
}

INLINE bool copies(const Taps& taps, int64_t out) { return taps.count == 1 && taps.weight[out] == 1; }

void resample(const Host& host, const Resampling& r, const float* x, float* y) {
  const Taps &rows = r.rows, &columns = r.columns;
  int64_t lines = r.n * rows.out, tasks = least(lines, 8 * host.threads), width = columns.cells * r.c;
  bool apart = columns.out * columns.count <= columns.cells;
  bool whole = columns.cells == 1 && columns.out == 1 && copies(columns, 0);
  parallel(host, tasks, [&](int64_t task) {
    Scratch memory(host, whole || apart ? 1 : width);
    for (int64_t line = lines * task / tasks; line < lines * (task + 1) / tasks; line++) {
      int64_t i = line % rows.out;
      const float* image = x + line / rows.out * rows.cells * width;
      float* to = y + line * columns.out * r.c;
      if (whole) {
        weighted(rows, i, width, image, width, to);
        continue;
      }
      if (apart) {
        for (int64_t j = 0; j < columns.out; j++) weighted(rows, i, columns, j, image, r.c, to + j * r.c);
        continue;
      }
      const float* row = image + rows.cell[i * rows.count] * width;
      if (!copies(rows, i)) weighted(rows, i, width, image, width, memory.p), row = memory.p;
      for (int64_t j = 0; j < columns.out; j++) weighted(columns, j, r.c, row, r.c, to + j * r.c);
    }
  });
}

}  // namespace
