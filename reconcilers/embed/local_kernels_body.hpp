// Bodies of the kernels, included by the two translation units that compile them for different processors.
//
// Everything here has internal linkage and nothing of the standard library is instantiated: an inline function compiled for AVX2
// must never be the copy the linker keeps for everybody.
#pragma once

#include "reconcilers/embed/local_kernels.hpp"

namespace homeostat {
namespace {

#if defined(__AVX2__)
#define VECTOR_BYTES 32
constexpr int kTile = 6;  // 6 x 16 results fill twelve of sixteen registers
#else
#define VECTOR_BYTES 16
constexpr int kTile = 2;
#endif
typedef float Vec __attribute__((vector_size(VECTOR_BYTES)));
typedef int IntVec __attribute__((vector_size(VECTOR_BYTES)));
typedef float LooseVec __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));

constexpr std::size_t kLanes = VECTOR_BYTES / sizeof(float);
constexpr int kColumns = kPanel / kLanes;  // vectors across a panel
constexpr std::size_t kBlock = 256;        // rows of a panel that stay in the first-level cache (16 KiB)

#define HOMEOSTAT_INLINE static inline __attribute__((always_inline))
#define LOAD(p) (*reinterpret_cast<const LooseVec*>(p))
#define STORE(p, v) (*reinterpret_cast<LooseVec*>(p) = (v))

struct Tile {
    const float* a;
    std::size_t a_stride;
    const float* b;
    float* c;
    std::size_t c_stride;
    std::size_t k;
    const float* bias;
    bool add_c;
    bool relu;
};

template <int Rows>
void run_tile(const Tile& t) {
    Vec sum[Rows][kColumns];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < kColumns; ++v) {
            sum[r][v] = t.bias ? LOAD(t.bias + v * kLanes) : Vec{};
            if (t.add_c) sum[r][v] += LOAD(t.c + r * t.c_stride + v * kLanes);
        }
    }
    const float* b = t.b;
    const float* a = t.a;
    const std::size_t stride = t.a_stride;
    for (std::size_t k = 0; k < t.k; ++k, b += kPanel, ++a) {
        Vec row[kColumns];
#pragma GCC unroll 4
        for (int v = 0; v < kColumns; ++v) row[v] = LOAD(b + v * kLanes);
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) {
            const float x = a[r * stride];
#pragma GCC unroll 4
            for (int v = 0; v < kColumns; ++v) sum[r][v] += x * row[v];
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < kColumns; ++v) {
            if (t.relu) sum[r][v] = sum[r][v] > 0.0F ? sum[r][v] : Vec{};
            STORE(t.c + r * t.c_stride + v * kLanes, sum[r][v]);
        }
    }
}

HOMEOSTAT_INLINE void run_remainder(const Tile& t, std::size_t rows) {
    switch (rows) {
        case 1: return run_tile<1>(t);
        case 2: return run_tile<2>(t);
        case 3: return run_tile<3>(t);
        case 4: return run_tile<4>(t);
        case 5: return run_tile<5>(t);
        default: return;
    }
}

// Goto's order: a block of k at a time, so that one panel block stays in L1 under all rows and the block of `a` in L2 under all
// panels.
void gemm(const GemmArgs& g) {
    for (std::size_t k0 = 0; k0 < g.k; k0 += kBlock) {
        const std::size_t depth = g.k - k0 < kBlock ? g.k - k0 : kBlock;
        const bool first = k0 == 0;
        const bool last = k0 + depth == g.k;
        for (std::size_t n0 = 0; n0 < g.n; n0 += kPanel) {
            Tile t{g.a + k0,
                   g.a_stride,
                   g.b + n0 * g.k + k0 * kPanel,
                   g.c + n0,
                   g.c_stride,
                   depth,
                   first && g.bias ? g.bias + n0 : nullptr,
                   g.accumulate || !first,
                   g.relu && last};
            std::size_t m = 0;
            for (; m + kTile <= g.m; m += kTile) {
                run_tile<kTile>(t);
                t.a += kTile * g.a_stride;
                t.c += kTile * g.c_stride;
            }
            run_remainder(t, g.m - m);
        }
    }
}

HOMEOSTAT_INLINE float lane_sum(const Vec& v) {
    float sum = v[0];
    for (std::size_t i = 1; i < kLanes; ++i) sum += v[i];
    return sum;
}

void layer_norm(const float* x, float* out, std::size_t rows, std::size_t width, const float* scale, const float* shift) {
    const float inverse = 1.0F / static_cast<float>(width);
    for (std::size_t r = 0; r < rows; ++r, x += width, out += width) {
        Vec sum{};
        for (std::size_t i = 0; i < width; i += kLanes) sum += LOAD(x + i);
        const float mean = lane_sum(sum) * inverse;
        Vec squares{};
        for (std::size_t i = 0; i < width; i += kLanes) {
            const Vec d = LOAD(x + i) - mean;
            squares += d * d;
        }
        const float factor = 1.0F / __builtin_sqrtf(lane_sum(squares) * inverse + 1e-6F);
        for (std::size_t i = 0; i < width; i += kLanes) {
            const Vec d = (LOAD(x + i) - mean) * factor;
            STORE(out + i, d * LOAD(scale + i) + LOAD(shift + i));
        }
    }
}

// e^x for x <= 0, to two units in the last place; below -87 it stays at the least normal number.
HOMEOSTAT_INLINE void exponential(Vec& x) {
    x = x > -87.0F ? x : Vec{} - 87.0F;
    const Vec n = (x * 1.44269504F + 12582912.0F) - 12582912.0F;  // nearest integer
    const Vec r = (x - n * 0.693359375F) + n * 2.12194440e-4F;
    Vec p = r * 1.9875691500e-4F + 1.3981999507e-3F;
    p = p * r + 8.3334519073e-3F;
    p = p * r + 4.1665795894e-2F;
    p = p * r + 1.6666665459e-1F;
    p = p * r + 5.0000001201e-1F;
    p = p * (r * r) + r + 1.0F;
    const IntVec exponent = (__builtin_convertvector(n, IntVec) + 127) << 23;
    x = p * __builtin_bit_cast(Vec, exponent);
}

void softmax(float* x, std::size_t rows, std::size_t columns, std::size_t stride, float scale) {
    const std::size_t padded = (columns + kLanes - 1) / kLanes * kLanes;
    for (std::size_t r = 0; r < rows; ++r, x += stride) {
        for (std::size_t i = columns; i < padded; ++i) x[i] = x[0];
        Vec top = LOAD(x);
        for (std::size_t i = kLanes; i < padded; i += kLanes) {
            const Vec v = LOAD(x + i);
            top = v > top ? v : top;
        }
        float maximum = top[0];
        for (std::size_t i = 1; i < kLanes; ++i) maximum = top[i] > maximum ? top[i] : maximum;
        for (std::size_t i = 0; i < padded; i += kLanes) {
            Vec v = (LOAD(x + i) - maximum) * scale;
            exponential(v);
            STORE(x + i, v);
        }
        for (std::size_t i = columns; i < stride; ++i) x[i] = 0.0F;
        Vec sum{};
        for (std::size_t i = 0; i < padded; i += kLanes) sum += LOAD(x + i);
        const float factor = 1.0F / lane_sum(sum);
        for (std::size_t i = 0; i < padded; i += kLanes) STORE(x + i, LOAD(x + i) * factor);
    }
}

void mean_rows(const float* x, std::size_t rows, std::size_t width, float* out) {
    const float factor = 1.0F / static_cast<float>(rows > 0 ? rows : 1);
    for (std::size_t i = 0; i < width; i += kLanes) {
        Vec sum{};
        for (std::size_t r = 0; r < rows; ++r) sum += LOAD(x + r * width + i);
        STORE(out + i, sum * factor);
    }
}

#undef VECTOR_BYTES
#undef LOAD
#undef STORE
#undef HOMEOSTAT_INLINE

}  // namespace
}  // namespace homeostat
