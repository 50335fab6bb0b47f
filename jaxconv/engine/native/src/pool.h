// Maximum and sum or mean of each window of a pool.
//
//   y[n, i, c] = max or sum over taps m of x[n, i*stride + m*dilation - low, c], over the cells that x has
//
// with the code of the first tap that has the maximum; NaN exceeds all others. A window has at least one cell of x.
#pragma once
#include "band.h"
#include "norm_columns.h"
namespace {

// The taps of a window that fall on cells of x: how far each is from the window's first, and its code.
struct WindowTaps {
  int64_t from[3] = {}, to[3] = {}, count = 0;
  int64_t* at;
  int32_t* code;

  // Of the window whose first cell is `first`; mostly they are those of the window before.
  void find(const Pool& p, const int64_t (&first)[3]) {
    bool same = count > 0;
    for (int i = 0; i < 3; i++) {
      int64_t low = first[i] >= 0 ? 0 : up(-first[i], p.dilation[i]);
      int64_t end = least(p.k[i], floor_of(p.x[i] - 1 - first[i], p.dilation[i]) + 1);
      same &= low == from[i] && end == to[i];
      from[i] = low, to[i] = end;
    }
    if (same) return;
    count = 0;
    for (int64_t a = from[0]; a < to[0]; a++)
      for (int64_t b = from[1]; b < to[1]; b++)
        for (int64_t c = from[2]; c < to[2]; c++) {
          at[count] = ((a * p.dilation[0] * p.x[1] + b * p.dilation[1]) * p.x[2] + c * p.dilation[2]) * p.c;
          code[count++] = int32_t(a * p.place[0] + b * p.place[1] + c * p.place[2]);
        }
  }
};

// f(x of the window's first cell, its taps, cell of y) for each window.
template <class F> void each_window(const Host& host, const Pool& p, const float* x, F f) {
  int64_t lines = p.n * p.y[0] * p.y[1], tasks = least(lines, 8 * host.threads), size = cells(p.k);
  parallel(host, tasks, [&](int64_t task) {
    Scratch memory(host, 3 * size + 16);
    WindowTaps taps;
    taps.at = (int64_t*)memory.p, taps.code = (int32_t*)(taps.at + size);
    for (int64_t line = lines * task / tasks; line < lines * (task + 1) / tasks; line++) {
      int64_t image = line / p.y[1] / p.y[0], first[3];
      first[0] = line / p.y[1] % p.y[0] * p.stride[0] - p.low[0], first[1] = line % p.y[1] * p.stride[1] - p.low[1];
      for (int64_t i = 0; i < p.y[2]; i++) {
        first[2] = i * p.stride[2] - p.low[2];
        taps.find(p, first);
        f(x, (((image * p.x[0] + first[0]) * p.x[1] + first[1]) * p.x[2] + first[2]) * p.c, taps, (line * p.y[2] + i) * p.c);
      }
    }
  });
}

typedef int8_t bytes __attribute__((vector_size(VL)));

void first_maximum(const Host& host, const Pool& p, const float* x, float* y, int8_t* code) {
  each_window(host, p, x, [&](const float* x, int64_t first, const WindowTaps& taps, int64_t to) {
    channels(p.c, [&](int64_t c, auto count, int64_t lanes) {
      constexpr int N = count.value;
      vec best[N];
      ints chosen[N] = {};
      UNROLL for (int v = 0; v < N; v++) {
        best[v] = load(x + (first + taps.at[0]) + c + v * VL, N > 1 ? VL : lanes), chosen[v] += taps.code[0];
      }
      for (int64_t t = 1; t < taps.count; t++) {
        const float* from = x + (first + taps.at[t]) + c;
        ints own = {};
        own += taps.code[t];
        UNROLL for (int v = 0; v < N; v++) {
          vec e = load(from + v * VL, N > 1 ? VL : lanes);
          ints better = (e > best[v]) | ((e != e) & (best[v] == best[v]));
          best[v] = better ? e : best[v], chosen[v] = better ? own : chosen[v];
        }
      }
      UNROLL for (int v = 0; v < N; v++) {
        bytes small = __builtin_convertvector(chosen[v], bytes);
        store(y + to + c + v * VL, best[v], N > 1 ? VL : lanes);
        memcpy(code + to + c + v * VL, &small, N > 1 ? VL : lanes);
      }
    });
  });
}

void window_sum(const Host& host, const Pool& p, const float* x, float* y) {
  each_window(host, p, x, [&](const float* x, int64_t first, const WindowTaps& taps, int64_t to) {
    channels(p.c, [&](int64_t c, auto count, int64_t lanes) {
      constexpr int N = count.value;
      vec sum[N] = {};
      for (int64_t t = 0; t < taps.count; t++)
        UNROLL for (int v = 0; v < N; v++) sum[v] += load(x + (first + taps.at[t]) + c + v * VL, N > 1 ? VL : lanes);
      UNROLL for (int v = 0; v < N; v++) {
        if (p.mean) sum[v] /= float(taps.count);
        store(y + to + c + v * VL, sum[v], N > 1 ? VL : lanes);
      }
    });
  });
}

}  // namespace
