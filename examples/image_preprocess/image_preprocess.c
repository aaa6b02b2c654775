/* Image preprocessing for ImageNet classifiers: UINT8 [batch, height, width, 3] of any size becomes FP32
 * [batch, 3, 224, 224], resized bilinearly (half-pixel centers, no antialiasing, edges clamped) and normalized with the
 * usual mean and standard deviation.
 */
#include "portalis.h"

PORTALIS_INTERFACE({"abi": 1, "convention": "dlpack", "max_batch_size": 16,
  "inputs": [{"name": "image", "dtype": "UINT8", "dims": [-1, -1, 3]}],
  "outputs": [{"name": "pixels", "dtype": "FP32", "dims": [3, 224, 224]}],
  "description": "bilinear resize to 224 x 224 and ImageNet normalisation, HWC to CHW"})

enum { SIDE = 224, CHANNELS = 3 };
static const float mean[CHANNELS] = {0.485f, 0.456f, 0.406f};
static const float deviation[CHANNELS] = {0.229f, 0.224f, 0.225f};

typedef struct {
  int32_t low, high;
  float weight; /* weight of `high` */
} tap;

static void taps(tap *out, int64_t size) {
  const float scale = (float)size / SIDE;
  for (int i = 0; i < SIDE; i++) {
    float at = ((float)i + 0.5f) * scale - 0.5f;
    if (at < 0) at = 0;
    int32_t low = (int32_t)at;
    if (low > size - 1) low = (int32_t)size - 1;
    out[i].low = low;
    out[i].high = low + 1 < size ? low + 1 : low;
    out[i].weight = at - (float)low;
  }
}

static void resize(const uint8_t *image, int64_t width, const tap *rows, const tap *columns, float *pixels) {
  for (int y = 0; y < SIDE; y++) {
    const uint8_t *upper = image + rows[y].low * width * CHANNELS, *lower = image + rows[y].high * width * CHANNELS;
    for (int x = 0; x < SIDE; x++) {
      const tap t = columns[x];
      for (int c = 0; c < CHANNELS; c++) {
        const float a = upper[t.low * CHANNELS + c], b = upper[t.high * CHANNELS + c];
        const float d = lower[t.low * CHANNELS + c], e = lower[t.high * CHANNELS + c];
        const float top = a + (b - a) * t.weight, bottom = d + (e - d) * t.weight;
        const float value = top + (bottom - top) * rows[y].weight;
        pixels[(c * SIDE + y) * SIDE + x] = (value / 255.0f - mean[c]) / deviation[c];
      }
    }
  }
}

PORTALIS_INFER(in, n_in, out, n_out) {
  (void)n_in, (void)n_out;
  static tap rows[SIDE], columns[SIDE];
  const int64_t *shape = in[0].shape, batch = shape[0], height = shape[1], width = shape[2];
  if (!height || !width) return portalis_fail("an image has no pixels: its height and width must be at least 1");
  const int64_t result[4] = {batch, CHANNELS, SIDE, SIDE};
  float *pixels = (float *)portalis_output(&out[0], 4, result);
  if (!pixels) return portalis_fail("out of memory");
  taps(rows, height);
  taps(columns, width);
  const uint8_t *image = (const uint8_t *)portalis_data(&in[0]);
  for (int64_t i = 0; i < batch; i++)
    resize(image + i * height * width * CHANNELS, width, rows, columns, pixels + i * CHANNELS * SIDE * SIDE);
  return 0;
}
