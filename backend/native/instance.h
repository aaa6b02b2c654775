/* Internal declarations of the core: engines, programs and instances. */
#ifndef PORTALIS_INSTANCE_H
#define PORTALIS_INSTANCE_H

#define _GNU_SOURCE
#include "core.h"
#include "wasmtime.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { STDOUT, STDERR, ABORTED, STREAMS }; /* ABORTED: the message of AssemblyScript's abort in this call */
enum { PLACE, RUN, RESTORE, EXPLAIN, FUNCTIONS }; /* of the adapter */
enum { POOL_FULL = 64 };            /* an error that is not reported */
#define TICK_NS 10000000u

/* Output of a guest on one stream, up to a cap; the remainder is counted. */
struct captured { char *data; uint64_t bytes, dropped; };

struct engine {
  uint32_t max_stack;
  bool signals, pooled;
  void *handle, *linker, *vacant; /* vacant: a linked module with only a memory without pages */
  atomic_bool used;               /* slots of freed instances still have pages */
  struct engine *next;
};
struct compiled { struct engine *engine; void *module[MAX_MODULES], *pre; };

struct core_program {
  const struct plan *plan;
  struct compiled code[2];  /* for the pooling and the on-demand allocator */
  atomic_uint loaded[2];    /* by which process; 0: not yet */
  struct core_stats stats;  /* guarded by `core_lock`, like the next */
  uint64_t restored, grown;
  void (*output)(void *, int, const char *, size_t);
  void *data;
};

struct core_pool {
  struct core_program *program;
  struct core_instance *idle;    /* most recently used first */
  uint64_t called_ns;       /* time of the last call */
  struct core_pool *next;
};

struct core_instance {
  struct core_program *program;
  struct engine *engine;
  void *store, *context;
  Memory tensors;            /* the memory that contains the tensors */
  Func functions[FUNCTIONS];
  struct control *control;
  bool dirty, extra;         /* was called since the last rewind; created outside the pool */
  uint64_t huge;             /* bytes of its slot that use huge pages; the instance can outlive its program */
  uint64_t input_bytes;      /* of the call that it was created for */
  atomic_uint references;    /* by the core, and by arrays that borrow its memory */
  uint32_t fork;
  uint64_t deadline_ns, began_ns;
  struct captured captured[STREAMS];
  bool late;                 /* a host function reached the deadline */
  struct core_instance *next;
};

/* Guards all pools, their idle instances, and the counters of programs. Never held during calls of wasmtime. */
extern pthread_mutex_t core_lock;
extern atomic_uint core_forks;      /* number of this process: that of its parent plus 1 after a fork */
extern atomic_uint core_live;       /* instances of this process */
extern struct core_settings core_settings;

/* HOLD(mutex); locks it until the end of the block. */
static inline pthread_mutex_t *lock_it(pthread_mutex_t *m) { pthread_mutex_lock(m); return m; }
static inline void unlock_it(pthread_mutex_t **m) { pthread_mutex_unlock(*m); }
#define HOLD(mutex) pthread_mutex_t *held __attribute__((cleanup(unlock_it), unused)) = lock_it(mutex)
/* Return the result of `call` unless it is 0 or NULL: an error code, or Triton's error. */
#define TRY(call) do { __auto_type problem_ = (call); if (problem_) return problem_; } while (0)

static inline uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t greater(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* A symbol of a library, and the variable for its address. */
struct symbol { void *to; const char *name; };
static inline const char *symbols_find(void *library, const struct symbol *wanted, size_t count) { /* NULL, or the name of a missing symbol */
  for (size_t i = 0; i < count; i++) if (!(*(void **)wanted[i].to = dlsym(library, wanted[i].name))) return wanted[i].name;
  return NULL;
}

/* engine.c */
uint64_t clock_ns(clockid_t);
uint64_t now_ns(void); /* of CLOCK_MONOTONIC */
void sleep_ns(uint64_t);
uint64_t slot_bytes(bool signals);
uint64_t engines_ticks_until(uint64_t when, uint64_t now);                /* 0: no thread can be started */
struct engine *engine_for(uint32_t max_stack, bool signals, bool pooled); /* the caller holds `engines_lock`; NULL if out of memory */
extern pthread_mutex_t engines_lock;                                      /* guards engines, and loading of modules */
void engines_tidy(struct engine *freed);  /* schedule a check of idle instances and of freed slots */
extern atomic_bool engines_tidying;       /* free slots are temporarily in use */

/* program.c */
const struct compiled *program_code(struct core_program *, bool on_demand); /* NULL if the modules cannot be loaded again */
struct core_instance *pool_take(struct core_pool *, uint64_t bytes, uint64_t now); /* for inputs of `bytes` bytes */
bool pools_evict_idle(void);        /* free an idle instance of the least recently called program */
bool pools_evict_unused(uint64_t now);    /* free instances that have been idle for long; returns whether some remain */
void pools_after_fork(void);

/* instance.c */
int32_t instance_new(struct core_call *); /* create the call's instance; CORE_BUSY if the process is out of capacity */
int32_t instance_arm(struct core_call *, struct core_instance *); /* arm the call's deadline */

/* call.c */
uint64_t call_bytes(const struct core_call *); /* size of all inputs */

/* failure.c */
void append_bytes(struct core_call *, const char *, size_t);
int32_t append_text(struct core_call *, const char *format, ...) __attribute__((format(printf, 2, 3)));
int32_t begin_message(struct core_call *, int32_t kind); /* replaces any previous message */
#define fail(call, kind, ...) (begin_message(call, kind), append_text(call, __VA_ARGS__))
int32_t failed(struct core_call *, struct core_instance *, void *error, void *trap); /* the call's error from wasmtime's, which is consumed */
void error_message(void *error, char *message, size_t room); /* the message of wasmtime's error, which is consumed */

/* host.c */
void *host_define(void *linker); /* define the host functions, and wasmtime's WASI functions; NULL, or an error */
void host_forward_output(struct core_instance *); /* pass on the guest's output */

#endif
