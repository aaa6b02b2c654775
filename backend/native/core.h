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
struct core_slot; /* idle instances of a program; calls may come from several threads */
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
  int32_t kind;
  uint32_t message_bytes, passes, generation;
  struct core_box *box; /* between `core_begin` and `core_end` or `core_abort`; the one that was lent from */
  uint64_t started_ns, ended_ns; /* of the guest's computing, by CLOCK_MONOTONIC */
  uint64_t deadline_ns;          /* the core's own, like the next */
  bool changed;                  /* outputs have other shapes than before */
  char message[CORE_MESSAGE];
};

/* How long a call waits for room on this host; how often somebody looks after idle instances and free memory, while there is something
   to look after; after how long without a call instances are let go; how many there may be. */
struct core_settings { uint64_t wait_ns, period_ns, rest_ns; uint32_t most_instances; };

struct core_stats { uint64_t calls, traps, timeouts, instances, guest_ns, high_water; };

#ifndef CORE /* the library for Triton offers nothing of the core: other libraries of the server could use the same names */
#define CORE __attribute__((visibility("default")))
#endif

/* Load wasmtime from `library`, once. NULL, or why it cannot be used. */
CORE const char *core_open(const char *library);
/* The sizes of wasmtime's structs that this library was compiled with. */
CORE uint64_t core_layouts(void);
CORE void core_set(const struct core_settings *);
CORE uint32_t core_instances(void); /* of all programs, those that arrays look into included */
/* A program from a plan, which is copied as far as it is needed; NULL and why in `message`. `output` gets what the guest wrote in a call;
   without a text, so many bytes are missing. In the child of a fork it works on, with instances in their first state. */
CORE struct core_program *core_load(const struct plan *plan, size_t bytes, void (*output)(void *, int stream, const char *, size_t),
                                    void *data, char *message, size_t room);
CORE void core_unload(struct core_program *); /* after its slots were freed */
CORE const struct plan *core_plan(const struct core_program *); /* without the machine code */
CORE struct core_stats core_stats(const struct core_program *);
CORE struct core_slot *core_slot_new(struct core_program *);
CORE void core_slot_clear(struct core_slot *); /* let go of its idle instances, at any time */
CORE void core_slot_free(struct core_slot *);  /* when none of its calls runs */
/* Place, copy in, run the first pass: afterwards the outputs' shapes, bytes and data are known. The kind of error, or DONE. */
CORE int32_t core_begin(struct core_call *);
/* Copy out, and run what passes are left. The kind of error, or DONE. Ends the call. */
CORE int32_t core_end(struct core_call *);
CORE void core_abort(struct core_call *); /* end a call that began, without its outputs */
/* All of a call whose outputs' shapes and pieces were written before it, if they come out so; else CORE_OPEN, for `core_end`. Here and
   in `core_lend` time runs out at `deadline_ns` of CLOCK_MONOTONIC. */
CORE int32_t core_run(struct core_call *, uint64_t deadline_ns);
/* Begin a call, and end it if it has one pass: its outputs' data then stay where the guest wrote them, and may be written over by other
   calls, but stay memory until `core_release(box)`. With several passes CORE_OPEN, for `core_end`. */
CORE int32_t core_lend(struct core_call *, uint64_t deadline_ns);
CORE void core_release(struct core_box *);

#endif
