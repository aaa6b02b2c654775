/* Row softmax with SIMD: y[i] = exp(x[i] - max) / sum. A gufunc kernel (n)->(n): the host steps over the batch.
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
  const v128_t n = wasm_f32x4_nearest(wasm_f32x4_mul(x, wasm_f32x4_splat(1.44269504f)));
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
  const v128_t scale = wasm_i32x4_shl(wasm_i32x4_add(wasm_i32x4_trunc_sat_f32x4(n), wasm_i32x4_splat(127)), 23);
  return wasm_v128_andnot(wasm_f32x4_mul(p, scale), tiny);
}

static inline float sum4(v128_t v) {
  return (wasm_f32x4_extract_lane(v, 0) + wasm_f32x4_extract_lane(v, 1)) +
         (wasm_f32x4_extract_lane(v, 2) + wasm_f32x4_extract_lane(v, 3));
}

static inline float max4(v128_t v) {
  v = wasm_f32x4_max(v, wasm_i32x4_shuffle(v, v, 2, 3, 0, 1));
  v = wasm_f32x4_max(v, wasm_i32x4_shuffle(v, v, 1, 0, 3, 2));
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

__attribute__((export_name("softmax"))) void softmax(const float *x, float *y, int n) {
  const int whole = n & ~3, whole8 = n & ~7, rest = n & 3;
  const v128_t last = tail(x + whole, rest);
  v128_t m0 = last, m1 = last;
  int i = 0;
  for (; i < whole8; i += 8) {
    m0 = wasm_f32x4_max(m0, wasm_v128_load(x + i));
    m1 = wasm_f32x4_max(m1, wasm_v128_load(x + i + 4));
  }
  if (i < whole) m0 = wasm_f32x4_max(m0, wasm_v128_load(x + i));
  const v128_t max = wasm_f32x4_splat(max4(wasm_f32x4_max(m0, m1)));

  v128_t s0 = wasm_f32x4_splat(0), s1 = s0;
  for (i = 0; i < whole8; i += 8) {
    const v128_t e0 = exp4(wasm_f32x4_sub(wasm_v128_load(x + i), max));
    const v128_t e1 = exp4(wasm_f32x4_sub(wasm_v128_load(x + i + 4), max));
    wasm_v128_store(y + i, e0);
    wasm_v128_store(y + i + 4, e1);
    s0 = wasm_f32x4_add(s0, e0);
    s1 = wasm_f32x4_add(s1, e1);
  }
  if (i < whole) {
    const v128_t e = exp4(wasm_f32x4_sub(wasm_v128_load(x + i), max));
    wasm_v128_store(y + i, e);
    s0 = wasm_f32x4_add(s0, e);
  }
  const v128_t e = exp4(wasm_f32x4_sub(last, max));
  if (rest) s0 = wasm_f32x4_add(s0, e); /* a row of -inf alone makes e NaN, as it must */
  const float inverse = 1.0f / sum4(wasm_f32x4_add(s0, s1));
  const v128_t scale = wasm_f32x4_splat(inverse);
  for (i = 0; i < whole; i += 4) wasm_v128_store(y + i, wasm_f32x4_mul(wasm_v128_load(y + i), scale));
  if (rest > 0) y[whole] = wasm_f32x4_extract_lane(e, 0) * inverse;
  if (rest > 1) y[whole + 1] = wasm_f32x4_extract_lane(e, 1) * inverse;
  if (rest > 2) y[whole + 2] = wasm_f32x4_extract_lane(e, 2) * inverse;
}
