#include <cstring>

#include "reconcilers/embed/local_kernels.hpp"
#include "reconcilers/embed/local_kernels_body.hpp"

namespace homeostat {

#if defined(HOMEOSTAT_AVX2)
extern const Kernels kAvx2Kernels;
const Kernels* avx2_kernels() noexcept {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &kAvx2Kernels : nullptr;
}
#else
const Kernels* avx2_kernels() noexcept { return nullptr; }
#endif

const Kernels& portable_kernels() noexcept {
    static constexpr Kernels kernels{"portable", gemm, layer_norm, softmax, mean_rows};
    return kernels;
}

void pack_panels(const float* src, std::size_t row_stride, std::size_t column_stride, std::size_t k, std::size_t n, float* dst) {
    for (std::size_t n0 = 0; n0 < n; n0 += kPanel) {
        const std::size_t width = n - n0 < kPanel ? n - n0 : kPanel;
        const float* from = src + n0 * column_stride;
        for (std::size_t i = 0; i < k; ++i, from += row_stride, dst += kPanel) {
            if (column_stride == 1 && width == kPanel) {
                std::memcpy(dst, from, kPanel * sizeof(float));
                continue;
            }
            for (std::size_t j = 0; j < width; ++j) dst[j] = from[j * column_stride];
            for (std::size_t j = width; j < kPanel; ++j) dst[j] = 0.0F;
        }
    }
}

}  // namespace homeostat
