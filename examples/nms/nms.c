/* Non-maximum suppression: of overlapping boxes, keep the one with the best score. Only the guest knows how many remain.
 *
 * boxes FP32 [N, 4] as x1, y1, x2, y2; scores FP32 [N]; optional iou_threshold FP32 [1] (0.5) and score_threshold FP32
 * [1] (0). Returns indices INT64 [K] of the kept boxes, best first; equal scores keep their order. Boxes with a score
 * below the threshold, or NaN, are dropped.
 */
#include "portalis.h"

PORTALIS_INTERFACE({"abi": 1, "convention": "dlpack",
  "inputs": [{"name": "boxes", "dtype": "FP32", "dims": [-1, 4]},
             {"name": "scores", "dtype": "FP32", "dims": [-1]},
             {"name": "iou_threshold", "dtype": "FP32", "dims": [1], "optional": true},
             {"name": "score_threshold", "dtype": "FP32", "dims": [1], "optional": true}],
  "outputs": [{"name": "indices", "dtype": "INT64", "dims": [-1]}],
  "description": "non-maximum suppression"})

static const float *scores;

static int before(uint32_t a, uint32_t b) { return scores[a] > scores[b] || (scores[a] == scores[b] && a < b); }

/* Heap sort, best first: the heap's root is the worst. No recursion, no extra memory. */
static void sift(uint32_t *heap, uint32_t root, uint32_t count) {
  for (uint32_t child; (child = 2 * root + 1) < count; root = child) {
    if (child + 1 < count && before(heap[child], heap[child + 1])) child++;
    if (before(heap[child], heap[root])) return;
    const uint32_t swap = heap[root];
    heap[root] = heap[child];
    heap[child] = swap;
  }
}

static void sort(uint32_t *order, uint32_t count) {
  for (uint32_t i = count / 2; i-- > 0;) sift(order, i, count);
  for (uint32_t end = count; end > 1;) {
    const uint32_t last = order[--end];
    order[end] = order[0];
    order[0] = last;
    sift(order, 0, end);
  }
}

static float area(const float *b) {
  const float w = b[2] - b[0], h = b[3] - b[1];
  return w > 0 && h > 0 ? w * h : 0;
}

static float overlap(const float *a, const float *b) {
  const float x1 = a[0] > b[0] ? a[0] : b[0], y1 = a[1] > b[1] ? a[1] : b[1];
  const float x2 = a[2] < b[2] ? a[2] : b[2], y2 = a[3] < b[3] ? a[3] : b[3];
  const float shared = x2 > x1 && y2 > y1 ? (x2 - x1) * (y2 - y1) : 0, both = area(a) + area(b) - shared;
  return both > 0 ? shared / both : 0;
}

static float option(const DLTensor *t, float otherwise) {
  return portalis_present(t) ? *(const float *)portalis_data(t) : otherwise;
}

PORTALIS_INFER(in, n_in, out, n_out) {
  (void)n_in, (void)n_out;
  const float *boxes = (const float *)portalis_data(&in[0]);
  scores = (const float *)portalis_data(&in[1]);
  const float iou = option(&in[2], 0.5f), least = option(&in[3], 0.0f);
  const uint32_t n = (uint32_t)in[1].shape[0];
  if (in[0].shape[0] != in[1].shape[0]) return portalis_fail("boxes and scores must have the same length");
  uint32_t *order = (uint32_t *)portalis_alloc(4 * n + 4, 16), count = 0, kept = 0;
  if (!order) return portalis_fail("out of memory");
  for (uint32_t i = 0; i < n; i++)
    if (scores[i] >= least) order[count++] = i;
  sort(order, count);
  for (uint32_t i = 0; i < count; i++) {
    uint32_t j = 0;
    while (j < kept && overlap(boxes + 4 * order[i], boxes + 4 * order[j]) <= iou) j++;
    if (j == kept) order[kept++] = order[i];
  }
  const int64_t shape[1] = {kept};
  int64_t *indices = (int64_t *)portalis_output(&out[0], 1, shape);
  if (!indices) return portalis_fail("out of memory");
  for (uint32_t i = 0; i < kept; i++) indices[i] = order[i];
  return 0;
}
