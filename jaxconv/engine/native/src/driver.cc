// Tests of the kernels without Python: random windows and norms against the definition in f64.
//
//     g++ -std=c++17 -g -O1 -fsanitize=address,undefined -DVL=8 -march=x86-64-v3 -DTABLE=table kernels.cc driver.cc -o driver
//     ./driver [cases] [seed] [threads]
//
// Arrays are exactly as long as they must be, so AddressSanitizer sees one lane too many. Exits 1 on the first mismatch.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#undef VL
#include "shared.h"

extern const Kernels TABLE;

namespace {

int threads = 2;

void run(void*, int64_t count, void (*task)(void*, int64_t), void* arg) {
  std::atomic<int64_t> next{0};
  auto work = [&] {
    for (int64_t i; (i = next++) < count;) task(arg, i);
  };
  std::vector<std::thread> helpers;
  for (int i = 1; i < threads && i < count; i++) helpers.emplace_back(work);
  work();
  for (auto& helper : helpers) helper.join();
}

// Filled with NaN: a kernel that reads what it has not written is found.
float* take(int64_t floats) {
  auto* p = static_cast<float*>(std::aligned_alloc(64, (floats * 4 + 63) / 64 * 64));
  std::memset(p, 0xff, floats * 4);
  return p;
}
void give(float* p) { std::free(p); }

struct Arrays {
  std::vector<double> x, k, y;
};

// f(x index, k index, y index) for every term of T.
template <class F> void terms(const Window& w, F f) {
  int64_t maps = w.groups * w.o, all = w.groups * w.c;
  for (int64_t n = 0; n < w.n; n++)
    for (int64_t i = 0; i < w.y[0] * w.y[1] * w.y[2]; i++)
      for (int64_t m = 0; m < w.k[0] * w.k[1] * w.k[2]; m++) {
        int64_t out[3] = {i / w.y[2] / w.y[1], i / w.y[2] % w.y[1], i % w.y[2]};
        int64_t tap[3] = {m / w.k[2] / w.k[1], m / w.k[2] % w.k[1], m % w.k[2]}, at = n;
        bool in = true;
        for (int a = 0; a < 3; a++) {
          int64_t cell = out[a] * w.stride[a] + tap[a] * w.dilation[a] - w.low[a];
          in &= cell >= 0 && cell < w.x[a];
          at = at * w.x[a] + cell;
        }
        if (!in) continue;
        int64_t seen = n * w.y[0] * w.y[1] * w.y[2] + i;
        for (int64_t g = 0; g < w.groups; g++)
          for (int64_t c = 0; c < w.c; c++)
            for (int64_t o = 0; o < w.o; o++)
              f(at * all + g * w.c + c, (m * w.c + c) * maps + g * w.o + o, seen * maps + g * w.o + o);
      }
}

bool same(const char* what, const std::vector<float>& got, const std::vector<double>& want,
          const std::vector<double>& size) {
  for (size_t i = 0; i < want.size(); i++)
    if (!(std::abs(got[i] - want[i]) <= 2e-6 * size[i] + 1e-30)) {
      std::printf("%s[%zu]: expected %g, got %g\n", what, i, want[i], got[i]);
      return false;
    }
  return true;
}

// 3×3 windows at stride 1, which Winograd's kernels are for.
bool winograd(const Window& w) {
  if (w.x[0] != 1 || w.k[0] != 1 || w.low[0] != 0 || w.y[0] != 1) return false;
  for (int a = 1; a < 3; a++)
    if (w.k[a] != 3 || w.stride[a] != 1 || w.dilation[a] != 1) return false;
  return true;
}

bool check(const Window& w, std::mt19937& random) {
  size_t nx = w.n * w.x[0] * w.x[1] * w.x[2] * w.groups * w.c, ny = w.n * w.y[0] * w.y[1] * w.y[2] * w.groups * w.o;
  size_t nk = w.k[0] * w.k[1] * w.k[2] * w.c * w.groups * w.o;
  std::normal_distribution<float> normal;
  std::vector<float> x(nx), k(nk), y(ny), gx(nx), gk(nk), gy(ny);
  for (auto* v : {&x, &k, &y})
    for (float& e : *v) e = normal(random);
  std::vector<double> dx(nx), dk(nk), dy(ny), sx(nx), sk(nk), sy(ny);
  terms(w, [&](int64_t a, int64_t b, int64_t c) {
    double px = double(k[b]) * y[c], pk = double(x[a]) * y[c], py = double(x[a]) * k[b];
    dx[a] += px, dk[b] += pk, dy[c] += py;
    sx[a] += std::abs(px), sk[b] += std::abs(pk), sy[c] += std::abs(py);
  });
  Host host{nullptr, threads, run, take, give};
  bool good = true;
  auto clear = [&] {
    for (auto* v : {&gx, &gk, &gy})
      for (float& e : *v) e = NAN;
  };
  clear();
  TABLE.dense_y(host, w, x.data(), k.data(), gy.data());
  TABLE.dense_x(host, w, k.data(), y.data(), gx.data());
  TABLE.dense_k(host, w, x.data(), y.data(), gk.data());
  good &= same("dense y", gy, dy, sy) & same("dense x", gx, dx, sx) & same("dense k", gk, dk, sk);
  if (w.c == 1 && w.groups > 1) {
    clear();
    TABLE.depthwise_y(host, w, x.data(), k.data(), gy.data());
    TABLE.depthwise_x(host, w, k.data(), y.data(), gx.data());
    TABLE.depthwise_k(host, w, x.data(), y.data(), gk.data());
    good &= same("depthwise y", gy, dy, sy) & same("depthwise x", gx, dx, sx) & same("depthwise k", gk, dk, sk);
  }
  if (winograd(w)) {
    // Elements of a tile are added and subtracted before and after the products, so an error is a share of the largest
    // terms of the result, whichever its own are.
    for (auto* v : {&sx, &sk, &sy}) v->assign(v->size(), *std::max_element(v->begin(), v->end()));
    clear();
    TABLE.winograd4_y(host, w, x.data(), k.data(), gy.data());
    TABLE.winograd4_x(host, w, k.data(), y.data(), gx.data());
    TABLE.winograd4_k(host, w, x.data(), y.data(), gk.data());
    good &= same("4x4 y", gy, dy, sy) & same("4x4 x", gx, dx, sx) & same("4x4 k", gk, dk, sk);
    clear();
    TABLE.winograd2_y(host, w, x.data(), k.data(), gy.data());
    TABLE.winograd2_x(host, w, k.data(), y.data(), gx.data());
    TABLE.winograd2_k(host, w, x.data(), y.data(), gk.data());
    good &= same("2x2 y", gy, dy, sy) & same("2x2 x", gx, dx, sx) & same("2x2 k", gk, dk, sk);
  }
  return good;
}

// Norms of random sizes, forward and gradient, against the definition.
bool check_norm(std::mt19937& random) {
  auto any = [&](int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random); };
  int64_t members = any(1, 2), per_member = any(1, 6), rows = any(0, 2) ? any(2, any(0, 3) ? 40 : 400) : 1;
  Groups s{members, per_member, rows, any(1, 20), any(0, 1) || rows == 1 ? any(2, 40) : 1};
  if (rows == 1 && any(0, 1)) s.groups = 1, s.samples = any(1, 40), s.channels = 16 * any(1, 4);  // many rows at once
  int64_t W = s.groups * s.channels, samples = s.members * s.samples;
  size_t nx = samples * s.rows * W, nm = samples * s.groups, ns = s.members * W, nc = samples * W;
  std::normal_distribution<float> normal;
  std::vector<float> x(nx), dz(nx), z(nx, NAN), dx(nx, NAN), center(nm, NAN), rest(nm, NAN), var(nm, NAN), rstd(nm);
  std::vector<float> dmean(nm), dvar(nm), scale(ns), bias(ns), dscale(ns, NAN), dbias(ns, NAN);
  std::vector<float> of_scale(nc, NAN), of_bias(nc, NAN);
  for (auto* v : {&x, &dz, &dmean, &dvar, &scale, &bias})
    for (float& e : *v) e = normal(random);
  for (float& e : x) e = 3 + 2 * e;
  std::vector<double> wz(nx), wx(nx), sx(nx), wm(nm), sm(nm, 20), wv(nm), wk(ns), wb(ns), sk(ns), ck(nc), cb(nc), sc(nc);
  const double eps = 1e-3, n = double(s.rows * s.channels);
  for (int64_t a = 0; a < samples; a++)
    for (int64_t g = 0; g < s.groups; g++) {
      int64_t i = a * s.groups + g, own = a / s.samples * W + g * s.channels, column = a * W + g * s.channels - own;
      auto each = [&](auto f) {
        for (int64_t r = 0; r < s.rows; r++)
          for (int64_t c = 0; c < s.channels; c++) f((a * s.rows + r) * W + g * s.channels + c, own + c);
      };
      double m = 0, v = 0, sum = 0, product = 0;
      each([&](int64_t e, int64_t) { m += x[e] / n; });
      each([&](int64_t e, int64_t) { v += (x[e] - m) * (x[e] - m) / n; });
      double r = 1 / std::sqrt(v + eps);
      rstd[i] = float(r), wm[i] = m, wv[i] = v;
      each([&](int64_t e, int64_t c) {
        double y = (x[e] - m) * r, w = double(dz[e]) * scale[c];
        wz[e] = y * scale[c] + bias[c], wk[c] += dz[e] * y, wb[c] += dz[e];
        ck[column + c] += dz[e] * y, cb[column + c] += dz[e];
        double size = (1 + r) * std::abs(dz[e]) * (1 + std::abs(y));
        sk[c] += size, sc[column + c] += size, sum += w / n, product += w * y / n;
      });
      each([&](int64_t e, int64_t c) {
        double d = x[e] - m;
        wx[e] = r * (double(dz[e]) * scale[c] - sum - d * r * product) + (dmean[i] + 2 * dvar[i] * d) / n;
        sx[e] = 20 * (1 + r);
      });
    }
  Host host{nullptr, threads, run, take, give};
  auto means = [&] {
    for (size_t i = 0; i < nm; i++) center[i] += rest[i];
    return same("mean", center, wm, sm) & same("var", var, wv, sm);
  };
  TABLE.moments(host, s, x.data(), center.data(), rest.data(), var.data());
  TABLE.sums(host, s, dz.data(), x.data(), center.data(), rest.data(), rstd.data(), of_scale.data(), of_bias.data());
  bool good = means() & same("sums for scale", of_scale, ck, sc) & same("sums for bias", of_bias, cb, sc);
  if (s.rows == 1) {
    TABLE.layer_norm(host, s, eps, x.data(), scale.data(), bias.data(), z.data(), center.data(), rest.data(), var.data());
    TABLE.layer_norm_gradient(host, s, dz.data(), dmean.data(), dvar.data(), x.data(), center.data(), rest.data(),
                              rstd.data(), scale.data(), dx.data(), dscale.data(), dbias.data());
    good &= means() & same("z", z, wz, sx) & same("dx", dx, wx, sx) & same("dscale", dscale, wk, sk) &
            same("dbias", dbias, wb, sk);
  }
  if (!good)
    std::printf("norm: members %d samples %d rows %d groups %d channels %d\n", (int)s.members, (int)s.samples,
                (int)s.rows, (int)s.groups, (int)s.channels);
  return good;
}

// Pools of random windows that have a cell each, with ties and a NaN, against the definition.
bool check_pool(std::mt19937& random) {
  auto any = [&](int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random); };
  Pool p;
  p.mean = any(0, 1), p.n = any(1, 3), p.c = any(1, any(0, 1) ? 70 : 20);
  for (int a = 2, place = 1; a >= 0; place *= p.k[a], a--) {
    p.place[a] = place;
    for (;;) {
      p.x[a] = any(1, 9), p.k[a] = any(1, 4), p.stride[a] = any(1, 3), p.dilation[a] = any(1, 2);
      int64_t reach = (p.k[a] - 1) * p.dilation[a];
      p.low[a] = any(0, reach), p.y[a] = (p.x[a] + p.low[a] + any(0, reach) - reach - 1) / p.stride[a] + 1;
      bool good = p.x[a] + 2 * reach > reach && p.y[a] >= 1;
      for (int64_t i = 0; i < p.y[a]; i++) {
        bool in = false;
        for (int64_t t = 0; t < p.k[a]; t++) {
          int64_t at = i * p.stride[a] + t * p.dilation[a] - p.low[a];
          in |= at >= 0 && at < p.x[a];
        }
        good &= in;
      }
      if (good) break;
    }
  }
  size_t ny = p.n * p.y[0] * p.y[1] * p.y[2] * p.c;
  std::vector<float> x(p.n * p.x[0] * p.x[1] * p.x[2] * p.c), y(ny, NAN), sum(ny, NAN);
  std::vector<int8_t> code(ny, -1);
  for (float& e : x) e = float(any(-2, 2));
  if (any(0, 1)) x[any(0, int64_t(x.size()) - 1)] = NAN;
  Host host{nullptr, threads, run, take, give};
  TABLE.first_maximum(host, p, x.data(), y.data(), code.data());
  TABLE.window_sum(host, p, x.data(), sum.data());
  for (size_t e = 0; e < ny; e++) {
    int64_t c = e % p.c, i[3], n = e / p.c;
    for (int a = 2; a >= 0; a--) i[a] = n % p.y[a], n /= p.y[a];
    float best = 0, total = 0;
    int found = -1, number = 0;
    for (int64_t t = 0; t < p.k[0] * p.k[1] * p.k[2]; t++) {
      int64_t tap[3] = {t / p.k[2] / p.k[1], t / p.k[2] % p.k[1], t % p.k[2]}, at = n;
      bool in = true;
      for (int a = 0; a < 3; a++) {
        int64_t cell = i[a] * p.stride[a] + tap[a] * p.dilation[a] - p.low[a];
        in &= cell >= 0 && cell < p.x[a], at = at * p.x[a] + cell;
      }
      if (!in) continue;
      float v = x[at * p.c + c];
      total += v, number++;
      if (found < 0 || v > best || (std::isnan(v) && !std::isnan(best))) best = v, found = int(t);
    }
    if (p.mean) total /= float(number);
    auto same = [](float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); };
    if (code[e] != found || !same(y[e], best) || !same(sum[e], total)) {
      std::printf("pool[%zu]: expected %g (%d), sum %g; got %g (%d), %g\n", e, best, found, total, y[e], code[e], sum[e]);
      return false;
    }
  }
  return true;
}

// Interpolation with random cells and weights, of an axis or two, against the definition.
bool check_resample(std::mt19937& random) {
  auto any = [&](int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random); };
  std::vector<int64_t> cell[2];
  std::vector<float> weight[2];
  Taps taps[2];
  int64_t one = any(0, 3);  // an axis that stays as it is, mostly none
  for (int a = 0; a < 2; a++) {
    Taps& t = taps[a];
    t.cells = any(1, 9), t.out = any(1, 13), t.count = any(1, 4);
    if (one == a) t.cells = t.out = t.count = 1;
    bool copied = one == a || any(0, 2) == 0;
    if (copied) t.count = 1;
    for (int64_t i = 0; i < t.out * t.count; i++) {
      cell[a].push_back(any(0, t.cells - 1));
      weight[a].push_back(copied ? 1 : float(any(-8, 8)) / 4);
    }
    t.cell = cell[a].data(), t.weight = weight[a].data();
  }
  Resampling r{any(1, 3), any(1, any(0, 1) ? 70 : 20), taps[0], taps[1]};
  std::vector<float> x(r.n * r.rows.cells * r.columns.cells * r.c), y(r.n * r.rows.out * r.columns.out * r.c, NAN);
  for (float& e : x) e = float(any(-8, 8));
  TABLE.resample(Host{nullptr, threads, run, take, give}, r, x.data(), y.data());
  for (size_t e = 0; e < y.size(); e++) {
    int64_t c = e % r.c, j = e / r.c % r.columns.out, i = e / r.c / r.columns.out % r.rows.out, n = e / r.c / r.columns.out / r.rows.out;
    float sum = 0;  // exact, of quarters
    for (int64_t s = 0; s < r.rows.count; s++)
      for (int64_t t = 0; t < r.columns.count; t++) {
        int64_t a = i * r.rows.count + s, b = j * r.columns.count + t;
        int64_t at = (n * r.rows.cells + r.rows.cell[a]) * r.columns.cells + r.columns.cell[b];
        sum += r.rows.weight[a] * r.columns.weight[b] * x[at * r.c + c];
      }
    if (y[e] != sum) {
      std::printf("resample[%zu]: expected %g, got %g\n", e, sum, y[e]);
      return false;
    }
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  int cases = argc > 1 ? std::atoi(argv[1]) : 100, seed = argc > 2 ? std::atoi(argv[2]) : 0;
  threads = argc > 3 ? std::atoi(argv[3]) : 2;
  for (int i = 0; i < cases; i++) {
    std::mt19937 random(seed + i), other(seed + i);
    if (!check_norm(other) || !check_pool(other) || !check_resample(other)) return 1;
    auto any = [&](int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random); };
    Window w;
    int rank = any(1, 3);
    bool depthwise = any(0, 2) == 0, wide = any(0, 3) == 0, line = rank == 1 && any(0, 7) == 0;
    w.n = any(1, 5);
    w.groups = depthwise ? any(2, wide ? 70 : 40) : any(0, 2) ? 1 : any(2, 4);
    w.c = depthwise ? 1 : any(1, wide && rank < 3 ? 40 : 10);
    w.o = depthwise ? any(0, 2) ? 1 : any(2, 5) : any(1, wide && rank < 3 ? 70 : 20);
    for (int a = 0; a < 3; a++) {
      bool is = a >= 3 - rank;
      do {
        w.x[a] = is ? any(1, line ? 700 : rank == 1 ? 60 : rank == 2 ? 17 : 6) : 1, w.k[a] = is ? any(1, rank == 1 ? 11 : rank == 2 ? 5 : 3) : 1;
        w.stride[a] = is ? any(0, 1) ? 1 : any(1, 3) : 1, w.dilation[a] = is ? any(0, 2) ? 1 : any(1, 3) : 1;
        int64_t reach = (w.k[a] - 1) * w.dilation[a] + 1;
        w.low[a] = is ? any(0, reach) : 0;
        int64_t room = w.x[a] + w.low[a] + (is ? any(0, reach) : 0) - reach;
        w.y[a] = room < 0 ? 0 : room / w.stride[a] + 1;
      } while (w.y[a] < 1);
    }
    if (any(0, 5) == 0) {  // a product of matrices, one of whose sizes may be large
      int large = any(0, 3);
      w.n = any(1, 5), w.groups = 1, w.c = any(1, large == 1 ? 450 : 50), w.o = any(1, large == 2 ? 450 : 50);
      for (int a = 0; a < 3; a++) w.k[a] = w.stride[a] = w.dilation[a] = 1, w.low[a] = 0, w.x[a] = w.y[a] = any(1, 4);
      if (large == 3) w.x[2] = w.y[2] = any(1, 90);
    } else if (any(0, 3) == 0) {  // a window for Winograd's kernels, some with many channels, and tiles beyond one block
      bool deep = any(0, 3) == 0;
      w.n = any(1, 5), w.groups = any(0, 3) ? 1 : any(2, 3), w.c = any(1, deep ? 140 : 40), w.o = any(1, deep ? 140 : 40);
      w.x[0] = w.k[0] = w.y[0] = w.stride[0] = w.dilation[0] = 1, w.low[0] = 0;
      for (int a = 1; a < 3; a++) {
        w.k[a] = 3, w.stride[a] = w.dilation[a] = 1, w.low[a] = any(0, 3);
        do w.x[a] = any(1, deep ? 6 : 27), w.y[a] = w.x[a] + w.low[a] + any(0, 3) - 2;
        while (w.y[a] < 1);
      }
    }
    if (!check(w, random)) {
      std::printf("case %d: n %d groups %d c %d o %d", seed + i, (int)w.n, (int)w.groups, (int)w.c, (int)w.o);
      for (int a = 0; a < 3; a++)
        std::printf("; x %d k %d y %d stride %d low %d dilation %d", (int)w.x[a], (int)w.k[a], (int)w.y[a],
                    (int)w.stride[a], (int)w.low[a], (int)w.dilation[a]);
      std::printf("\n");
      return 1;
    }
  }
  std::printf("%d cases right\n", cases);
}
