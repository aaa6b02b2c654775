/* portalis.h: write a Portalis tensor guest (tensor ABI, version 1) in C11 or C++17.
 *
 *   #include "portalis.h"
 *
 *   PORTALIS_INTERFACE({"abi": 1, "convention": "dlpack", "max_batch_size": 64,
 *     "inputs": [{"name": "x", "dtype": "FP32", "dims": [-1]}],
 *     "outputs": [{"name": "y", "dtype": "FP32", "dims": [-1]}]})
 *
 *   PORTALIS_INFER(in, n_in, out, n_out) {
 *     const float *x = (const float *)portalis_data(&in[0]);
 *     float *y = (float *)portalis_output(&out[0], in[0].ndim, in[0].shape);
 *     if (!y) return portalis_fail("out of memory");
 *     for (int64_t i = 0, n = portalis_size(&in[0]); i < n; i++) y[i] = 2 * x[i];
 *     return 0;
 *   }
 *
 * Include it in exactly one translation unit of the module: it defines the exports of the ABI. No C library is needed;
 * with one, define PORTALIS_USE_MALLOC so that tensors come from malloc and the two allocators do not share the heap.
 */
#ifndef PORTALIS_H
#define PORTALIS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define PORTALIS_C extern "C"
#define PORTALIS_STATIC_ASSERT static_assert
#else
#define PORTALIS_C
#define PORTALIS_STATIC_ASSERT _Static_assert
#endif
#define PORTALIS_EXPORT(name) PORTALIS_C __attribute__((export_name(name), used, visibility("default")))

/* DLPack 1.0, as compiled for wasm32. */
enum { kDLInt = 0, kDLUInt = 1, kDLFloat = 2, kDLBfloat = 4, kDLBool = 6 };
enum { kDLCPU = 1 };

typedef struct {
  void *data;
  int32_t device_type, device_id;
  int32_t ndim;
  uint8_t code, bits;
  uint16_t lanes;
  int64_t *shape;
  int64_t *strides;
  uint64_t byte_offset;
} DLTensor;

PORTALIS_STATIC_ASSERT(sizeof(void *) == 4, "portalis.h is for wasm32");
PORTALIS_STATIC_ASSERT(sizeof(DLTensor) == 40, "DLTensor has 40 bytes in wasm32");
PORTALIS_STATIC_ASSERT(offsetof(DLTensor, ndim) == 12 && offsetof(DLTensor, code) == 16, "DLTensor layout");
PORTALIS_STATIC_ASSERT(offsetof(DLTensor, shape) == 20 && offsetof(DLTensor, byte_offset) == 32, "DLTensor layout");

/* One BYTES element: not NUL-terminated. */
typedef struct {
  const uint8_t *data;
  uint32_t size;
} portalis_bytes;

/* ---- the module's interface ---- */

/* Writes the literal JSON (PORTALIS_INTERFACE({"abi": 1, ...})) to the custom section `portalis`. One per entry; a
 * module can have several. It uses the assembler, because in WebAssembly a C object with a section attribute becomes data, not
 * a custom section. */
#define PORTALIS_INTERFACE(...) PORTALIS_SECTION_(#__VA_ARGS__)
#define PORTALIS_SECTION_(text) \
  __asm__(".section .custom_section.portalis,\"\",@\n.ascii " #text "\n.text\n");

/* Defines the entry, with parameter names of your choice: PORTALIS_INFER(in, n_in, out, n_out) { ... return 0; } */
#define PORTALIS_INFER(in, n_in, out, n_out) PORTALIS_ENTRY("portalis_infer", portalis_infer_, in, n_in, out, n_out)
#define PORTALIS_ENTRY(exported, function, in, n_in, out, n_out)                     \
  PORTALIS_EXPORT(exported) int32_t function(const DLTensor *in, int32_t n_in, DLTensor *out, int32_t n_out)

PORTALIS_EXPORT("portalis_abi_v1") void portalis_abi_v1_(void) {}

/* ---- memory: allocations are valid until the host calls portalis_reset ---- */

#ifdef PORTALIS_USE_MALLOC
#include <stdlib.h>

typedef struct portalis_block {
  struct portalis_block *next;
} portalis_block;
static portalis_block *portalis_blocks_;

PORTALIS_EXPORT("portalis_alloc") void *portalis_alloc(uint32_t size, uint32_t align) {
  if (align < 16) align = 16;
  if (size > UINT32_MAX - align - 16) return NULL;
  char *raw = (char *)malloc(size + align + sizeof(portalis_block));
  if (!raw) return NULL;
  portalis_block *block = (portalis_block *)raw;
  block->next = portalis_blocks_;
  portalis_blocks_ = block;
  return (void *)(((uintptr_t)raw + sizeof(portalis_block) + align - 1) & ~(uintptr_t)(align - 1));
}

PORTALIS_EXPORT("portalis_reset") void portalis_reset(void) {
  while (portalis_blocks_) {
    portalis_block *block = portalis_blocks_;
    portalis_blocks_ = block->next;
    free(block);
  }
}
#else
extern unsigned char __heap_base;
static uintptr_t portalis_top_;

PORTALIS_EXPORT("portalis_alloc") void *portalis_alloc(uint32_t size, uint32_t align) {
  const uintptr_t page = 65536;
  if (!portalis_top_) portalis_top_ = (uintptr_t)&__heap_base;
  if (align < 16) align = 16;
  uint64_t start = ((uint64_t)portalis_top_ + align - 1) & ~(uint64_t)(align - 1);
  uint64_t end = start + size, have = (uint64_t)__builtin_wasm_memory_size(0) * page;
  if (end > UINT32_MAX) return NULL;
  if (end > have && __builtin_wasm_memory_grow(0, (size_t)((end - have + page - 1) / page)) == (size_t)-1) return NULL;
  portalis_top_ = (uintptr_t)end;
  return (void *)(uintptr_t)start;
}

PORTALIS_EXPORT("portalis_reset") void portalis_reset(void) { portalis_top_ = (uintptr_t)&__heap_base; }
#endif

/* ---- errors: `return portalis_fail("x must have rank 2")` ---- */

static char portalis_message_[512];

PORTALIS_EXPORT("portalis_error") const char *portalis_error_(void) { return portalis_message_; }

static inline int32_t portalis_fail(const char *text) {
  size_t i = 0;
  for (; text[i] && i + 1 < sizeof portalis_message_; i++) portalis_message_[i] = text[i];
  portalis_message_[i] = 0;
  return 1;
}

/* ---- tensors ---- */

/* Whether an optional input is present. */
static inline int portalis_present(const DLTensor *t) { return t->ndim >= 0; }

/* The first element. */
static inline void *portalis_data(const DLTensor *t) { return (char *)t->data + t->byte_offset; }

/* The number of elements (bytes, for a BYTES tensor). */
static inline int64_t portalis_size(const DLTensor *t) {
  int64_t n = 1;
  for (int32_t i = 0; i < t->ndim; i++) n *= t->shape[i];
  return n;
}

static inline int portalis_is(const DLTensor *t, uint8_t code, uint8_t bits) { return t->code == code && t->bits == bits; }

/* Memory for the elements of an output of this shape, or NULL. If the host knows the shape, it has allocated the memory
 * already, which is returned. Outputs of either kind are therefore written in the same way. */
static inline void *portalis_output(DLTensor *t, int32_t ndim, const int64_t *shape) {
  uint64_t bytes = t->bits / 8;
  for (int32_t i = 0; i < ndim; i++) {
    bytes *= (uint64_t)shape[i];
    if (bytes > UINT32_MAX) return NULL;
  }
  if (t->ndim == ndim) {
    int same = 1;
    for (int32_t i = 0; i < ndim; i++) same &= t->shape[i] == shape[i];
    if (same) return portalis_data(t);
  }
  int64_t *sizes = (int64_t *)portalis_alloc((uint32_t)(8 * (ndim + 1)), 16);
  void *data = portalis_alloc((uint32_t)bytes, 64);
  if (!sizes || !data) return NULL;
  for (int32_t i = 0; i < ndim; i++) sizes[i] = shape[i];
  t->ndim = ndim;
  t->shape = sizes;
  t->strides = NULL;
  t->byte_offset = 0;
  return t->data = data;
}

/* ---- BYTES: u32 little-endian length, then the bytes, element after element ---- */

/* The logical shape of a BYTES input; its rank is *ndim. */
static inline const int64_t *portalis_bytes_shape(const DLTensor *t, int32_t *ndim) {
  *ndim = (int32_t)t->strides[0];
  return t->strides + 1;
}

/* The next element; *cursor begins at 0. Returns 0 at the end. */
static inline int portalis_bytes_next(const DLTensor *t, uint32_t *cursor, portalis_bytes *item) {
  const uint8_t *data = (const uint8_t *)portalis_data(t);
  uint32_t end = (uint32_t)t->shape[0];
  if (*cursor + 4 > end) return 0;
  __builtin_memcpy(&item->size, data + *cursor, 4);
  item->data = data + *cursor + 4;
  *cursor += 4 + item->size;
  return *cursor <= end;
}

/* Set a BYTES output: `size` bytes of serialized elements, and the logical shape. Returns 0, or 1 if out of memory. */
static inline int32_t portalis_bytes_output(DLTensor *t, void *data, uint32_t size, int32_t ndim, const int64_t *shape) {
  int64_t *block = (int64_t *)portalis_alloc((uint32_t)(8 * (ndim + 2)), 16);
  if (!block) return 1;
  block[0] = size;
  block[1] = ndim;
  for (int32_t i = 0; i < ndim; i++) block[2 + i] = shape[i];
  t->data = data;
  t->ndim = 1;
  t->shape = block;
  t->strides = block + 1;
  t->byte_offset = 0;
  return 0;
}

/* Write one element to the serialized bytes at `at`; returns the address after it. The memory must be allocated. */
static inline uint8_t *portalis_bytes_put(uint8_t *at, const uint8_t *data, uint32_t size) {
  __builtin_memcpy(at, &size, 4);
  if (size) __builtin_memcpy(at + 4, data, size);
  return at + 4 + size;
}

#endif
