// The arithmetic of the built-in model: float32 kernels compiled twice, for AVX2+FMA and for any machine.
//
// Every element of a result is one chain of multiply-adds in a fixed order, whatever the number of rows, so a row comes out bit
// for bit the same alone or among others. The two builds differ only in the rounding of fused multiply-adds.
// Pure functions over the caller's memory; safe from any thread.
#pragma once

#include <cstddef>

namespace homeostat {

// Columns of a packed panel; row strides of results are multiples of it.
inline constexpr std::size_t kPanel = 16;

constexpr std::size_t panel_width(std::size_t columns) noexcept { return (columns + kPanel - 1) / kPanel * kPanel; }

// c[m x n] = start + a[m x k] * b, where start is the bias (or zero), plus what c held when `accumulate`. `b` is packed: panels
// of kPanel columns, each k rows of kPanel floats, the last one padded. Writes panel_width(n) columns of c.
struct GemmArgs {
    const float* a = nullptr;
    std::size_t a_stride = 0;
    const float* b = nullptr;
    float* c = nullptr;
    std::size_t c_stride = 0;
    std::size_t m = 0, n = 0, k = 0;
    const float* bias = nullptr;  // panel_width(n) floats
    bool accumulate = false;
    bool relu = false;
};

struct Kernels {
    const char* name;
    void (*gemm)(const GemmArgs& args);
    // out = (x - mean) / sqrt(variance + 1e-6) * scale + shift, row by row; width is a multiple of 8.
    void (*layer_norm)(const float* x, float* out, std::size_t rows, std::size_t width, const float* scale, const float* shift);
    // softmax(scale * x) over the first `columns` of every row; the padding behind them becomes zero.
    void (*softmax)(float* x, std::size_t rows, std::size_t columns, std::size_t stride, float scale);
    // out[width] = mean of the rows; width is a multiple of 8.
    void (*mean_rows)(const float* x, std::size_t rows, std::size_t width, float* out);
};

const Kernels& portable_kernels() noexcept;
// Null where the build or the processor has no AVX2 and FMA.
const Kernels* avx2_kernels() noexcept;

// Packs the k x n matrix whose element (i, j) is src[i * row_stride + j * column_stride]; `dst` holds k * panel_width(n) floats.
void pack_panels(const float* src, std::size_t row_stride, std::size_t column_stride, std::size_t k, std::size_t n, float* dst);

}  // namespace homeostat
