// Normalization over the channels of a group, row by row (layer norm): one pass over memory, as a row stays in cache.
// See norm.h.
#pragma once
#include "norm_columns.h"

namespace {

template <class T> INLINE T at(const float* p);
template <> INLINE vec at<vec>(const float* p) { return load(p); }
template <> INLINE float at<float>(const float* p) { return *p; }
#define VALUE(a) decltype(+(a))  // the type of a variable, without its reference
INLINE void put(float* p, vec v) { store(p, v); }
INLINE void put(float* p, float v) { *p = v; }

INLINE float total(vec v) {
  float lanes[VL];
  store(lanes, v);
  for (int half = VL / 2; half; half /= 2)
    UNROLL for (int l = 0; l < half; l++) lanes[l] += lanes[l + half];
  return lanes[0];
}

struct Pair {
  double a, b;
};

// The sums of what f(i, a, b) adds to a and b for every i below n: in f32 over some thousand, then in f64. a and b are
// vectors, floats at the end.
template <class F> INLINE Pair reduce(int64_t n, F f) {
  Pair all = {};
  int64_t i = 0;
  while (i + VL <= n) {
    vec a = {}, b = {};
    for (int64_t end = least(n - VL, i + 256 * VL); i <= end; i += VL) f(i, a, b);
    all.a += total(a), all.b += total(b);
  }
  float a = 0, b = 0;
  for (; i < n; i++) f(i, a, b);
  all.a += a, all.b += b;
  return all;
}

// f(i, a type) for every i below n: for vectors, and for floats at the end.
template <class F> INLINE void each(int64_t n, F f) {
  int64_t i = 0;
  for (; i + VL <= n; i += VL) f(i, vec());
  for (; i < n; i++) f(i, float());
}

// Sums of each of VL rows of `width` numbers: a vector for each row of what f(number's place, row, sums) adds to N sums,
// then the lanes of each added up, so that lane r of all[i] is sum i of row r.
template <int N, class F> INLINE void each_row(int64_t width, vec (&all)[N], F f) {
  float lanes[N][VL][VL] __attribute__((aligned(64))), turned[VL][VL] __attribute__((aligned(64)));
  for (int64_t r = 0; r < VL; r++) {
    vec sums[N] = {};
    for (int64_t c = 0; c < width; c += VL) f(c, r, sums);
    UNROLL for (int i = 0; i < N; i++) store(lanes[i][r], sums[i]);
  }
  for (int i = 0; i < N; i++) {
    turn(lanes[i][0], VL, VL, VL, turned[0], VL);
    vec sum = {};
    UNROLL for (int l = 0; l < VL; l++) sum += load(turned[l]);
    all[i] = sum;
  }
}

// VL rows of whole vectors, few enough for sums in f32: what belongs to a row is a lane.
void normalize_rows(int64_t C, float eps, const float* x, const float* scale, const float* bias, float* z,
                    float* center, float* rest, float* var) {
  float rough[VL], off[VL], factor[VL];
  vec mean[1], about[2], share = {};
  share += 1.f / C;
  each_row(C, mean, [&](int64_t c, int64_t r, vec(&sums)[1]) { sums[0] += load(x + r * C + c); });
  store(rough, mean[0] * share);
  each_row(C, about, [&](int64_t c, int64_t r, vec(&sums)[2]) {
    vec e = load(x + r * C + c) - rough[r];
    sums[0] += e, sums[1] += e * e;
  });
  vec left = about[0] * share, spread = about[1] * share - left * left;
  store(off, left), store(center, load(rough)), store(rest, left);
  for (int r = 0; r < VL; r++) {
    var[r] = spread[r] < 0 ? 0 : spread[r];  // NaN stays
    factor[r] = 1 / __builtin_sqrtf(var[r] + eps);
  }
  for (int64_t r = 0; r < VL; r++)
    for (int64_t c = 0; c < C; c += VL)
      store(z + r * C + c, (load(x + r * C + c) - rough[r] - off[r]) * (factor[r] * load(scale + c)) + load(bias + c));
}

void normalize_row(int64_t C, double eps, const float* x, const float* scale, const float* bias, float* z,
                   float* center, float* rest, float* var) {
  float rough = float(reduce(C, [&](int64_t c, auto& a, auto&) { a += at<VALUE(a)>(x + c); }).a / C);
  Pair about = reduce(C, [&](int64_t c, auto& a, auto& q) {
    auto e = at<VALUE(a)>(x + c) - rough;
    a += e, q += e * e;
  });
  double left = about.a / C, spread = about.b / C - left * left;
  spread = spread < 0 ? 0 : spread;  // NaN stays
  *center = rough, *rest = float(left), *var = float(spread);
  float r = float(1 / __builtin_sqrt(spread + eps)), off = *rest;
  each(C, [&](int64_t c, auto like) {
    using T = decltype(like);
    put(z + c, (at<T>(x + c) - rough - off) * (r * at<T>(scale + c)) + at<T>(bias + c));
  });
}

void layer_norm(const Host& host, const Groups& s, double eps, const float* x, const float* scale,
                const float* bias, float* z, float* center, float* rest, float* var) {
  int64_t C = s.channels, rows = s.members * s.samples * s.groups, tasks = least(rows, 4 * host.threads);
  bool together = s.groups == 1 && C % VL == 0 && C <= 256 * VL;
  parallel(host, tasks, [&](int64_t task) {
    int64_t end = rows * (task + 1) / tasks;
    for (int64_t i = rows * task / tasks, step; i < end; i += step) {
      int64_t own = (i / s.groups / s.samples * s.groups + i % s.groups) * C;
      step = together && i + VL <= end && i / s.samples == (i + VL - 1) / s.samples ? VL : 1;
      if (step == 1)
        normalize_row(C, eps, x + i * C, scale + own, bias + own, z + i * C, center + i, rest + i, var + i);
      else
        normalize_rows(C, float(eps), x + i * C, scale + own, bias + own, z + i * C, center + i, rest + i, var + i);
    }
  });
}

// With d = x - mean: dx = rstd (dz scale - Σ dz scale / n) + d (2 dvar - rstd³ Σ dz scale d) / n + dmean / n. What rows
// add to dscale and dbias is summed in f32 over some rows, then in f64.
void layer_norm_gradient(const Host& host, const Groups& s, const float* dz, const float* dmean, const float* dvar,
                             const float* x, const float* center, const float* rest, const float* rstd,
                             const float* scale, float* dx, float* dscale, float* dbias) {
  constexpr int64_t some = 64;
  int64_t C = s.channels, W = s.groups * C, tasks = least(s.samples, 4 * host.threads);
  Doubles parts(host, 2 * tasks * W);
  for (int64_t m = 0; m < s.members; m++) {
    parallel(host, tasks, [&](int64_t task) {
      double* part = parts.p + 2 * task * W;
      Scratch few(host, 2 * W);
      float *k = few.p, *b = k + W;
      memset(part, 0, 2 * W * sizeof(double)), memset(k, 0, 2 * W * sizeof(float));
      int64_t first = m * s.samples + s.samples * task / tasks, last = m * s.samples + s.samples * (task + 1) / tasks;
      for (int64_t a = first; a < last; a++) {
        for (int64_t g = 0; g < s.groups; g++) {
          int64_t i = a * s.groups + g;
          const float *v = x + i * C, *d = dz + i * C, *own = scale + m * W + g * C;
          float *out = dx + i * C, *dk = k + g * C, *db = b + g * C;
          float mid = center[i], off = rest[i], r = rstd[i];
          Pair of = reduce(C, [&](int64_t c, auto& sum, auto& product) {
            using T = VALUE(sum);
            T e = at<T>(v + c) - mid - off, t = at<T>(d + c), w = t * at<T>(own + c);
            sum += w, product += w * e;
            put(dk + c, at<T>(dk + c) + t * (e * r)), put(db + c, at<T>(db + c) + t);
          });
          float slope = float((2 * dvar[i] - double(r) * r * r * of.b) / C), offset = float((dmean[i] - r * of.a) / C);
          each(C, [&](int64_t c, auto like) {
            using T = decltype(like);
            T e = at<T>(v + c) - mid - off;
            put(out + c, at<T>(d + c) * (at<T>(own + c) * r) + (e * slope + offset));
          });
        }
        if ((a - first) % some == some - 1 || a == last - 1) {
          for (int64_t c = 0; c < 2 * W; c++) part[c] += k[c];
          memset(k, 0, 2 * W * sizeof(float));
        }
      }
    });
    for (int64_t c = 0; c < W; c++) {
      double k = 0, b = 0;
      for (int64_t task = 0; task < tasks; task++) k += parts.p[2 * task * W + c], b += parts.p[(2 * task + 1) * W + c];
      dscale[m * W + c] = float(k), dbias[m * W + c] = float(b);
    }
  }
}

}  // namespace
