/* GELU, exact form: x * Phi(x), where Phi is the normal distribution function. A function of one number; the host
 * loops over the tensor. Freestanding: no C library, and no branches, so that it is inlined into the host's loop.
 *
 * W. J. Cody's rational approximation of erfc is too long here. This uses formula 7.1.26 of Abramowitz and Stegun, a
 * polynomial in t = 1 / (1 + p z) with an absolute error of 1.5e-7, and computes e^y by splitting y into an integer
 * multiple of ln 2 and a remainder.
 */
#define SECTION(...) SECTION_(#__VA_ARGS__)
#define SECTION_(text) __asm__(".section .custom_section.portalis,\"\",@\n.ascii " #text "\n.text\n");
SECTION({"abi": 1, "entry": "gelu", "convention": "elementwise", "max_batch_size": 64,
  "inputs": [{"name": "x", "dtype": "FP32", "dims": [-1]}],
  "outputs": [{"name": "y", "dtype": "FP32", "dims": [-1]}],
  "description": "GELU activation, exact (erf) form"})

static inline float exp_of(float y) { /* for y <= 0 */
  y = y < -87.0f ? -87.0f : y;
  float n = __builtin_rintf(y * 1.44269504f);
  float r = (y - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.98412698e-4f;
  p = p * r + 1.38888889e-3f;
  p = p * r + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  union { int i; float f; } scale = {((int)n + 127) << 23};
  return p * scale.f;
}

__attribute__((export_name("gelu"))) float gelu(float x) {
  float z = __builtin_fabsf(x) * 0.707106781f;
  float t = 1.0f / (1.0f + 0.3275911f * z);
  float poly = t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
  float tail = 0.5f * poly * exp_of(-z * z); /* 1 - Phi(|x|) */
  float phi = x > 0 ? 1.0f - tail : tail;
  return x * phi;
}
