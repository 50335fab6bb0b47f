// Positions of a result, and the part of an operand that they need, packed.
//
//   y[n, i] needs x[n, i*stride + m*dilation - low];   x[n, j] needs y[n, (j + low - m*dilation) / stride]
//
// the latter where the division leaves no rest. So along each axis positions are taken in classes of equal residue
// (y: one class; x: one for each residue of the stride), j = residue + q*step, in which a tap serves all q or none and
// brings the cell q*stride + off to each. (x: stride 1 over y's cells.)
//
// A piece is a box of q of some images, for all classes. Its band holds the operand's cells that it needs, channels in
// blocks of DEPTH, zeros for padding along the last axis:
//
//   [group][block of channels][cell of axis 0][cell of axis 1][cell of axis 2, by its residue][image][DEPTH]
//
// so that positions that are neighbours along a line are DEPTH floats apart, whatever the window, and a tap is one
// offset for all of them. Where channels are few, those that all taps along the last axis bring to a position, which are
// neighbours in memory, are taken as its channels ("merged"); they are one block, and the band holds lines as they are:
//
//   [cell of axis 0][cell of axis 1][image][cell of axis 2][channel]
#pragma once
#include "shared.h"
namespace {

constexpr int64_t DEPTH = 16;

// The first lanes of v, the others 0.
typedef int32_t ints __attribute__((vector_size(4 * VL)));
typedef int32_t loose_ints __attribute__((vector_size(4 * VL), aligned(4), may_alias));
constexpr int32_t ones[2 * VL] = {
#if VL == 16
    -1, -1, -1, -1, -1, -1, -1, -1,
#endif
#if VL >= 8
    -1, -1, -1, -1,
#endif
    -1, -1, -1, -1};
INLINE vec leading(vec v, int64_t lanes) {
  return (vec)((ints)v & *(const loose_ints*)(ones + VL - most(0, least(VL, lanes))));
}

struct Lattice {
  const Window& w;
  bool back, merged;  // x from y; see above
  const float* source;
  int64_t n, groups, a, b;                // images; groups; channels summed over, and of the result, of one group
  int64_t to[3], from[3], step[3], stride[3], count[3];  // result's and operand's cells; of j and of cells by q; most q
  int64_t first[3], reach[3];             // smallest off of any tap; largest off - first
  int64_t depth, block, blocks;           // channels of a position, those of a block, and blocks
  Scratch memory;
  int64_t *start[3], *tap[3], *off[3], *base;  // taps of residue r: start[r] to start[r + 1], by off; taps before a class

  Lattice(const Host& host, const Window& w, bool back, const float* source)
      : w(w), back(back), source(source), n(w.n), groups(w.groups), a(back ? w.o : w.c), b(back ? w.c : w.o),
        memory(host, 2 * (2 * (w.k[0] + w.k[1] + w.k[2]) + cells(w.stride) + w.stride[0] + w.stride[1] + w.stride[2] + 8)) {
    int64_t* rest = (int64_t*)memory.p;
    for (int i = 0; i < 3; i++) {
      to[i] = back ? w.x[i] : w.y[i], from[i] = back ? w.y[i] : w.x[i];
      step[i] = back ? w.stride[i] : 1, stride[i] = back ? 1 : w.stride[i], count[i] = up(to[i], step[i]);
      start[i] = rest, tap[i] = start[i] + step[i] + 1, off[i] = tap[i] + w.k[i], rest = off[i] + w.k[i];
      int64_t number = 0, last = INT64_MIN;
      first[i] = INT64_MAX;
      for (int64_t r = 0; r < step[i]; r++) {
        start[i][r] = number;
        for (int64_t t = 0; t < w.k[i]; t++) {
          int64_t m = back ? w.k[i] - 1 - t : t, at = back ? r + w.low[i] - m * w.dilation[i] : m * w.dilation[i] - w.low[i];
          int64_t whole = floor_of(at, step[i]);
          if (whole * step[i] != at) continue;
          tap[i][number] = m, off[i][number++] = whole;
          first[i] = least(first[i], whole), last = most(last, whole);
        }
      }
      start[i][step[i]] = number, reach[i] = last - first[i];
    }
    merged = a < DEPTH && w.k[2] > 1 && w.dilation[2] == 1 && step[2] == 1 && groups == 1;
    depth = merged ? a * w.k[2] : a, block = merged ? depth : DEPTH, blocks = up(depth, block);
    base = rest;
    int64_t total = 0, r[3];
    for (int64_t c = 0; c < classes(); c++) {
      residues(c, r);
      base[c] = total, total += taps(0, r[0]) * taps(1, r[1]) * (merged ? 1 : taps(2, r[2]));
    }
    base[classes()] = total;
  }

  int64_t classes() const { return cells(step); }
  void residues(int64_t c, int64_t (&r)[3]) const {
    r[2] = c % step[2], r[1] = c / step[2] % step[1], r[0] = c / step[2] / step[1];
  }
  int64_t taps(int i, int64_t r) const { return start[i][r + 1] - start[i][r]; }
  int64_t taps_of(int64_t c) const { return base[c + 1] - base[c]; }
  int64_t positions(int i, int64_t r) const { return to[i] > r ? up(to[i] - r, step[i]) : 0; }
};

// How a result is cut into pieces.
struct Cut {
  int64_t images, length[3], number[3], all;

  Cut(const Lattice& l, int64_t target) : images(1) {
    for (int i = 0; i < 3; i++) length[i] = l.count[i];
    int64_t image = cells(l.count);
    if (image <= target) {
      images = least(l.n, most(1, target / image));
    } else {
      length[2] = least(length[2], target);
      length[1] = least(length[1], most(1, target / length[2]));
      length[0] = least(length[0], most(1, target / (length[2] * length[1])));
    }
    images = up(l.n, up(l.n, images));
    for (int i = 0; i < 3; i++) number[i] = up(l.count[i], length[i]), length[i] = up(l.count[i], number[i]);
    all = up(l.n, images) * cells(number);
  }
};

struct Piece {
  const Lattice& l;
  int64_t image, images, low[3], high[3];       // q
  int64_t base[3], cell[3], phase;              // cells of the band: first, number; of a residue
  int64_t along, across, line, plane;  // floats from a position to the next, to that of the next image; of a line; of all

  Piece(const Lattice& l, const Cut& cut, int64_t number) : l(l) {
    for (int i = 2; i >= 0; i--) {
      low[i] = number % cut.number[i] * cut.length[i], high[i] = least(l.count[i], low[i] + cut.length[i]);
      number /= cut.number[i];
    }
    image = number * cut.images, images = least(cut.images, l.n - image);
    shape();
  }
  void shape() {
    for (int i = 0; i < 3; i++) {
      base[i] = low[i] * l.stride[i] + l.first[i];
      cell[i] = (high[i] - 1 - low[i]) * l.stride[i] + l.reach[i] + 1;
    }
    phase = up(cell[2], l.stride[2]);
    along = l.merged ? l.stride[2] * l.a : images * DEPTH, across = l.merged ? cell[2] * l.a : DEPTH;
    line = l.merged ? images * across : phase * l.stride[2] * along;
    // A vector may be read beyond the last cell. Odd: blocks of channels in other sets of the cache.
    plane = ((up(cell[0] * cell[1] * line, DEPTH) + 1) | 1) * DEPTH;
  }
  int64_t floats() const { return l.groups * l.blocks * plane; }

  // Whether any tap of any position falls on this cell of the band, as far as the residue by the stride tells.
  bool used(int i, int64_t cell) const {
    if (l.stride[i] == 1) return true;
    for (int64_t t = 0; t < l.w.k[i]; t++)
      if ((cell - (l.off[i][t] - l.first[i])) % l.stride[i] == 0) return true;
    return false;
  }
  // Where a tap is, seen from a position; and the first position of a line.
  int64_t tap(int64_t t0, int64_t t1, int64_t t2) const {
    int64_t number = (l.off[0][t0] - l.first[0]) * cell[1] + l.off[1][t1] - l.first[1], at = l.off[2][t2] - l.first[2];
    return number * line + (l.merged ? 0 : (at % l.stride[2] * phase + at / l.stride[2]) * along);
  }
  int64_t position(int64_t q0, int64_t q1) const {
    return ((q0 - low[0]) * l.stride[0] * cell[1] + (q1 - low[1]) * l.stride[1]) * line;
  }

  void pack(float* band) const {
    int64_t all = l.groups * l.a;
    for (int64_t c0 = 0; c0 < cell[0]; c0++)
      for (int64_t c1 = 0; c1 < cell[1]; c1++) {
        int64_t at0 = base[0] + c0, at1 = base[1] + c1;  // lines of padding are never read
        if (at0 < 0 || at0 >= l.from[0] || at1 < 0 || at1 >= l.from[1] || !used(0, c0) || !used(1, c1)) continue;
        float* to = band + (c0 * cell[1] + c1) * line;
        for (int64_t i = 0; i < images; i++) {
          const float* from = l.source + (((image + i) * l.from[0] + at0) * l.from[1] + at1) * l.from[2] * all;
          if (l.merged)
            copy(to + i * across, from);
          else
            for (int64_t r = 0; r < l.stride[2]; r++)
              if (used(2, r)) separate(to + r * phase * along + i * DEPTH, from, r);
        }
      }
  }

 private:
  // A line's cells of residue r.
  void separate(float* to, const float* from, int64_t r) const {
    int64_t all = l.groups * l.a;
    for (int64_t cell = r; cell < this->cell[2]; cell += l.stride[2], to += along) {
      int64_t at = base[2] + cell;
      bool in = at >= 0 && at < l.from[2];
      float* block = to;
      for (int64_t g = 0; g < l.groups; g++) {
        const float* p = from + at * all + g * l.a;
        for (int64_t c = 0; c < l.a; c += DEPTH, block += plane) {
          if (!in)
            memset(block, 0, DEPTH * sizeof(float));
          else if (l.a - c >= DEPTH)
            memcpy(block, p + c, DEPTH * sizeof(float));
          else
            for (int64_t i = 0; i < DEPTH; i++) block[i] = c + i < l.a ? p[c + i] : 0;
        }
      }
    }
  }
  // A line's cells as they are.
  void copy(float* to, const float* from) const {
    int64_t first = least(cell[2], most(0, -base[2])), end = most(first, least(cell[2], l.from[2] - base[2]));
    memset(to, 0, first * l.a * sizeof(float));
    memcpy(to + first * l.a, from + (base[2] + first) * l.a, (end - first) * l.a * sizeof(float));
    memset(to + end * l.a, 0, (cell[2] - end) * l.a * sizeof(float));
  }
};

}  // namespace
