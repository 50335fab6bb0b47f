// Vectors, the window, threads and memory, as all kernels share them.
//
// Every instruction set compiles the kernels once more (kernels.cc), so all here is in an unnamed namespace or plain
// data, and no header of the C++ library is used: an inline function that two translation units share is linked once,
// and might be the one with instructions that this processor lacks.
#pragma once
#include <stdint.h>
#include <string.h>

// T(x, k, y) = sum over n, i, m, g, c, o of x[n, i*stride + m*dilation - low, g, c] * k[m, c, g, o] * y[n, i, g, o]:
// three spatial axes (those that an array lacks have one cell and one tap), channels of one group.
struct Window {
  int64_t n, x[3], k[3], y[3], stride[3], low[3], dilation[3], groups, c, o;
};

// x[m, a, r, g, c] is normalized over r and c; scale and bias are [m, g, c]. See norm.h.
struct Groups {
  int64_t members, samples, rows, groups, channels;
};

// Windows of a pool, on x [n, *x, c] and y [n, *y, c]; a tap's code is the sum over axes of tap * place.
struct Pool {
  int64_t n, x[3], k[3], y[3], stride[3], low[3], dilation[3], place[3], c;
  bool mean;  // of the cells that a window has, not their sum
};

// Each of `out` cells of an axis is a sum of `count` of its `cells`, each times a weight: tables [out, count].
struct Taps {
  int64_t cells, out, count;
  const int64_t* cell;
  const float* weight;
};

// x [n, rows.cells, columns.cells, c] to y [n, rows.out, columns.out, c]
struct Resampling {
  int64_t n, c;
  Taps rows, columns;
};

// What the caller provides. `run` calls task(arg, i) for every i below count, on several threads, and returns when
// all have returned; `take` gives memory aligned to 64 bytes, which `give` takes back.
struct Host {
  void* self;
  int64_t threads;
  void (*run)(void* self, int64_t count, void (*task)(void* arg, int64_t i), void* arg);
  float* (*take)(int64_t floats);
  void (*give)(float* memory);
};

// The kernels of one instruction set. Each computes the slot that it is named for from the other two.
struct Kernels {
  void (*dense_y)(const Host&, const Window&, const float* x, const float* k, float* y);
  void (*dense_x)(const Host&, const Window&, const float* k, const float* y, float* x);
  void (*dense_k)(const Host&, const Window&, const float* x, const float* y, float* k);
  void (*depthwise_y)(const Host&, const Window&, const float* x, const float* k, float* y);
  void (*depthwise_x)(const Host&, const Window&, const float* k, const float* y, float* x);
  void (*depthwise_k)(const Host&, const Window&, const float* x, const float* y, float* k);
  // of 3×3 windows at stride 1, two axes; by tiles of 4×4 and of 2×2
  void (*winograd4_y)(const Host&, const Window&, const float* x, const float* k, float* y);
  void (*winograd4_x)(const Host&, const Window&, const float* k, const float* y, float* x);
  void (*winograd4_k)(const Host&, const Window&, const float* x, const float* y, float* k);
  void (*winograd2_y)(const Host&, const Window&, const float* x, const float* k, float* y);
  void (*winograd2_x)(const Host&, const Window&, const float* k, const float* y, float* x);
  void (*winograd2_k)(const Host&, const Window&, const float* x, const float* y, float* k);
  // of norms with several rows, the sums; of layer norm, all
  void (*moments)(const Host&, const Groups&, const float* x, float* center, float* rest, float* var);
  void (*sums)(const Host&, const Groups&, const float* dz, const float* x, const float* center, const float* rest,
               const float* rstd, float* dscale, float* dbias);
  void (*layer_norm)(const Host&, const Groups&, double eps, const float* x, const float* scale, const float* bias,
                     float* z, float* center, float* rest, float* var);
  void (*layer_norm_gradient)(const Host&, const Groups&, const float* dz, const float* dmean, const float* dvar,
                              const float* x, const float* center, const float* rest, const float* rstd,
                              const float* scale, float* dx, float* dscale, float* dbias);
  // the maximum of each window with the code of the first cell that has it, and the sum of each window
  void (*first_maximum)(const Host&, const Pool&, const float* x, float* y, int8_t* code);
  void (*window_sum)(const Host&, const Pool&, const float* x, float* y);
  void (*resample)(const Host&, const Resampling&, const float* x, float* y);
};

#ifdef VL  // floats of a vector: kernels.cc sets it
namespace {

#define INLINE inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 32")

// Rows and vectors of a block of accumulators: with the operands they fill the registers.
#if VL == 16
constexpr int ROWS = 8, COLUMNS = 2;
#else
constexpr int ROWS = 6, COLUMNS = 2;
#endif

typedef float vec __attribute__((vector_size(4 * VL)));
typedef float loose __attribute__((vector_size(4 * VL), aligned(4), may_alias));

INLINE vec load(const float* p) { return *(const loose*)p; }
INLINE void store(float* p, vec v) { *(loose*)p = v; }
INLINE vec load(const float* p, int64_t lanes) {  // the lanes that are not there are 0
  if (lanes >= VL) return load(p);
  vec v = {};
  for (int64_t l = 0; l < lanes; l++) v[l] = p[l];
  return v;
}
INLINE void store(float* p, vec v, int64_t lanes) {
  if (lanes >= VL) return store(p, v);
  for (int64_t l = 0; l < lanes; l++) p[l] = v[l];
}

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b; }  // a / b rounded up, of a >= 0
INLINE int64_t floor_of(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

template <class F> void parallel(const Host& host, int64_t count, F f) {
  host.run(host.self, count, [](void* arg, int64_t i) { (*(F*)arg)(i); }, &f);
}

// Memory for as long as the block that it is declared in.
struct Scratch {
  const Host& host;
  float* p;
  Scratch(const Host& host, int64_t floats) : host(host), p(host.take(floats)) {}
  ~Scratch() { host.give(p); }
  Scratch(const Scratch&) = delete;
};

typedef float quad __attribute__((vector_size(16), aligned(4), may_alias));

// to[j * to_row + i] = from[i * row + j]
__attribute__((noinline, unused)) void turn(const float* from, int64_t row, int64_t rows, int64_t columns, float* to, int64_t to_row) {
  int64_t i = 0;
  for (; i + 4 <= rows; i += 4) {
    int64_t j = 0;
    for (; j + 4 <= columns; j += 4) {
      const float* f = from + i * row + j;
      quad p = *(const quad*)f, q = *(const quad*)(f + row), r = *(const quad*)(f + 2 * row),
           s = *(const quad*)(f + 3 * row);
      quad pq = __builtin_shufflevector(p, q, 0, 4, 1, 5), rs = __builtin_shufflevector(r, s, 0, 4, 1, 5);
      quad hi = __builtin_shufflevector(p, q, 2, 6, 3, 7), lo = __builtin_shufflevector(r, s, 2, 6, 3, 7);
      float* t = to + j * to_row + i;
      *(quad*)t = __builtin_shufflevector(pq, rs, 0, 1, 4, 5);
      *(quad*)(t + to_row) = __builtin_shufflevector(pq, rs, 2, 3, 6, 7);
      *(quad*)(t + 2 * to_row) = __builtin_shufflevector(hi, lo, 0, 1, 4, 5);
      *(quad*)(t + 3 * to_row) = __builtin_shufflevector(hi, lo, 2, 3, 6, 7);
    }
    for (; j < columns; j++)
      for (int64_t l = i; l < i + 4; l++) to[j * to_row + l] = from[l * row + j];
  }
  for (; i < rows; i++)
    for (int64_t j = 0; j < columns; j++) to[j * to_row + i] = from[i * row + j];
}

// A number as a type, for loops that are unrolled.
template <int N> struct Count {
  static constexpr int value = N;
};

// f(channel, vectors: a type, lanes) for all channels; the last vector goes over some again, or has fewer lanes.
template <class F> INLINE void channels(int64_t all, F f) {
  int64_t c = 0;
  for (; c + 4 * VL <= all; c += 4 * VL) f(c, Count<4>(), VL);
  for (; c + VL <= all; c += VL) f(c, Count<1>(), VL);
  if (c < all) all >= VL ? f(all - VL, Count<1>(), VL) : f(c, Count<1>(), all);
}

INLINE int64_t cells(const int64_t (&a)[3]) { return a[0] * a[1] * a[2]; }

}  // namespace
#endif
