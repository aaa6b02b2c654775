/* wasmtime's functions; engines; and the two threads that serve them: one moves epochs while a deadline is ahead, the other tidies up
   after instances. The child of a fork has neither: it makes engines and threads of its own. */
#define _GNU_SOURCE
#include "box.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define SLACK_NS 2000000000u /* the ticker runs on for so long after the last deadline: no lock for most calls */
#define RESIDENT_BYTES (64u << 20)
#define CHECKED_RESIDENT_BYTES (1u << 20) /* of a free slot without signals: nothing empties it, and all of it is cleared by writing */

#define DEFINE(result, name, arguments) result(*p_##name) arguments;
WASMTIME(DEFINE)
#undef DEFINE

pthread_mutex_t engines_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t threads_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ticker_wake = PTHREAD_COND_INITIALIZER, tidier_wake = PTHREAD_COND_INITIALIZER;
static _Atomic(struct engine *) engines;
static _Atomic uint64_t ticking_until, tidy_at; /* 0: the thread sleeps */
static _Atomic uint64_t ticked_at;
static atomic_bool tidying;
static bool ticker_started, tidier_started;
atomic_uint core_forks, core_live;
struct core_settings core_settings = {500000000u, 5000000000u, 60000000000u, 4096};

uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void sleep_ns(uint64_t ns) {
  struct timespec t = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
  nanosleep(&t, NULL);
}

/* ---- threads ---- */

/* Start `run` by itself, once. Signals are for other threads. */
static bool start(void *(*run)(void *), bool *started) {
  pthread_t thread;
  sigset_t all, before;
  if (*started) return true;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  *started = !pthread_create(&thread, NULL, run, NULL);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (*started) pthread_detach(thread);
  return *started;
}

static void *tick(void *unused) {
  for (;;) {
    sleep_ns(TICK_NS);
    uint64_t now = now_ns();
    for (uint64_t at = atomic_load(&ticked_at); (at += TICK_NS) <= now; atomic_store(&ticked_at, at))
      for (struct engine *e = atomic_load(&engines); e; e = e->next) p_wasmtime_engine_increment_epoch(e->handle);
    if (now <= atomic_load(&ticking_until)) continue;
    pthread_mutex_lock(&threads_lock);
    if (now > atomic_load(&ticking_until)) {
      atomic_store(&ticking_until, 0);
      while (!atomic_load(&ticking_until)) pthread_cond_wait(&ticker_wake, &threads_lock);
    }
    pthread_mutex_unlock(&threads_lock);
  }
  return unused;
}

uint64_t engines_ticks_until(uint64_t when, uint64_t now) {
  bool runs = when + SLACK_NS / 2 <= atomic_load(&ticking_until);
  if (!runs) {
    pthread_mutex_lock(&threads_lock);
    if (!atomic_load(&ticking_until)) atomic_store(&ticked_at, now); /* it has rested */
    runs = start(tick, &ticker_started);
    if (runs && when + SLACK_NS > atomic_load(&ticking_until)) atomic_store(&ticking_until, when + SLACK_NS);
    pthread_cond_signal(&ticker_wake);
    pthread_mutex_unlock(&threads_lock);
  }
  /* counted from the last tick, however late the next one is: it moves the epoch by all that were missed */
  uint64_t from = atomic_load(&ticked_at), least = now + TICK_NS;
  return runs ? ((when > least ? when : least) - from) / TICK_NS + 2 : 0;
}

/* Give the pages that free slots keep back to the system. Each is taken by an instance without pages meanwhile, so nobody else gets it. */
static void empty_free_slots(const struct engine *e) {
  void *store = p_wasmtime_store_new(e->handle, NULL, NULL), *context = p_wasmtime_store_context(store), *trap = NULL, *error = NULL;
  Instance instance;
  Extern memory;
  while (!(error = p_wasmtime_instance_pre_instantiate(e->vacant, context, &instance, &trap)) && !trap)
    if (p_wasmtime_instance_export_get(context, &instance, "memory", 6, &memory))
      madvise(p_wasmtime_memory_data(context, &memory.of.memory), RESIDENT_BYTES, MADV_DONTNEED);
  if (trap) p_wasm_trap_delete(trap);
  if (error) p_wasmtime_error_delete(error);
  p_wasmtime_store_delete(store);
}

static void *tidy(void *unused) {
  for (;;) {
    pthread_mutex_lock(&threads_lock);
    while (!atomic_load(&tidy_at)) pthread_cond_wait(&tidier_wake, &threads_lock);
    pthread_mutex_unlock(&threads_lock);
    uint64_t at = atomic_load(&tidy_at), now = now_ns();
    if (at > now) sleep_ns(at - now);
    atomic_store(&tidy_at, 0);
    bool more = slots_rest(now_ns());
    atomic_store(&tidying, true);
    for (struct engine *e = atomic_load(&engines); e; e = e->next)
      if (e->vacant && atomic_exchange(&e->used, false)) empty_free_slots(e);
    atomic_store(&tidying, false);
    if (more) engines_tidy(NULL);
  }
  return unused;
}

void engines_tidy(struct engine *freed) {
  if (freed) atomic_store(&freed->used, true);
  if (atomic_load(&tidy_at)) return;
  pthread_mutex_lock(&threads_lock);
  if (start(tidy, &tidier_started)) atomic_store(&tidy_at, now_ns() + core_settings.period_ns);
  pthread_cond_signal(&tidier_wake);
  pthread_mutex_unlock(&threads_lock);
}

bool engines_are_tidied(void) { return atomic_load(&tidying); }

/* ---- engines ---- */

/* With signals a slot is the whole 32-bit space, so that code needs no checks; without, many small ones fit. */
uint64_t slot_bytes(bool signals) { return signals ? 4ull << 30 : CHECKED_SLOT_BYTES; }

static bool enable_pool(void *config, bool signals) {
  uint32_t memories = signals ? 128 : 4096;
  size_t space = (memories + 2) * (slot_bytes(signals) + (64ull << 20));
  void *at = mmap(NULL, space, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) return false; /* wasmtime ends the process where it cannot reserve that */
  munmap(at, space);
  void *pool = p_wasmtime_pooling_allocation_config_new();
#define SET(field, value) p_wasmtime_pooling_allocation_config_##field##_set(pool, value)
  SET(total_memories, memories);
  SET(total_core_instances, 4 * memories);
  SET(total_tables, signals ? 4 * memories : memories);
  SET(max_memories_per_module, MAX_MEMORIES);
  SET(max_tables_per_module, MAX_TABLES);
  SET(table_elements, MAX_TABLE_ELEMENTS);
  SET(max_core_instance_size, MAX_INSTANCE_BYTES);
  SET(max_memory_size, slot_bytes(signals));
  SET(linear_memory_keep_resident, signals ? RESIDENT_BYTES : CHECKED_RESIDENT_BYTES);
  SET(table_keep_resident, PAGE);
  SET(max_unused_warm_slots, 8);
#undef SET
  p_wasmtime_pooling_allocation_strategy_set(config, pool);
  p_wasmtime_pooling_allocation_config_delete(pool);
  return true;
}

/* A configuration for machine code as `compile/engine.py` has it made. */
static void *config_new(uint32_t max_stack, bool signals) {
  void *c = p_wasm_config_new();
#define SET(field, value) p_wasmtime_config_##field##_set(c, value)
  SET(epoch_interruption, true);
  SET(signals_based_traps, signals);
  if (!signals) SET(memory_reservation, slot_bytes(false)), SET(memory_guard_size, 0);
  SET(async_stack_size, max_stack > 2u << 20 ? max_stack : 2u << 20); /* unused, but must not be smaller */
  SET(max_wasm_stack, max_stack);
  SET(wasm_threads, false);
  SET(wasm_memory64, false);
  SET(wasm_gc, false);
  SET(wasm_function_references, false);
  SET(wasm_exceptions, false);
  SET(parallel_compilation, false); /* of nothing but `vacant_new`'s module */
#undef SET
  return c;
}

/* NULL where it cannot be made: then free slots keep their pages. */
static void *vacant_new(const struct engine *e) {
  static const uint8_t MODULE[] = "\0asm\1\0\0\0\5\3\1\0\0\7\12\1\6memory\2"; /* and the 0 that ends the text */
  void *module = NULL, *pre = NULL, *error = p_wasmtime_module_new(e->handle, MODULE, sizeof MODULE, &module);
  if (!error) error = p_wasmtime_linker_instantiate_pre(e->linker, module, &pre);
  if (module) p_wasmtime_module_delete(module);
  if (error) p_wasmtime_error_delete(error);
  return pre;
}

static struct engine *engine_new(uint32_t max_stack, bool signals, bool pooled) {
  struct engine *e = calloc(1, sizeof *e);
  if (!e) return NULL;
  void *config = config_new(max_stack, signals);
  e->max_stack = max_stack;
  e->signals = signals;
  e->pooled = pooled && enable_pool(config, signals);
  e->handle = p_wasm_engine_new_with_config(config);
  e->linker = p_wasmtime_linker_new(e->handle);
  void *error = host_define(e->linker);
  if (error) {
    p_wasmtime_error_delete(error);
    p_wasmtime_linker_delete(e->linker);
    p_wasm_engine_delete(e->handle);
    free(e);
    return NULL;
  }
  /* Without signals wasmtime leaves a slot's pages to an instance that asks for fewer, and clears them afterwards, which touches all. */
  if (e->pooled && signals) e->vacant = vacant_new(e);
  return e;
}

struct engine *engine_for(uint32_t max_stack, bool signals, bool pooled) {
  static bool no_pool;
  struct engine *e = atomic_load(&engines);
  pooled = pooled && !no_pool;
  while (e && (e->max_stack != max_stack || e->signals != signals || e->pooled != pooled)) e = e->next;
  if (e || !(e = engine_new(max_stack, signals, pooled))) return e;
  no_pool |= pooled && !e->pooled;
  e->next = atomic_load(&engines);
  atomic_store(&engines, e);
  return e;
}

/* ---- the library ---- */

static void before_fork(void) {
  pthread_mutex_lock(&engines_lock);
  pthread_mutex_lock(&core_lock);
  pthread_mutex_lock(&threads_lock);
}

static void in_parent(void) {
  pthread_mutex_unlock(&threads_lock);
  pthread_mutex_unlock(&core_lock);
  pthread_mutex_unlock(&engines_lock);
}

/* Another thread may have held a lock of wasmtime's: the engines of before are left alone, with all that is in them. */
static void in_child(void) {
  atomic_fetch_add(&core_forks, 1);
  atomic_store(&core_live, 0);
  atomic_store(&engines, NULL);
  atomic_store(&ticking_until, 0);
  atomic_store(&tidy_at, 0);
  atomic_store(&tidying, false);
  ticker_started = tidier_started = false;
  ticker_wake = tidier_wake = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
  slots_fork();
  in_parent();
}

uint64_t core_layouts(void) {
  return (uint64_t)sizeof(Extern) | (uint64_t)offsetof(Extern, of) << 8 | (uint64_t)sizeof(Func) << 16 | (uint64_t)sizeof(Memory) << 24 |
         (uint64_t)sizeof(Instance) << 32 | (uint64_t)sizeof(Raw) << 40 | (uint64_t)sizeof(Bytes) << 48;
}

uint32_t core_instances(void) { return atomic_load(&core_live); }

void core_set(const struct core_settings *s) { core_settings = *s; }

const char *core_open(const char *path) {
  static char why[512];
  static bool done;
  const char *problem = NULL;
  pthread_mutex_lock(&engines_lock);
  void *library = done ? NULL : dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!done && !library) snprintf(why, sizeof why, "wasmtime cannot be loaded: %s", dlerror()), problem = why;
#define FIND(result, name, arguments) \
  if (!done && !problem && !(*(void **)&p_##name = dlsym(library, #name))) \
    snprintf(why, sizeof why, "%s has no %s: another version of wasmtime is needed", path, #name), problem = why;
  WASMTIME(FIND)
#undef FIND
  if (!done && !problem && pthread_atfork(before_fork, in_parent, in_child)) problem = "out of memory";
  done = done || !problem;
  pthread_mutex_unlock(&engines_lock);
  return problem;
}
