/* The control block: the interface between an executor and the adapter, in the adapter's memory, which no guest can access.
   Little-endian; C, WebAssembly and Python (`plan/control.py`) use the same layout. See docs/architecture/plan.md. */
#ifndef PORTALIS_CONTROL_H
#define PORTALIS_CONTROL_H

#include <stdint.h>

/* as in `constants.py` */
enum {
  PAGE = 65536,       /* size of a page of linear memory, in bytes */
  ALIGN = 64,         /* alignment of tensors in linear memory */
  MAX_TENSORS = 128,
  MAX_RANK = 8,       /* maximum rank of a tensor from a request or a guest */
  MAX_OUT_RANK = 16,  /* loop dimensions and core dimensions together */
  MAX_MEMORIES = 2,   /* of a module, like the next three: the capacity of an engine's pool */
  MAX_TABLES = 4,
  MAX_TABLE_ELEMENTS = 100000,
  MAX_INSTANCE_BYTES = 8 << 20,
  CHECKED_SLOT_BYTES = 256 << 20, /* address space for a memory whose code checks its addresses itself */
  SPARE_BYTES = 256 << 10, /* an instance is reused for tensors that need up to this many bytes less */
  MAX_IDLE_SIZES = 4       /* maximum number of idle instances with tensor blocks of unfitting sizes; beyond it one is replaced */
};

enum {
  MESSAGE_BYTES = 4096,
  WINDOW_BYTES = 16 << 10,
  /* the adapter's memory: its stack and variables, then these, then the planner's data, then a saved initial state */
  CONTROL_AT = 0x10000,
  ARGUMENTS_AT = 0x1A000,
  MESSAGE_AT = 0x1B000,
  WINDOW_AT = 0x20000,
  IMAGE_AT = 0x24000,
  TEXTS_AT = 0x30000
};

/* Status codes of the adapter's functions: success, a required action of the executor, or the kind of the error in `message`. */
enum { DONE = 0, RENEW = 1, INPUT = 2, ABI = 3, STATUS = 4, MEMORY = 5, OUTPUT = 6, INTERNAL = 7 };

struct tensor {
  int32_t rank;    /* -1: absent */
  uint32_t at;     /* address in the tensors' memory: set by `place` (inputs) and `run` (outputs) */
  uint64_t bytes;  /* size of the entire tensor */
  uint64_t slice;  /* bytes per pass; 0: all bytes in the first pass */
  int64_t dims[MAX_OUT_RANK];
};

struct control {
  int64_t rows;         /* rows of the batch, -1 without a batch dimension: set by `place` */
  uint32_t passes;      /* number of calls of `run`, 0 if nothing is to be computed: set by `place` */
  uint32_t generation;  /* of the addresses: `run` rejects any other than that of the last `place` */
  uint32_t message, message_bytes;
  uint32_t grew, pad;   /* whether the guest's memory had grown: set by `restore` */
  struct tensor t[MAX_TENSORS];  /* inputs, then outputs */
};

/* The data after the control block, which the planner writes as a data segment; only the adapter reads it. */
struct text { uint32_t at, bytes; };

struct spec {
  struct text name, dtype;
  uint8_t code, bits, item, optional;  /* DLPack's type code and bits (bits 0: BYTES), bytes of an element */
  uint8_t is_bool, pad[3];
  int32_t rank;
  int32_t cores;           /* gufunc: core dimensions */
  uint32_t position;       /* gufunc: index of the pair of pointer and stride; elementwise: address of its chunk */
  int32_t core[MAX_RANK];  /* their sizes, or -1 - i for the named dimension i */
  int64_t dims[MAX_RANK];  /* -1: any */
};

enum { DLPACK = 0, ELEMENTWISE = 1, GUFUNC = 2 };
enum { REWINDS = 1, RESETS = 2, EXPLAINS = 4, FORGETS = 8, LOOPS = 16 };  /* FORGETS: `portalis_reset` frees the block, too */
/* LOOPS: a gufunc that loops over the batch itself, so that a repeated item must be stored once per batch item */

struct fixed {
  uint32_t convention, flags, inputs, outputs;
  int64_t max_batch;  /* 0: no batch dimension */
  uint64_t max_tensor_bytes, max_bytes_elements, max_memory_bytes;
  uint64_t own_maximum;  /* maximum that the module declares for its memory; all ones without */
  uint32_t capacity;     /* elementwise: elements per chunk */
  uint32_t symbols;      /* gufunc: number of named core dimensions */
  uint32_t free_at;      /* elementwise: end of the chunks in the loop's memory */
  uint32_t store_at;     /* address for a saved initial state: after all other data in the adapter's memory */
  struct text signature, allocator, symbol[MAX_TENSORS];
  struct text raise_tensor_bytes, raise_bytes_elements, raise_memory_bytes;
  struct spec s[MAX_TENSORS];
};

/* Arguments of a gufunc's loop, which the bridge reads at ARGUMENTS_AT: the count, pairs of pointer and stride, core dimensions. */
enum { MAX_ARGUMENTS = 1 + 3 * MAX_TENSORS };

#endif
