#define _GNU_SOURCE
#include "core.h"

#include "box.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define TICK_NS 10000000u
#define SLACK_NS 2000000000u
#define WAIT_NS 500000000u          /* for room on this host */
#define PAUSE_NS 10000000L
#define STACK_RESERVE (512u << 10)  /* of a thread's stack: for what calls the guest, and for host functions in it */
enum { MOST_INSTANCES = 4096, MOST_TABLES = 100000, STORE_INSTANCES = 6, STORE_TABLES = 8, STORE_MEMORIES = 6, OWN_BYTES = 2 << 20, MOST_FRAMES = 20 };

uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- wasmtime ---- */

#define DEFINE(result, name, arguments) result(*p_##name) arguments;
WASMTIME(DEFINE)
#undef DEFINE

uint64_t core_layouts(void) {
  return (uint64_t)sizeof(Extern) | (uint64_t)offsetof(Extern, of) << 8 | (uint64_t)sizeof(Func) << 16 | (uint64_t)sizeof(Memory) << 24 |
         (uint64_t)sizeof(Instance) << 32 | (uint64_t)sizeof(Raw) << 40 | (uint64_t)sizeof(Bytes) << 48;
}

const char *core_open(const char *path) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  static char why[512];
  static bool done;
  pthread_mutex_lock(&lock);
  const char *problem = NULL;
  void *library = done ? NULL : dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!done && !library) snprintf(why, sizeof why, "wasmtime cannot be loaded: %s", dlerror()), problem = why;
#define FIND(result, name, arguments) \
  if (!done && !problem && !(*(void **)&p_##name = dlsym(library, #name))) \
    snprintf(why, sizeof why, "%s has no %s: another version of wasmtime is needed", path, #name), problem = why;
  WASMTIME(FIND)
#undef FIND
  done = done || !problem;
  pthread_mutex_unlock(&lock);
  return problem;
}

/* ---- engines: one for each stack size and each way to have memory; their epochs move while a deadline is ahead ---- */

struct engine { uint32_t max_stack; bool signals, pooled; void *handle, *linker; struct engine *next; };
static _Atomic(struct engine *) engines;
static pthread_mutex_t engines_lock = PTHREAD_MUTEX_INITIALIZER, ticker_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ticker_wake = PTHREAD_COND_INITIALIZER;
static _Atomic uint64_t ticking_until;
static atomic_bool ticker_rests = true;
static bool ticker_started;

static void *tick(void *unused) {
  uint64_t last = now_ns();
  for (;;) {
    struct timespec pause = {0, TICK_NS};
    nanosleep(&pause, NULL);
    uint64_t now = now_ns();
    for (; last + TICK_NS <= now; last += TICK_NS)
      for (struct engine *e = atomic_load(&engines); e; e = e->next) p_wasmtime_engine_increment_epoch(e->handle);
    if (now <= atomic_load(&ticking_until)) continue;
    pthread_mutex_lock(&ticker_lock);
    if (now_ns() > atomic_load(&ticking_until)) {
      atomic_store(&ticker_rests, true);
      while (atomic_load(&ticker_rests)) pthread_cond_wait(&ticker_wake, &ticker_lock);
      last = now_ns();
    }
    pthread_mutex_unlock(&ticker_lock);
  }
  return unused;
}

static void tick_until(uint64_t when) {
  if (when + SLACK_NS / 2 <= atomic_load(&ticking_until) && !atomic_load(&ticker_rests)) return;
  pthread_mutex_lock(&ticker_lock);
  if (when + SLACK_NS > atomic_load(&ticking_until)) atomic_store(&ticking_until, when + SLACK_NS);
  if (!ticker_started) {
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for others */
    ticker_started = !pthread_create(&thread, NULL, tick, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (ticker_started) pthread_detach(thread);
  }
  if (atomic_load(&ticker_rests)) { atomic_store(&ticker_rests, false); pthread_cond_signal(&ticker_wake); }
  pthread_mutex_unlock(&ticker_lock);
}

/* wasmtime ends the process where this fails. */
static bool can_reserve(size_t bytes) {
  void *at = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) return false;
  munmap(at, bytes);
  return true;
}

/* With signals a slot is the whole 32-bit space, so that code needs no checks; without, many small ones fit. */
static uint64_t slot_bytes(bool signals) { return signals ? 4ull << 30 : 256ull << 20; }

static bool enable_pool(void *config, bool signals) {
  uint32_t memories = signals ? 128 : 4096;
  if (!can_reserve((memories + 2) * (slot_bytes(signals) + (64ull << 20)))) return false;
  void *pool = p_wasmtime_pooling_allocation_config_new();
  p_wasmtime_pooling_allocation_config_total_memories_set(pool, memories);
  p_wasmtime_pooling_allocation_config_total_core_instances_set(pool, 4 * memories);
  p_wasmtime_pooling_allocation_config_total_tables_set(pool, signals ? 4 * memories : memories);
  p_wasmtime_pooling_allocation_config_max_memories_per_module_set(pool, 2);
  p_wasmtime_pooling_allocation_config_max_tables_per_module_set(pool, 4);
  p_wasmtime_pooling_allocation_config_table_elements_set(pool, MOST_TABLES);
  p_wasmtime_pooling_allocation_config_max_core_instance_size_set(pool, 8 << 20);
  p_wasmtime_pooling_allocation_config_max_memory_size_set(pool, slot_bytes(signals));
  p_wasmtime_pooling_allocation_config_linear_memory_keep_resident_set(pool, 64 << 20);
  p_wasmtime_pooling_allocation_config_table_keep_resident_set(pool, 65536);
  p_wasmtime_pooling_allocation_config_max_unused_warm_slots_set(pool, 8);
  p_wasmtime_pooling_allocation_strategy_set(config, pool);
  p_wasmtime_pooling_allocation_config_delete(pool);
  return true;
}

static struct engine *engine_new(uint32_t max_stack, bool signals, bool pooled) {
  struct engine *e = calloc(1, sizeof *e);
  if (!e) return NULL;
  void *c = p_wasm_config_new();
  p_wasmtime_config_epoch_interruption_set(c, true);
  p_wasmtime_config_signals_based_traps_set(c, signals);
  if (!signals) { /* as `executor/native.py` has it compiled */
    p_wasmtime_config_memory_reservation_set(c, slot_bytes(false));
    p_wasmtime_config_memory_guard_size_set(c, 0);
  }
  p_wasmtime_config_async_stack_size_set(c, max_stack > 2u << 20 ? max_stack : 2u << 20); /* unused, but must not be smaller */
  p_wasmtime_config_max_wasm_stack_set(c, max_stack);
  p_wasmtime_config_wasm_threads_set(c, false);
  p_wasmtime_config_wasm_memory64_set(c, false);
  p_wasmtime_config_wasm_gc_set(c, false);
  p_wasmtime_config_wasm_function_references_set(c, false);
  p_wasmtime_config_wasm_exceptions_set(c, false);
  *e = (struct engine){max_stack, signals, pooled && enable_pool(c, signals), NULL, NULL, NULL};
  e->handle = p_wasm_engine_new_with_config(c);
  e->linker = p_wasmtime_linker_new(e->handle);
  if (host_define(e->linker)) abort(); /* names and types are ours */
  return e;
}

static struct engine *engine_for(uint32_t max_stack, bool signals, bool pooled) {
  static bool no_pool;
  pthread_mutex_lock(&engines_lock);
  struct engine *e = atomic_load(&engines);
  pooled = pooled && !no_pool;
  while (e && (e->max_stack != max_stack || e->signals != signals || e->pooled != pooled)) e = e->next;
  if (!e && (e = engine_new(max_stack, signals, pooled))) {
    no_pool |= pooled && !e->pooled;
    e->next = atomic_load(&engines);
    atomic_store(&engines, e);
  }
  pthread_mutex_unlock(&engines_lock);
  return e;
}

/* ---- programs and slots ---- */

struct compiled { struct engine *engine; void *module[MAX_MODULES], *pre; };

struct core_program {
  struct plan *plan;
  struct compiled pooled, on_demand;
  pthread_mutex_t lock; /* of on_demand and the counters */
  struct core_stats stats;
  uint64_t restored, grown;
  void (*output)(void *, int, const char *, size_t);
  void *data;
};

struct core_slot {
  struct core_program *program;
  struct core_box *idle;
  uint64_t calls, seen;
  struct core_slot *next, **link;
};

static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER; /* of all slots and their idle boxes */
static struct core_slot *slots;
static _Atomic uint32_t live;

static bool pays(const struct core_program *p) { return p->grown <= 8 || 4 * p->grown < p->restored; }

static void compiled_free(struct compiled *c) {
  if (c->pre) p_wasmtime_instance_pre_delete(c->pre);
  for (int i = 0; i < MAX_MODULES; i++) if (c->module[i]) p_wasmtime_module_delete(c->module[i]);
}

/* What is wrong with wasmtime's `error`, which is consumed, in `message`. */
static void told(void *error, char *message, size_t room) {
  Bytes text = {0, NULL};
  p_wasmtime_error_message(error, &text);
  snprintf(message, room, "%.*s", (int)(text.size < 4096 ? text.size : 4096), text.data);
  p_wasm_byte_vec_delete(&text);
  p_wasmtime_error_delete(error);
}

static bool compiled_load(struct compiled *c, const struct plan *p, const struct plan *code, bool pooled, char *message, size_t room) {
  void *error = NULL;
  c->engine = engine_for(p->max_stack, p->flags & SIGNALS, pooled);
  for (uint32_t i = 0; i < p->modules && !error; i++) {
    struct span s = plan_modules(code)[i].code;
    error = p_wasmtime_module_deserialize(c->engine->handle, (const uint8_t *)plan_at(code, s.at), s.bytes, &c->module[i]);
    if (error) c->module[i] = NULL;
  }
  if (!error) error = p_wasmtime_linker_instantiate_pre(c->engine->linker, c->module[0], &c->pre);
  if (!error) return true;
  told(error, message, room);
  compiled_free(c);
  *c = (struct compiled){0};
  return false;
}

struct core_program *core_load(const struct plan *plan, size_t bytes, void (*output)(void *, int, const char *, size_t), void *data,
                               char *message, size_t room) {
  if (!plan_check(plan, bytes)) { snprintf(message, room, "the plan is damaged, or of another version"); return NULL; }
  if (plan->layouts != core_layouts()) { snprintf(message, room, "this wasmtime has other structs than the executor was built for"); return NULL; }
  /* machine code lies behind all else, and is not needed afterwards */
  uint32_t end = plan->bytes;
  for (uint32_t i = 0; i < plan->modules; i++) if (plan_modules(plan)[i].code.at < end) end = plan_modules(plan)[i].code.at;
  struct core_program *p = calloc(1, sizeof *p);
  if (!p || !(p->plan = malloc(end))) { free(p); snprintf(message, room, "out of memory"); return NULL; }
  memcpy(p->plan, plan, end);
  p->output = output;
  p->data = data;
  pthread_mutex_init(&p->lock, NULL);
  bool fits = plan->max_memory <= slot_bytes(plan->flags & SIGNALS);
  if (compiled_load(&p->pooled, p->plan, plan, fits, message, room)) return p;
  core_unload(p);
  return NULL;
}

void core_unload(struct core_program *p) {
  compiled_free(&p->pooled);
  compiled_free(&p->on_demand);
  pthread_mutex_destroy(&p->lock);
  free(p->plan);
  free(p);
}

const struct plan *core_plan(const struct core_program *p) { return p->plan; }

struct core_stats core_stats(const struct core_program *p) {
  pthread_mutex_t *lock = (pthread_mutex_t *)&p->lock;
  pthread_mutex_lock(lock);
  struct core_stats s = p->stats;
  pthread_mutex_unlock(lock);
  return s;
}

struct core_slot *core_slot_new(struct core_program *p) {
  struct core_slot *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->program = p;
  pthread_mutex_lock(&slots_lock);
  s->next = slots; s->link = &slots;
  if (slots) slots->link = &s->next;
  slots = s;
  pthread_mutex_unlock(&slots_lock);
  return s;
}

static void box_free(struct core_box *b) {
  if (!b) return;
  if (b->store) { p_wasmtime_store_delete(b->store); atomic_fetch_sub(&live, 1); }
  host_forget(b);
  free(b);
}

void core_slot_free(struct core_slot *s) {
  pthread_mutex_lock(&slots_lock);
  *s->link = s->next;
  if (s->next) s->next->link = s->link;
  pthread_mutex_unlock(&slots_lock);
  while (s->idle) { struct core_box *b = s->idle; s->idle = b->next; box_free(b); }
  free(s);
}

/* Drop the instance that has been idle longest, of a program that was not called of late if there is one. */
static bool give_way(void) {
  struct core_box **found = NULL, *dropped = NULL;
  bool rests = false;
  pthread_mutex_lock(&slots_lock);
  for (struct core_slot *s = slots; s; s = s->next) {
    bool resting = s->calls == s->seen;
    s->seen = s->calls;
    if (!s->idle || (s->program->plan->flags & STATEFUL) || (found && (rests || !resting))) continue;
    rests = resting;
    for (found = &s->idle; (*found)->next; found = &(*found)->next) {}
  }
  if (found) { dropped = *found; *found = NULL; }
  pthread_mutex_unlock(&slots_lock);
  box_free(dropped);
  return dropped != NULL;
}

/* ---- errors ---- */

static void say(struct core_call *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct core_call *c, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int n = vsnprintf(c->message + c->message_bytes, CORE_MESSAGE - c->message_bytes, format, arguments);
  va_end(arguments);
  uint32_t room = CORE_MESSAGE - 1 - c->message_bytes;
  c->message_bytes += n < 0 ? 0 : (uint32_t)n < room ? (uint32_t)n : room;
}
static void say_bytes(struct core_call *c, const char *from, size_t bytes) {
  size_t room = CORE_MESSAGE - 1 - c->message_bytes, n = bytes < room ? bytes : room;
  memcpy(c->message + c->message_bytes, from, n);
  c->message_bytes += (uint32_t)n;
}
static void say_span(struct core_call *c, const struct plan *p, struct span s) { say_bytes(c, plan_at(p, s.at), s.bytes); }
static int32_t fail(struct core_call *c, int32_t kind, const char *text) {
  c->message_bytes = 0;
  say(c, "%s", text);
  return c->kind = kind;
}

static void say_advice(struct core_call *c, const struct plan *p) {
  double asked = (double)c->timeout_ns / 1e9;
  say(c, "%g s and was stopped (", asked);
  say_span(c, p, c->timeout_ns < p->timeout_ns ? p->own_limit : p->more_time);
  say(c, ")");
}

static const char *const TRAPS[] = {
  "call stack exhausted", "out of bounds memory access", "misaligned memory access", "undefined element: out of bounds table access",
  "uninitialized element", "indirect call type mismatch", "integer overflow", "integer divide by zero", "invalid conversion to integer",
  "wasm `unreachable` instruction executed", "interrupt"};

static void say_name(struct core_call *c, const struct plan *p, uint32_t function) {
  uint32_t low = 0, high = p->names;
  while (low < high) {
    uint32_t middle = (low + high) / 2;
    if (plan_names(p)[middle].function < function) low = middle + 1; else high = middle;
  }
  if (low < p->names && plan_names(p)[low].function == function) say_span(c, p, plan_names(p)[low].name);
  else say(c, "function %u", function);
}

static void say_backtrace(struct core_call *c, const struct plan *p, void (*trace)(void *, Frames *), void *from) {
  Frames frames = {0, NULL};
  int shown = 0;
  trace(from, &frames);
  for (size_t i = 0; i < frames.size && shown < MOST_FRAMES; i++) {
    const Bytes *module = p_wasmtime_frame_module_name(frames.data[i]), *name = p_wasmtime_frame_func_name(frames.data[i]);
    size_t offset = p_wasm_frame_module_offset(frames.data[i]);
    if (module && ((module->size == 6 && !memcmp(module->data, "bridge", 6)) || (module->size == 7 && !memcmp(module->data, "adapter", 7)))) continue;
    say(c, shown ? "\n" : "\nwasm backtrace:\n");
    say(c, "%5d: ", shown++);
    if (offset && offset < 0xFFFFFFFF) say(c, "%#8zx - ", offset); else say(c, "         - ");
    if (!module) { say_name(c, p, p_wasm_frame_func_index(frames.data[i])); continue; }
    say_bytes(c, module->data, module->size); say(c, "!");
    if (name) say_bytes(c, name->data, name->size);
  }
  p_wasm_frame_vec_delete(&frames);
}

/* The cause alone, of a text that may have a backtrace before it. */
static void say_cause(struct core_call *c, Bytes text) {
  static const char before[] = "\n\nCaused by:\n";
  char *found = memmem(text.data, text.size, before, sizeof before - 1);
  const char *from = found ? found + sizeof before - 1 : text.data;
  size_t bytes = text.size - (size_t)(from - text.data);
  while (bytes && (*from == ' ' || *from == '\n')) from++, bytes--;
  while (bytes && (!from[bytes - 1] || from[bytes - 1] == ' ' || from[bytes - 1] == '\n')) bytes--;
  if (bytes > 3 && !memcmp(from, "0: ", 3)) from += 3, bytes -= 3;
  say_bytes(c, from, bytes);
}

static bool holds(const struct core_call *c, const char *words) { return memmem(c->message, c->message_bytes, words, strlen(words)) != NULL; }

enum { POOL_FULL = 64 };

/* What wasmtime returned, which is consumed: the kind of failure, with its message. */
static int32_t failed(struct core_call *c, struct core_box *b, void *error, void *trap) {
  const struct plan *p = b->program->plan;
  Bytes text = {0, NULL};
  uint8_t code = 255;
  int status;
  c->message_bytes = 0;
  if (trap) {
    p_wasmtime_trap_code(trap, &code);
    if (code == TRAP_INTERRUPT || b->late) {
      c->kind = CORE_TIMEOUT;
      say(c, "the guest ran longer than its time limit of ");
      say_advice(c, p);
    } else {
      c->kind = CORE_TRAP;
      say(c, "the guest trapped: ");
      if (b->aborted[0]) say(c, "%s: ", b->aborted);
      if (code < sizeof TRAPS / sizeof *TRAPS) say(c, "%s", TRAPS[code]);
      else { p_wasm_trap_message(trap, &text); say_cause(c, text); p_wasm_byte_vec_delete(&text); }
    }
    if (!b->late) say_backtrace(c, p, p_wasm_trap_trace, trap);
    b->late = false;
    p_wasm_trap_delete(trap);
    if (error) p_wasmtime_error_delete(error);
    return c->kind;
  }
  c->kind = CORE_GUEST;
  if (b->late) { /* what a host function's trap becomes: it has no backtrace, as it is not the guest that ran */
    c->kind = CORE_TIMEOUT;
    say(c, "the guest ran longer than its time limit of ");
    say_advice(c, p);
    b->late = false;
  } else if (p_wasmtime_error_exit_status(error, &status)) say(c, "the guest ended itself with exit code %d instead of returning", status);
  else {
    p_wasmtime_error_message(error, &text);
    say_cause(c, text);
    p_wasm_byte_vec_delete(&text);
    if (holds(c, "maximum concurrent")) c->kind = POOL_FULL;
    else if (holds(c, "mmap failed") || holds(c, "Cannot allocate memory") || holds(c, "failed to allocate") || holds(c, "os error 12")) c->kind = CORE_BUSY;
    else if (holds(c, "exceeds memory limits") || holds(c, "memory limit")) c->kind = MEMORY;
    else say_backtrace(c, p, p_wasmtime_error_wasm_trace, error);
  }
  p_wasmtime_error_delete(error);
  return c->kind;
}

/* ---- instances ---- */

static void arm(struct core_box *b, uint64_t deadline) {
  uint64_t now = now_ns(), left = deadline > now ? deadline - now : 0;
  b->deadline_ns = deadline;
  tick_until(deadline);
  p_wasmtime_context_set_epoch_deadline(b->context, left / TICK_NS + 2);
}

static void limit(struct core_box *b, uint64_t bytes) {
  p_wasmtime_store_limiter(b->store, (int64_t)bytes, MOST_TABLES, STORE_INSTANCES, STORE_TABLES, STORE_MEMORIES);
}

static bool export(struct core_box *b, const Instance *from, const char *name, size_t bytes, Extern *found) {
  return p_wasmtime_instance_export_get(b->context, from, name, bytes, found);
}
static bool function(struct core_box *b, const Instance *from, const char *name, Func *found) {
  Extern e;
  if (!export(b, from, name, strlen(name), &e) || e.kind != EXTERN_FUNC) return false;
  *found = e.of.func;
  return true;
}
static bool memory(struct core_box *b, const Instance *from, const char *name, Memory *found) {
  Extern e;
  if (!export(b, from, name, strlen(name), &e) || e.kind != EXTERN_MEMORY) return false;
  *found = e.of.memory;
  return true;
}

/* Hands on what the guest wrote. */
static void forward(struct core_box *b) {
  struct core_program *p = b->program;
  for (int i = 0; i < STREAMS && p->output; i++) {
    struct captured *s = &b->captured[i];
    if (s->bytes || s->dropped) p->output(p->data, i, s->data, s->bytes);
    if (s->dropped) p->output(p->data, i, NULL, s->dropped); /* no text: so many bytes are missing */
  }
  host_forget(b);
}

static int32_t initialize(struct core_call *c, struct core_box *b, const Instance *guest) {
  const struct plan *p = b->program->plan;
  struct span name = p->initializer;
  void *trap = NULL;
  Extern e;
  Raw raw[1];
  int status = 0;
  if (!name.bytes) return DONE;
  if (!export(b, guest, plan_at(p, name.at), name.bytes, &e) || e.kind != EXTERN_FUNC) return fail(c, INTERNAL, "the plan names no initialiser");
  void *error = p_wasmtime_func_call_unchecked(b->context, &e.of.func, raw, 1, &trap);
  if (!error && !trap) return DONE;
  bool is_start = name.bytes == 6 && !memcmp(plan_at(p, name.at), "_start", 6);
  if (!is_start || trap || !p_wasmtime_error_exit_status(error, &status)) return failed(c, b, error, trap);
  p_wasmtime_error_delete(error);
  if (!status) return DONE;
  c->message_bytes = 0;
  say(c, "the module's '_start', which initialises each instance, ended with exit code %d, not with 0", status);
  return c->kind = CORE_GUEST;
}

/* Instantiate all parts in a new store. */
static int32_t box_try(struct core_call *c, const struct compiled *code, uint64_t deadline, struct core_box **made) {
  struct core_program *program = c->slot->program;
  const struct plan *p = program->plan;
  struct core_box *b = calloc(1, sizeof *b);
  Instance instance[MAX_MODULES];
  Extern imports[64];
  void *trap = NULL, *error = NULL;
  int32_t kind = DONE;
  if (!b) return fail(c, CORE_BUSY, "out of memory");
  b->program = program;
  b->began_ns = now_ns();
  b->store = p_wasmtime_store_new(code->engine->handle, b, NULL);
  b->context = p_wasmtime_store_context(b->store);
  atomic_fetch_add(&live, 1);
  limit(b, p->max_memory);
  arm(b, deadline);
  if (p->flags & HAS_HOST) error = p_wasmtime_context_set_wasi(b->context, p_wasi_config_new());
  if (!error) error = p_wasmtime_instance_pre_instantiate(code->pre, b->context, &instance[0], &trap);
  const struct plan_link *link = plan_links(p) + plan_modules(p)[0].links;
  for (uint32_t m = 1; m < p->modules && !error && !trap && !kind; m++) {
    uint32_t n = plan_modules(p)[m].links;
    Extern *e = n <= 64 ? imports : malloc(n * sizeof *e);
    if (!e) { kind = fail(c, CORE_BUSY, "out of memory"); break; }
    for (uint32_t i = 0; i < n && !kind; i++, link++)
      if (!export(b, &instance[link->module], plan_at(p, link->name.at), link->name.bytes, &e[i])) kind = fail(c, INTERNAL, "the plan links what is not there");
    if (m == p->modules - 2) limit(b, p->max_memory > OWN_BYTES ? p->max_memory : OWN_BYTES);
    if (!kind) error = p_wasmtime_instance_new(b->context, code->module[m], e, n, &instance[m], &trap);
    if (e != imports) free(e);
  }
  if (error || trap) kind = failed(c, b, error, trap);
  limit(b, p->max_memory);
  if (!kind) kind = initialize(c, b, &instance[0]);
  const Instance *bridge = &instance[p->modules - 2], *adapter = &instance[p->modules - 1];
  if (!kind && !(memory(b, bridge, "memory", &b->own) && memory(b, bridge, "tensors", &b->tensors) && function(b, adapter, "place", &b->place) &&
                 function(b, adapter, "run", &b->run) && function(b, adapter, "restore", &b->restore) && function(b, adapter, "explain", &b->explain)))
    kind = fail(c, INTERNAL, "the adapter lacks functions");
  if (!kind) {
    uint8_t *own = p_wasmtime_memory_data(b->context, &b->own); /* it never grows */
    if (p_wasmtime_memory_data_size(b->context, &b->own) < TEXTS_AT) kind = fail(c, INTERNAL, "the adapter's memory is too small");
    else b->control = (struct control *)(own + CONTROL_AT);
  }
  if (kind) { forward(b); box_free(b); return kind; }
  *made = b;
  return DONE;
}

static const struct compiled *on_demand(struct core_program *p) {
  pthread_mutex_lock(&p->lock);
  struct compiled *c = &p->on_demand;
  if (!c->engine) {
    c->engine = engine_for(p->plan->max_stack, p->plan->flags & SIGNALS, false);
    void *error = NULL;
    for (uint32_t i = 0; i < p->plan->modules && !error; i++) {
      Bytes code = {0, NULL};
      error = p_wasmtime_module_serialize(p->pooled.module[i], &code);
      if (!error) error = p_wasmtime_module_deserialize(c->engine->handle, (const uint8_t *)code.data, code.size, &c->module[i]);
      p_wasm_byte_vec_delete(&code);
    }
    if (!error) error = p_wasmtime_linker_instantiate_pre(c->engine->linker, c->module[0], &c->pre);
    if (error) { p_wasmtime_error_delete(error); compiled_free(c); *c = (struct compiled){0}; }
  }
  pthread_mutex_unlock(&p->lock);
  return c->engine ? c : NULL;
}

/* A new instance: in the pool, for which idle ones give way, else on demand. */
static int32_t box_new(struct core_call *c, uint64_t deadline, struct core_box **made) {
  struct core_program *program = c->slot->program;
  uint64_t until = now_ns() + WAIT_NS;
  int32_t kind = POOL_FULL;
  pthread_mutex_lock(&program->lock);
  program->stats.instances++;
  pthread_mutex_unlock(&program->lock);
  if (program->pooled.engine->pooled)
    do kind = box_try(c, &program->pooled, deadline, made); while (kind == POOL_FULL && give_way());
  if (kind != POOL_FULL) goto end;
  const struct compiled *code = program->pooled.engine->pooled ? on_demand(program) : &program->pooled;
  if (!code) return fail(c, INTERNAL, "the modules cannot be loaded a second time");
  if (until > deadline) until = deadline;
  for (;;) {
    if (atomic_load(&live) > MOST_INSTANCES) { kind = fail(c, CORE_BUSY, ""); say(c, "%d are the most for one process", MOST_INSTANCES); }
    else kind = box_try(c, code, deadline, made);
    if (kind != CORE_BUSY) break;
    if (now_ns() >= until) {
      char why[512];
      snprintf(why, sizeof why, "%.*s", (int)(c->message_bytes < 500 ? c->message_bytes : 500), c->message);
      c->message_bytes = 0;
      say(c, "this host has no room for another instance beside %u others (%s): send the request again later, or have fewer models and"
             " requests in one process", atomic_load(&live), why);
      return CORE_BUSY;
    }
    give_way();
    struct timespec pause = {0, PAUSE_NS};
    nanosleep(&pause, NULL);
  }
  if (!kind) (*made)->extra = program->pooled.engine->pooled;
end:
  if (kind == MEMORY) {
    char why[512];
    snprintf(why, sizeof why, "%.*s", (int)(c->message_bytes < 500 ? c->message_bytes : 500), c->message);
    c->message_bytes = 0;
    say(c, "the module needs more memory than its limit of %llu bytes (", (unsigned long long)program->plan->max_memory);
    say_span(c, program->plan, program->plan->raise_memory);
    say(c, "): %s", why);
  }
  return c->kind = kind;
}

static struct core_box *take(struct core_slot *s) {
  pthread_mutex_lock(&slots_lock);
  struct core_box *b = s->idle;
  s->calls++;
  if (b) s->idle = b->next;
  pthread_mutex_unlock(&slots_lock);
  return b;
}

static void put_back(struct core_slot *s, struct core_box *b) {
  pthread_mutex_lock(&slots_lock);
  b->next = s->idle;
  s->idle = b;
  pthread_mutex_unlock(&slots_lock);
}

/* ---- calls ---- */

static int32_t guest_call(struct core_call *c, const Func *f, uint32_t first, uint32_t second, int32_t *status) {
  struct core_box *b = c->box;
  Raw raw[2] = {{.i64 = first}, {.i64 = second}};
  void *trap = NULL, *error = p_wasmtime_func_call_unchecked(b->context, f, raw, 2, &trap);
  if (error || trap) return failed(c, b, error, trap);
  *status = raw[0].i32;
  return DONE;
}

/* `bytes` bytes at `from` of the memory that holds the tensors, or NULL where they are not all inside. */
static uint8_t *inside(const struct core_box *b, uint64_t from, uint64_t bytes) {
  uint64_t size = p_wasmtime_memory_data_size(b->context, &b->tensors);
  return from <= size && bytes <= size - from ? p_wasmtime_memory_data(b->context, &b->tensors) + from : NULL;
}

static void observe(struct core_call *c) {
  struct core_box *b = c->box;
  struct core_program *p = b->program;
  uint64_t size = p->plan->flags & HAS_MEMORY ? p_wasmtime_memory_data_size(b->context, &b->tensors) : 0;
  forward(b);
  pthread_mutex_lock(&p->lock);
  p->stats.calls++;
  p->stats.traps += c->kind == CORE_TRAP;
  p->stats.timeouts += c->kind == CORE_TIMEOUT;
  if (c->ended_ns > c->started_ns) p->stats.guest_ns += c->ended_ns - c->started_ns;
  if (size > p->stats.high_water) p->stats.high_water = size;
  pthread_mutex_unlock(&p->lock);
}

static void discard(struct core_call *c) {
  observe(c);
  box_free(c->box);
  c->box = NULL;
}

/* What the guest says of its failure, behind `before`. Where it fails at that too, the first failure counts. */
static void explain(struct core_call *c, const char *before) {
  struct core_box *b = c->box;
  uint32_t told_bytes = c->message_bytes;
  int32_t kind = c->kind, status = DONE;
  char first[CORE_MESSAGE];
  memcpy(first, c->message, told_bytes);
  int32_t again = guest_call(c, &b->explain, 0, 0, &status);
  char second[4096];
  size_t n = c->message_bytes < sizeof second ? c->message_bytes : sizeof second;
  char *line = memchr(c->message, '\n', n);
  if (line) n = (size_t)(line - c->message);
  memcpy(second, c->message, n);
  c->kind = kind;
  c->message_bytes = 0;
  say_bytes(c, first, told_bytes);
  uint32_t at = b->control->message, bytes = b->control->message_bytes;
  const uint8_t *own = (const uint8_t *)b->control - CONTROL_AT;
  if (again) { say(c, "%s(portalis_error failed: ", before); say_bytes(c, second, n); say(c, ")"); }
  else if (bytes && at >= MESSAGE_AT && bytes <= MESSAGE_BYTES && at <= MESSAGE_AT + MESSAGE_BYTES - bytes) {
    say(c, "%s", before);
    say_bytes(c, (const char *)own + at, bytes);
  }
}

/* The adapter refused: its message. */
static int32_t refused(struct core_call *c, int32_t status) {
  struct control *k = c->box->control;
  uint32_t at = k->message, bytes = k->message_bytes;
  if (status < INPUT || status > INTERNAL || at < MESSAGE_AT || bytes > MESSAGE_BYTES || at > MESSAGE_AT + MESSAGE_BYTES - bytes)
    return fail(c, INTERNAL, "the adapter broke its contract");
  c->message_bytes = 0;
  say_bytes(c, (const char *)k - CONTROL_AT + at, bytes);
  c->kind = status;
  if (status == STATUS) explain(c, ": ");
  return c->kind;
}

static void write_table(struct core_call *c) {
  struct control *k = c->box->control;
  const struct plan *p = c->box->program->plan;
  for (uint32_t i = 0; i < p->inputs; i++) {
    struct core_tensor *t = &c->in[i];
    k->t[i].rank = t->rank;
    k->t[i].bytes = t->bytes;
    k->t[i].slice = 0;
    memcpy(k->t[i].dims, t->dims, sizeof t->dims);
  }
}

static int32_t place(struct core_call *c, uint64_t deadline) {
  struct core_box *b = c->box;
  int32_t status = DONE, kind;
  bool rewinds = b->program->plan->flags & REWINDS_BOX && b->dirty && !(b->program->plan->flags & KEEPS);
  if (rewinds) {
    if ((kind = guest_call(c, &b->restore, 0, 0, &status))) return kind;
    pthread_mutex_lock(&b->program->lock);
    b->program->restored++;
    b->program->grown += b->control->grew != 0;
    pthread_mutex_unlock(&b->program->lock);
  }
  for (int attempt = 0; attempt < 2; attempt++) {
    if (status == DONE) {
      write_table(c);
      if ((kind = guest_call(c, &c->box->place, 0, 0, &status))) return kind;
    }
    if (status != RENEW) break;
    box_free(c->box); /* only a new instance is in its first state, or has room */
    c->box = NULL;
    if ((kind = box_new(c, deadline, &b))) return kind;
    c->box = b;
    status = DONE;
  }
  return status ? refused(c, status) : DONE;
}

static int32_t copy_in(struct core_call *c, uint32_t pass) {
  const struct plan *p = c->box->program->plan;
  for (uint32_t i = 0; i < p->inputs; i++) {
    struct core_tensor *t = &c->in[i];
    uint64_t slice = t->slice, from = slice * pass;
    if (t->rank < 0 || (pass && !slice)) continue;
    if (from > t->bytes) return fail(c, INTERNAL, "the adapter asks for more than there is");
    uint64_t left = slice && slice < t->bytes - from ? slice : t->bytes - from;
    uint8_t *to = inside(c->box, c->box->control->t[i].at, left);
    if (!to) return fail(c, INTERNAL, "the adapter placed an input outside the guest's memory");
    for (uint32_t j = 0; j < t->pieces && left; j++) {
      struct core_piece piece = t->piece[j];
      if (from >= piece.bytes) { from -= piece.bytes; continue; }
      uint64_t n = piece.bytes - from < left ? piece.bytes - from : left;
      memcpy(to, piece.data + from, n);
      to += n; left -= n; from = 0;
    }
    if (left) return fail(c, INTERNAL, "an input has fewer bytes than it says");
  }
  return DONE;
}

static int32_t run_pass(struct core_call *c, uint32_t pass) {
  int32_t status, kind = copy_in(c, pass);
  if (kind) return kind;
  c->box->dirty = true;
  if ((kind = guest_call(c, &c->box->run, pass, c->generation, &status))) return kind;
  return status ? refused(c, status) : DONE;
}

/* Takes what the adapter says of an output, once: it must be what the executor can copy. */
static int32_t take_output(struct core_call *c, uint32_t i) {
  const struct plan *p = c->box->program->plan;
  const struct tensor *from = &c->box->control->t[p->inputs + i];
  struct core_tensor *t = &c->out[i];
  struct tensor k = *from;
  uint64_t item = plan_tensors(p)[p->inputs + i].item, bytes = item;
  if (k.rank < 0 || k.rank > MAX_OUT_RANK) return fail(c, INTERNAL, "the adapter gives an output a false rank");
  t->rank = k.rank; t->bytes = k.bytes; t->slice = c->passes > 1 ? k.slice : 0;
  for (int d = 0; d < MAX_OUT_RANK; d++) {
    t->dims[d] = d < k.rank ? k.dims[d] : 0;
    if (d >= k.rank) continue;
    if (k.dims[d] < 0 || __builtin_mul_overflow(bytes, (uint64_t)k.dims[d], &bytes)) return fail(c, INTERNAL, "the adapter gives an output a false shape");
  }
  bool serialised = plan_tensors(p)[p->inputs + i].dtype == 13; /* BYTES */
  if (!serialised && bytes != k.bytes) return fail(c, INTERNAL, "the adapter gives an output a false size");
  if (c->passes > 1 && (serialised || !k.slice || (k.bytes + k.slice - 1) / k.slice != c->passes)) return fail(c, INTERNAL, "the adapter gives an output a false slice");
  t->data = c->passes > 1 ? NULL : k.bytes ? inside(c->box, k.at, k.bytes) : (const uint8_t *)"";
  if (c->passes == 1 && !t->data) return fail(c, INTERNAL, "the adapter says that an output lies outside the guest's memory");
  return DONE;
}

static int32_t begin(struct core_call *c, uint64_t deadline) {
  int32_t kind = place(c, deadline);
  if (kind) return kind;
  struct control *k = c->box->control;
  const struct plan *p = c->box->program->plan;
  c->passes = k->passes; c->generation = k->generation; c->rows = k->rows;
  for (uint32_t i = 0; i < p->inputs; i++) c->in[i].slice = c->passes > 1 ? k->t[i].slice : 0;
  c->started_ns = now_ns();
  if (c->passes && (kind = run_pass(c, 0))) return kind;
  c->ended_ns = now_ns();
  for (uint32_t i = 0; i < p->outputs; i++) if ((kind = take_output(c, i))) return kind;
  return DONE;
}

static int32_t begin_call(struct core_call *c) {
  uint64_t deadline = now_ns() + c->timeout_ns;
  int32_t kind = DONE;
  c->kind = DONE; c->message_bytes = 0; c->passes = 0; c->started_ns = c->ended_ns = 0;
  if (deadline < c->timeout_ns) deadline = UINT64_MAX - 2 * SLACK_NS;
  if ((c->box = take(c->slot))) arm(c->box, deadline);
  else if ((kind = box_new(c, deadline, &c->box))) return kind;
  if (!(kind = begin(c, deadline))) return DONE;
  if (!c->box) return kind; /* no room for another */
  if (kind == CORE_TRAP) explain(c, "\nthe guest said: ");
  if (kind != INPUT) { discard(c); return kind; }
  observe(c); /* the guest was not called */
  put_back(c->slot, c->box);
  c->box = NULL;
  return kind;
}

static int32_t copy_out(struct core_call *c, uint32_t pass) {
  const struct plan *p = c->box->program->plan;
  for (uint32_t i = 0; i < p->outputs; i++) {
    struct core_tensor *t = &c->out[i];
    if (!t->pieces) continue;
    uint64_t from = t->slice * pass, left = t->bytes - from;
    if (t->slice && t->slice < left) left = t->slice;
    const uint8_t *data = left ? inside(c->box, c->box->control->t[p->inputs + i].at, left) : NULL;
    if (left && !data) return fail(c, INTERNAL, "the adapter says that an output lies outside the guest's memory");
    for (uint32_t j = 0; j < t->pieces && left; j++) {
      struct core_piece piece = t->piece[j];
      if (from >= piece.bytes) { from -= piece.bytes; continue; }
      uint64_t n = piece.bytes - from < left ? piece.bytes - from : left;
      if (piece.data) memcpy(piece.data + from, data, n);
      data += n; left -= n; from = 0;
    }
  }
  return DONE;
}

static int32_t end_call(struct core_call *c) {
  int32_t kind = c->passes ? copy_out(c, 0) : DONE;
  for (uint32_t pass = 1; pass < c->passes && !kind; pass++) {
    if (!(kind = run_pass(c, pass))) kind = copy_out(c, pass);
    c->ended_ns = now_ns();
  }
  if (kind) {
    if (kind == CORE_TRAP) explain(c, "\nthe guest said: ");
    discard(c);
    return kind;
  }
  core_abort(c);
  return DONE;
}

void core_abort(struct core_call *c) {
  struct core_box *b = c->box;
  const struct plan *p = b->program->plan;
  observe(c);
  c->box = NULL;
  bool again = p->flags & KEEPS || !b->dirty || (p->flags & REWINDS_BOX && pays(b->program));
  if (again && !(b->extra && !(p->flags & STATEFUL))) put_back(c->slot, b);
  else box_free(b);
}

/* ---- stacks: wasmtime takes a thread's own bounds on trust; where it has less than the guest may use, another thread runs it ---- */

struct errand { struct core_call *call; int32_t (*run)(struct core_call *); int32_t kind; };

static void *run_errand(void *data) {
  struct errand *e = data;
  e->kind = e->run(e->call);
  return NULL;
}

static size_t stack_of_this_thread(void) {
  pthread_attr_t attributes;
  void *where;
  size_t size = 512u << 10; /* where the system does not say */
  if (pthread_getattr_np(pthread_self(), &attributes)) return size;
  pthread_attr_getstack(&attributes, &where, &size);
  pthread_attr_destroy(&attributes);
  return size;
}

static int32_t with_stack(struct core_call *c, int32_t (*run)(struct core_call *)) {
  static _Thread_local size_t have;
  size_t need = c->slot->program->plan->max_stack + STACK_RESERVE;
  struct errand e = {c, run, DONE};
  pthread_attr_t attributes;
  pthread_t thread;
  if (!have) have = stack_of_this_thread();
  if (need <= have) return run(c);
  need = (need + 65535) & ~(size_t)65535;
  pthread_attr_init(&attributes);
  int failed = pthread_attr_setstacksize(&attributes, need);
  if (!failed) failed = pthread_create(&thread, &attributes, run_errand, &e);
  pthread_attr_destroy(&attributes);
  if (!failed) { pthread_join(thread, NULL); return e.kind; }
  if (c->box) discard(c);
  c->message_bytes = 0;
  say(c, "no thread with a stack of %zu bytes can be started for the guest: %s", need, strerror(failed));
  return c->kind = CORE_BUSY;
}

int32_t core_begin(struct core_call *c) {
  c->box = NULL;
  return with_stack(c, begin_call);
}

int32_t core_end(struct core_call *c) { return c->passes > 1 ? with_stack(c, end_call) : end_call(c); }

int32_t core_run(struct core_call *c) {
  int32_t kind = core_begin(c);
  if (kind) return kind;
  const struct plan *p = c->box->program->plan;
  for (uint32_t i = 0; i < p->outputs; i++)
    if (c->out[i].pieces != 1 || c->out[i].piece[0].bytes != c->out[i].bytes) return CORE_OPEN;
  return core_end(c);
}
