/* wasmtime's functions, engines, and their two threads: one advances epochs while a deadline is pending, the other frees resources of
   instances. The child of a fork has neither: it creates its own engines and threads. */
#include "instance.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>

#define SLACK_NS 2000000000u /* time that the ticker continues after the last deadline, so that most calls need no lock */
#define RESIDENT_BYTES (64u << 20)
#define CHECKED_RESIDENT_BYTES (1u << 20) /* of a free slot without signals: it is not emptied, but cleared by writing */

/* Settings of an engine, with their values. They match those of `compile/engine.py`, which compiles the machine code. */
#define CONFIG(X) \
  X(void, wasmtime_config_epoch_interruption_set, (void *, bool), true) \
  X(void, wasmtime_config_signals_based_traps_set, (void *, bool), signals) \
  X(void, wasmtime_config_async_stack_size_set, (void *, uint64_t), greater(max_stack, 2u << 20)) /* unused, but must not be smaller */ \
  X(void, wasmtime_config_max_wasm_stack_set, (void *, size_t), max_stack) \
  X(void, wasmtime_config_wasm_threads_set, (void *, bool), false) \
  X(void, wasmtime_config_wasm_memory64_set, (void *, bool), false) \
  X(void, wasmtime_config_wasm_gc_set, (void *, bool), false) \
  X(void, wasmtime_config_wasm_function_references_set, (void *, bool), false) \
  X(void, wasmtime_config_wasm_exceptions_set, (void *, bool), false) \
  X(void, wasmtime_config_parallel_compilation_set, (void *, bool), false) /* only for the module of `vacant_new` */

/* Settings of its instance pool. */
#define POOL(X) \
  X(void, wasmtime_pooling_allocation_config_total_memories_set, (void *, uint32_t), memories) \
  X(void, wasmtime_pooling_allocation_config_total_core_instances_set, (void *, uint32_t), 4 * memories) \
  X(void, wasmtime_pooling_allocation_config_total_tables_set, (void *, uint32_t), signals ? 4 * memories : memories) \
  X(void, wasmtime_pooling_allocation_config_max_memories_per_module_set, (void *, uint32_t), MAX_MEMORIES) \
  X(void, wasmtime_pooling_allocation_config_max_tables_per_module_set, (void *, uint32_t), MAX_TABLES) \
  X(void, wasmtime_pooling_allocation_config_table_elements_set, (void *, size_t), MAX_TABLE_ELEMENTS) \
  X(void, wasmtime_pooling_allocation_config_max_core_instance_size_set, (void *, size_t), MAX_INSTANCE_BYTES) \
  X(void, wasmtime_pooling_allocation_config_max_memory_size_set, (void *, size_t), slot_bytes(signals)) \
  X(void, wasmtime_pooling_allocation_config_linear_memory_keep_resident_set, (void *, size_t), resident) \
  X(void, wasmtime_pooling_allocation_config_table_keep_resident_set, (void *, size_t), PAGE) \
  X(void, wasmtime_pooling_allocation_config_max_unused_warm_slots_set, (void *, uint32_t), 8)

#define DEFINE(result, name, arguments, ...) result(*p_##name) arguments;
WASMTIME(DEFINE) CONFIG(DEFINE) POOL(DEFINE)
#define SYMBOL(result, name, ...) {&p_##name, #name},
static const struct symbol SYMBOLS[] = {WASMTIME(SYMBOL) CONFIG(SYMBOL) POOL(SYMBOL)};
#define SET(result, name, arguments, value) p_##name(c, value);

pthread_mutex_t engines_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t threads_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(struct engine *) engines;
/* A thread that works until, or at, a given time, and sleeps while none is set. */
#define RESTING {PTHREAD_COND_INITIALIZER, false, 0}
static struct thread { pthread_cond_t wake; bool started; _Atomic uint64_t when; } ticker = RESTING, tidier = RESTING;
static _Atomic uint64_t ticked_at;
atomic_uint core_forks = 1, core_live;
atomic_bool engines_tidying;
struct core_settings core_settings = {500000000u, 5000000000u, 60000000000u, 4096};

uint64_t clock_ns(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

void sleep_ns(uint64_t ns) {
  struct timespec t = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
  while (nanosleep(&t, &t) && errno == EINTR) {}
}

/* ---- threads ---- */

/* Set the time of the thread, which executes `run`; start it if necessary. The caller holds `threads_lock`. */
static bool wake(struct thread *t, void *(*run)(void *), uint64_t when) {
  pthread_t thread;
  sigset_t all, before;
  if (!t->started) {
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* other threads handle signals */
    t->started = !pthread_create(&thread, NULL, run, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!t->started) return false;
    pthread_detach(thread);
  }
  atomic_store(&t->when, greater(atomic_load(&t->when), when));
  pthread_cond_signal(&t->wake);
  return true;
}

static void *tick(void *unused) {
  for (;;) {
    sleep_ns(TICK_NS);
    uint64_t now = now_ns();
    for (uint64_t at = atomic_load(&ticked_at); (at += TICK_NS) <= now; atomic_store(&ticked_at, at))
      for (struct engine *e = atomic_load(&engines); e; e = e->next) p_wasmtime_engine_increment_epoch(e->handle);
    if (now <= atomic_load(&ticker.when)) continue;
    HOLD(&threads_lock);
    if (now <= atomic_load(&ticker.when)) continue;
    atomic_store(&ticker.when, 0);
    while (!atomic_load(&ticker.when)) pthread_cond_wait(&ticker.wake, &threads_lock);
  }
  return unused;
}

uint64_t engines_ticks_until(uint64_t when, uint64_t now) {
  if (when + SLACK_NS / 2 > atomic_load(&ticker.when)) {
    HOLD(&threads_lock);
    if (!atomic_load(&ticker.when)) atomic_store(&ticked_at, now); /* it was asleep */
    if (!wake(&ticker, tick, when + SLACK_NS)) return 0;
  }
  /* counted from the last tick: if the next one is late, it advances the epoch by all missed ticks */
  return (greater(when, now + TICK_NS) - atomic_load(&ticked_at)) / TICK_NS + 2;
}

/* Return the pages of free slots to the operating system. An instance without pages occupies each slot meanwhile. */
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

static uint64_t wait_for_work(void) {
  HOLD(&threads_lock);
  while (!atomic_load(&tidier.when)) pthread_cond_wait(&tidier.wake, &threads_lock);
  return atomic_load(&tidier.when);
}

static void *tidy(void *unused) {
  for (;;) {
    uint64_t at = wait_for_work(), now = now_ns();
    if (at > now) sleep_ns(at - now);
    atomic_store(&tidier.when, 0);
    bool more = pools_evict_unused(now_ns());
    atomic_store(&engines_tidying, true);
    for (struct engine *e = atomic_load(&engines); e; e = e->next)
      if (e->vacant && atomic_exchange(&e->used, false)) empty_free_slots(e);
    atomic_store(&engines_tidying, false);
    if (more) engines_tidy(NULL);
  }
  return unused;
}

void engines_tidy(struct engine *freed) {
  if (freed) atomic_store(&freed->used, true);
  if (atomic_load(&tidier.when)) return;
  HOLD(&threads_lock);
  if (!atomic_load(&tidier.when)) wake(&tidier, tidy, now_ns() + core_settings.period_ns);
}

/* ---- engines ---- */

/* With signals a slot is the entire 32-bit address space, so that code needs no checks; without them, slots are smaller. */
uint64_t slot_bytes(bool signals) { return signals ? 4ull << 30 : CHECKED_SLOT_BYTES; }

static bool enable_pool(void *config, bool signals) {
  uint32_t memories = signals ? 128 : 4096;
  size_t space = (memories + 2) * (slot_bytes(signals) + (64ull << 20));
  void *at = mmap(NULL, space, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) return false; /* wasmtime aborts the process if it cannot reserve that */
  munmap(at, space);
  size_t resident = signals ? RESIDENT_BYTES : CHECKED_RESIDENT_BYTES;
  void *c = p_wasmtime_pooling_allocation_config_new();
  POOL(SET)
  p_wasmtime_pooling_allocation_strategy_set(config, c);
  p_wasmtime_pooling_allocation_config_delete(c);
  return true;
}

static void *config_new(uint32_t max_stack, bool signals) {
  void *c = p_wasm_config_new();
  CONFIG(SET)
  if (signals) return c;
  p_wasmtime_config_memory_reservation_set(c, slot_bytes(false));
  p_wasmtime_config_memory_guard_size_set(c, 0);
  return c;
}

/* NULL on failure: then free slots keep their pages. */
static void *vacant_new(const struct engine *e) {
  static const uint8_t MODULE[] = "\0asm\1\0\0\0\5\3\1\0\0\7\12\1\6memory\2"; /* and the terminating NUL */
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
  /* Without signals wasmtime keeps a slot's pages for an instance that needs fewer, and clears them afterwards, which touches all. */
  if (!error && e->pooled && signals) e->vacant = vacant_new(e);
  if (!error) return e;
  p_wasmtime_error_delete(error);
  p_wasmtime_linker_delete(e->linker);
  p_wasm_engine_delete(e->handle);
  free(e);
  return NULL;
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

static pthread_mutex_t *const LOCKS[] = {&engines_lock, &core_lock, &threads_lock};
static void before_fork(void) { for (size_t i = 0; i < COUNT_OF(LOCKS); i++) pthread_mutex_lock(LOCKS[i]); }
static void in_parent(void) { for (size_t i = COUNT_OF(LOCKS); i--;) pthread_mutex_unlock(LOCKS[i]); }

/* Another thread can have held a lock of wasmtime: the inherited engines are not used again, with everything in them. */
static void in_child(void) {
  atomic_fetch_add(&core_forks, 1);
  atomic_store(&core_live, 0);
  atomic_store(&engines, NULL);
  atomic_store(&engines_tidying, false);
  ticker = tidier = (struct thread)RESTING;
  pools_after_fork();
  in_parent();
}

uint64_t core_struct_sizes(void) {
  return (uint64_t)sizeof(Extern) | (uint64_t)offsetof(Extern, of) << 8 | (uint64_t)sizeof(Func) << 16 | (uint64_t)sizeof(Memory) << 24 |
         (uint64_t)sizeof(Instance) << 32 | (uint64_t)sizeof(Raw) << 40 | (uint64_t)sizeof(Bytes) << 48;
}

uint32_t core_instances(void) { return atomic_load(&core_live); }

void core_set(const struct core_settings *s) { core_settings = *s; }

static const char *open_once(const char *path) {
  static char why[512];
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  const char *missing = library ? symbols_find(library, SYMBOLS, COUNT_OF(SYMBOLS)) : NULL;
  if (library && !missing) return pthread_atfork(before_fork, in_parent, in_child) ? "out of memory" : NULL;
  if (missing) snprintf(why, sizeof why, "%s has no %s: a different version of wasmtime is needed", path, missing);
  else snprintf(why, sizeof why, "wasmtime cannot be loaded: %s", dlerror());
  return why;
}

const char *core_open(const char *path) {
  static bool done;
  HOLD(&engines_lock);
  const char *problem = done ? NULL : open_once(path);
  done = !problem;
  return problem;
}
