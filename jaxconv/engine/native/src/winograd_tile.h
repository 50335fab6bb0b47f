// Winograd's transforms of a 3×3 convolution's tiles (Lavin and Gray, "Fast algorithms for convolutional neural
// networks", 2016). Along one axis, M results of M + 2 cells d and 3 taps g take M + 2 products instead of 3 M:
//
//   y = Aᵀ [(G g) * (Bᵀ d)],   and of the taps' gradient   dg = Gᵀ [(A dy) * (Bᵀ d)]
//
// (* elementwise). They are polynomial products, evaluated at M + 2 points, of which one is infinity: 0, ±1 for M = 2
// and 0, ±2/3, ±3/2 for M = 4, whose rounding errors are a quarter of those at the usual 0, ±1, ±2.
#pragma once
#include "shared.h"
namespace {

template <int M> struct Points;

template <> struct Points<4> {
  static constexpr float a = 2. / 3, b = 3. / 2, a2 = 4. / 9, b2 = 9. / 4, a3 = 8. / 27, b3 = 27. / 8,
                         s = 4. / 9 + 9. / 4, fa = 1 / (8. / 9 * (4. / 9 - 9. / 4)), fb = 1 / (9. / 2 * (9. / 4 - 4. / 9)),
                         ga = 2. / 3 / (8. / 9 * (4. / 9 - 9. / 4)), gb = 3. / 2 / (9. / 2 * (9. / 4 - 4. / 9));
  static INLINE void cells(const vec* d, vec* t) {  // Bᵀ d
    vec e = d[4] - b2 * d[2], o = a * (d[3] - b2 * d[1]), f = d[4] - a2 * d[2], p = b * (d[3] - a2 * d[1]);
    t[0] = d[0] - s * d[2] + d[4], t[1] = e + o, t[2] = e - o, t[3] = f + p, t[4] = f - p;
    t[5] = d[1] - s * d[3] + d[5];
  }
  static INLINE void taps(const vec* g, vec* u) {  // G g
    vec e = fa * (g[0] + a2 * g[2]), o = ga * g[1], f = fb * (g[0] + b2 * g[2]), p = gb * g[1];
    u[0] = g[0], u[1] = e + o, u[2] = e - o, u[3] = f + p, u[4] = f - p, u[5] = g[2];
  }
  static INLINE void results(const vec* m, vec* y) {  // Aᵀ m
    vec p = m[1] + m[2], q = m[1] - m[2], r = m[3] + m[4], w = m[3] - m[4];
    y[0] = m[0] + p + r, y[1] = a * q + b * w, y[2] = a2 * p + b2 * r, y[3] = a3 * q + b3 * w + m[5];
  }
  static INLINE void results_back(const vec* y, vec* t) {  // A y
    vec e = y[0] + a2 * y[2], o = a * y[1] + a3 * y[3], f = y[0] + b2 * y[2], p = b * y[1] + b3 * y[3];
    t[0] = y[0], t[1] = e + o, t[2] = e - o, t[3] = f + p, t[4] = f - p, t[5] = y[3];
  }
  static INLINE void taps_back(const vec* m, vec* g) {  // Gᵀ m
    vec p = fa * (m[1] + m[2]), q = ga * (m[1] - m[2]), r = fb * (m[3] + m[4]), w = gb * (m[3] - m[4]);
    g[0] = m[0] + p + r, g[1] = q + w, g[2] = a2 * p + b2 * r + m[5];
  }
};

template <> struct Points<2> {
  static INLINE void cells(const vec* d, vec* t) {
    t[0] = d[0] - d[2], t[1] = d[1] + d[2], t[2] = d[2] - d[1], t[3] = d[1] - d[3];
  }
  static INLINE void taps(const vec* g, vec* u) {
    vec e = .5f * (g[0] + g[2]), o = .5f * g[1];
    u[0] = g[0], u[1] = e + o, u[2] = e - o, u[3] = g[2];
  }
  static INLINE void results(const vec* m, vec* y) { y[0] = m[0] + m[1] + m[2], y[1] = m[1] - m[2] - m[3]; }
  static INLINE void results_back(const vec* y, vec* t) {
    t[0] = y[0], t[1] = y[0] + y[1], t[2] = y[0] - y[1], t[3] = -y[1];
  }
  static INLINE void taps_back(const vec* m, vec* g) {
    vec e = .5f * (m[1] + m[2]);
    g[0] = m[0] + e, g[1] = .5f * (m[1] - m[2]), g[2] = e + m[3];
  }
};

// A transform of P to Q elements along both axes of s[P][P].
template <int P, int Q, class Transform> INLINE void twice(const vec* s, vec* d, Transform transform) {
  vec t[P * Q], from[P], to[Q];
  UNROLL for (int j = 0; j < P; j++) {
    UNROLL for (int i = 0; i < P; i++) from[i] = s[i * P + j];
    transform(from, to);
    UNROLL for (int i = 0; i < Q; i++) t[i * P + j] = to[i];
  }
  UNROLL for (int i = 0; i < Q; i++) transform(t + i * P, d + i * Q);
}

// P×P cells of `channels` channels each, transformed to Q×Q elements: put(c, t), t[Q * Q], for channels c, ..., c + VL - 1.
// Those beyond the last channel are of zeros.
template <int P, int Q, class Transform, class Put>
INLINE void transform_cells(const float* const (&cell)[P * P], int64_t channels, Transform transform, Put put) {
  int64_t c = 0;
  for (; c + VL <= channels; c += VL) {
    vec s[P * P], t[Q * Q];
    UNROLL for (int i = 0; i < P * P; i++) s[i] = load(cell[i] + c);
    twice<P, Q>(s, t, transform);
    put(c, t);
  }
  if (c < channels) {
    float rest[P * P][VL] = {};
    for (int i = 0; i < P * P; i++) memcpy(rest[i], cell[i] + c, (channels - c) * sizeof(float));
    vec s[P * P], t[Q * Q];
    UNROLL for (int i = 0; i < P * P; i++) s[i] = load(rest[i]);
    twice<P, Q>(s, t, transform);
    put(c, t);
  }
}

// The tiles of one group: M×M results each, from N×N cells.
template <int M> struct Cover {
  static constexpr int N = M + 2, F = N * N;
  int64_t from[2], to[2], low[2], across, image, all;

  Cover(const Window& w, bool back) {
    for (int i = 0; i < 2; i++) {
      from[i] = back ? w.y[i + 1] : w.x[i + 1];
      to[i] = back ? w.x[i + 1] : w.y[i + 1];
      low[i] = back ? 2 - w.low[i + 1] : w.low[i + 1];
    }
    across = up(to[1], M), image = across * up(to[0], M), all = w.n * image;
  }
  // The first result of a tile.
  INLINE void corner(int64_t tile, int64_t& n, int64_t& i, int64_t& j) const {
    n = tile / image, i = tile % image / across * M, j = tile % across * M;
  }
  // Pointers to S×S cells from cell (i, j) of an image on; what is outside is `zeros`.
  template <int S> INLINE void cells(const float* image, int64_t channels, const int64_t (&size)[2], int64_t i, int64_t j,
                                     const float* zeros, const float* (&cell)[S * S]) const {
    for (int64_t p = 0; p < S; p++)
      for (int64_t q = 0; q < S; q++) {
        bool in = i + p >= 0 && i + p < size[0] && j + q >= 0 && j + q < size[1];
        cell[p * S + q] = in ? image + ((i + p) * size[1] + j + q) * channels : zeros;
      }
  }
  // Bᵀ d B of a tile's N×N cells of the operand, which has `all` channels, of which `channels` are taken.
  template <class Put> INLINE void transform_operand(const float* operand, int64_t all, int64_t channels, int64_t tile,
                                                     const float* zeros, Put put) const {
    int64_t n, i, j;
    corner(tile, n, i, j);
    const float* cell[F];
    cells<N>(operand + n * from[0] * from[1] * all, all, from, i - low[0], j - low[1], zeros, cell);
    transform_cells<N, N>(cell, channels, [](const vec* s, vec* d) { Points<M>::cells(s, d); }, put);
  }
  // A r Aᵀ of a tile's M×M cells of the result.
  template <class Put> INLINE void transform_result(const float* result, int64_t all, int64_t channels, int64_t tile,
                                                    const float* zeros, Put put) const {
    int64_t n, i, j;
    corner(tile, n, i, j);
    const float* cell[M * M];
    cells<M>(result + n * to[0] * to[1] * all, all, to, i, j, zeros, cell);
    transform_cells<M, N>(cell, channels, [](const vec* s, vec* d) { Points<M>::results_back(s, d); }, put);
  }
};

}  // namespace
