// The kernel's gradient of a depthwise convolution.
//
//   k[m, g, o] = sum over n, i of x[n, i*stride + m*dilation - low, g] * y[n, i, g, o]
//
// Along a line as in depthwise.h: position p of a class and tap t of a series meet in cell (p + t) * step of x. The
// sums of J rows of taps times T taps stay in registers over part of a line, or over the same line of several images
// where it is short; y is read once for all of them, and each cell of x once for its T taps. They are then added to the
// total of a share of the lines. The number of shares depends on that of the threads alone, as the result's bits do.
#pragma once
#include "depthwise.h"
namespace {
namespace sliding {

constexpr int SUMS = VL == 16 ? 15 : 10, REGISTERS = VL == 16 ? 31 : 15;
constexpr int LENGTH = 64;  // positions from one addition to the total to the next
constexpr int ROWS_MET = 4;

// T taps at the positions of a strip: cell p + t of x is there from `there` to `gone`.
struct Span {
  int64_t x, there, gone, tap, taps;
};
struct Stretch {
  int64_t y, positions, count;
  const Span* spans;
};

struct Lines {
  const float *x, *y, *y_end;
  int64_t x_step, y_step, x_image, y_image, images;  // floats
};

// sum[j][t] += sum over R positions from p on of y[p] * x[j][p + t].
template <int R, int J, int T, class Operand, class Y>
INLINE void block(vec (&sum)[J][T], const Lines& l, const Span& s, const Operand& of, const float* const* x, const Y& y,
                  int64_t p) {
  vec g[R];
  UNROLL for (int r = 0; r < R; r++) g[r] = y(p + r);
  UNROLL for (int q = 0; q < R + T - 1; q++)
    if (__builtin_expect(p + q >= s.there && p + q < s.gone, 1))
      UNROLL for (int j = 0; j < J; j++) {
        vec v = of(x[j] + (p + q) * l.x_step);
        UNROLL for (int t = 0; t < T; t++)
          if (q - t >= 0 && q - t < R) sum[j][t] += v * g[q - t];
      }
}

// total[j][t] += sum over positions p and images of y[p] * x[j][p + t], of one vector of maps.
template <int J, int T, class Operand>
void products(const Lines& l, int64_t positions, const Span& s, const Operand& of, int64_t lanes, float* const* totals,
              int64_t tap_step, const int64_t* rows) {
  constexpr bool many = J * T + 8 <= REGISTERS;
  int64_t begin = most(0, s.there - T + 1), end = least(positions, s.gone);
  vec sum[J][T] = {};
  for (int64_t image = 0; image < l.images; image++) {
    const float *x[J], *y = l.y + image * l.y_image;
    UNROLL for (int j = 0; j < J; j++) x[j] = l.x + image * l.x_image + rows[j] + s.x;
    auto get = [&](int64_t p) {
      const float* at = y + p * l.y_step;
      return lanes >= VL || at + VL <= l.y_end ? load(at) : load(at, lanes);
    };
    int64_t p = begin;
    if (many)
      for (; p + 7 <= end; p += 7) block<7>(sum, l, s, of, x, get, p);
    for (; p + 4 <= end; p += 4) block<4>(sum, l, s, of, x, get, p);
    for (; p < end; p++) block<1>(sum, l, s, of, x, get, p);
  }
  UNROLL for (int j = 0; j < J; j++) UNROLL for (int t = 0; t < T; t++) {
    float* total = totals[j] + (s.tap + t * tap_step) * VL;
    store(total, load(total) + sum[j][t]);
  }
}

template <class Operand>
using Products = void (*)(const Lines&, int64_t, const Span&, const Operand&, int64_t, float* const*, int64_t,
                          const int64_t*);
// J rows of taps: as many as there are, and as registers hold.
template <int J, class Operand> Products<Operand> products_of(int64_t rows, int64_t taps) {
  if constexpr (J > 1)
    if (rows < J) return products_of<J - 1, Operand>(rows, taps);
  switch (taps) {
#define TAPS_ARE(T) \
  case T: if constexpr (J * T <= SUMS) return products<J, T, Operand>; break
    TAPS_ARE(1);
    TAPS_ARE(2);
    TAPS_ARE(3);
    TAPS_ARE(4);
    TAPS_ARE(5);
    TAPS_ARE(7);
#undef TAPS_ARE
  }
  return nullptr;
}

template <int MOST, class Operand>
void add_lines(const Depthwise& d, const Lines& l, const Stretch& stretch, const Met* met, int64_t count,
               int64_t tap_step, float* total) {
  for (int64_t v = 0; v < up(d.maps, VL); v++, total += d.taps * VL) {
    int64_t c = first_channel(v, d.maps);
    Operand of(d, v);
    Lines here = l;
    here.x += of.first, here.y += stretch.y + c;
    for (const Span* s = stretch.spans; s < stretch.spans + stretch.count; s++) {
      int64_t rows = most(1, least(MOST, SUMS / s->taps)), groups = up(count, rows);
      for (int64_t g = 0; g < groups; g++) {
        int64_t first = count * g / groups, many = count * (g + 1) / groups - first, at[MOST];
        float* totals[MOST];
        for (int64_t j = 0; j < many; j++)
          at[j] = met[first + j].at, totals[j] = total + met[first + j].tap * VL;
        products_of<MOST, Operand>(many, s->taps)(here, stretch.positions, *s, of, d.maps - c, totals, tap_step, at);
      }
    }
  }
}

}  // namespace sliding

void depthwise_k(const Host& host, const Window& w, const float* x, const float* y, float* k) {
  using namespace sliding;
  int64_t maps = w.groups * w.o, channels = w.groups, taps = cells(w.k), vectors = up(maps, VL);
  bool same = w.o == 1 && maps >= VL;
  Line line(w, false);
  int64_t each = up(line.positions(0), LENGTH), strips = line.classes() * each;

  Scratch memory(host, strips * (sizeof(Stretch) + line.most_parts() * sizeof(Span)) / 4);
  Scratch lanes(host, vectors * (VL + 1));
  spread_lanes(channels, maps, (int32_t*)lanes.p);
  Stretch* all = (Stretch*)memory.p;
  Span* span = (Span*)(all + strips);
  for (int64_t e = 0, i = 0; e < line.classes(); e++)
    for (int64_t count = line.positions(e), s = 0; s < each; s++, i++) {
      int64_t first = count * s / each, positions = count * (s + 1) / each - first;
      all[i] = {(e + first * line.apart) * maps, positions, 0, span};
      each_part(line, e, first, positions, [&](int64_t cell, int64_t begin, int64_t end, int64_t tap, int64_t many) {
        *span++ = {cell * channels, begin, end, tap, many};
        all[i].count++;
      });
    }

  Depthwise d = {x, x + w.n * cells(w.x) * channels, nullptr, channels, maps, taps, 0, 0, 0, (const int32_t*)lanes.p};
  int64_t rows = w.y[0] * w.y[1], together = most(1, least(w.n, 32 / line.positions(0)));
  int64_t units = up(w.n, together) * rows * strips, shares = least(units, 4 * host.threads);
  int64_t size = vectors * taps * VL;
  Scratch sums(host, shares * size);
  parallel(host, shares, [&](int64_t share) {
    Scratch lines(host, w.k[0] * w.k[1] * sizeof(Met) / 4);
    Met* met = (Met*)lines.p;
    float* total = sums.p + share * size;
    memset(total, 0, size * sizeof(float));
    int64_t count = 0, here = -1;
    for (int64_t unit = units * share / shares; unit < units * (share + 1) / shares; unit++) {
      int64_t row = unit / strips, image = row / rows * together, at = image * rows + row % rows;
      if (row != here) count = lines_met(w, false, channels, at, met), here = row;
      Lines l = {x, y + at * w.y[2] * maps, y + w.n * cells(w.y) * maps, line.step * channels, line.apart * maps,
                 cells(w.x) * channels, cells(w.y) * maps, least(together, w.n - image)};
      (same ? add_lines<ROWS_MET, Same> : add_lines<1, Spread>)(d, l, all[unit % strips], met, count, line.tap_step,
                                                                total);
    }
  });
  for (int64_t v = 0; v < vectors; v++) {
    int64_t c = first_channel(v, maps);
    for (int64_t m = 0; m < taps; m++) {
      vec sum = {};
      for (int64_t share = 0; share < shares; share++) sum += load(sums.p + share * size + (v * taps + m) * VL);
      store_some(k + m * maps + c, sum, maps - c);
    }
  }
}

}  // namespace
