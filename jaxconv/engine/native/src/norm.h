// Normalization by mean and variance:
//
//     z[m, a, r, g, c] = (x[m, a, r, g, c] - mean[m, a, g]) * rstd[m, a, g] * scale[m, g, c] + bias[m, g, c]
//
// with mean, variance and rstd = 1 / sqrt(variance + eps) over rows r and channels c, and the gradient of all of it.
// Batch norm has samples and channels of 1, layer norm rows and groups of 1, instance norm channels of 1.
// The mean is center + rest, as one float cannot hold the mean of values like 1e4 ± 1e-2.
#pragma once
#include "norm_columns.h"
#include "norm_rows.h"
