/* The core's own face: engines, programs and instances, as its files know them. */
#ifndef PORTALIS_BOX_H
#define PORTALIS_BOX_H

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

enum { STDOUT, STDERR, ABORTED, STREAMS }; /* the last: what AssemblyScript's abort was told in this call */
enum { PLACE, RUN, RESTORE, EXPLAIN, FUNCTIONS }; /* of the adapter */
enum { POOL_FULL = 64 };            /* a kind of failure that stays inside */
#define TICK_NS 10000000u

/* What a guest wrote to a stream, up to a cap; the rest is counted. */
struct captured { char *data; uint64_t bytes, dropped; };

struct engine {
  uint32_t max_stack;
  bool signals, pooled;
  void *handle, *linker, *vacant; /* vacant: a linked module that is nothing but a memory without pages */
  atomic_bool used;               /* instances were freed, whose slots have pages */
  struct engine *next;
};
struct compiled { struct engine *engine; void *module[MAX_MODULES], *pre; };

struct core_program {
  const struct plan *plan;
  struct compiled code[2];  /* in the pool, and on demand */
  atomic_uint loaded[2];    /* by which process; 0: not yet */
  struct core_stats stats;  /* these by `core_lock` */
  uint64_t restored, grown;
  void (*output)(void *, int, const char *, size_t);
  void *data;
};

struct core_slot {
  struct core_program *program;
  struct core_box *idle;    /* the last one first */
  uint64_t called_ns;       /* last */
  struct core_slot *next;
};

struct core_box {
  struct core_program *program;
  struct engine *engine;
  void *store, *context;
  Memory tensors;            /* what holds them */
  Func functions[FUNCTIONS];
  struct control *control;
  bool dirty, extra;         /* was called; made outside the pool */
  uint64_t huge;             /* bytes of its place in the pool that use huge pages: the instance may outlive its program */
  uint64_t made_for;         /* bytes of inputs */
  atomic_uint references;    /* of the core, and of arrays that look into it */
  uint32_t fork;
  uint64_t deadline_ns, began_ns;
  struct captured captured[STREAMS];
  bool late;                 /* a host function met the deadline */
  struct core_box *next;
};

/* Of all slots, their idle instances, and the counters of programs. Never held while wasmtime works. */
extern pthread_mutex_t core_lock;
extern atomic_uint core_forks;      /* this process, by number: a child has that of its parent and 1 */
extern atomic_uint core_live;       /* instances of this process */
extern struct core_settings core_settings;

/* HOLD(mutex); locks it until the end of the block. */
static inline pthread_mutex_t *lock_it(pthread_mutex_t *m) { pthread_mutex_lock(m); return m; }
static inline void unlock_it(pthread_mutex_t **m) { pthread_mutex_unlock(*m); }
#define HOLD(mutex) pthread_mutex_t *held __attribute__((cleanup(unlock_it), unused)) = lock_it(mutex)
/* What is not 0, or NULL, is what the function returns: a kind of failure, or Triton's error. */
#define TRY(call) do { __auto_type problem_ = (call); if (problem_) return problem_; } while (0)

static inline uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t greater(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* Where the address of what a library calls `name` goes. */
struct symbol { void *to; const char *name; };
static inline const char *symbols_find(void *library, const struct symbol *wanted, size_t count) { /* NULL, or what it does not have */
  for (size_t i = 0; i < count; i++) if (!(*(void **)wanted[i].to = dlsym(library, wanted[i].name))) return wanted[i].name;
  return NULL;
}

/* engine.c */
uint64_t clock_ns(clockid_t);
uint64_t now_ns(void); /* of CLOCK_MONOTONIC */
void sleep_ns(uint64_t);
uint64_t slot_bytes(bool signals);
uint64_t engines_ticks_until(uint64_t when, uint64_t now);                /* 0: no thread can be started */
struct engine *engine_for(uint32_t max_stack, bool signals, bool pooled); /* by whoever has `engines_lock`; NULL without memory */
extern pthread_mutex_t engines_lock;                                      /* of engines, and of loading modules */
void engines_tidy(struct engine *freed);  /* look after what is idle, and after slots that were freed, in a while */
extern atomic_bool engines_tidying;       /* free slots are taken for a moment */

/* program.c */
const struct compiled *program_code(struct core_program *, bool on_demand); /* NULL where the modules cannot be loaded again */
struct core_box *slot_take(struct core_slot *, uint64_t bytes, uint64_t now); /* for inputs of `bytes` bytes */
bool slots_give_way(void);        /* drop the instance that has been idle longest */
bool slots_rest(uint64_t now);    /* drop instances that nobody has used for long; whether some are left */
void slots_fork(void);

/* box.c */
int32_t box_new(struct core_call *); /* the call's instance; CORE_BUSY where this process has no room */
int32_t box_arm(struct core_call *, struct core_box *); /* with the call's deadline */

/* call.c */
uint64_t call_bytes(const struct core_call *); /* of all inputs */

/* failure.c */
void say_bytes(struct core_call *, const char *, size_t);
int32_t say(struct core_call *, const char *format, ...) __attribute__((format(printf, 2, 3)));
int32_t begin_message(struct core_call *, int32_t kind); /* instead of any before */
#define fail(call, kind, ...) (begin_message(call, kind), say(call, __VA_ARGS__))
int32_t failed(struct core_call *, struct core_box *, void *error, void *trap); /* what wasmtime returned, which is consumed */
void told(void *error, char *message, size_t room);                             /* what is wrong with wasmtime's error, which is consumed */

/* host.c */
void *host_define(void *linker); /* the host's functions, and those of WASI that are wasmtime's: NULL, or an error */
void host_hand_on(struct core_box *); /* what the guest wrote */

#endif
