/* The executor core: runs plans. It knows no call convention and no server: it proves the plan, keeps instances, arms deadlines,
   copies bytes to where the adapter says, calls it, checks every number that comes back, and copies the outputs. Used by
   triton.c inside the server, and by Python through ctypes. */
#ifndef PORTALIS_CORE_H
#define PORTALIS_CORE_H

#include "plan.h"

/* What became of a call. Those below CORE_TRAP are what the adapter's functions return (control.h). */
enum { CORE_OPEN = -1, CORE_TRAP = 16, CORE_TIMEOUT, CORE_BUSY, CORE_GUEST };
enum { CORE_MESSAGE = 16 << 10 };

struct core_program;
struct core_slot; /* idle instances of a program; whoever owns it may call from several threads */
struct core_box;

struct core_piece { uint8_t *data; uint64_t bytes; };

/* A tensor of a call. Pieces follow each other in it. Of an output that has none, nothing is copied. */
struct core_tensor {
  int32_t rank; /* -1: absent */
  uint32_t pieces;
  uint64_t bytes;
  struct core_piece *piece;
  int64_t dims[MAX_OUT_RANK];
  uint64_t slice; /* the core's own */
  const uint8_t *data; /* of an output: where it lies in the guest's memory until the call ends; NULL with several passes */
};

struct core_call {
  struct core_slot *slot;
  uint64_t timeout_ns;
  struct core_tensor *in, *out;
  int64_t rows;
  int32_t kind;
  uint32_t message_bytes, passes, generation;
  struct core_box *box; /* between `core_begin` and `core_end` or `core_abort` */
  uint64_t started_ns, ended_ns; /* of the guest's computing, by CLOCK_MONOTONIC */
  char message[CORE_MESSAGE];
};

struct core_stats { uint64_t calls, traps, timeouts, instances, guest_ns, high_water; };

#ifndef CORE /* the library for Triton offers nothing of the core: other libraries of the server could use the same names */
#define CORE __attribute__((visibility("default")))
#endif

/* Load wasmtime from `library`, once. NULL, or why it cannot be used. */
CORE const char *core_open(const char *library);
/* The sizes of wasmtime's structs that this library was compiled with. */
CORE uint64_t core_layouts(void);
/* A program from a plan, which is copied as far as it is needed; NULL and why in `message`. */
CORE struct core_program *core_load(const struct plan *plan, size_t bytes, void (*output)(void *, int stream, const char *, size_t),
                                    void *data, char *message, size_t room);
CORE void core_unload(struct core_program *);
CORE const struct plan *core_plan(const struct core_program *); /* without the machine code */
CORE struct core_stats core_stats(const struct core_program *);
CORE struct core_slot *core_slot_new(struct core_program *);
CORE void core_slot_free(struct core_slot *);
/* Place, copy in, run the first pass: afterwards the outputs' shapes, bytes and data are known. The kind of error, or DONE. */
CORE int32_t core_begin(struct core_call *);
/* Copy out, and run what passes are left. The kind of error, or DONE. Ends the call. */
CORE int32_t core_end(struct core_call *);
/* End a call that began. With `keep`, arrays may look into the instance: it is freed by core_release. */
CORE void core_abort(struct core_call *);
/* All of a call where each output's piece has exactly its bytes; else CORE_OPEN, for `core_end`. */
CORE int32_t core_run(struct core_call *);

#endif
