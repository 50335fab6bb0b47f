// The kernel's gradient of a dense convolution, for any window and number of groups.
//
//   k[m, c, g, o] = sum over n, i of x[n, i*stride + m*dilation - low, g, c] * y[n, i, g, o]
//
// A sum of outer products over positions. A part of the positions (some rows of some images) is packed so that each
// product reads on: y as [row][cell][image][PANEL], x as [ROWS channels][row][cell][image][ROWS], the cells of x in
// order of their residue by the stride, so that those of one tap are neighbours. ROWS channels times PANEL maps stay in
// registers over a part; its sum is then added to the total, which keeps the rounding of long sums low.
#pragma once
#include "dense.h"
namespace {

struct Parts {
  int64_t images, rows, lines, all;  // of a part; y's rows of an image; parts
  Parts(const Window& w) : lines(w.y[0] * w.y[1]) {
    int64_t cell = w.y[2], target = most(64, least(512, (128 << 10) / w.c));
    images = lines * cell >= target ? 1 : least(w.n, most(1, target / (lines * cell)));
    rows = images > 1 ? lines : least(lines, most(1, target / cell));
    all = up(lines, rows) * up(w.n, images);
  }
};

// sum[r][v] += over `length` positions of a[position][r] * b[position][v]
INLINE void products(vec (&sum)[ROWS][COLUMNS], const float* a, const float* b, int64_t length) {
  for (int64_t p = 0; p < length; p++, a += ROWS, b += PANEL) {
    vec bv[COLUMNS];
    UNROLL for (int v = 0; v < COLUMNS; v++) bv[v] = load(b + v * VL);
    UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int v = 0; v < COLUMNS; v++) sum[r][v] += a[r] * bv[v];
  }
}

// One part's share of one group's PANEL maps from o0 on: total[m][c][PANEL].
struct Part {
  const Window& w;
  int64_t channels, phase, width, images;  // x: padded channels; cells of a residue, and of a row; images packed
  Part(const Window& w, int64_t images)
      : w(w), channels(up(w.c, ROWS) * ROWS), phase(up(w.x[2], w.stride[2])), width(phase * w.stride[2]), images(images) {}

  // Rows of x that any row of a part can need.
  int64_t most_rows(int64_t rows) const { return least(w.x[0] * w.x[1], rows * w.k[0] * w.k[1]); }
  int64_t x_floats(int64_t rows) const { return channels * most_rows(rows) * width * images; }
  int64_t y_floats(int64_t rows) const { return rows * w.y[2] * images * PANEL; }

  // The row of x that tap (m0, m1) brings to row `line` of y, or -1.
  int64_t row_of(int64_t line, int64_t m0, int64_t m1) const {
    int64_t a = line / w.y[1] * w.stride[0] + m0 * w.dilation[0] - w.low[0];
    int64_t b = line % w.y[1] * w.stride[1] + m1 * w.dilation[1] - w.low[1];
    return a < 0 || a >= w.x[0] || b < 0 || b >= w.x[1] ? -1 : a * w.x[1] + b;
  }

  void add(const float* x, const float* y, int64_t group, int64_t o0, int64_t n0, int64_t many, int64_t line0,
           int64_t lines, float* total, float* xp, float* yp, int32_t* place) const {
    int64_t maps = w.groups * w.o, all = w.groups * w.c, o = least(PANEL, w.o - o0), rows = 0;
    for (int64_t i = 0; i < w.x[0] * w.x[1]; i++) place[i] = -1;
    for (int64_t line = line0; line < line0 + lines; line++)
      for (int64_t m = 0; m < w.k[0] * w.k[1]; m++) {
        int64_t row = row_of(line, m / w.k[1], m % w.k[1]);
        if (row >= 0 && place[row] < 0) place[row] = rows++;
      }
    int64_t tile = rows * width * many * ROWS;  // of ROWS channels
    for (int64_t row = 0; row < w.x[0] * w.x[1]; row++)
      if (place[row] >= 0)
        for (int64_t image = 0; image < many; image++)
          for (int64_t q = 0; q < w.x[2]; q++) {
            const float* from = x + (((n0 + image) * w.x[0] * w.x[1] + row) * w.x[2] + q) * all + group * w.c;
            int64_t cell = q % w.stride[2] * phase + q / w.stride[2];
            float* to = xp + ((place[row] * width + cell) * many + image) * ROWS;
            int64_t c = 0;
            for (; c + ROWS <= w.c; c += ROWS, to += tile) memcpy(to, from + c, ROWS * sizeof(float));
            for (int64_t r = 0; c < w.c && r < ROWS; r++) to[r] = c + r < w.c ? from[c + r] : 0;
          }
    for (int64_t line = 0; line < lines; line++)
      for (int64_t image = 0; image < many; image++)
        for (int64_t q = 0; q < w.y[2]; q++) {
          int64_t cell = (((n0 + image) * w.y[0] * w.y[1] + line0 + line) * w.y[2] + q) * maps + group * w.o + o0;
          float* to = yp + ((line * w.y[2] + q) * many + image) * PANEL;
          for (int64_t v = 0; v < PANEL; v += VL) store(to + v, o > v ? load(y + cell + v, o - v) : vec{});
        }
    for (int64_t c = 0; c < channels; c += ROWS)
      for (int64_t m = 0; m < cells(w.k); m++) {
        int64_t m0 = m / (w.k[1] * w.k[2]), m1 = m / w.k[2] % w.k[1], s = w.stride[2];
        int64_t shift = m % w.k[2] * w.dilation[2] - w.low[2], far = floor_of(shift, s), residue = shift - far * s;
        int64_t first = most(0, -floor_of(shift, s)), end = least(w.y[2], floor_of(w.x[2] - 1 - shift, s) + 1);
        if (end <= first) continue;
        vec sum[ROWS][COLUMNS] = {};
        for (int64_t line = 0; line < lines; line++) {
          int64_t row = row_of(line0 + line, m0, m1);
          if (row < 0) continue;
          products(sum, xp + c / ROWS * tile + ((place[row] * width + residue * phase + first + far) * many) * ROWS,
                   yp + (line * w.y[2] + first) * many * PANEL, (end - first) * many);
        }
        float* to = total + (m * channels + c) * PANEL;
        UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int v = 0; v < COLUMNS; v++)
          store(to + r * PANEL + v * VL, load(to + r * PANEL + v * VL) + sum[r][v]);
      }
  }
};

void dense_k(const Host& host, const Window& w, const float* x, const float* y, float* k) {
  Parts parts(w);
  Part part(w, parts.images);
  int64_t panels = up(w.o, PANEL), tiles = w.groups * panels, size = cells(w.k) * w.c * w.groups * w.o, shares = 1;
  while (tiles * shares < 2 * host.threads && shares < parts.all) shares++;  // of the parts, each with a sum of its own
  Scratch sums(host, shares > 1 ? shares * size : 1);
  parallel(host, tiles * shares, [&](int64_t task) {
    int64_t share = task % shares, group = task / shares / panels, o0 = task / shares % panels * PANEL;
    int64_t all = cells(w.k) * part.channels * PANEL, xs = part.x_floats(parts.rows), ys = part.y_floats(parts.rows);
    Scratch memory(host, all + xs + ys + w.x[0] * w.x[1] + 3 * 16);
    float *total = memory.p, *yp = total + all, *xp = yp + ys;
    memset(total, 0, all * sizeof(float));
    for (int64_t p = parts.all * share / shares; p < parts.all * (share + 1) / shares; p++) {
      int64_t cut = up(parts.lines, parts.rows), n0 = p / cut * parts.images, line0 = p % cut * parts.rows;
      part.add(x, y, group, o0, n0, least(parts.images, w.n - n0), line0, least(parts.rows, parts.lines - line0), total,
               xp, yp, (int32_t*)(xp + xs));
    }
    float* out = (shares > 1 ? sums.p + share * size : k) + group * w.o + o0;
    for (int64_t m = 0; m < cells(w.k); m++)
      for (int64_t c = 0; c < w.c; c++)
        memcpy(out + (m * w.c + c) * w.groups * w.o, total + (m * part.channels + c) * PANEL,
               least(PANEL, w.o - o0) * sizeof(float));
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
