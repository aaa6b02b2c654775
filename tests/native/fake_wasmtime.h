/* A stand-in for wasmtime, as a library that `core_open` loads: memories between pages that nothing may touch, objects that are counted,
   an adapter that copies its inputs to its outputs and does harm where the data say so, and a call that fails when the test wants it. */
#ifndef PORTALIS_FAKE_WASMTIME_H
#define PORTALIS_FAKE_WASMTIME_H

#include "../../backend/native/core.h"
#include "../../backend/native/wasmtime.h"
#include "fake.h"

enum { ENGINE, LINKER, VACANT, CONFIG, POOL, MODULE, PRE, STORE, WASI, ERROR, TRAP, TEXT, FRAMES, FRAME, VALUE_TYPE, FUNCTION_TYPE, CALLER, WASMTIME_KINDS };
enum { FIRST_COUNTED = CONFIG }; /* the core keeps engines, linkers and empty modules until the process ends */

/* How the call fails that fails. What cannot trap returns an error, and the other way round. */
enum failure { FAIL_ERROR, FAIL_EXIT, FAIL_POOL, FAIL_MMAP, FAIL_MEMORY, FAIL_TRAP, FAIL_STRANGE_TRAP, FAIL_INTERRUPT, FAIL_LEAVE, FAILURES };

enum { CALL_PLACE, CALL_RUN, CALL_RESTORE, CALL_EXPLAIN, CALL_OTHER };

/* The first byte of a row of the first input: what the guest does. Other rows are copied to the outputs. */
enum { DOES_TRAP = 'T', DOES_LOOP = 'L', DOES_STATUS = 'S', DOES_STATUS_TRAP = 'E', DOES_ABI = 'A', DOES_EXIT = 'X', DOES_GROW = 'G', DOES_WRITE = 'W',
       DOES_SLEEP = 'P', DOES_HARM = 'H', DOES_RENEW = 'R' };
enum { REFUSED_DIM = 13 }; /* a last dimension of so many is refused by `place` */

struct fake_store {
  struct object object;
  void *data, *engine;
  uint64_t id, deadline;
  uint8_t *own, *tensors;       /* memories; the tensors' may move when it grows */
  uint64_t own_bytes, tensors_bytes;
  uint32_t inputs, outputs, instances, pooled, generation, at[MAX_TENSORS];
  uint64_t rows, row_bytes;     /* of the first input */
  bool renew;
};

struct fake_wasmtime {
  struct counter counters[WASMTIME_KINDS];
  struct failing failing;
  enum failure failure;
  uint64_t own_bytes, tensors_bytes;   /* of new instances */
  uint32_t passes;                     /* how often `run` is to be called */
  uint32_t pool;                       /* how many instances of pooled engines there may be */
  _Atomic uint32_t pooled;
  _Atomic bool holds, held;            /* whoever moves an epoch waits meanwhile; somebody does */
  /* After a function of the adapter: may write and return what it likes; an error that a host function gave it is the call's. */
  void *(*lie)(struct fake_store *, int function, int32_t *status);
};

/* For `core_set`: nobody tidies up while objects are counted. */
static const struct core_settings UNTIDY = {500000000u, 3600000000000u, 3600000000000u, 4096};

#define FAKE __attribute__((visibility("default")))
FAKE extern struct fake_wasmtime fake_wasmtime;
FAKE void fake_grow(struct fake_store *, uint64_t bytes); /* the tensors' memory, which moves */
/* Call a host function that the linker of the store's engine has, as a guest would; an error, or NULL. */
FAKE void *fake_host_call(struct fake_store *, const char *name, const Raw *arguments, size_t count, Raw *result);

#endif
