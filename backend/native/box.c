/* Instances: each has all parts of a plan in a store of its own. */
#define _GNU_SOURCE
#include "box.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAUSE_NS 10000000L
enum { STORE_INSTANCES = 6, STORE_TABLES = 8, STORE_MEMORIES = 6, OWN_BYTES = 2 << 20 };

bool box_arm(struct core_box *b, uint64_t deadline) {
  uint64_t ticks = engines_ticks_until(deadline, now_ns());
  b->deadline_ns = deadline;
  p_wasmtime_context_set_epoch_deadline(b->context, ticks);
  return ticks;
}

/* The last of those who hold it frees it: the core, or an array that looks into it. In a process that was forked off it stays, since its
   engine is the other process's. */
void core_release(struct core_box *b) {
  if (b->fork != atomic_load(&core_forks) || atomic_fetch_sub(&b->references, 1) > 1) return;
  p_wasmtime_store_delete(b->store);
  atomic_fetch_sub(&core_live, 1);
  if (b->engine->pooled) engines_tidy(b->engine);
  free(b);
}

/* ---- making one ---- */

static void limit(struct core_box *b, uint64_t bytes) {
  p_wasmtime_store_limiter(b->store, (int64_t)bytes, MAX_TABLE_ELEMENTS, STORE_INSTANCES, STORE_TABLES, STORE_MEMORIES);
}

static bool find(struct core_box *b, const Instance *from, struct span name, uint8_t kind, Extern *found) {
  return p_wasmtime_instance_export_get(b->context, from, plan_at(b->program->plan, name.at), name.bytes, found) && found->kind == kind;
}

/* The module's `_initialize` or `_start`. A program's runtime may leave `_start` by proc_exit(0). */
static int32_t initialize(struct core_call *c, struct core_box *b, const Instance *guest) {
  const struct plan *p = b->program->plan;
  struct span name = p->initializer;
  void *trap = NULL;
  Extern e;
  Raw raw[1];
  int status = 0;
  if (!name.bytes) return DONE;
  if (!find(b, guest, name, EXTERN_FUNC, &e)) return fail(c, INTERNAL, "the plan names no initialiser");
  void *error = p_wasmtime_func_call_unchecked(b->context, &e.of.func, raw, 1, &trap);
  if (!error && !trap) return DONE;
  bool is_start = name.bytes == 6 && !memcmp(plan_at(p, name.at), "_start", 6);
  if (!is_start || trap || !p_wasmtime_error_exit_status(error, &status)) return failed(c, b, error, trap);
  p_wasmtime_error_delete(error);
  if (!status) return DONE;
  return fail(c, CORE_GUEST, "the module's '_start', which initialises each instance, ended with exit code %d, not with 0", status);
}

/* Instantiate all parts, one after the other. */
static int32_t instantiate(struct core_call *c, struct core_box *b, const struct compiled *code, Instance *made) {
  const struct plan *p = b->program->plan;
  const struct plan_link *link = plan_links(p) + plan_modules(p)[0].links;
  void *trap = NULL, *error = NULL;
  Extern *imports = malloc((p->links + 1) * sizeof *imports);
  int32_t kind = imports ? DONE : fail(c, CORE_BUSY, "out of memory");
  if (!kind && p->flags & HAS_HOST) error = p_wasmtime_context_set_wasi(b->context, p_wasi_config_new());
  if (!kind && !error) error = p_wasmtime_instance_pre_instantiate(code->pre, b->context, &made[0], &trap);
  for (uint32_t m = 1; m < p->modules && !kind && !error && !trap; m++) {
    uint32_t n = plan_modules(p)[m].links;
    for (uint32_t i = 0; i < n && !kind; i++, link++)
      if (!p_wasmtime_instance_export_get(b->context, &made[link->module], plan_at(p, link->name.at), link->name.bytes, &imports[i]))
        kind = fail(c, INTERNAL, "the plan links what is not there");
    if (m == p->modules - 2) limit(b, p->max_memory > OWN_BYTES ? p->max_memory : OWN_BYTES); /* the bridge has the adapter's memory */
    if (!kind) error = p_wasmtime_instance_new(b->context, code->module[m], imports, n, &made[m], &trap);
  }
  free(imports);
  limit(b, p->max_memory);
  return error || trap ? failed(c, b, error, trap) : kind;
}

/* Where the bridge and the adapter have what an executor uses. */
static int32_t look_up(struct core_call *c, struct core_box *b, const Instance *bridge, const Instance *adapter) {
  static const char *const NAMES[FUNCTIONS] = {"place", "run", "restore", "explain"};
  Extern own, tensors, e;
  bool good = p_wasmtime_instance_export_get(b->context, bridge, "memory", 6, &own) && own.kind == EXTERN_MEMORY &&
              p_wasmtime_instance_export_get(b->context, bridge, "tensors", 7, &tensors) && tensors.kind == EXTERN_MEMORY;
  for (int i = 0; good && i < FUNCTIONS; i++) {
    good = p_wasmtime_instance_export_get(b->context, adapter, NAMES[i], strlen(NAMES[i]), &e) && e.kind == EXTERN_FUNC;
    b->functions[i] = e.of.func;
  }
  if (!good) return fail(c, INTERNAL, "the adapter lacks functions");
  b->own = own.of.memory;
  b->tensors = tensors.of.memory;
  if (p_wasmtime_memory_data_size(b->context, &b->own) < TEXTS_AT) return fail(c, INTERNAL, "the adapter's memory is too small");
  b->control = (struct control *)(p_wasmtime_memory_data(b->context, &b->own) + CONTROL_AT); /* it never grows */
  return DONE;
}

static int32_t box_try(struct core_call *c, const struct compiled *code, uint64_t deadline, struct core_box **made) {
  const struct plan *p = c->slot->program->plan;
  Instance instances[MAX_MODULES];
  uint32_t most = core_settings.most_instances;
  if (atomic_load(&core_live) >= most) return fail(c, CORE_BUSY, "%u are the most for one process", most);
  struct core_box *b = calloc(1, sizeof *b);
  if (!b) return fail(c, CORE_BUSY, "out of memory");
  b->program = c->slot->program;
  b->engine = code->engine;
  b->references = 1;
  b->fork = atomic_load(&core_forks);
  b->began_ns = now_ns();
  b->store = p_wasmtime_store_new(code->engine->handle, b, NULL);
  b->context = p_wasmtime_store_context(b->store);
  atomic_fetch_add(&core_live, 1);
  limit(b, p->max_memory);
  int32_t kind = box_arm(b, deadline) ? DONE : fail(c, CORE_BUSY, "no thread can be started for deadlines");
  if (!kind) kind = instantiate(c, b, code, instances);
  if (!kind) kind = initialize(c, b, &instances[0]);
  if (!kind) kind = look_up(c, b, &instances[p->modules - 2], &instances[p->modules - 1]);
  if (!kind) { *made = b; return kind; }
  host_hand_on(b);
  core_release(b);
  return kind;
}

int32_t box_new(struct core_call *c, uint64_t deadline, struct core_box **made) {
  struct core_program *p = c->slot->program;
  uint64_t until = now_ns() + core_settings.wait_ns;
  const struct compiled *code = program_code(p, false);
  bool pooled = code && code->engine->pooled;
  int32_t kind = CORE_BUSY;
  char why[512];
  pthread_mutex_lock(&core_lock);
  p->stats.instances++;
  pthread_mutex_unlock(&core_lock);
  /* in the pool, for which idle ones give way */
  if (pooled) while ((kind = box_try(c, code, deadline, made)) == POOL_FULL && !engines_are_tidied() && slots_give_way()) {}
  if (kind == POOL_FULL || kind == CORE_BUSY) { /* else on demand, and when there is room */
    if (pooled) code = program_code(p, true);
    if (!code) kind = fail(c, CORE_BUSY, "the modules cannot be loaded again");
    else while ((kind = box_try(c, code, deadline, made)) == CORE_BUSY && now_ns() < (until < deadline ? until : deadline))
      if (!slots_give_way()) nanosleep(&(struct timespec){0, PAUSE_NS}, NULL);
    if (!kind) (*made)->extra = pooled;
  }
  memcpy(why, c->message, sizeof why);
  why[sizeof why - 1] = 0;
  if (kind == CORE_BUSY || kind == POOL_FULL)
    fail(c, CORE_BUSY, "this host has no room for another instance beside %u others (%s): send the request again later,"
         " or have fewer models and requests in one process", atomic_load(&core_live), why);
  if (kind == MEMORY)
    fail(c, MEMORY, "the module needs more memory than its limit of %llu bytes (%.*s): %s", (unsigned long long)p->plan->max_memory,
         SPAN(p->plan, p->plan->raise_memory), why);
  return c->kind = kind == POOL_FULL ? CORE_BUSY : kind;
}
