/* Row softmax with SIMD: y[i] = exp(x[i] - max) / sum. A gufunc kernel (n)->(n): the host loops over the batch.
 *
 * exp is Cephes' expf (five-term minimax polynomial after reduction by ln 2), four lanes at a time; relative error
 * below 2e-7. NaN and infinities behave as in the usual NumPy formula: a row with a NaN or +inf becomes NaN, -inf is 0.
 */
#include <wasm_simd128.h>

#define SECTION(...) SECTION_(#__VA_ARGS__)
#define SECTION_(text) __asm__(".section .custom_section.portalis,\"\",@\n.ascii " #text "\n.text\n");
SECTION({"abi": 1, "entry": "softmax", "convention": "gufunc", "signature": "(n)->(n)", "max_batch_size": 64,
  "inputs": [{"name": "x", "dtype": "FP32", "dims": [-1]}],
  "outputs": [{"name": "y", "dtype": "FP32", "dims": [-1]}],
  "description": "softmax over the last axis"})

static inline v128_t exp4(v128_t x) { /* x <= 0, or NaN */
  const v128_t tiny = wasm_f32x4_lt(x, wasm_f32x4_splat(-87.33654f)); /* underflows to 0 */
  /* Adding 1.5 * 2^23 rounds to an integer in the low bits: fewer instructions than nearest and trunc_sat. */
  const v128_t magic = wasm_f32x4_splat(12582912.0f);
  const v128_t shifted = wasm_f32x4_add(wasm_f32x4_mul(x, wasm_f32x4_splat(1.44269504f)), magic);
  const v128_t n = wasm_f32x4_sub(shifted, magic);
  v128_t r = wasm_f32x4_sub(x, wasm_f32x4_mul(n, wasm_f32x4_splat(0.693359375f)));
  r = wasm_f32x4_add(r, wasm_f32x4_mul(n, wasm_f32x4_splat(2.12194440e-4f)));
  const v128_t r2 = wasm_f32x4_mul(r, r);
  /* Estrin's scheme: shorter chains than Horner's */
  v128_t a = wasm_f32x4_add(wasm_f32x4_mul(wasm_f32x4_splat(1.9875691500e-4f), r), wasm_f32x4_splat(1.3981999507e-3f));
  v128_t b = wasm_f32x4_add(wasm_f32x4_mul(wasm_f32x4_splat(8.3334519073e-3f), r), wasm_f32x4_splat(4.1665795894e-2f));
  v128_t c = wasm_f32x4_add(wasm_f32x4_mul(wasm_f32x4_splat(1.6666665459e-1f), r), wasm_f32x4_splat(5.0000001201e-1f));
  v128_t p = wasm_f32x4_add(wasm_f32x4_mul(a, r2), b);
  p = wasm_f32x4_add(wasm_f32x4_mul(p, r2), c);
  p = wasm_f32x4_add(wasm_f32x4_add(wasm_f32x4_mul(p, r2), r), wasm_f32x4_splat(1.0f));
  const v128_t scale = wasm_i32x4_add(wasm_i32x4_shl(shifted, 23), wasm_i32x4_splat(127 << 23)); /* 2^n */
  return wasm_v128_andnot(wasm_f32x4_mul(p, scale), tiny);
}

static inline float sum4(v128_t v) {
  return (wasm_f32x4_extract_lane(v, 0) + wasm_f32x4_extract_lane(v, 1)) +
         (wasm_f32x4_extract_lane(v, 2) + wasm_f32x4_extract_lane(v, 3));
}

/* pmax is one instruction where max is seven. It may drop a NaN, but exp4 of that element is NaN anyway. */
static inline float max4(v128_t v) {
  v = wasm_f32x4_pmax(v, wasm_i32x4_shuffle(v, v, 2, 3, 0, 1));
  v = wasm_f32x4_pmax(v, wasm_i32x4_shuffle(v, v, 1, 0, 3, 2));
  return wasm_f32x4_extract_lane(v, 0);
}

/* The last n % 4 elements as one vector, the rest filled with -inf, whose exp is 0. */
static inline v128_t tail(const float *x, int n) {
  v128_t v = wasm_f32x4_splat(-__builtin_inff());
  if (n > 0) v = wasm_f32x4_replace_lane(v, 0, x[0]);
  if (n > 1) v = wasm_f32x4_replace_lane(v, 1, x[1]);
  if (n > 2) v = wasm_f32x4_replace_lane(v, 2, x[2]);
  return v;
}

/* Three passes, one function each, over unrolled blocks: Cranelift checks for interruption in every loop, and keeps no
 * vector in a register across that check. */
#define BLOCK 32

static __attribute__((noinline)) float row_max(const float *x, int whole, v128_t last) {
  v128_t m0 = last, m1 = last;
  int i = 0;
  for (; i + BLOCK <= whole; i += BLOCK) {
#pragma clang loop unroll(full)
    for (int k = 0; k < BLOCK; k += 8) {
      m0 = wasm_f32x4_pmax(m0, wasm_v128_load(x + i + k));
      m1 = wasm_f32x4_pmax(m1, wasm_v128_load(x + i + k + 4));
    }
  }
  for (; i < whole; i += 4) m0 = wasm_f32x4_pmax(m0, wasm_v128_load(x + i));
  return max4(wasm_f32x4_pmax(m0, m1));
}

static __attribute__((noinline)) v128_t exp_block(const float *x, float *y, v128_t max) {
  v128_t sum = wasm_f32x4_splat(0);
#pragma clang loop unroll(full)
  for (int i = 0; i < BLOCK; i += 4) {
    const v128_t e = exp4(wasm_f32x4_sub(wasm_v128_load(x + i), max));
    wasm_v128_store(y + i, e);
    sum = wasm_f32x4_add(sum, e);
  }
  return sum;
}

static __attribute__((noinline)) float exp_and_sum(const float *x, float *y, int whole, float largest) {
  const v128_t max = wasm_f32x4_splat(largest);
  v128_t sum = wasm_f32x4_splat(0);
  int i = 0;
  for (; i + BLOCK <= whole; i += BLOCK) sum = wasm_f32x4_add(sum, exp_block(x + i, y + i, max));
  for (; i < whole; i += 4) {
    const v128_t e = exp4(wasm_f32x4_sub(wasm_v128_load(x + i), max));
    wasm_v128_store(y + i, e);
    sum = wasm_f32x4_add(sum, e);
  }
  return sum4(sum);
}

static __attribute__((noinline)) void scale(float *y, int whole, float factor) {
  const v128_t by = wasm_f32x4_splat(factor);
  int i = 0;
  for (; i + BLOCK <= whole; i += BLOCK) {
#pragma clang loop unroll(full)
    for (int k = 0; k < BLOCK; k += 4) wasm_v128_store(y + i + k, wasm_f32x4_mul(wasm_v128_load(y + i + k), by));
  }
  for (; i < whole; i += 4) wasm_v128_store(y + i, wasm_f32x4_mul(wasm_v128_load(y + i), by));
}

__attribute__((export_name("softmax"))) void softmax(const float *x, float *y, int n) {
  const int whole = n & ~3, rest = n & 3;
  const v128_t last = tail(x + whole, rest);
  const float max = row_max(x, whole, last);
  float sum = exp_and_sum(x, y, whole, max);
  const v128_t e = exp4(wasm_f32x4_sub(last, wasm_f32x4_splat(max)));
  if (rest) sum += sum4(e); /* a row of only -inf makes e NaN, as in NumPy */
  const float inverse = 1.0f / sum;
  scale(y, whole, inverse);
  if (rest > 0) y[whole] = wasm_f32x4_extract_lane(e, 0) * inverse;
  if (rest > 1) y[whole + 1] = wasm_f32x4_extract_lane(e, 1) * inverse;
  if (rest > 2) y[whole + 2] = wasm_f32x4_extract_lane(e, 2) * inverse;
}
