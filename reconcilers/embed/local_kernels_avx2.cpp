// Compiled with -mavx2 -mfma, on x86-64 only (CMakeLists.txt). Nothing here may run before avx2_kernels() has asked the
// processor.
#include "reconcilers/embed/local_kernels_body.hpp"

namespace homeostat {

extern const Kernels kAvx2Kernels;
constinit const Kernels kAvx2Kernels{"avx2", gemm, layer_norm, softmax, mean_rows};

}  // namespace homeostat
