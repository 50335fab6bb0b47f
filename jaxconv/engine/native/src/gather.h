// Positions of a result, and the cells of an operand that each tap of the kernel brings to them.
//
//   y[n, i] needs x[n, i*stride + m*dilation - low];   x[n, j] needs y[n, (j + low - m*dilation) / stride]
//
// the latter where the division leaves no rest. So positions are taken in classes of equal rest along each axis
// (y: one class; x: one for each residue of the strides), in which a tap serves all positions or none.
#pragma once
#include "shared.h"
namespace {

struct Gather {
  int64_t n, to[3], from[3], taps[3], step[3], channels;
  const Window& w;
  bool back;  // x from y
  const float* source;
  Scratch zeros;  // a cell of padding

  Gather(const Host& host, const Window& w, bool back, const float* source)
      : n(w.n), channels(w.groups * (back ? w.o : w.c)), w(w), back(back), source(source), zeros(host, channels) {
    for (int a = 0; a < 3; a++) {
      to[a] = back ? w.x[a] : w.y[a];
      from[a] = back ? w.y[a] : w.x[a];
      taps[a] = w.k[a];
      step[a] = back ? w.stride[a] : 1;
    }
    memset(zeros.p, 0, channels * sizeof(float));
  }

  int64_t classes() const { return cells(step); }
  // Cells along an axis of the class with this residue.
  int64_t count(int a, int64_t residue) const { return to[a] > residue ? up(to[a] - residue, step[a]) : 0; }
  void residues(int64_t number, int64_t (&r)[3]) const {
    r[2] = number % step[2], r[1] = number / step[2] % step[1], r[0] = number / step[2] / step[1];
  }
  int64_t positions(int64_t number) const {
    int64_t r[3];
    residues(number, r);
    return n * count(0, r[0]) * count(1, r[1]) * count(2, r[2]);
  }
  // The operand's cell along one axis, or -1.
  INLINE int64_t cell(int a, int64_t j, int64_t m) const {
    int64_t at;
    if (back) {
      at = j + w.low[a] - m * w.dilation[a];
      if (at < 0) return -1;
      if (w.stride[a] > 1) {  // a division takes longer than all the rest
        if (at % w.stride[a]) return -1;
        at /= w.stride[a];
      }
    } else {
      at = j * w.stride[a] + m * w.dilation[a] - w.low[a];
    }
    return at < 0 || at >= from[a] ? -1 : at;
  }
};

// Up to ROWS positions of a class: where they are in the result, and the cells of the taps that meet any of them.
struct Block {
  int64_t rows, length;     // positions; taps
  int64_t at[ROWS];         // cells before each position in the result
  int64_t* tap;             // [length]
  const float** cell;       // [length][ROWS]; padding is a cell of zeros
};

// Positions first, first + 1, ... of a class. `tap` and `cell` must have room for all taps.
void gather(const Gather& g, int64_t number, int64_t first, int64_t rows, Block& b) {
  int64_t r[3], j[ROWS][3], image[ROWS];
  g.residues(number, r);
  int64_t q[3] = {g.count(0, r[0]), g.count(1, r[1]), g.count(2, r[2])};
  b.rows = rows, b.length = 0;
  for (int64_t i = 0; i < rows; i++) {
    int64_t p = first + i;
    j[i][2] = r[2] + p % q[2] * g.step[2], p /= q[2];
    j[i][1] = r[1] + p % q[1] * g.step[1], p /= q[1];
    j[i][0] = r[0] + p % q[0] * g.step[0], image[i] = p / q[0];
    b.at[i] = ((image[i] * g.to[0] + j[i][0]) * g.to[1] + j[i][1]) * g.to[2] + j[i][2];
  }
  for (int64_t m0 = 0; m0 < g.taps[0]; m0++)
    for (int64_t m1 = 0; m1 < g.taps[1]; m1++) {
      int64_t line[ROWS];
      bool some = false;
      for (int64_t i = 0; i < rows; i++) {
        int64_t c0 = g.cell(0, j[i][0], m0), c1 = g.cell(1, j[i][1], m1);
        line[i] = c0 < 0 || c1 < 0 ? -1 : ((image[i] * g.from[0] + c0) * g.from[1] + c1) * g.from[2];
        some |= line[i] >= 0;
      }
      if (!some) continue;
      for (int64_t m2 = 0; m2 < g.taps[2]; m2++) {
        const float** cell = b.cell + b.length * ROWS;
        bool used = false;
        for (int64_t i = 0; i < ROWS; i++) {
          int64_t c2 = i < rows && line[i] >= 0 ? g.cell(2, j[i][2], m2) : -1;
          cell[i] = c2 < 0 ? g.zeros.p : g.source + (line[i] + c2) * g.channels;
          used |= c2 >= 0;
        }
        if (used) b.tap[b.length++] = (m0 * g.taps[1] + m1) * g.taps[2] + m2;
      }
    }
}

// Runs of blocks, cut so that there is work for every thread, and that the pointers of a run stay in cache.
struct Runs {
  const Gather& g;
  int64_t size, all;  // positions of a run; runs
  Runs(const Gather& g, int64_t threads) : g(g), all(0) {
    int64_t total = g.n * cells(g.to), taps = cells(g.taps);
    size = most(1, least(least(96, up(total, 4 * threads)), (96 << 10) / (8 * taps)));
    size = up(size, ROWS) * ROWS;
    for (int64_t c = 0; c < g.classes(); c++) all += up(g.positions(c), size);
  }
  // The memory of a run's blocks, in floats.
  int64_t floats() const { return up(size, ROWS) * (cells(g.taps) * 2 * (ROWS + 1) + up(sizeof(Block), 4)) + 32; }
  // Fills `blocks` (in memory of floats()) with those of a run; returns how many.
  int64_t fill(int64_t run, float* memory, Block*& blocks) const {
    int64_t number = 0;
    for (int64_t here; run >= (here = up(g.positions(number), size)); number++) run -= here;
    int64_t first = run * size, end = least(g.positions(number), first + size), taps = cells(g.taps), count = 0;
    blocks = (Block*)memory;
    char* rest = (char*)(blocks + up(size, ROWS));
    for (; first < end; first += ROWS, count++) {
      Block& b = blocks[count];
      b.tap = (int64_t*)rest, rest += taps * 8;
      b.cell = (const float**)rest, rest += taps * 8 * ROWS;
      gather(g, number, first, least(ROWS, end - first), b);
    }
    return count;
  }
};

}  // namespace
