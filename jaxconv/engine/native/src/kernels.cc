// All kernels for one instruction set: compiled with VL (floats of a vector) and TABLE (the table's name).
#include "depthwise.h"
#include "depthwise_kernel_gradient.h"
#include "norm.h"
#include "pool.h"
#include "product.h"
#include "resample.h"
#include "winograd_kernel_gradient.h"

extern const Kernels TABLE;
const Kernels TABLE = {
    direct_y,      direct_x,      direct_k,      depthwise_y,   depthwise_x,   depthwise_k,
    winograd_y<4>, winograd_x<4>, winograd_k<4>, winograd_y<2>, winograd_x<2>, winograd_k<2>,
    moments,       sums,          layer_norm,    layer_norm_gradient, first_maximum, window_sum,
    resample,
};
