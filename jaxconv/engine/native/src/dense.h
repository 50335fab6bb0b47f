// Dense convolution and its input's gradient, for any window and number of groups.
//
//   y[n, i, g, o] = sum over m, c of x[n, i*stride + m*dilation - low, g, c] * k[m, c, g, o]
//   x[n, j, g, c] = sum over m, o of y[n, (j + low - m*dilation) / stride, g, o] * k[m, c, g, o]
//
// Both are: result[position, b] = sum over taps and a of operand[cell of the tap at the position, a] * K[tap, a, b].
// Some positions of a line times one or two vectors of b stay in registers over all taps and a. The operand is read
// from a band (band.h), K from panels. Where b are few, lanes are a instead, added up at the end ("narrow").
#pragma once
#include "band.h"
namespace {

#if VL == 16
constexpr int MOST[] = {0, 14, 14};  // positions of a block of 1 or 2 vectors
constexpr int NARROW = 28;           // accumulators of a narrow block
#else
constexpr int MOST[] = {0, 12, 6};
constexpr int NARROW = 12;
#endif
constexpr int POSITIONS = 14, FEW = 8;  // upper bounds; of a narrow result's b

struct Tap {
  int32_t number, at;  // among its class; in the band, seen from a position
};

// Neighbouring positions of a class, and the taps that bring cells to them.
struct Tile {
  const Tap* tap;
  int64_t origin, rows, taps, all;  // floats before it in the band; of the class
  int64_t at[POSITIONS];    // cells before each position in the result
};

struct Sum {
  const float *band, *panel;        // of the group; of the class: [block of a][tap][a][b], narrow: [block of a][tap][b][a]
  int64_t apart, plane;             // floats in the band from a position to the next; of a block of a
  int64_t depth, block, from, to;   // all a; of a block; blocks
  float* result;
  int64_t cell, b;                  // floats of a cell; b's to store
};

// ---------------------------------------------------------------- the products

template <int R, int V, bool MERGED> void product(const Tile& tile, const Sum& s) {
  const int64_t apart = MERGED ? s.apart : DEPTH;  // a constant leaves more registers
  vec sum[R][V] = {};
  bool whole = s.b >= V * VL;
  for (int r = 0; r < R; r++)  // the results' lines, which are stored at the end
    for (int v = 0; v < V; v++) __builtin_prefetch(s.result + tile.at[r] * s.cell + v * VL, 1);
  if (s.from > 0) UNROLL for (int r = 0; r < R; r++) {
    const float* p = s.result + tile.at[r] * s.cell;
    UNROLL for (int v = 0; v < V; v++) sum[r][v] = load(p + v * VL);
  }
  for (int64_t d = s.from; d < s.to; d++) {
    int64_t lanes = least(s.block, s.depth - d * s.block);
    const float *panel = s.panel + d * s.block * tile.all * V * VL, *origin = s.band + tile.origin + d * s.plane;
    for (const Tap* tap = tile.tap; tap < tile.tap + tile.taps; tap++) {
      const float *p = origin + tap->at, *k = panel + tap->number * lanes * V * VL;
      for (int64_t i = 0; i < lanes; i++, p++, k += V * VL) {
        vec kv[V];
        UNROLL for (int v = 0; v < V; v++) kv[v] = load(k + v * VL);
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < V; v++) sum[r][v] += p[r * apart] * kv[v];
      }
    }
  }
  if (whole) {
    UNROLL for (int r = 0; r < R; r++) {
      float* p = s.result + tile.at[r] * s.cell;
      UNROLL for (int v = 0; v < V; v++) store(p + v * VL, sum[r][v]);
    }
  } else {
    float out[R][V * VL];
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < V; v++) store(out[r] + v * VL, sum[r][v]);
    for (int r = 0; r < R; r++) memcpy(s.result + tile.at[r] * s.cell, out[r], s.b * sizeof(float));
  }
}

INLINE float added(vec v) {
  float lanes[VL], sum = 0;
  store(lanes, v);
  for (int l = 0; l < VL; l++) sum += lanes[l];
  return sum;
}

template <int R, int B> void narrow(const Tile& tile, const Sum& s) {
  int64_t apart = s.apart;
  vec sum[R][B] = {};
  for (int64_t d = s.from; d < s.to; d++) {
    int64_t lanes = least(s.block, s.depth - d * s.block), filled = up(lanes, DEPTH) * DEPTH;
    const float *panel = s.panel + d * s.block * tile.all * B, *origin = s.band + tile.origin + d * s.plane;
    for (const Tap* tap = tile.tap; tap < tile.tap + tile.taps; tap++) {
      const float *p = origin + tap->at, *k = panel + tap->number * filled * B;
      for (int64_t i = 0; i < lanes; i += VL) {
        vec kv[B];
        UNROLL for (int b = 0; b < B; b++) kv[b] = load(k + b * filled + i);
        auto add = [&](auto read) {
          UNROLL for (int r = 0; r < R; r++) {
            vec e = read(p + r * apart + i);
            UNROLL for (int b = 0; b < B; b++) sum[r][b] += e * kv[b];
          }
        };
        if (lanes - i >= VL)
          add([](const float* q) { return load(q); });
        else
          add([&](const float* q) { return leading(load(q), lanes - i); });
      }
    }
  }
  UNROLL for (int r = 0; r < R; r++) UNROLL for (int b = 0; b < B; b++)
    s.result[tile.at[r] * s.cell + b] = added(sum[r][b]);
}

using Product = void (*)(const Tile&, const Sum&);

template <int V, bool MERGED, int R = MOST[V]> Product product_of(int64_t rows) {
  if constexpr (R == 0)
    return nullptr;
  else
    return rows == R ? product<R, V, MERGED> : product_of<V, MERGED, R - 1>(rows);
}
constexpr int rows_of(int b) { return NARROW / b < POSITIONS ? NARROW / b : POSITIONS; }

template <int B, int R = rows_of(B)> Product narrow_of(int64_t rows) {
  if constexpr (R == 0)
    return nullptr;
  else
    return rows == R ? narrow<R, B> : narrow_of<B, R - 1>(rows);
}
template <int B> Product few_of(int64_t b, int64_t rows) {
  if constexpr (B == 0)
    return nullptr;
  else
    return b == B ? narrow_of<B>(rows) : few_of<B - 1>(b, rows);
}

// ---------------------------------------------------------------- the panels of K

// Panels: [class][block of a][tap][a][columns]; narrow [class][block of a][tap][columns][a], a filled up with zeros.
struct Panels {
  const Lattice& l;
  bool few;
  int64_t width, number, depth, size;  // columns; panels of a group; a with what fills its blocks up; floats of a panel

  explicit Panels(const Lattice& l) : l(l) {
    // Instructions of a position and tap: products, and a few for each result at the end.
    int64_t taps = l.base[l.classes()], vectors = up(l.b, VL);
    int64_t filled = up(l.depth, DEPTH) * DEPTH;
    few = l.b <= FEW && l.b * (taps * (filled / VL) + 8 * l.classes()) < vectors * taps * l.depth;
    width = few ? l.b : least(2, vectors) * VL, depth = few ? filled : l.depth;
    number = up(l.b, width), size = taps * depth * width;
  }

  int64_t stored(int64_t panel) const { return least(width, l.b - panel * width); }
  int64_t columns(int64_t panel) const { return few ? width : up(stored(panel), VL) * VL; }
  int64_t rows() const { return few ? rows_of(l.b) : MOST[width / VL]; }  // of a tile
  Product product(int64_t panel, int64_t rows) const {
    bool two = columns(panel) > VL;
    if (few) return few_of<FEW>(width, rows);
    if (l.merged) return two ? product_of<2, true>(rows) : product_of<1, true>(rows);
    return two ? product_of<2, false>(rows) : product_of<1, false>(rows);
  }

  // Block d of a, of one panel of a group.
  void pack(const float* k, int64_t group, int64_t panel, int64_t d, float* to) const {
    const Window& w = l.w;
    int64_t stored = this->stored(panel), wide = columns(panel), maps = w.groups * w.o, b0 = panel * width, r[3];
    int64_t lanes = least(l.block, l.depth - d * l.block), filled = few ? up(lanes, DEPTH) * DEPTH : lanes;
    for (int64_t c = 0; c < l.classes(); c++) {
      l.residues(c, r);
      int64_t taps = l.taps_of(c), last = l.merged ? 1 : l.taps(2, r[2]), second = l.taps(1, r[1]);
      float* out = to + (l.base[c] * depth + d * l.block * taps) * wide;
      for (int64_t t = 0; t < taps; t++, out += filled * wide) {
        int64_t m0 = l.tap[0][l.start[0][r[0]] + t / last / second], m1 = l.tap[1][l.start[1][r[1]] + t / last % second];
        if (few) memset(out, 0, filled * wide * sizeof(float));
        for (int64_t i = 0, run; i < lanes; i += run) {
          int64_t at = d * l.block + i, t2 = l.merged ? at / l.a : t % last, a = l.merged ? at % l.a : at;
          run = least(lanes - i, l.a - a);  // of one tap
          int64_t m = (m0 * w.k[1] + m1) * w.k[2] + l.tap[2][l.start[2][r[2]] + t2];
          const float* from = k + m * w.c * maps + group * w.o + (l.back ? b0 * maps + a : a * maps + b0);
          if (few && l.back) {
            for (int64_t b = 0; b < stored; b++) memcpy(out + i + b * filled, from + b * maps, run * sizeof(float));
          } else if (few) {
            turn(from, maps, run, stored, out + i, filled);
          } else if (l.back) {
            if (stored < wide) memset(out + i * wide, 0, run * wide * sizeof(float));
            turn(from, maps, stored, run, out + i * wide, wide);
          } else {
            for (int64_t j = 0; j < run; j++)
              for (int64_t v = 0; v < wide; v += VL) store(out + (i + j) * wide + v, load(from + j * maps + v, stored - v));
          }
        }
      }
    }
  }
};

// ---------------------------------------------------------------- a piece

// The tiles of a piece's class.
struct Tiles {
  Tile* tile;
  Tap* tap;
  int64_t count = 0, used = 0, apart = 0;  // floats in the band from a position to the next

  void add(const Piece& p, int64_t c, int64_t rows) {
    const Lattice& l = p.l;
    int64_t r[3], high[3];
    l.residues(c, r);
    for (int i = 0; i < 3; i++) high[i] = least(p.high[i], l.positions(i, r[i]));
    int64_t line = high[2] - p.low[2], images = p.images;
    if (line <= 0) return;
    // Along the images of one position, if they are many: then no tap meets padding. Else along the line; over all of
    // its images if they are evenly apart.
    bool deep = 2 * images > rows, joined = !deep && images * p.across == p.along;
    int64_t run = deep ? images : joined ? line * images : line, runs = line * images / run, parts = up(run, rows);
    int64_t image_cells = cells(l.to), next = deep ? p.along : p.across;
    apart = deep || joined ? p.across : p.along;
    for (int64_t q0 = p.low[0]; q0 < high[0]; q0++)
      for (int64_t q1 = p.low[1]; q1 < high[1]; q1++) {
        int64_t j0 = r[0] + q0 * l.step[0], j1 = r[1] + q1 * l.step[1];
        int64_t corner = ((p.image * l.to[0] + j0) * l.to[1] + j1) * l.to[2] + r[2] + p.low[2] * l.step[2];
        for (int64_t n = 0; n < runs; n++)
          for (int64_t part = 0; part < parts; part++) {
            int64_t first = part * run / parts, end = (part + 1) * run / parts;
            Tile& t = tile[count++];
            t.rows = end - first, t.all = l.taps_of(c), t.taps = 0, t.tap = tap + used;
            t.origin = p.position(q0, q1) + n * next + first * apart;
            int64_t image = deep ? first : joined ? first % images : n, q = deep ? n : joined ? first / images : first;
            int64_t ends[2] = {p.low[2] + q, 0};
            for (int64_t i = 0; i < t.rows; i++) {
              t.at[i] = corner + image * image_cells + q * l.step[2], ends[1] = p.low[2] + q;
              if (deep || (joined && image + 1 < images))
                image++;
              else
                q++, image = joined ? 0 : image;
            }
            meet(p, r, q0, q1, ends, t);
            used += t.taps;
          }
      }
  }

 private:
  static bool in(const Lattice& l, int i, int64_t q, int64_t t) {
    int64_t at = q * l.stride[i] + l.off[i][t];
    return at >= 0 && at < l.from[i];
  }
  // The taps that bring a cell to any of the positions from q2[0] to q2[1].
  void meet(const Piece& p, const int64_t (&r)[3], int64_t q0, int64_t q1, const int64_t (&q2)[2], Tile& t) {
    const Lattice& l = p.l;
    const int64_t* s[3] = {l.start[0] + r[0], l.start[1] + r[1], l.start[2] + r[2]};
    int64_t last = l.merged ? s[2][0] + 1 : s[2][1], number = 0;
    Tap* to = tap + used;
    for (int64_t t0 = s[0][0]; t0 < s[0][1]; t0++)
      for (int64_t t1 = s[1][0]; t1 < s[1][1]; t1++) {
        if (!in(l, 0, q0, t0) || !in(l, 1, q1, t1)) {
          number += last - s[2][0];
          continue;
        }
        for (int64_t t2 = s[2][0]; t2 < last; t2++, number++) {
          int64_t a = q2[0] * l.stride[2] + l.off[2][t2], e = q2[1] * l.stride[2] + l.off[2][t2];
          if (!l.merged && (e < 0 || a >= l.from[2])) continue;
          to[t.taps++] = {int32_t(number), int32_t(p.tap(t0, t1, t2))};
        }
      }
  }
};

// A piece's results, by panels first to end of all groups' panels. The band is packed here if there is none yet.
void multiply(const Host& host, const Piece& piece, const float* band, const Panels& panels, const float* packed,
              int64_t first, int64_t end, float* result) {
  const Lattice& l = piece.l;
  int64_t rows = panels.rows(), line = piece.high[2] - piece.low[2], taps = 0;
  int64_t tiles = (piece.high[0] - piece.low[0]) * (piece.high[1] - piece.low[1]) *
                  (up(line * piece.images, rows) + line * up(piece.images, rows) + piece.images * up(line, rows));
  for (int64_t c = 0; c < l.classes(); c++) taps = most(taps, l.taps_of(c));
  int64_t floats = band ? 0 : piece.floats();
  Scratch memory(host, floats + tiles * (sizeof(Tile) + taps * sizeof(Tap)) / 4 + 16);
  Tiles all = {(Tile*)(memory.p + floats), (Tap*)((Tile*)(memory.p + floats) + tiles)};
  if (!band) piece.pack(memory.p), band = memory.p;

  // Blocks of a at a time whose K stays in the first cache; all at once where some lanes are not stored.
  int64_t chunk = most(1, (8 << 10) / (l.base[l.classes()] * DEPTH * panels.width));
  if (panels.few || l.b % VL) chunk = l.blocks;
  for (int64_t c = 0; c < l.classes(); c++) {
    all.count = all.used = 0;
    all.add(piece, c, rows);
    for (int64_t i = first; i < end; i++) {
      int64_t group = i / panels.number, panel = i % panels.number;
      Sum s;
      s.band = band + group * l.blocks * piece.plane;
      s.panel = packed + i * panels.size + l.base[c] * panels.depth * panels.columns(panel);
      s.depth = l.merged ? l.depth : panels.depth, s.block = l.block;
      s.apart = all.apart, s.plane = piece.plane, s.cell = l.groups * l.b, s.b = panels.stored(panel);
      s.result = result + group * l.b + panel * panels.width;
      for (int64_t d = 0; d < l.blocks; d += chunk) {
        s.from = d, s.to = least(l.blocks, d + chunk);
        for (int64_t n = 0; n < all.count; n++) panels.product(panel, all.tile[n].rows)(all.tile[n], s);
      }
    }
  }
}

void dense(const Host& host, const Window& w, bool back, const float* operand, const float* k, float* result) {
  Lattice l(host, w, back, operand);
  Panels panels(l);
  int64_t all = l.groups * panels.number, shares = 1;

  // Pieces whose band stays in the second cache; where they are too few, smaller ones or shares of the panels, whichever
  // reads less again.
  int64_t cell = l.groups * (l.merged ? l.a : l.blocks * DEPTH) * cells(l.stride);
  int64_t target = most(16, least(l.blocks > (l.base[l.classes()] > 1 ? 4 : 3) ? 256 : 512, (192 << 10) / cell));
  int64_t given = l.n * cells(l.from) * l.groups * l.a, kernel = all * panels.size;
  for (int64_t pieces; (pieces = Cut(l, target).all) * shares < 6 * host.threads;) {
    bool small = target <= panels.rows(), cut = pieces < host.threads || kernel * pieces < given * shares;
    if (small && shares * 2 > all) break;
    if (!small && (cut || shares * 2 > all))
      target = up(target, 2);
    else
      shares *= 2;
  }
  Cut cut(l, target);

  Scratch packed(host, kernel);
  parallel(host, all * l.blocks, [&](int64_t i) {
    int64_t panel = i / l.blocks;
    panels.pack(k, panel / panels.number, panel % panels.number, i % l.blocks, packed.p + panel * panels.size);
  });
  int64_t floats = Piece(l, cut, 0).floats();  // the first is as large as any
  Scratch bands(host, shares > 1 ? cut.all * floats : 1);
  if (shares > 1) parallel(host, cut.all, [&](int64_t i) { Piece(l, cut, i).pack(bands.p + i * floats); });
  parallel(host, cut.all * shares, [&](int64_t task) {
    int64_t i = task / shares, share = task % shares;
    multiply(host, Piece(l, cut, i), shares > 1 ? bands.p + i * floats : nullptr, panels, packed.p, all * share / shares,
             all * (share + 1) / shares, result);
  });
}

void dense_y(const Host& host, const Window& w, const float* x, const float* k, float* y) {
  dense(host, w, false, x, k, y);
}
void dense_x(const Host& host, const Window& w, const float* k, const float* y, float* x) {
  dense(host, w, true, y, k, x);
}

}  // namespace
