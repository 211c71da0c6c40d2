// Kernels that calibrate times. Embedded as PTX (kernels.ptx), made by compile.py; no header is needed.
//
// Every kernel reads what it is given and writes something that depends on all of it, so that nothing can be
// left out; sizes are whole numbers of the vectors read.

typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned short u16;

// ---- number formats -------------------------------------------------------------------------------------------

#ifdef __CUDACC__ // tests/fixtures/kernels/host.cpp runs the rest on a processor, with its own of these three
static __device__ __forceinline__ u32 fma2(u32 a, u32 b, u32 c) {
    u32 d;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}

// (low + high) of two halves, in fp32
static __device__ __forceinline__ float sum2(u32 a) {
    float low, high;
    asm("{ .reg .f16 l, h; mov.b32 {l, h}, %2; cvt.f32.f16 %0, l; cvt.f32.f16 %1, h; }"
        : "=f"(low), "=f"(high) : "r"(a));
    return low + high;
}

static __device__ __forceinline__ u16 to_half(float x) {
    u16 h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
    return h;
}
#endif

// Two 4-bit integers (zero point 8) at bits 0-3 and 16-19 of x as halves: 1024 + v by its bits, less 1032.
static __device__ __forceinline__ u32 int4_pair(u32 x) {
    return fma2((x & 0x000f000f) | 0x64006400, 0x3c003c00, 0xe408e408);
}

// Bytes `low` and `high` of x, signed, as halves: 1024 + (v + 128) by its bits, less 1152.
template <u32 SELECT> static __device__ __forceinline__ u32 int8_pair(u32 x) {
    return fma2(__byte_perm(x ^ 0x80808080, 0x64646464, SELECT), 0x3c003c00, 0xe480e480);
}

// Bytes of x in E4M3 as halves: sign and the other seven bits moved; the exponent's bias is 8 less, so x 256.
template <u32 SELECT> static __device__ __forceinline__ u32 fp8_pair(u32 x) {
    u32 spread = __byte_perm(x, 0, SELECT);                                // 0 b1 0 b0 -> b in the upper byte of each half
    u32 bits = (spread & 0x80008000) | ((spread & 0x7f007f00) >> 1);
    return fma2(bits, 0x5c005c00, 0x80008000);                             // x 256, plus -0
}

// ---- data -----------------------------------------------------------------------------------------------------

static __device__ __forceinline__ u32 hash(u64 i, u32 seed) { // SplitMix64, upper half
    u64 z = i + seed * 0x9e3779b97f4a7c15ull + 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return (u32)((z ^ (z >> 31)) >> 32);
}

// Nearly normal, mean 0, deviation 1: the sum of four bytes (Irwin-Hall; each has variance (256^2 - 1)/12).
static __device__ __forceinline__ float normal(u32 bits) {
    u32 sum = (bits & 255) + (bits >> 8 & 255) + (bits >> 16 & 255) + (bits >> 24);
    return ((float)sum - 510.0f) * (1.0f / 147.8f);
}

enum { BITS = 0, BF16 = 1, FP16 = 2, FP32 = 3, FP8 = 4, INT8 = 5, ONES = 6, BYTES = 7 };

// Fills 32-bit words with data of a kind. BITS: every pattern (int4, fp4); INT8: normal, deviation 32; ONES: 1.0 in fp32;
// BYTES: every byte is the seed.
extern "C" __global__ void fill(u32 *out, u64 words, u32 kind, u32 seed) {
    u64 step = (u64)gridDim.x * blockDim.x;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < words; i += step) {
        u32 a = hash(4 * i, seed), word = a;
        if (kind == BF16) {
            u32 b = hash(4 * i + 1, seed);
            word = __float_as_uint(normal(a)) >> 16 | (__float_as_uint(normal(b)) & 0xffff0000);
        } else if (kind == FP16) {
            u32 b = hash(4 * i + 1, seed);
            word = to_half(normal(a)) | (u32)to_half(normal(b)) << 16;
        } else if (kind == FP32) {
            word = __float_as_uint(normal(a));
        } else if (kind == FP8 || kind == INT8) {
            word = 0;
            for (u32 j = 0; j < 4; j++) {
                float x = normal(hash(4 * i + j, seed));
                u32 half = to_half(x * (1.0f / 256.0f));
                u32 byte = kind == FP8 ? (half >> 8 & 0x80) | (half >> 7 & 0x7f) : (u32)(int)(x * 32.0f) & 255;
                word |= byte << (8 * j);
            }
        } else if (kind == ONES) {
            word = 0x3f800000;
        } else if (kind == BYTES) {
            word = (seed & 255) * 0x01010101;
        }
        out[i] = word;
    }
}

// ---- launches and memory --------------------------------------------------------------------------------------

extern "C" __global__ void empty() {}

extern "C" __global__ void read_all(const uint4 *in, u64 n, u32 *out) {
    u64 step = (u64)gridDim.x * blockDim.x, i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    u32 sum = 0;
    for (; i + 3 * step < n; i += 4 * step) {
        uint4 a = in[i], b = in[i + step], c = in[i + 2 * step], d = in[i + 3 * step];
        sum += (a.x ^ a.y ^ a.z ^ a.w) + (b.x ^ b.y ^ b.z ^ b.w) + (c.x ^ c.y ^ c.z ^ c.w) + (d.x ^ d.y ^ d.z ^ d.w);
    }
    for (; i < n; i += step) {
        uint4 a = in[i];
        sum += a.x ^ a.y ^ a.z ^ a.w;
    }
    if (sum == 0x5bd1e995) out[threadIdx.x] = sum; // one time in 2^32; what is summed must be read for it
}

extern "C" __global__ void copy_all(uint4 *out, const uint4 *in, u64 n) {
    u64 step = (u64)gridDim.x * blockDim.x, i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    for (; i + 3 * step < n; i += 4 * step) {
        uint4 a = in[i], b = in[i + step], c = in[i + 2 * step], d = in[i + 3 * step];
        out[i] = a;
        out[i + step] = b;
        out[i + 2 * step] = c;
        out[i + 3 * step] = d;
    }
    for (; i < n; i += step) out[i] = in[i];
}

// a = b + s c
extern "C" __global__ void triad(float4 *a, const float4 *b, const float4 *c, float s, u64 n) {
    u64 step = (u64)gridDim.x * blockDim.x, i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    for (; i < n; i += step) {
        float4 x = b[i], y = c[i];
        a[i] = make_float4(x.x + s * y.x, x.y + s * y.y, x.z + s * y.z, x.w + s * y.w);
    }
}

// ---- quantised weights times one row ----------------------------------------------------------------------------

// Weights of 16 bytes as pairs of halves: 32 int4, 16 int8 or 16 fp8.
struct Int4 {
    enum { COUNT = 32 };
    static __device__ __forceinline__ void pairs(uint4 w, u32 *p) {
        u32 words[4] = {w.x, w.y, w.z, w.w};
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++) p[4 * i + j] = int4_pair(words[i] >> (4 * j));
    }
};
struct Int8 {
    enum { COUNT = 16 };
    static __device__ __forceinline__ void pairs(uint4 w, u32 *p) {
        u32 words[4] = {w.x, w.y, w.z, w.w};
        for (int i = 0; i < 4; i++) {
            p[2 * i] = int8_pair<0x4140>(words[i]);
            p[2 * i + 1] = int8_pair<0x4342>(words[i]);
        }
    }
};
struct Fp8 {
    enum { COUNT = 16 };
    static __device__ __forceinline__ void pairs(uint4 w, u32 *p) {
        u32 words[4] = {w.x, w.y, w.z, w.w};
        for (int i = 0; i < 4; i++) {
            p[2 * i] = fp8_pair<0x1404>(words[i]);
            p[2 * i + 1] = fp8_pair<0x3424>(words[i]);
        }
    }
};

// y[n] = w[n][k] x[k]: a warp an output, 16 bytes of weights a lane and step; the activations, in the order in which
// a step unpacks them, come from the cache. A scale an output and 128 weights (int4) or an output (int8, fp8). k is
// a multiple of 128.
template <class W>
static __device__ __forceinline__ void gemv(const uint4 *w, const uint4 *x, const u16 *scale, u16 *y, u32 n, u32 k) {
    u32 lane = threadIdx.x & 31, row = blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5);
    if (row >= n) return;
    const u32 PAIRS = W::COUNT / 2;
    const bool GROUPED = W::COUNT == 32;
    u32 steps = k / W::COUNT;
    const uint4 *weights = w + (u64)row * steps;
    const u16 *scales = scale + (u64)row * (GROUPED ? k / 128 : 1);
    float sum = 0.0f;
#pragma unroll 2
    for (u32 i = lane; i < steps; i += 32) {
        u32 p[PAIRS], part = 0;
        W::pairs(weights[i], p);
        const uint4 *a = x + i * (W::COUNT / 8);
#pragma unroll
        for (u32 j = 0; j < PAIRS / 4; j++) {
            uint4 v = a[j];
            part = fma2(p[4 * j], v.x, part);
            part = fma2(p[4 * j + 1], v.y, part);
            part = fma2(p[4 * j + 2], v.z, part);
            part = fma2(p[4 * j + 3], v.w, part);
        }
        sum += sum2(scales[GROUPED ? i * W::COUNT / 128 : 0]) * sum2(part);
    }
    for (int d = 16; d; d >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, d);
    if (lane == 0) y[row] = to_half(sum);
}

#define GEMV(name, W)                                                                                                    \
    extern "C" __global__ void name(const uint4 *w, const uint4 *x, const u16 *scale, u16 *y, u32 n, u32 k) {            \
        gemv<W>(w, x, scale, y, n, k);                                                                                   \
    }
GEMV(gemv_int4, Int4)
GEMV(gemv_int8, Int8)
GEMV(gemv_fp8, Fp8)

// ---- the KV cache, read as decode attention reads it --------------------------------------------------------------

// Cache: pages of 16 tokens, [page][K, V][token][KV head][128]; a request's pages are scattered, `table` lists
// them. A block of 128 threads reads one request's tokens first .. last of one KV head, keys and values, each with a
// multiply and an add; without the softmax and the other query heads, so that nothing but reading takes time.
template <int LANES>
static __device__ __forceinline__ void kv_read(
    const uint4 *cache, const u32 *table, float *out, u32 pages, u32 kv_heads, u32 context, u32 splits) {
    u32 split = blockIdx.x % splits, head = blockIdx.x / splits % kv_heads, request = blockIdx.x / splits / kv_heads;
    u32 part = (context + splits - 1) / splits;
    u32 first = split * part, last = min(first + part, context);
    u32 lane = threadIdx.x % LANES, token = first + threadIdx.x / LANES;
    const u32 TOKENS = 128 / LANES;
    u64 row = (u64)kv_heads * LANES, plane = 16 * row;
    float sum = 0.0f;
#pragma unroll 4
    for (; token < last; token += TOKENS) {
        u64 page = table[request * pages + token / 16];
        const uint4 *at = cache + page * 2 * plane + token % 16 * row + head * LANES + lane;
        uint4 k = at[0], v = at[plane];
        float key = __uint_as_float(k.x & 0xbfffffff) + __uint_as_float(k.y & 0xbfffffff)
                  + __uint_as_float(k.z & 0xbfffffff) + __uint_as_float(k.w & 0xbfffffff);
        float value = __uint_as_float(v.x & 0xbfffffff) + __uint_as_float(v.y & 0xbfffffff)
                    + __uint_as_float(v.z & 0xbfffffff) + __uint_as_float(v.w & 0xbfffffff);
        sum += key * value;
    }
    for (int d = 16; d; d >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, d);
    if ((threadIdx.x & 31) == 0) out[blockIdx.x * 4 + (threadIdx.x >> 5)] = sum;
}

extern "C" __global__ void kv_read_16(
    const uint4 *cache, const u32 *table, float *out, u32 pages, u32 kv_heads, u32 context, u32 splits) {
    kv_read<16>(cache, table, out, pages, kv_heads, context, splits);
}

extern "C" __global__ void kv_read_8(
    const uint4 *cache, const u32 *table, float *out, u32 pages, u32 kv_heads, u32 context, u32 splits) {
    kv_read<8>(cache, table, out, pages, kv_heads, context, splits);
}

// The page table: request r's page p is a page of a pool, by a full cycle with a stride that has no factor in
// common with the pool's size (made odd; the pool is a power of two).
extern "C" __global__ void page_table(u32 *table, u32 entries, u32 pool) {
    u32 step = gridDim.x * blockDim.x;
    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < entries; i += step) table[i] = (i * 2654435761u) & (pool - 1);
}
