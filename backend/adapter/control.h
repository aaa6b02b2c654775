/* What an executor and the adapter tell each other: one block in the adapter's own memory, which no guest can reach.
   Little-endian; the same layout for C, WebAssembly and Python (`plan/control.py`). docs/architecture/plan.md explains it. */
#ifndef PORTALIS_CONTROL_H
#define PORTALIS_CONTROL_H

#include <stdint.h>

/* as in `constants.py` */
enum {
  PAGE = 65536,       /* bytes of a page of linear memory */
  ALIGN = 64,         /* of tensors in linear memory */
  MAX_TENSORS = 128,
  MAX_RANK = 8,       /* of what a request or a guest gives */
  MAX_OUT_RANK = 16,  /* loop dimensions and core dimensions together */
  MAX_MEMORIES = 2,   /* of a module, as the next three: what an engine's pool has room for */
  MAX_TABLES = 4,
  MAX_TABLE_ELEMENTS = 100000,
  MAX_INSTANCE_BYTES = 8 << 20,
  CHECKED_SLOT_BYTES = 256 << 20, /* of address space, for a memory whose code checks its addresses itself */
  SPARE_BYTES = 256 << 10, /* so much more than the tensors need is always worth clearing */
  SIZES_KEPT = 4           /* idle instances with blocks of other sizes than a call needs, before one of them is replaced */
};

enum {
  MESSAGE_BYTES = 4096,
  WINDOW_BYTES = 16 << 10,
  /* the adapter's memory: its stack and variables, then these, then what the planner writes, then a saved first state */
  CONTROL_AT = 0x10000,
  ARGUMENTS_AT = 0x1A000,
  MESSAGE_AT = 0x1B000,
  WINDOW_AT = 0x20000,
  IMAGE_AT = 0x24000,
  TEXTS_AT = 0x30000
};

/* What the adapter's functions return: 0, what the executor has to do, or the kind of error that `message` tells of. */
enum { DONE = 0, RENEW = 1, INPUT = 2, ABI = 3, STATUS = 4, MEMORY = 5, OUTPUT = 6, INTERNAL = 7 };

struct tensor {
  int32_t rank;    /* -1: absent */
  uint32_t at;     /* where its bytes lie in the tensors' memory: set by `place` (inputs) and `run` (outputs) */
  uint64_t bytes;  /* of the whole tensor */
  uint64_t slice;  /* bytes of one pass; 0: all of it, in the first pass */
  int64_t dims[MAX_OUT_RANK];
};

struct control {
  int64_t rows;         /* of the batch, -1 without a batch dimension: set by `place` */
  uint32_t passes;      /* how often `run` is to be called, 0 where nothing is to be computed: set by `place` */
  uint32_t generation;  /* of the places: `run` refuses another than that of the last `place` */
  uint32_t message, message_bytes;
  uint32_t grew, pad;   /* whether the guest's memory had grown: set by `restore` */
  struct tensor t[MAX_TENSORS];  /* inputs, then outputs */
};

/* Behind it, written by the planner as a data segment; only the adapter reads it. Texts are an address and a length. */
struct text { uint32_t at, bytes; };

struct spec {
  struct text name, dtype;
  uint8_t code, bits, item, optional;  /* DLPack's type code and bits (bits 0: BYTES), bytes of an element */
  uint8_t is_bool, pad[3];
  int32_t rank;
  int32_t cores;           /* gufunc: core dimensions */
  uint32_t position;       /* gufunc: which pair of pointer and stride; elementwise: where its chunk lies */
  int32_t core[MAX_RANK];  /* their sizes, or -1 - the number of a named one */
  int64_t dims[MAX_RANK];  /* -1: any */
};

enum { DLPACK = 0, ELEMENTWISE = 1, GUFUNC = 2 };
enum { REWINDS = 1, RESETS = 2, EXPLAINS = 4, FORGETS = 8, LOOPS = 16 };  /* FORGETS: `portalis_reset` frees the block, too */
/* LOOPS: a gufunc that steps from item to item itself, for which one that is repeated has to lie there as often */

struct fixed {
  uint32_t convention, flags, inputs, outputs;
  int64_t max_batch;  /* 0: no batch dimension */
  uint64_t max_tensor_bytes, max_bytes_elements, max_memory_bytes;
  uint64_t own_maximum;  /* of the memory, as the module declares it; all ones without */
  uint32_t capacity;     /* elementwise: elements of a chunk */
  uint32_t symbols;      /* gufunc: named core dimensions */
  uint32_t free_at;      /* elementwise: the end of the chunks in the loop's memory */
  uint32_t store_at;     /* where the adapter may save a first state: behind everything else in its memory */
  struct text signature, allocator, symbol[MAX_TENSORS];
  struct text raise_tensor_bytes, raise_bytes_elements, raise_memory_bytes;
  struct spec s[MAX_TENSORS];
};

/* At ARGUMENTS_AT the bridge finds the arguments of a gufunc's loop: the count, pairs of pointer and stride, core dimensions. */
enum { MAX_ARGUMENTS = 1 + 3 * MAX_TENSORS };

#endif
