// The kernel's gradient of a dense convolution, for any window and number of groups.
//
//   k[m, c, g, o] = sum over n, i of x[n, i*stride + m*dilation - low, g, c] * y[n, i, g, o]
//
// A sum of outer products over positions. A part of the positions (some cells of some lines of some images) is packed
// so that each product reads on: tiles of channels of x as [line][cell, by its residue by the stride][image][tile] and
// of y as [line][cell][image][tile], so that for a tap whole runs of positions are neighbours in both. A tile of one
// times a tile of the other stays in registers over a part; its sum is then added to the total, which keeps the
// rounding of long sums low. Rows of registers are channels of x and lanes are those of y, or the other way round where
// y has few. Where x has few, those that all taps along the last axis bring to a position are its channels ("merged").
#pragma once
#include "dense.h"
namespace {

constexpr int64_t PANEL = 2 * VL;

// Positions that are neighbours in x and in y, as packed.
struct Segment {
  int32_t x, y, length;
};

// One operand's channels of a group, in tiles.
struct Side {
  const float *source, *end;
  int64_t cell, channels, width, tiles, plane;  // floats of a cell; of a tile in a cell; tiles; floats of a tile in all
  float* packed;

  void split(int64_t most_width) { tiles = up(channels, most_width), width = up(channels, tiles); }
  void reserve(int64_t positions) { plane = up(positions * width + 2 * VL, 16) * 16; }
  int64_t floats() const { return tiles * plane; }

  // A cell's channels to a position. Positions must come in order: what is beyond a tile is overwritten by the next.
  void pack(const float* from, int64_t position) const {
    float* to = packed + position * width;
    for (int64_t t = 0; t < tiles; t++, to += plane, from += width)
      if (from + up(width, VL) * VL <= end)
        for (int64_t v = 0; v < width; v += VL) store(to + v, load(from + v));
      else
        for (int64_t i = 0; i < least(width, channels - t * width); i++) to[i] = from[i];
  }
};

// to[r][lane] += sum over the segments of a[position][r] * b[position][lane]
template <int R, int V>
void outer(const float* a, const float* b, int64_t wide, bool swap, const Segment* s, int64_t segments, float* to) {
  vec sum[R][V] = {};
  for (const Segment* end = s + segments; s < end; s++) {
    const float *p = a + (swap ? s->y : s->x) * int64_t(R), *q = b + (swap ? s->x : s->y) * wide;
    for (int64_t i = 0; i < s->length; i++, p += R, q += wide) {
      vec e[V];
      UNROLL for (int v = 0; v < V; v++) e[v] = load(q + v * VL);
      UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < V; v++) sum[r][v] += p[r] * e[v];
    }
  }
  UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < V; v++)
    store(to + r * PANEL + v * VL, load(to + r * PANEL + v * VL) + sum[r][v]);
}

using Outer = void (*)(const float*, const float*, int64_t, bool, const Segment*, int64_t, float*);

template <int V, int R = MOST[V]> Outer outer_of(int64_t rows) {
  if constexpr (R == 0)
    return nullptr;
  else
    return rows == R ? outer<R, V> : outer_of<V, R - 1>(rows);
}

struct Parts {
  const Window& w;
  bool merged;
  int64_t depth, taps, lines;                         // channels of x at a position; taps; y's lines of an image
  int64_t images, rows, cells_, all, phase, width;    // of a part: images, lines, cells of a line; parts; of x: cells of a
                                                      // residue, of a line
  explicit Parts(const Window& w) : w(w), lines(w.y[0] * w.y[1]) {
    merged = w.c < 8 && w.k[2] > 1 && w.dilation[2] == 1 && w.groups == 1;
    depth = merged ? w.c * w.k[2] : w.c, taps = w.k[0] * w.k[1] * (merged ? 1 : w.k[2]);
    int64_t target = most(64, least(256, (128 << 10) / most(depth, w.o)));
    images = lines * w.y[2] >= target ? 1 : least(w.n, most(1, target / (lines * w.y[2])));
    images = up(w.n, up(w.n, images));
    cells_ = up(w.y[2], up(w.y[2], most(target, 2 * VL)));
    rows = images > 1 ? lines : least(lines, most(1, target / cells_));
    all = up(w.n, images) * up(lines, rows) * up(w.y[2], cells_);
    phase = merged ? cells_ : up((cells_ - 1) * w.stride[2] + (w.k[2] - 1) * w.dilation[2] + 1, w.stride[2]);
    width = merged ? cells_ : phase * w.stride[2];
  }
  int64_t most_lines() const { return least(w.x[0] * w.x[1], rows * w.k[0] * w.k[1]); }
};

struct Part {
  const Parts& p;
  const Window& w;
  int64_t image, images, line, lines, low, high;  // y's lines, and cells of each
  int32_t* place;                                 // of x's lines in the part, or -1
  int32_t *at0, *at1;                             // of y's lines: cells of x that tap 0 brings
  Segment* segment;                               // [tap][lines]
  int32_t* segments;                              // [tap]

  Part(const Parts& p, int32_t* memory) : p(p), w(p.w) {
    segment = (Segment*)memory, segments = memory + p.taps * p.rows * 3, place = segments + p.taps;
    at0 = place + w.x[0] * w.x[1], at1 = at0 + p.rows;
  }
  static int64_t floats(const Parts& p) { return p.taps * (p.rows * 3 + 1) + p.w.x[0] * p.w.x[1] + 2 * p.rows + 16; }

  void set(int64_t number) {
    int64_t across = up(w.y[2], p.cells_), down = up(p.lines, p.rows);
    low = number % across * p.cells_, high = least(w.y[2], low + p.cells_), number /= across;
    line = number % down * p.rows, lines = least(p.rows, p.lines - line), number /= down;
    image = number * p.images, images = least(p.images, w.n - image);
    for (int64_t i = 0; i < w.x[0] * w.x[1]; i++) place[i] = -1;
    for (int64_t i = 0; i < lines; i++) {
      at0[i] = int32_t((line + i) / w.y[1] * w.stride[0] - w.low[0]);
      at1[i] = int32_t((line + i) % w.y[1] * w.stride[1] - w.low[1]);
    }
    int64_t used = 0;
    for (int64_t m = 0; m < w.k[0] * w.k[1]; m++) {
      int64_t from0 = m / w.k[1] * w.dilation[0], from1 = m % w.k[1] * w.dilation[1];
      for (int64_t i = 0; i < lines; i++) {
        int64_t row = row_of(i, from0, from1);
        if (row >= 0) place[row] = 0;
      }
    }
    for (int64_t i = 0; i < w.x[0] * w.x[1]; i++)
      if (place[i] >= 0) place[i] = used++;
    Segment* s = segment;
    for (int64_t m = 0; m < p.taps; m++, s += p.rows) {
      int64_t along = p.merged ? 1 : w.k[2], shift = p.merged ? 0 : m % along * w.dilation[2], stride = w.stride[2], n = 0;
      int64_t first = p.merged ? low : most(low, -floor_of(shift - w.low[2], stride));
      int64_t end = p.merged ? high : least(high, floor_of(w.x[2] - 1 + w.low[2] - shift, stride) + 1);
      int64_t from0 = m / along / w.k[1] * w.dilation[0], from1 = m / along % w.k[1] * w.dilation[1];
      int64_t start = (p.merged ? 0 : shift % stride * p.phase + shift / stride) + first - low;
      for (int64_t i = 0; i < lines && end > first; i++) {
        int64_t row = row_of(i, from0, from1);
        if (row < 0) continue;
        int64_t cell = place[row] * p.width + start;
        Segment next = {int32_t(cell * images), int32_t((i * (high - low) + first - low) * images), int32_t((end - first) * images)};
        if (n && s[n - 1].x + s[n - 1].length == next.x && s[n - 1].y + s[n - 1].length == next.y)
          s[n - 1].length += next.length;
        else
          s[n++] = next;
      }
      segments[m] = n;
    }
  }

  void pack_y(const Side& side) const {
    for (int64_t i = 0, position = 0; i < lines; i++)
      for (int64_t q = low; q < high; q++)
        for (int64_t n = image; n < image + images; n++)
          side.pack(side.source + ((n * p.lines + line + i) * w.y[2] + q) * side.cell, position++);
  }
  void pack_x(const Side& side) const {
    for (int64_t row = 0; row < w.x[0] * w.x[1]; row++) {
      if (place[row] < 0) continue;
      const float* from = side.source + (image * w.x[0] * w.x[1] + row) * w.x[2] * side.cell;
      int64_t position = place[row] * p.width * images, image_floats = w.x[0] * w.x[1] * w.x[2] * side.cell;
      if (p.merged) {
        for (int64_t q = low; q < high; q++)
          for (int64_t n = 0; n < images; n++, position++) {
            int64_t at = (q * w.stride[2] - w.low[2]) * w.c, all = w.x[2] * w.c;
            if (at >= 0 && at + p.depth <= all)
              side.pack(from + n * image_floats + at, position);
            else
              for (int64_t t = 0, i = 0; t < side.tiles; t++)
                for (int64_t r = 0; r < side.width && i < p.depth; r++, i++)
                  side.packed[t * side.plane + position * side.width + r] =
                      at + i >= 0 && at + i < all ? from[n * image_floats + at + i] : 0;
          }
        continue;
      }
      for (int64_t r = 0; r < w.stride[2]; r++) {
        bool used = false;
        for (int64_t m = 0; m < w.k[2]; m++) used |= m * w.dilation[2] % w.stride[2] == r;
        for (int64_t i = 0; i < p.phase; i++) {
          int64_t at = low * w.stride[2] - w.low[2] + i * w.stride[2] + r;
          if (used && at >= 0 && at < w.x[2])
            for (int64_t n = 0; n < images; n++) side.pack(from + n * image_floats + at * side.cell, position + n);
          position += images;
        }
      }
    }
  }

 private:
  // The line of x that a tap brings to a line of y, or -1.
  int64_t row_of(int64_t i, int64_t from0, int64_t from1) const {
    int64_t a = at0[i] + from0, b = at1[i] + from1;
    return a < 0 || a >= w.x[0] || b < 0 || b >= w.x[1] ? -1 : a * w.x[1] + b;
  }
};

void dense_k(const Host& host, const Window& w, const float* x, const float* y, float* k) {
  Parts parts(w);
  int64_t maps = w.groups * w.o, all = w.groups * w.c, size = cells(w.k) * w.c * maps;
  bool swap = w.o * up(parts.depth, VL) < parts.depth * up(w.o, VL);  // rows are y's maps
  int64_t columns = swap ? parts.depth : w.o, high = swap ? w.o : parts.depth, panels = up(columns, PANEL);
  int rows = columns > VL ? MOST[2] : MOST[1];
  int64_t tiles = up(high, rows);
  rows = up(high, tiles);

  // Tasks: sets of panels of bounded size, of one group or of some, and shares of the parts, each with its own sum.
  int64_t panel = parts.taps * tiles * rows * PANEL, room = most(1, (256 << 10) / panel);
  int64_t sets = up(panels, least(panels, room)), set = up(panels, sets);
  int64_t bunches = up(w.groups, most(1, room / set)), bunch = up(w.groups, bunches);
  int64_t tasks = bunches * sets, shares = 1;
  while (tasks * shares < 2 * host.threads && shares < parts.all) shares++;
  // Where lanes are y's, they are read in place if positions are neighbours there, too, and if that is not done often.
  bool direct = !swap && parts.images == 1 && w.o % VL == 0 && parts.cells_ == w.y[2] && parts.taps * tiles <= 12;
  Scratch sums(host, shares > 1 ? shares * size : 1);
  parallel(host, tasks * shares, [&](int64_t task) {
    int64_t share = task % shares, first = task / shares % sets * set, here = least(set, panels - first);
    int64_t group0 = task / shares / sets * bunch, groups = least(bunch, w.groups - group0);
    if (groups <= 0) return;
    Side sx, sy;
    sx.end = x + w.n * cells(w.x) * all, sx.cell = all, sx.channels = parts.depth;
    sy.end = y + w.n * cells(w.y) * maps, sy.cell = maps, sy.channels = w.o;
    Side &a = swap ? sy : sx, &b = swap ? sx : sy;
    a.tiles = tiles, a.width = rows;
    b.channels = least(columns - first * PANEL, here * PANEL), b.tiles = here, b.width = PANEL;
    sx.reserve(parts.most_lines() * parts.width * parts.images);
    sy.reserve(direct ? 0 : parts.rows * parts.cells_ * parts.images);
    Scratch memory(host, groups * here * panel + sx.floats() + sy.floats() + Part::floats(parts) + 64);
    float* total = memory.p;
    sx.packed = total + groups * here * panel, sy.packed = sx.packed + sx.floats();
    memset(total, 0, groups * here * panel * sizeof(float));
    Part part(parts, (int32_t*)(sy.packed + sy.floats()));
    for (int64_t number = parts.all * share / shares; number < parts.all * (share + 1) / shares; number++) {
      part.set(number);
      for (int64_t g = 0; g < groups; g++) {
        sx.source = x + (group0 + g) * w.c, sy.source = y + (group0 + g) * w.o, b.source += first * PANEL;
        part.pack_x(sx);
        const float* lanes = b.packed;
        int64_t wide = PANEL, plane = b.plane;
        if (direct)
          lanes = sy.source + (part.image * parts.lines + part.line) * w.y[2] * maps, wide = maps, plane = PANEL;
        else
          part.pack_y(sy);
        for (int64_t i = 0; i < here; i++) {
          bool two = columns - (first + i) * PANEL > VL;
          Outer f = two ? outer_of<2>(rows) : outer_of<1>(rows);
          for (int64_t t = 0; t < tiles; t++)
            for (int64_t m = 0; m < parts.taps; m++)
              if (part.segments[m])
                f(a.packed + t * a.plane, lanes + i * plane, wide, swap, part.segment + m * parts.rows, part.segments[m],
                  total + ((g * here + i) * parts.taps * tiles + m * tiles + t) * rows * PANEL);
        }
      }
    }
    for (int64_t g = 0; g < groups; g++) {
      float* out = (shares > 1 ? sums.p + share * size : k) + (group0 + g) * w.o;
      for (int64_t i = 0; i < here; i++)
        for (int64_t m = 0; m < parts.taps; m++)
          for (int64_t r = 0; r < high; r++) {
            const float* from = total + (g * here + i) * panel + (m * tiles * rows + r) * PANEL;
            int64_t b0 = (first + i) * PANEL, wide = least(PANEL, columns - b0);
            if (swap)
              for (int64_t l = 0; l < wide; l++) out[(m * parts.depth + b0 + l) * maps + r] = from[l];
            else
              memcpy(out + (m * parts.depth + r) * maps + b0, from, wide * sizeof(float));
          }
    }
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
