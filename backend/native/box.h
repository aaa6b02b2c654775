/* The core's own face: engines, programs and instances, as its files know them. */
#ifndef PORTALIS_BOX_H
#define PORTALIS_BOX_H

#include "core.h"
#include "wasmtime.h"

#include <pthread.h>
#include <stdatomic.h>

enum { STDOUT, STDERR, STREAMS };
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
  struct plan *plan;
  struct compiled pooled, on_demand;
  atomic_uint fork;         /* the process that its engines are of */
  struct core_stats stats;  /* these by `core_lock` */
  uint64_t restored, grown;
  void (*output)(void *, int, const char *, size_t);
  void *data;
};

struct core_slot {
  struct core_program *program;
  struct core_box *idle;    /* the last one first */
  uint64_t calls, seen, called_ns;
  struct core_slot *next, **link;
};

struct core_box {
  struct core_program *program;
  struct engine *engine;
  void *store, *context;
  Memory own, tensors;
  Func functions[FUNCTIONS];
  struct control *control;
  bool dirty, extra;         /* was called; made outside the pool */
  uint64_t made_for;         /* bytes of inputs */
  atomic_uint references;    /* of the core, and of arrays that look into it */
  uint32_t fork;
  uint64_t deadline_ns, began_ns;
  struct captured captured[STREAMS];
  struct captured aborted;   /* what AssemblyScript's abort was told in this call */
  bool late;                 /* a host function met the deadline */
  struct core_box *next;
};

/* Of all slots, their idle instances, and the counters of programs. Never held while wasmtime works. */
extern pthread_mutex_t core_lock;
extern atomic_uint core_forks;      /* how often this process was forked off */
extern atomic_uint core_live;       /* instances of this process */
extern struct core_settings core_settings;

/* engine.c */
uint64_t now_ns(void);
uint64_t slot_bytes(bool signals);
uint64_t engines_ticks_until(uint64_t when, uint64_t now);                /* 0: no thread can be started */
struct engine *engine_for(uint32_t max_stack, bool signals, bool pooled); /* by whoever has `engines_lock`; NULL without memory */
extern pthread_mutex_t engines_lock;                                      /* of engines, and of loading modules */
void engines_tidy(struct engine *freed);  /* look after what is idle, and after slots that were freed, in a while */
bool engines_are_tidied(void);            /* free slots are taken for a moment */

/* program.c */
const struct compiled *program_code(struct core_program *, bool on_demand); /* NULL where the modules cannot be loaded again */
struct core_box *slot_take(struct core_slot *, uint64_t bytes, uint64_t now); /* for inputs of `bytes` bytes */
bool slots_give_way(void);        /* drop the instance that has been idle longest */
bool slots_rest(uint64_t now);    /* drop instances that nobody has used for long; whether some are left */
void slots_fork(void);

/* box.c */
int32_t box_new(struct core_call *, uint64_t deadline, struct core_box **made); /* CORE_BUSY where this process has no room */
bool box_arm(struct core_box *, uint64_t deadline);

/* failure.c */
void say_bytes(struct core_call *, const char *, size_t);
void say(struct core_call *, const char *format, ...) __attribute__((format(printf, 2, 3)));
int32_t fail(struct core_call *, int32_t kind, const char *format, ...) __attribute__((format(printf, 3, 4))); /* instead of any message */
int32_t failed(struct core_call *, struct core_box *, void *error, void *trap); /* what wasmtime returned, which is consumed */
void told(void *error, char *message, size_t room);                             /* what is wrong with wasmtime's error, which is consumed */
#define SPAN(plan, span) (int)(span).bytes, plan_at(plan, (span).at)

/* host.c */
void *host_define(void *linker); /* the host's functions, and those of WASI that are wasmtime's: NULL, or an error */
void host_hand_on(struct core_box *); /* what the guest wrote */

#endif
