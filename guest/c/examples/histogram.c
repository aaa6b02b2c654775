/* A histogram of each row of bytes: UINT8 [batch, n] to INT64 [batch, 256], whose shape the host knows; and, where
 * `names` are given, the name of the fullest bin (BYTES in, BYTES out).
 */
#include "portalis.h"

PORTALIS_INTERFACE({"abi": 1, "convention": "dlpack", "max_batch_size": 8,
  "inputs": [{"name": "x", "dtype": "UINT8", "dims": [-1]},
             {"name": "names", "dtype": "BYTES", "dims": [256], "optional": true}],
  "outputs": [{"name": "counts", "dtype": "INT64", "dims": [256]}, {"name": "fullest", "dtype": "BYTES", "dims": [1]}]})

PORTALIS_INFER(in, n_in, out, n_out) {
  (void)n_in, (void)n_out;
  const int64_t batch = in[0].shape[0], width = in[0].shape[1], shape[2] = {batch, 256}, one[2] = {batch, 1};
  const uint8_t *x = (const uint8_t *)portalis_data(&in[0]);
  int64_t *counts = (int64_t *)portalis_output(&out[0], 2, shape);
  uint32_t cursor = 0, size = 0;
  portalis_bytes name, *fullest = (portalis_bytes *)portalis_alloc((uint32_t)(batch + 1) * sizeof name, 16);
  if (!counts || !fullest) return portalis_fail("out of memory");
  if (!width) return portalis_fail("x has no columns");
  for (int64_t row = 0; row < batch; row++, counts += 256) {
    for (int bin = 0; bin < 256; bin++) counts[bin] = 0;
    for (int64_t i = 0; i < width; i++) counts[x[row * width + i]]++;
    int best = 0;
    for (int bin = 1; bin < 256; bin++)
      if (counts[bin] > counts[best]) best = bin;
    fullest[row].size = 0;
    if (portalis_present(&in[1]))
      for (int bin = 0; bin < 256 && portalis_bytes_next(&in[1], &cursor, &name); bin++)
        if (bin == best) fullest[row] = name;
    size += 4 + fullest[row].size;
  }
  uint8_t *text = (uint8_t *)portalis_alloc(size, 64), *at = text;
  if (!text) return portalis_fail("out of memory");
  for (int64_t row = 0; row < batch; row++) at = portalis_bytes_put(at, fullest[row].data, fullest[row].size);
  return portalis_bytes_output(&out[1], text, size, 2, one) ? portalis_fail("out of memory") : 0;
}
