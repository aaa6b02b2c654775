/* API of the executor core, which runs plans. The core is independent of call conventions and of servers: it checks the plan, pools
   instances, arms deadlines, copies inputs to the addresses that the adapter chooses, calls the adapter, checks every number that it
   returns, and copies the outputs. Used by triton.c inside the server, and by Python through ctypes. */
#ifndef PORTALIS_CORE_H
#define PORTALIS_CORE_H

#include "plan.h"

/* Results of a call. Those below CORE_TRAP are status codes of the adapter (control.h). */
enum { CORE_OPEN = -1, CORE_TRAP = 16, CORE_TIMEOUT, CORE_BUSY, CORE_GUEST };
enum { CORE_MESSAGE = 16 << 10 };

struct core_program;
struct core_pool; /* idle instances of a program; thread-safe */
struct core_instance;
struct core_mapping; /* a range of a file */

struct core_piece { uint8_t *data; uint64_t bytes; };

/* A tensor of a call: its pieces in order. An output without pieces is not copied. */
struct core_tensor {
  int32_t rank; /* -1: absent */
  uint32_t pieces;
  uint64_t bytes;
  struct core_piece *piece;
  int64_t dims[MAX_OUT_RANK];
  uint64_t slice; /* private to the core */
  const uint8_t *data; /* of an output: its address in the guest's memory until the call ends; NULL with several passes */
};

struct core_call {
  struct core_pool *pool;
  uint64_t timeout_ns;
  struct core_tensor *in, *out;
  int32_t kind;
  uint32_t message_bytes, passes, generation;
  struct core_instance *instance; /* set between `core_begin` and `core_end` or `core_abort`, and by `core_lend` */
  uint64_t started_ns, ended_ns; /* computation of the guest, by CLOCK_MONOTONIC */
  uint64_t deadline_ns;          /* private to the core, like the next */
  bool changed;                  /* outputs have different shapes than before */
  char message[CORE_MESSAGE];
};

/* How long a call waits until the host can create an instance; the interval at which idle instances and free memory are checked, while
   there are any; the time without a call after which idle instances are freed; the maximum number of instances. */
struct core_settings { uint64_t wait_ns, period_ns, rest_ns; uint32_t max_instances; };

struct core_stats { uint64_t calls, traps, timeouts, instances, guest_ns, high_water; };

#ifndef CORE /* the library for Triton does not export the core: other libraries in the server could use the same names */
#define CORE __attribute__((visibility("default")))
#endif

/* Load wasmtime from `library`, once. Returns NULL, or the reason why it cannot be used. */
CORE const char *core_open(const char *library);
/* The sizes of wasmtime's structs that this library was compiled with. */
CORE uint64_t core_struct_sizes(void);
CORE void core_set(const struct core_settings *);
CORE uint32_t core_instances(void); /* number of instances of all programs, including those borrowed by arrays */
/* Create a program from a plan, whose required part is copied; on failure NULL, and the reason in `message`. `output` receives the guest's
   output of a call; without a text, that many bytes were dropped. In the child of a fork it continues to work, with new instances. */
CORE struct core_program *core_load(const struct plan *plan, size_t bytes, void (*output)(void *, int stream, const char *, size_t),
                                    void *data, char *message, size_t room);
CORE void core_unload(struct core_program *); /* after freeing its pools */
CORE const struct plan *core_plan(const struct core_program *); /* without the machine code */
CORE struct core_stats core_stats(const struct core_program *);
CORE struct core_pool *core_pool_new(struct core_program *);
CORE void core_pool_clear(struct core_pool *); /* free its idle instances, at any time */
CORE void core_pool_free(struct core_pool *);  /* while no call uses it */
/* Place tensors, copy inputs, run the first pass: then shapes, sizes and data of the outputs are known. Returns DONE or an error. */
CORE int32_t core_begin(struct core_call *);
/* Copy outputs, and run the remaining passes. Returns DONE or an error. Ends the call. */
CORE int32_t core_end(struct core_call *);
CORE void core_abort(struct core_call *); /* end a call that began, without its outputs */
/* Run an entire call whose output shapes and pieces are already set. If the guest's shapes differ, CORE_OPEN: continue with `core_end`.
   Here and in `core_lend` the deadline is `deadline_ns` of CLOCK_MONOTONIC. */
CORE int32_t core_run(struct core_call *, uint64_t deadline_ns);
/* Begin a call, and end it if it has one pass: then the outputs stay in the guest's memory. Later calls can overwrite them, but the memory
   stays mapped until `core_release(instance)`. With several passes CORE_OPEN: continue with `core_end`. */
CORE int32_t core_lend(struct core_call *, uint64_t deadline_ns);
CORE void core_release(struct core_instance *);
/* Map a range of an open file, for reading and writing by any thread; NULL if that is impossible. If the file becomes smaller, or the
   system has no memory for it, an access replaces its bytes from some page on by zeros that others do not see. */
CORE struct core_mapping *core_map(int file, uint64_t offset, uint64_t bytes);
CORE uint8_t *core_mapping_data(const struct core_mapping *);
CORE uint64_t core_mapping_intact(const struct core_mapping *); /* number of bytes that are not replaced; more than mapped if none are */
CORE void core_unmap(struct core_mapping *);

#endif
