// The noise of noise.py on a GPU: the same Philox4x32-10 words bit for bit, and normals within 2 ulp of float32.
//
// Double precision inside costs 60 operations a normal: 2.6 million of them (10 images of 512 x 512) are estimated at
// 0.2 to 0.3 ms on an RTX 4090, whose network takes 40 to 100 ms for as many pixels.

typedef unsigned int word;

struct Words {
    word w0, w1, w2, w3;
};

__device__ Words philox4x32(Words c, word k0, word k1) {
    for (int i = 0; i < 10; ++i) {
        const word high0 = __umulhi(0xD2511F53u, c.w0), low0 = 0xD2511F53u * c.w0;
        const word high1 = __umulhi(0xCD9E8D57u, c.w2), low1 = 0xCD9E8D57u * c.w2;
        c = Words{high1 ^ c.w1 ^ k0, low1, high0 ^ c.w3 ^ k1, low0};
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c;
}

// The quadrant form of noise.py's box_muller; sinpi needs no reduction of its argument, and so no local memory.
__device__ void box_muller(word w0, word w1, float *along, float *across) {
    const double radius = sqrt(-2.0 * log((w0 + 0.5) * 0x1p-32));
    const word quadrant = w1 >> 30;
    const double fraction = ((w1 & 0x3FFFFFFFu) + 0.5) * 0x1p-30;
    const double rising = radius * sinpi(0.5 * fraction);
    const double falling = radius * sinpi(0.5 * (1.0 - fraction));
    const double x = quadrant & 1 ? rising : falling, y = quadrant & 1 ? falling : rising;
    *along = (float)((quadrant + 1) & 2 ? -x : x);
    *across = (float)(quadrant & 2 ? -y : y);
}

// The words of block `block` of row `row`: the counter is (block, draw, sample, slice), rows are (slice, sample).
__device__ Words words_of(const word *rows, word row, word block, word draw, word k0, word k1) {
    return philox4x32(Words{block, draw, rows[2 * row + 1], rows[2 * row]}, k0, k1);
}

// normals [rows, pixels]: a thread a block of four pixels, gridDim.y the rows.
extern "C" __global__ void mrct_normals(float *normals, const word *rows, word pixels, word draw, word k0, word k1) {
    const word block = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    if (4ull * block >= pixels) return;
    const Words w = words_of(rows, row, block, draw, k0, k1);
    float z[4];
    box_muller(w.w0, w.w1, &z[0], &z[1]);
    box_muller(w.w2, w.w3, &z[2], &z[3]);
    float *image = normals + (size_t)row * pixels;
    for (word i = 0; i < 4; ++i)
        if (4 * block + i < pixels) image[4 * block + i] = z[i];
}

// words [rows, blocks, 4], for the proof that they are NumPy's.
extern "C" __global__ void mrct_words(word *words, const word *rows, word blocks, word draw, word k0, word k1) {
    const word block = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    if (block >= blocks) return;
    const Words w = words_of(rows, row, block, draw, k0, k1);
    word *out = words + 4 * ((size_t)row * blocks + block);
    out[0] = w.w0;
    out[1] = w.w1;
    out[2] = w.w2;
    out[3] = w.w3;
}
