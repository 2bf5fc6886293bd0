// A CUDA source as C++ of the processor: threads one after another. SOURCE is the path of noise.cu.
#include <cmath>
#include <cstddef>
#include <cstdint>

#define __global__
#define __device__
struct dim3 {
    unsigned x, y, z;
};
static thread_local dim3 threadIdx, blockIdx, blockDim;

static unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((std::uint64_t)a * b) >> 32); }
static double sinpi(double x) { return std::sin(3.14159265358979323846 * x); }
using std::log;
using std::sqrt;

#include SOURCE

template <class F> static void each_thread(unsigned grid_x, unsigned grid_y, unsigned threads, F kernel) {
    blockDim = {threads, 1, 1};
    for (unsigned y = 0; y < grid_y; ++y)
        for (unsigned x = 0; x < grid_x; ++x)
            for (unsigned i = 0; i < threads; ++i) {
                blockIdx = {x, y, 0};
                threadIdx = {i, 0, 0};
                kernel();
            }
}

extern "C" void run_normals(unsigned grid_x, unsigned grid_y, unsigned threads, float *out, const unsigned *rows,
                            unsigned pixels, unsigned draw, unsigned k0, unsigned k1) {
    each_thread(grid_x, grid_y, threads, [&] { mrct_normals(out, rows, pixels, draw, k0, k1); });
}

extern "C" void run_words(unsigned grid_x, unsigned grid_y, unsigned threads, unsigned *out, const unsigned *rows,
                          unsigned blocks, unsigned draw, unsigned k0, unsigned k1) {
    each_thread(grid_x, grid_y, threads, [&] { mrct_words(out, rows, blocks, draw, k0, k1); });
}
