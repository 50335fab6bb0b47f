// Sums down the rows of each sample, for the statistics and the gradients of scale and bias. One pass over memory each;
// what they are used for is left to XLA, which fuses it with the operations around it. See norm.h.
#pragma once
#include "shared.h"

namespace {

// How vectors see the rows of a sample: `fold` of them side by side are one, whose `width` vectors divide evenly. Up to
// fold - 1 rows are left over. A block of rows stays in cache, and its sums are exact enough in f32.
struct Columns {
  int64_t channels, fold, width, rows, left, block, blocks, tasks;

  Columns(int64_t threads, int64_t all_rows, int64_t channels) : channels(channels) {
    int64_t even = channels & -channels;
    fold = even >= VL ? 1 : VL / even;
    width = fold * channels, rows = all_rows / fold, left = all_rows % fold;
    block = most(1, least(256, 32768 / width)), blocks = up(rows, block), tasks = least(blocks, 4 * threads);
  }

  int64_t first(int64_t task) const { return blocks * task / tasks; }
  int64_t height(int64_t b) const { return least(block, rows - b * block); }
  int64_t begin(int64_t b) const { return b * block * width; }
  int64_t end() const { return rows * width; }  // of the rows that are not left over
};

// f(column, how many vectors: a type) for all columns, some vectors at a time.
template <class F> INLINE void columns(int64_t width, F f) {
  int64_t c = 0;
  for (; c + 4 * VL <= width; c += 4 * VL) f(c, Count<4>());
  for (; c < width; c += VL) f(c, Count<1>());
}

// f(host for the sample, sample): many samples side by side, few one after the other, each on all threads.
template <class F> void each_sample(const Host& host, int64_t samples, F f) {
  Host one = host;
  one.threads = 1, one.run = [](void*, int64_t count, void (*task)(void*, int64_t), void* arg) {
    for (int64_t i = 0; i < count; i++) task(arg, i);
  };
  bool many = samples >= 2 * host.threads;
  parallel(many ? host : one, samples, [&](int64_t a) { f(many ? one : host, a); });
}

struct Doubles {
  Scratch memory;
  double* p;
  Doubles(const Host& host, int64_t n) : memory(host, 2 * n), p((double*)memory.p) {}
};

// p[0:channels] repeated for every row of a fold
INLINE void repeat(const Columns& at, float* p) {
  for (int64_t i = 1; i < at.fold; i++) memcpy(p + i * at.channels, p, 4 * at.channels);
}

// ---------------------------------------------------------------- forward

// Mean of a block's columns in f32, and the sums of what is left, and of its squares.
template <int N> INLINE void block_moments(const float* x, int64_t rows, int64_t width, float* mean, float* sum, float* square) {
  vec m[N] = {}, s[N] = {}, q[N] = {};
  for (int64_t r = 0; r < rows; r++)
    UNROLL for (int v = 0; v < N; v++) m[v] += load(x + r * width + v * VL);
  UNROLL for (int v = 0; v < N; v++) m[v] *= 1.f / rows;
  for (int64_t r = 0; r < rows; r++)
    UNROLL for (int v = 0; v < N; v++) {
      vec e = load(x + r * width + v * VL) - m[v];
      s[v] += e, q[v] += e * e;
    }
  UNROLL for (int v = 0; v < N; v++) store(mean + v * VL, m[v]), store(sum + v * VL, s[v]), store(square + v * VL, q[v]);
}

// For each of the channels, the sums of d = x - (x of the first row) and of d², in f64.
void column_moments(const Host& host, const Columns& at, const float* x, double* sum, double* square) {
  int64_t W = at.width, C = at.channels;
  Doubles parts(host, 2 * at.tasks * W);
  parallel(host, at.tasks, [&](int64_t task) {
    double *s = parts.p + 2 * task * W, *q = s + W;
    memset(s, 0, 2 * W * sizeof(double));
    Scratch of_block(host, 3 * W);
    float *mean = of_block.p, *a = mean + W, *b = a + W;
    for (int64_t k = at.first(task); k < at.first(task + 1); k++) {
      int64_t n = at.height(k);
      columns(W, [&](int64_t c, auto count) {
        block_moments<count.value>(x + at.begin(k) + c, n, W, mean + c, a + c, b + c);
      });
      for (int64_t c = 0; c < W; c++) {
        double d = double(mean[c]) - x[c];
        s[c] += a[c] + n * d, q[c] += b[c] + d * (2 * double(a[c]) + n * d);
      }
    }
  });
  memset(sum, 0, C * sizeof(double)), memset(square, 0, C * sizeof(double));
  for (int64_t task = 0; task < at.tasks; task++)
    for (int64_t i = 0; i < at.fold; i++) {
      double *s = parts.p + 2 * task * W + i * C, *q = s + W;
      int64_t n = least(at.rows, at.first(task + 1) * at.block) - at.first(task) * at.block;
      for (int64_t c = 0; c < C; c++) {
        double d = double(x[i * C + c]) - x[c];
        sum[c] += s[c] + n * d, square[c] += q[c] + d * (2 * s[c] + n * d);
      }
    }
  for (int64_t r = 0; r < at.left; r++)
    for (int64_t c = 0; c < C; c++) {
      double d = double(x[at.end() + r * C + c]) - x[c];
      sum[c] += d, square[c] += d * d;
    }
}

// The mean, in two parts, and the variance of each group.
void moments(const Host& host, const Groups& s, const float* x, float* center, float* rest, float* var) {
  int64_t C = s.groups * s.channels;
  each_sample(host, s.members * s.samples, [&](const Host& host, int64_t a) {
    const float* own = x + a * s.rows * C;
    Doubles totals(host, 2 * C);
    double *mean = totals.p, *about = mean + C;
    column_moments(host, Columns(host.threads, s.rows, C), own, mean, about);
    for (int64_t c = 0; c < C; c++) {
      double d = mean[c] / s.rows;
      about[c] = about[c] / s.rows - d * d, mean[c] = own[c] + d;
    }
    for (int64_t g = 0; g < s.groups; g++, mean += s.channels, about += s.channels) {
      double t = 0, v = 0;
      for (int64_t c = 0; c < s.channels; c++) t += mean[c];
      t /= s.channels;
      for (int64_t c = 0; c < s.channels; c++) v += about[c] + (mean[c] - t) * (mean[c] - t);
      v /= s.channels;
      int64_t i = a * s.groups + g;
      center[i] = float(t), rest[i] = float(t - center[i]), var[i] = float(v < 0 ? 0 : v);  // NaN stays
    }
  });
}

// ---------------------------------------------------------------- gradient

// For each of the channels, the sums of dz and of dz * (x - center), in f64. `center` is repeated for every row of a fold.
void column_products(const Host& host, const Columns& at, const float* dz, const float* x, const float* center,
                     double* sum, double* product) {
  int64_t W = at.width, C = at.channels;
  Doubles parts(host, 2 * at.tasks * W);
  parallel(host, at.tasks, [&](int64_t task) {
    double *s = parts.p + 2 * task * W, *p = s + W;
    memset(s, 0, 2 * W * sizeof(double));
    Scratch of_block(host, 2 * W);
    float *a = of_block.p, *b = a + W;
    for (int64_t k = at.first(task); k < at.first(task + 1); k++) {
      columns(W, [&](int64_t c, auto count) {
        constexpr int N = count.value;
        vec m[N], t[N] = {}, u[N] = {};
        UNROLL for (int v = 0; v < N; v++) m[v] = load(center + c + v * VL);
        for (int64_t r = 0, i = at.begin(k) + c; r < at.height(k); r++, i += W)
          UNROLL for (int v = 0; v < N; v++) {
            vec d = load(dz + i + v * VL);
            t[v] += d, u[v] += d * (load(x + i + v * VL) - m[v]);
          }
        UNROLL for (int v = 0; v < N; v++) store(a + c + v * VL, t[v]), store(b + c + v * VL, u[v]);
      });
      for (int64_t c = 0; c < W; c++) s[c] += a[c], p[c] += b[c];
    }
  });
  memset(sum, 0, C * sizeof(double)), memset(product, 0, C * sizeof(double));
  for (int64_t i = 0; i < at.tasks * at.fold; i++) {
    double *s = parts.p + 2 * (i / at.fold) * W + i % at.fold * C, *p = s + W;
    for (int64_t c = 0; c < C; c++) sum[c] += s[c], product[c] += p[c];
  }
  for (int64_t r = 0; r < at.left; r++)
    for (int64_t c = 0; c < C; c++) {
      int64_t i = at.end() + r * C + c;
      sum[c] += dz[i], product[c] += double(dz[i]) * (double(x[i]) - center[c]);
    }
}

// For each sample and channel, what its rows add to the gradients of scale and bias.
void sums(const Host& host, const Groups& s, const float* dz, const float* x, const float* center, const float* rest,
          const float* rstd, float* dscale, float* dbias) {
  int64_t C = s.groups * s.channels;
  each_sample(host, s.members * s.samples, [&](const Host& host, int64_t a) {
    Columns at(host.threads, s.rows, C);
    Scratch centers(host, at.width);
    Doubles totals(host, 2 * C);
    double *sum = totals.p, *product = sum + C;
    for (int64_t c = 0; c < C; c++) centers.p[c] = center[a * s.groups + c / s.channels];
    repeat(at, centers.p);
    column_products(host, at, dz + a * s.rows * C, x + a * s.rows * C, centers.p, sum, product);
    for (int64_t c = 0; c < C; c++) {
      int64_t g = a * s.groups + c / s.channels;
      dscale[a * C + c] = float((product[c] - rest[g] * sum[c]) * rstd[g]), dbias[a * C + c] = float(sum[c]);
    }
  });
}

}  // namespace
