// The handlers that XLA calls, on XLA's threads, and the choice of the instruction set.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <vector>

#include "shared.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

extern const Kernels kernels_baseline;
#ifdef HAS_X86_64_V3
extern const Kernels kernels_x86_64_v3;
#endif
#ifdef HAS_X86_64_V4
extern const Kernels kernels_x86_64_v4;
#endif

namespace {

// ---------------------------------------------------------------- the instruction set

struct Isa {
  const char* name;
  const Kernels* kernels;
  bool (*here)();
};

const Isa isas[] = {  // the widest first
#ifdef HAS_X86_64_V4
    {"x86-64-v4", &kernels_x86_64_v4, [] { return __builtin_cpu_supports("x86-64-v4") != 0; }},
#endif
#ifdef HAS_X86_64_V3
    {"x86-64-v3", &kernels_x86_64_v3, [] { return __builtin_cpu_supports("x86-64-v3") != 0; }},
#endif
    {"baseline", &kernels_baseline, [] { return true; }},
};

std::atomic<const Isa*> selected{nullptr};

const Isa* widest() {
  for (const Isa& isa : isas)
    if (isa.here()) return &isa;
  return nullptr;
}

const Isa* current() {
  const Isa* isa = selected.load();
  if (!isa) selected.store(isa = widest());
  return isa;
}

// ---------------------------------------------------------------- threads

// The tasks are taken off a counter by the caller and by helpers of XLA's pool. The caller waits for tasks that have
// begun and for no others: a helper that the pool starts late finds nothing to do, and touches nothing of the call.
void run(void* self, int64_t count, void (*task)(void*, int64_t), void* arg) {
  struct State {
    std::atomic<int64_t> next{0}, done{0};
  };
  auto& pool = *static_cast<ffi::ThreadPool*>(self);
  auto state = std::make_shared<State>();
  auto work = [=] {
    for (int64_t i; (i = state->next.fetch_add(1)) < count;) {
      task(arg, i);
      state->done.fetch_add(1, std::memory_order_release);
    }
  };
  int64_t helpers = std::min<int64_t>(pool.num_threads(), count) - 1;
  for (int64_t i = 0; i < helpers; i++) pool.Schedule([work] { work(); });
  work();
  while (state->done.load(std::memory_order_acquire) < count) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
}

// ---------------------------------------------------------------- memory

// Blocks that calls have given back, for the next: fresh pages cost more than the kernels of small arrays. What a
// process keeps is bounded; a block's size is in the 64 bytes before it.
constexpr size_t kept_bytes = size_t(64) << 20;
std::mutex guard;
std::vector<float*>& idle() {
  static auto* blocks = new std::vector<float*>;
  return *blocks;
}
size_t idle_bytes = 0;
size_t& size_of(float* memory) { return *reinterpret_cast<size_t*>(memory - 16); }

float* take(int64_t floats) {
  size_t bytes = (size_t(floats < 1 ? 1 : floats) * 4 + 4095) / 4096 * 4096;
  {
    std::lock_guard<std::mutex> lock(guard);
    auto& blocks = idle();
    size_t best = blocks.size();
    for (size_t i = 0; i < blocks.size(); i++)
      if (size_of(blocks[i]) >= bytes && (best == blocks.size() || size_of(blocks[i]) < size_of(blocks[best]))) best = i;
    if (best < blocks.size() && size_of(blocks[best]) <= 4 * bytes) {
      float* found = blocks[best];
      blocks[best] = blocks.back();
      blocks.pop_back();
      idle_bytes -= size_of(found);
      return found;
    }
  }
  void* base = nullptr;
  if (posix_memalign(&base, 64, bytes + 64)) std::abort();
  float* memory = static_cast<float*>(base) + 16;
  size_of(memory) = bytes;
  return memory;
}

void give(float* memory) {
  size_t bytes = size_of(memory);
  std::lock_guard<std::mutex> lock(guard);
  if (idle_bytes + bytes > kept_bytes) return std::free(memory - 16);
  idle_bytes += bytes;
  idle().push_back(memory);
}

// ---------------------------------------------------------------- handlers

using Array = ffi::Buffer<ffi::F32>;
using Result = ffi::ResultBuffer<ffi::F32>;
using Ints = ffi::Span<const int64_t>;
using Dims = ffi::Span<const int64_t>;
using Weights = ffi::Span<const float>;

// The window of arrays x [N, *n, C], k [*k, C/groups, O] and y [N, *out, O]; false where their shapes disagree.
bool window_of(Dims x, Dims k, Dims y, Ints stride, Ints low, Ints dilation, int64_t groups, Window& w) {
  size_t rank = stride.size();
  if (rank < 1 || rank > 3 || low.size() != rank || dilation.size() != rank || groups < 1) return false;
  if (x.size() != rank + 2 || k.size() != rank + 2 || y.size() != rank + 2) return false;
  w.n = x[0], w.groups = groups, w.c = k[rank], w.o = k[rank + 1] / groups;
  if (y[0] != w.n || x[rank + 1] != groups * w.c || k[rank + 1] != groups * w.o || y[rank + 1] != groups * w.o) return false;
  for (size_t a = 0; a < 3; a++) {
    size_t missing = 3 - rank, i = a - missing;
    bool is = a >= missing;
    w.x[a] = is ? x[i + 1] : 1, w.k[a] = is ? k[i] : 1, w.y[a] = is ? y[i + 1] : 1;
    w.stride[a] = is ? stride[i] : 1, w.low[a] = is ? low[i] : 0, w.dilation[a] = is ? dilation[i] : 1;
    if (w.stride[a] < 1 || w.dilation[a] < 1) return false;
    if (w.x[a] < 1 || w.k[a] < 1 || w.y[a] < 1) return false;
  }
  return w.n >= 1 && w.c >= 1 && w.o >= 1;
}

// The windows of a pool on arrays x [N, *n, C] and y [N, *out, C]; false where their shapes disagree.
bool pool_of(Dims x, Dims y, Ints size, Ints stride, Ints low, Ints dilation, Ints place, Pool& p) {
  size_t rank = size.size();
  if (rank < 1 || rank > 3 || x.size() != rank + 2 || y.size() != rank + 2 || x[0] != y[0] || x.back() != y.back()) return false;
  for (Ints given : {stride, low, dilation, place})
    if (given.size() != rank) return false;
  p.n = x[0], p.c = x.back();
  for (size_t a = 0; a < 3; a++) {
    size_t i = a - (3 - rank);
    bool is = a >= 3 - rank;
    p.x[a] = is ? x[i + 1] : 1, p.k[a] = is ? size[i] : 1, p.y[a] = is ? y[i + 1] : 1, p.stride[a] = is ? stride[i] : 1;
    p.low[a] = is ? low[i] : 0, p.dilation[a] = is ? dilation[i] : 1, p.place[a] = is ? place[i] : 0;
    if (std::min({p.x[a], p.k[a], p.y[a], p.stride[a], p.dilation[a]}) < 1) return false;
    for (int64_t out : {int64_t(0), p.y[a] - 1}) {  // the first and the last window have a cell of x
      int64_t first = out * p.stride[a] - p.low[a], last = first + (p.k[a] - 1) * p.dilation[a];
      if (first >= p.x[a] || last < 0) return false;
    }
  }
  return p.n >= 1 && p.c >= 1;
}

using Kernel = void (*)(const Host&, const Window&, const float*, const float*, float*);

// Which of a call's first operand, second operand and result is x, k, y.
template <Kernel Kernels::*kernel, int X, int K, int Y>
ffi::Error call(ffi::ThreadPool pool, Ints stride, Ints low, Ints dilation, int64_t groups, Array a, Array b, Result out) {
  Dims dims[3] = {a.dimensions(), b.dimensions(), out->dimensions()};
  Window w;
  if (!window_of(dims[X], dims[K], dims[Y], stride, low, dilation, groups, w))
    return ffi::Error::InvalidArgument("jaxconv: the shapes of a native convolution do not agree");
  Host host{&pool, std::max<int64_t>(1, pool.num_threads()), run, take, give};
  (current()->kernels->*kernel)(host, w, a.typed_data(), b.typed_data(), out->typed_data());
  return ffi::Error::Success();
}

// Runs a kernel on x's groups, if these say how many numbers arrays like x, its means, its columns and its scale have.
using Counts = std::initializer_list<size_t>;
template <class F>
ffi::Error on_groups(ffi::ThreadPool pool, Ints sizes, Counts all, Counts means, Counts columns, Counts scales, F kernel) {
  Groups s{};
  if (sizes.size() == 5) s = {sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]};
  int64_t kept = s.members * s.samples * s.groups, width = s.groups * s.channels;
  auto each = [](Counts counts, int64_t size) {
    return std::all_of(counts.begin(), counts.end(), [=](size_t n) { return n == size_t(size); });
  };
  if (std::min({s.members, s.samples, s.rows, s.groups, s.channels}) < 1 || !each(all, kept * s.rows * s.channels) ||
      !each(means, kept) || !each(columns, s.members * s.samples * width) || !each(scales, s.members * width))
    return ffi::Error::InvalidArgument("jaxconv: the shapes of a native norm do not agree");
  kernel(Host{&pool, std::max<int64_t>(1, pool.num_threads()), run, take, give}, s);
  return ffi::Error::Success();
}

ffi::Error bad_pool() { return ffi::Error::InvalidArgument("jaxconv: the shapes of a native pool do not agree"); }

ffi::Error first_maximum(ffi::ThreadPool pool, Ints size, Ints stride, Ints low, Ints dilation, Ints place, Array x,
                         Result y, ffi::ResultBuffer<ffi::S8> code) {
  Pool p;
  if (!pool_of(x.dimensions(), y->dimensions(), size, stride, low, dilation, place, p) ||
      code->element_count() != y->element_count())
    return bad_pool();
  Host host{&pool, std::max<int64_t>(1, pool.num_threads()), run, take, give};
  current()->kernels->first_maximum(host, p, x.typed_data(), y->typed_data(), code->typed_data());
  return ffi::Error::Success();
}

ffi::Error window_sum(ffi::ThreadPool pool, Ints size, Ints stride, Ints low, Ints dilation, Ints place, bool mean,
                      Array x, Result y) {
  Pool p;
  p.mean = mean;
  if (!pool_of(x.dimensions(), y->dimensions(), size, stride, low, dilation, place, p)) return bad_pool();
  Host host{&pool, std::max<int64_t>(1, pool.num_threads()), run, take, give};
  current()->kernels->window_sum(host, p, x.typed_data(), y->typed_data());
  return ffi::Error::Success();
}

// The taps of an axis from tables of `out` rows; false where a cell is beyond the axis.
bool taps_of(int64_t cells, int64_t out, Ints cell, Weights weight, Taps& taps) {
  taps = {cells, out, out < 1 ? 0 : int64_t(cell.size()) / out, cell.begin(), weight.begin()};
  return taps.count >= 1 && cell.size() == size_t(out * taps.count) && weight.size() == cell.size() &&
         std::all_of(cell.begin(), cell.end(), [=](int64_t at) { return at >= 0 && at < cells; });
}

ffi::Error resample(ffi::ThreadPool pool, Ints row_cells, Weights row_weights, Ints column_cells,
                    Weights column_weights, Array x, Result y) {
  Resampling r{};
  Dims from = x.dimensions(), to = y->dimensions();
  if (from.size() != 4 || to.size() != 4 || from[0] != to[0] || from[3] != to[3] || std::min(from[0], from[3]) < 1 ||
      !taps_of(from[1], to[1], row_cells, row_weights, r.rows) ||
      !taps_of(from[2], to[2], column_cells, column_weights, r.columns))
    return ffi::Error::InvalidArgument("jaxconv: the shapes of a native interpolation do not agree");
  r.n = from[0], r.c = from[3];
  Host host{&pool, std::max<int64_t>(1, pool.num_threads()), run, take, give};
  current()->kernels->resample(host, r, x.typed_data(), y->typed_data());
  return ffi::Error::Success();
}

size_t size(const Array& v) { return v.element_count(); }
size_t size(Result& v) { return v->element_count(); }

ffi::Error moments(ffi::ThreadPool pool, Ints sizes, Array x, Result center, Result rest, Result var) {
  return on_groups(pool, sizes, {size(x)}, {size(center), size(rest), size(var)}, {}, {},
                   [&](const Host& host, const Groups& s) {
                     current()->kernels->moments(host, s, x.typed_data(), center->typed_data(), rest->typed_data(),
                                                 var->typed_data());
                   });
}

ffi::Error sums(ffi::ThreadPool pool, Ints sizes, Array dz, Array x, Array center, Array rest, Array rstd,
                Result dscale, Result dbias) {
  return on_groups(pool, sizes, {size(dz), size(x)}, {size(center), size(rest), size(rstd)},
                   {size(dscale), size(dbias)}, {}, [&](const Host& host, const Groups& s) {
                     current()->kernels->sums(host, s, dz.typed_data(), x.typed_data(), center.typed_data(),
                                              rest.typed_data(), rstd.typed_data(), dscale->typed_data(),
                                              dbias->typed_data());
                   });
}

ffi::Error layer_norm(ffi::ThreadPool pool, Ints sizes, double eps, Array x, Array scale, Array bias, Result z,
                      Result center, Result rest, Result var) {
  return on_groups(pool, sizes, {size(x), size(z)}, {size(center), size(rest), size(var)}, {},
                   {size(scale), size(bias)}, [&](const Host& host, const Groups& s) {
                     current()->kernels->layer_norm(host, s, eps, x.typed_data(), scale.typed_data(),
                                                    bias.typed_data(), z->typed_data(), center->typed_data(),
                                                    rest->typed_data(), var->typed_data());
                   });
}

ffi::Error layer_norm_gradient(ffi::ThreadPool pool, Ints sizes, Array dz, Array dmean, Array dvar, Array x,
                               Array center, Array rest, Array rstd, Array scale, Result dx, Result dscale,
                               Result dbias) {
  return on_groups(pool, sizes, {size(dz), size(x), size(dx)},
                   {size(dmean), size(dvar), size(center), size(rest), size(rstd)}, {},
                   {size(scale), size(dscale), size(dbias)}, [&](const Host& host, const Groups& s) {
                     current()->kernels->layer_norm_gradient(
                         host, s, dz.typed_data(), dmean.typed_data(), dvar.typed_data(), x.typed_data(),
                         center.typed_data(), rest.typed_data(), rstd.typed_data(), scale.typed_data(),
                         dx->typed_data(), dscale->typed_data(), dbias->typed_data());
                   });
}

}  // namespace

#define PUBLIC extern "C" __attribute__((visibility("default")))

#define HANDLER(name, kernel, X, K, Y)                                                            \
  PUBLIC XLA_FFI_Error* name(XLA_FFI_CallFrame*);                                                 \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, (call<&Kernels::kernel, X, K, Y>),                          \
                                ffi::Ffi::Bind()                                                  \
                                    .Ctx<ffi::ThreadPool>()                                       \
                                    .Attr<Ints>("stride")                                         \
                                    .Attr<Ints>("low")                                            \
                                    .Attr<Ints>("dilation")                                       \
                                    .Attr<int64_t>("groups")                                      \
                                    .Arg<Array>()                                                 \
                                    .Arg<Array>()                                                 \
                                    .Ret<Array>())

HANDLER(jaxconv_dense_y, dense_y, 0, 1, 2);
HANDLER(jaxconv_dense_x, dense_x, 2, 0, 1);
HANDLER(jaxconv_dense_k, dense_k, 0, 2, 1);
HANDLER(jaxconv_depthwise_y, depthwise_y, 0, 1, 2);
HANDLER(jaxconv_depthwise_x, depthwise_x, 2, 0, 1);
HANDLER(jaxconv_depthwise_k, depthwise_k, 0, 2, 1);
HANDLER(jaxconv_winograd4_y, winograd4_y, 0, 1, 2);
HANDLER(jaxconv_winograd4_x, winograd4_x, 2, 0, 1);
HANDLER(jaxconv_winograd4_k, winograd4_k, 0, 2, 1);
HANDLER(jaxconv_winograd2_y, winograd2_y, 0, 1, 2);
HANDLER(jaxconv_winograd2_x, winograd2_x, 2, 0, 1);
HANDLER(jaxconv_winograd2_k, winograd2_k, 0, 2, 1);

#define POOL                                                                                                     \
  ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<Ints>("size").Attr<Ints>("stride").Attr<Ints>("low").Attr<Ints>( \
      "dilation").Attr<Ints>("place")

PUBLIC XLA_FFI_Error* jaxconv_first_maximum(XLA_FFI_CallFrame*);
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxconv_first_maximum, first_maximum, POOL.Arg<Array>().Ret<Array>().Ret<ffi::Buffer<ffi::S8>>());
PUBLIC XLA_FFI_Error* jaxconv_window_sum(XLA_FFI_CallFrame*);
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxconv_window_sum, window_sum, POOL.Attr<bool>("mean").Arg<Array>().Ret<Array>());

PUBLIC XLA_FFI_Error* jaxconv_resample(XLA_FFI_CallFrame*);
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxconv_resample, resample,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<Ints>("row_cells")
                                  .Attr<Weights>("row_weights")
                                  .Attr<Ints>("column_cells")
                                  .Attr<Weights>("column_weights")
                                  .Arg<Array>()
                                  .Ret<Array>());

#define NORM ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<Ints>("sizes")
#define ARRAYS2 .Arg<Array>().Arg<Array>()
#define RESULTS2 .Ret<Array>().Ret<Array>()

PUBLIC XLA_FFI_Error* jaxconv_moments(XLA_FFI_CallFrame*);
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxconv_moments, moments, NORM.Arg<Array>() RESULTS2.Ret<Array>());
PUBLIC XLA_FFI_Error* jaxconv_sums(XLA_FFI_CallFrame*);
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxconv_sums, sums, NORM ARRAYS2 ARRAYS2.Arg<Array>() RESULTS2);
PUBLIC XLA_FFI_Error* jaxconv_layer_norm(XLA_FFI_CallFrame*);
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxconv_layer_norm, layer_norm,
                              NORM.Attr<double>("eps") ARRAYS2.Arg<Array>() RESULTS2 RESULTS2);
PUBLIC XLA_FFI_Error* jaxconv_layer_norm_gradient(XLA_FFI_CallFrame*);
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxconv_layer_norm_gradient, layer_norm_gradient,
                              NORM ARRAYS2 ARRAYS2 ARRAYS2 ARRAYS2 RESULTS2.Ret<Array>());

// The version of XLA's FFI that this was compiled for: major * 1000 + minor.
PUBLIC int jaxconv_ffi_version() { return XLA_FFI_API_MAJOR * 1000 + XLA_FFI_API_MINOR; }

// The hash of the sources (build.py).
PUBLIC const char* jaxconv_sources() { return SOURCES; }

// The instruction set in use.
PUBLIC const char* jaxconv_isa() { return current()->name; }

// Uses another instruction set from now on; null for the widest. False if it is unknown or not this processor's.
PUBLIC int jaxconv_select_isa(const char* name) {
  if (!name) return selected.store(widest()), 1;
  for (const Isa& isa : isas)
    if (!strcmp(isa.name, name) && isa.here()) return selected.store(&isa), 1;
  return 0;
}
