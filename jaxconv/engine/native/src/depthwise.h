// Depthwise convolution, each channel with kernels of its own, and its input's gradient.
//
//   y[n, i, g, o] = sum over m of x[n, i*stride + m*dilation - low, g] * k[m, g, o]
//   x[n, j, g] = sum over m, o of y[n, (j + low - m*dilation) / stride, g, o] * k[m, g, o]
//
// Both slide along lines of the last axis. Every a-th position of a line is of one class, and every b-th tap of one
// series, such that position p and tap t of these need cell (p + t) * step + const of the operand: a cell that is in a
// register serves all taps of its series. Up to POSITIONS results of a class stay in registers over all taps.
#pragma once
#include "shared.h"
namespace {
namespace sliding {

#if VL == 16
constexpr int POSITIONS = 14;
#else
constexpr int POSITIONS = 8;
#endif
constexpr int NEIGHBORS = 7;  // taps of a series at a time

// Taps tap, tap + tap_step, ... of the last axis: at position p of a class, the t-th meets cell + (p + t) * step.
struct Series {
  int64_t cell, tap, taps;
};

// The last axis: positions e, e + apart, e + 2*apart, ... are those of class e. With h = gcd(stride, dilation),
//   y from x: class e < dilation/h,        series m < stride/h of taps m + u*stride/h,
//   x from y: class e < stride*dilation/h, one series, of the taps for which (e + low - m*dilation) / stride is whole.
struct Line {
  int64_t to, from, taps, stride, dilation, low, apart, step, every, tap_step;
  bool back;  // x from y
  Line(const Window& w, bool back)
      : to(back ? w.x[2] : w.y[2]), from(back ? w.y[2] : w.x[2]), taps(w.k[2]), stride(w.stride[2]),
        dilation(w.dilation[2]), low(w.low[2]), back(back) {
    int64_t a = stride, b = dilation;
    while (b) {
      int64_t rest = a % b;
      a = b, b = rest;
    }
    every = stride / a;
    apart = back ? dilation / a * stride : dilation / a;
    step = back ? dilation / a : dilation / a * stride;
    tap_step = back ? -every : every;
  }
  int64_t classes() const { return least(apart, to); }
  int64_t positions(int64_t e) const { return up(to - e, apart); }
  int64_t most_series() const { return back ? 1 : least(every, taps); }
  // Series i of class e; false if there is none.
  bool series(int64_t e, int64_t i, Series& s) const {
    if (i >= most_series()) return false;
    if (!back) {
      s = {e * stride + i * dilation - low, i, up(taps - i, every)};
      return true;
    }
    int64_t m = 0;
    while (m < least(every, taps) && (e + low - m * dilation) % stride) m++;
    if (m >= least(every, taps)) return false;
    s.taps = up(taps - m, every), s.tap = m + (s.taps - 1) * every, s.cell = (e + low - s.tap * dilation) / stride;
    return true;
  }
  // How many of the `left` taps of a series to take at once.
  static int64_t part(int64_t left) {
    return left <= 5 || left == NEIGHBORS ? left : left < 11 ? up(left, 2) : NEIGHBORS;
  }
  int64_t most_parts() const { return most_series() * (up(taps, 4) + 1); }
};

// A line of the operand that a row of taps brings to a line of the result: its first float, and the row's first tap.
struct Met {
  int64_t at, tap;
};
int64_t lines_met(const Window& w, bool back, int64_t channels, int64_t line, Met* met) {
  const int64_t *to = back ? w.x : w.y, *from = back ? w.y : w.x;
  int64_t image = line / (to[0] * to[1]), j[2] = {line / to[1] % to[0], line % to[1]}, count = 0;
  auto cell = [&](int a, int64_t m) -> int64_t {
    int64_t at = back ? j[a] + w.low[a] - m * w.dilation[a] : j[a] * w.stride[a] + m * w.dilation[a] - w.low[a];
    if (at < 0 || (back && at % w.stride[a])) return -1;
    if (back) at /= w.stride[a];
    return at < from[a] ? at : -1;
  };
  for (int64_t m0 = 0; m0 < w.k[0]; m0++) {
    int64_t c0 = cell(0, m0);
    if (c0 < 0) continue;
    for (int64_t m1 = 0; m1 < w.k[1]; m1++) {
      int64_t c1 = cell(1, m1);
      if (c1 >= 0)
        met[count++] = {((image * from[0] + c0) * from[1] + c1) * from[2] * channels, (m0 * w.k[1] + m1) * w.k[2]};
    }
  }
  return count;
}

// Where the vectors of G * O channels begin: the last one reaches back, so that some lanes are computed twice.
INLINE int64_t first_channel(int64_t v, int64_t channels) { return most(0, least(v * VL, channels - VL)); }

// k as [vector][tap][VL], what is beyond the channels 0.
void pack_taps(const Window& w, const float* k, float* packed) {
  int64_t channels = w.groups * w.o;
  for (int64_t v = 0; v < up(channels, VL); v++)
    for (int64_t m = 0, c = first_channel(v, channels); m < cells(w.k); m++, packed += VL)
      store(packed, load(k + m * channels + c, channels - c));
}

typedef int32_t lanes_of __attribute__((vector_size(4 * VL)));

INLINE void store_some(float* p, vec v, int64_t lanes) {
  if (lanes >= VL) return store(p, v);
  float all[VL];
  store(all, v);
  const float* from = all;
  if (VL > 8 && lanes & 8) memcpy(p, from, 32), p += 8, from += 8;
  if (VL > 4 && lanes & 4) memcpy(p, from, 16), p += 4, from += 4;
  if (lanes & 2) memcpy(p, from, 8), p += 2, from += 2;
  if (lanes & 1) *p = *from;
}

// Some taps of a series at some positions of a class: the first cell, and which of the cells from there on exist.
struct Part {
  int64_t at, tap, taps;
  uint32_t there;
};
// Neighbors of one class in a line of the result.
struct Strip {
  int64_t to, positions, count;
  const Part* parts;
};

struct Depthwise {
  const float *operand, *end, *packed;
  int64_t channels, maps, taps;   // of the operand; of the products; of the kernel
  int64_t step, tap_step, apart;  // in floats: of the operand, of packed, of the result
  const int32_t* lanes;           // [vector][VL + 1], of spread_lanes
};

// A vector of the operand for a vector of maps: the same, where each channel has one map and there are VL of them.
struct Same {
  int64_t first;
  Same(const Depthwise& d, int64_t v) : first(first_channel(v, d.maps)) {}
  INLINE vec operator()(const float* p) const { return load(p); }
  static INLINE void put(float* p, vec v, int64_t) { store(p, v); }
};
// Otherwise the lanes of some channels, spread over their maps.
struct Spread {
  int64_t first, lanes;
  lanes_of channel;  // of each map, after `first`
  const float* end;
  Spread(const Depthwise& d, int64_t v)
      : first(d.lanes[v * (VL + 1)]), lanes(least(VL, d.channels - first)), end(d.end) {
    memcpy(&channel, d.lanes + v * (VL + 1) + 1, sizeof channel);
  }
  INLINE vec operator()(const float* p) const {
    vec v = p + VL <= end ? load(p) : load(p, lanes);
#ifdef __clang__
    vec spread = v;
    for (int l = 0; l < VL; l++) spread[l] = v[channel[l]];
    return spread;
#else
    return __builtin_shuffle(v, channel);
#endif
  }
  static INLINE void put(float* p, vec v, int64_t lanes) { store_some(p, v, lanes); }
};
void spread_lanes(int64_t channels, int64_t maps, int32_t* lanes) {
  int64_t each = maps / channels;
  for (int64_t v = 0; v < up(maps, VL); v++) {
    int64_t c = first_channel(v, maps), first = most(0, least(c / each, channels - VL));
    *lanes++ = (int32_t)first;
    for (int64_t l = 0; l < VL; l++) *lanes++ = (int32_t)least((c + l) / each - first, least(VL, channels - first) - 1);
  }
}

// R results from T taps: sum[r] += x[r + t] * k[t], where each x and each k is read once.
template <int R, int T, class Operand>
INLINE void slide(vec (&sum)[R], const Operand& of, const float* x, int64_t step, uint32_t there, const float* k,
                  int64_t tap_step) {
  vec kv[T];
  UNROLL for (int t = 0; t < T; t++) kv[t] = load(k + t * tap_step);
  UNROLL for (int q = 0; q < R + T - 1; q++, x += step)
    if (__builtin_expect(there & 1u << q, 1)) {  // else GCC puts every cell behind two jumps
      vec v = of(x);
      UNROLL for (int t = 0; t < T; t++)
        if (q - t >= 0 && q - t < R) sum[q - t] += v * kv[t];
    }
}

template <int R, class Operand>
void strip_of(const Depthwise& d, const Strip& strip, const Met* met, int64_t lines, float* to) {
  for (int64_t v = 0; v < up(d.maps, VL); v++) {
    int64_t c = first_channel(v, d.maps);
    const float* k = d.packed + v * d.taps * VL;
    Operand of(d, v);
    vec sum[R] = {};
    for (const Met* m = met; m < met + lines; m++)
      for (const Part* p = strip.parts; p < strip.parts + strip.count; p++) {
        const float *x = d.operand + m->at + p->at + of.first, *kp = k + (m->tap + p->tap) * VL;
        switch (p->taps) {
#define TAPS_ARE(T) \
  case T: slide<R, T>(sum, of, x, d.step, p->there, kp, d.tap_step); break
          TAPS_ARE(1);
          TAPS_ARE(2);
          TAPS_ARE(3);
          TAPS_ARE(4);
          TAPS_ARE(5);
          TAPS_ARE(7);
#undef TAPS_ARE
        }
      }
    UNROLL for (int r = 0; r < R; r++) of.put(to + r * d.apart + c, sum[r], d.maps - c);
  }
}

constexpr int FEW = 7;  // positions at a time where lanes are spread

using StripOf = void (*)(const Depthwise&, const Strip&, const Met*, int64_t, float*);
template <int R, class Operand> StripOf strip_function(int64_t positions) {
  if constexpr (R > 1)
    if (positions < R) return strip_function<R - 1, Operand>(positions);
  return strip_of<R, Operand>;
}

// x[g] = sum over o of y[g, o], for several positions.
template <int O>
void add_maps(const float* y, int64_t positions, int64_t groups, int64_t maps, float* x, int64_t apart) {
  if (O) maps = O;
  for (int64_t i = 0; i < positions; i++, x += apart)
    for (int64_t g = 0; g < groups; g++, y += maps) {
      float sum = y[0];
      for (int64_t o = 1; o < maps; o++) sum += y[o];
      x[g] = sum;
    }
}

// What a strip of positions of class e meets: f(cell, begin, end, tap, many) for each part of a series of taps, its
// first cell and those of its cells that exist, its first tap and how many.
template <class F> void each_part(const Line& line, int64_t e, int64_t first, int64_t positions, F f) {
  if (!positions) return;
  Series series;
  for (int64_t n = 0; line.series(e, n, series); n++)
    for (int64_t t = 0, many; t < series.taps; t += many) {
      many = line.part(series.taps - t);
      int64_t cell = series.cell + (first + t) * line.step, last = positions + many - 1;
      int64_t begin = cell < 0 ? up(-cell, line.step) : 0;
      int64_t end = cell < line.from ? least(last, up(line.from - cell, line.step)) : 0;
      if (begin < end) f(cell, begin, end, series.tap + t * line.tap_step, many);
    }
}

void depthwise(const Host& host, const Window& w, bool back, const float* operand, const float* k, float* result) {
  const int64_t (&to)[3] = back ? w.x : w.y, (&from)[3] = back ? w.y : w.x;
  int64_t maps = w.groups * w.o, channels = back ? maps : w.groups, out = back ? w.groups : maps, taps = cells(w.k);
  bool same = channels == maps && maps >= VL, add = back && w.o > 1;
  Line line(w, back);
  int64_t limit = same ? POSITIONS : FEW, each = up(line.positions(0), limit), strips = line.classes() * each;

  // The strips of a line, as the same ones are on every line.
  int64_t vectors = up(maps, VL);
  Scratch packed(host, vectors * taps * VL), lanes(host, vectors * (VL + 1));
  pack_taps(w, k, packed.p);
  spread_lanes(channels, maps, (int32_t*)lanes.p);
  Scratch memory(host, strips * (sizeof(Strip) + line.most_parts() * sizeof(Part)) / 4);
  Strip* all = (Strip*)memory.p;
  Part* part = (Part*)(all + strips);
  for (int64_t e = 0, i = 0; e < line.classes(); e++)
    for (int64_t count = line.positions(e), s = 0; s < each; s++, i++) {
      int64_t first = count * s / each, positions = count * (s + 1) / each - first;
      all[i] = {(e + first * line.apart) * out, positions, 0, part};
      each_part(line, e, first, positions, [&](int64_t cell, int64_t begin, int64_t end, int64_t tap, int64_t many) {
        *part++ = {cell * channels, tap, many, (1u << end) - (1u << begin)};
        all[i].count++;
      });
    }

  Depthwise d = {operand, operand + w.n * cells(from) * channels, packed.p, channels, maps, taps,
                 line.step * channels, line.tap_step * VL, add ? maps : line.apart * out, (const int32_t*)lanes.p};
  int64_t units = w.n * to[0] * to[1] * strips, tasks = least(units, 8 * host.threads);
  parallel(host, tasks, [&](int64_t task) {
    Scratch lines(host, w.k[0] * w.k[1] * sizeof(Met) / 4), sums(host, add ? POSITIONS * maps : 1);
    Met* met = (Met*)lines.p;
    int64_t count = 0, here = -1;
    for (int64_t unit = units * task / tasks; unit < units * (task + 1) / tasks; unit++) {
      const Strip& strip = all[unit % strips];
      if (unit / strips != here) count = lines_met(w, back, channels, here = unit / strips, met);
      if (!strip.positions) continue;
      float* at = result + here * to[2] * out + strip.to;
      (same ? strip_function<POSITIONS, Same> : strip_function<FEW, Spread>)(strip.positions)(
          d, strip, met, count, add ? sums.p : at);
      if (add)
        (w.o == 2 ? add_maps<2> : w.o == 3 ? add_maps<3> : w.o == 4 ? add_maps<4> : add_maps<0>)(
            sums.p, strip.positions, w.groups, w.o, at, line.apart * out);
    }
  });
}

}  // namespace sliding

void depthwise_y(const Host& host, const Window& w, const float* x, const float* k, float* y) {
  sliding::depthwise(host, w, false, x, k, y);
}
void depthwise_x(const Host& host, const Window& w, const float* k, const float* y, float* x) {
  sliding::depthwise(host, w, true, y, k, x);
}

}  // namespace
