/* Creation of instances: each has all modules of a plan in its own store. */
#include <sys/mman.h>

#include "instance.h"

#define PAUSE_NS 10000000u
enum { STORE_INSTANCES = 6, STORE_TABLES = 8, STORE_MEMORIES = 6, ADAPTER_MEMORY_BYTES = 2 << 20, HUGE_BYTES = 8 << 20 };

int32_t instance_arm(struct core_call *c, struct core_instance *b) {
  uint64_t ticks = engines_ticks_until(c->deadline_ns, now_ns());
  b->deadline_ns = c->deadline_ns;
  p_wasmtime_context_set_epoch_deadline(b->context, ticks);
  return ticks ? DONE : fail(c, CORE_BUSY, "cannot start the thread for deadlines");
}

/* Huge pages for large tensors, which exceed the caches: each copy is a quarter faster. In the pool a memory does not move, but its slot
   is reused by the next instance, which can be a small one. */
static void huge_pages(const struct core_instance *b, int advice) {
  if (b->huge) madvise(p_wasmtime_memory_data(b->context, &b->tensors), b->huge, advice);
}

/* The last owner frees an instance: the core, or an array that borrows its memory. In the child of a fork it is not freed, because its
   engine belongs to the parent. */
void core_release(struct core_instance *b) {
  if (b->fork != atomic_load(&core_forks) || atomic_fetch_sub(&b->references, 1) > 1) return;
  huge_pages(b, MADV_NOHUGEPAGE);
  p_wasmtime_store_delete(b->store);
  atomic_fetch_sub(&core_live, 1);
  if (b->engine->pooled) engines_tidy(b->engine);
  free(b);
}

/* ---- creating an instance ---- */

static void limit(struct core_instance *b, uint64_t bytes) {
  p_wasmtime_store_limiter(b->store, (int64_t)bytes, MAX_TABLE_ELEMENTS, STORE_INSTANCES, STORE_TABLES, STORE_MEMORIES);
}

static bool find(struct core_instance *b, const Instance *from, const char *name, uint8_t kind, Extern *found) {
  return p_wasmtime_instance_export_get(b->context, from, name, strlen(name), found) && found->kind == kind;
}

/* Run the module's `_initialize` or `_start`. The runtime of a command can leave `_start` by proc_exit(0). */
static int32_t initialize(struct core_call *c, struct core_instance *b, const Instance *guest) {
  const char *name = plan_at(b->program->plan, b->program->plan->initializer.at);
  void *trap = NULL;
  Extern e;
  Raw raw[1];
  int status = 0;
  if (!*name) return DONE;
  if (!find(b, guest, name, EXTERN_FUNC, &e)) return fail(c, INTERNAL, "the guest does not export the plan's initializer");
  void *error = p_wasmtime_func_call_unchecked(b->context, &e.of.func, raw, 1, &trap);
  if (!error && !trap) return DONE;
  if (strcmp(name, "_start") || trap || !p_wasmtime_error_exit_status(error, &status)) return failed(c, b, error, trap);
  p_wasmtime_error_delete(error);
  if (!status) return DONE;
  return fail(c, CORE_GUEST, "the module's '_start', which initializes each instance: expected exit code 0, got %d", status);
}

/* Instantiate all modules in order. */
static int32_t instantiate(struct core_call *c, struct core_instance *b, const struct compiled *code, Instance *made) {
  const struct plan *p = b->program->plan;
  const struct plan_link *link = plan_links(p) + plan_modules(p)[0].links;
  void *trap = NULL, *error = p->flags & HAS_HOST ? p_wasmtime_context_set_wasi(b->context, p_wasi_config_new()) : NULL;
  Extern imports[MAX_LINKS];
  if (!error) error = p_wasmtime_instance_pre_instantiate(code->pre, b->context, &made[0], &trap);
  for (uint32_t m = 1; m < p->modules && !error && !trap; m++) {
    uint32_t n = plan_modules(p)[m].links;
    for (uint32_t i = 0; i < n; i++, link++)
      if (!p_wasmtime_instance_export_get(b->context, &made[link->module], plan_at(p, link->name.at), link->name.bytes, &imports[i]))
        return fail(c, INTERNAL, "the plan links a missing export");
    if (m == p->modules - 2) limit(b, greater(p->max_memory, ADAPTER_MEMORY_BYTES)); /* the bridge has the adapter's memory */
    error = p_wasmtime_instance_new(b->context, code->module[m], imports, n, &made[m], &trap);
  }
  limit(b, p->max_memory);
  return error || trap ? failed(c, b, error, trap) : DONE;
}

/* Look up the exports of the bridge and the adapter that the executor uses. */
static int32_t look_up(struct core_call *c, struct core_instance *b, const Instance *bridge, const Instance *adapter) {
  static const char *const NAMES[FUNCTIONS] = {"place", "run", "restore", "explain"};
  Extern own, tensors, e;
  bool good = find(b, bridge, "memory", EXTERN_MEMORY, &own) && find(b, bridge, "tensors", EXTERN_MEMORY, &tensors);
  for (int i = 0; good && i < FUNCTIONS; i++) {
    good = find(b, adapter, NAMES[i], EXTERN_FUNC, &e);
    b->functions[i] = e.of.func;
  }
  if (!good) return fail(c, INTERNAL, "the adapter lacks functions");
  b->tensors = tensors.of.memory;
  if (p_wasmtime_memory_data_size(b->context, &own.of.memory) < TEXTS_AT) return fail(c, INTERNAL, "the adapter's memory is too small");
  b->huge = b->engine->pooled && b->input_bytes >= HUGE_BYTES ? b->program->plan->max_memory : 0;
  huge_pages(b, MADV_HUGEPAGE);
  b->control = (struct control *)(p_wasmtime_memory_data(b->context, &own.of.memory) + CONTROL_AT); /* it never grows */
  return DONE;
}

static int32_t instance_create(struct core_call *c, const struct compiled *code) {
  const struct plan *p = c->pool->program->plan;
  Instance instances[MAX_MODULES];
  uint32_t most = core_settings.max_instances;
  if (atomic_load(&core_live) >= most) return fail(c, CORE_BUSY, "the maximum is %u", most);
  struct core_instance *b = malloc(sizeof *b);
  if (!b) return fail(c, CORE_BUSY, "out of memory");
  *b = (struct core_instance){.program = c->pool->program, .engine = code->engine, .references = 1, .fork = core_forks, .began_ns = now_ns(),
                         .input_bytes = call_bytes(c)};
  b->store = p_wasmtime_store_new(code->engine->handle, b, NULL);
  b->context = p_wasmtime_store_context(b->store);
  atomic_fetch_add(&core_live, 1);
  limit(b, p->max_memory);
  int32_t kind = instance_arm(c, b);
  if (!kind) kind = instantiate(c, b, code, instances);
  if (!kind) kind = initialize(c, b, &instances[0]);
  if (!kind) kind = look_up(c, b, &instances[p->modules - 2], &instances[p->modules - 1]);
  c->instance = kind ? NULL : b;
  if (!kind) return DONE;
  host_forward_output(b);
  core_release(b);
  return kind;
}

int32_t instance_new(struct core_call *c) {
  struct core_program *p = c->pool->program;
  uint64_t until = smaller(now_ns() + core_settings.wait_ns, c->deadline_ns);
  const struct compiled *code = program_code(p, false);
  bool pooled = code && code->engine->pooled;
  int32_t kind = CORE_BUSY;
  char why[512];
  pthread_mutex_lock(&core_lock);
  p->stats.instances++;
  pthread_mutex_unlock(&core_lock);
  /* in the pool; idle instances are evicted for it */
  if (pooled) while ((kind = instance_create(c, code)) == POOL_FULL && !engines_tidying && pools_evict_idle()) {}
  if (kind == POOL_FULL || kind == CORE_BUSY) { /* otherwise on demand, as soon as the process has capacity */
    if (pooled) code = program_code(p, true);
    if (!code) kind = fail(c, CORE_BUSY, "the modules cannot be loaded again");
    else while ((kind = instance_create(c, code)) == CORE_BUSY && now_ns() < until)
      if (!pools_evict_idle()) sleep_ns(PAUSE_NS);
    if (!kind) c->instance->extra = pooled;
  }
  if (kind != CORE_BUSY && kind != POOL_FULL && kind != MEMORY) return c->kind = kind;
  snprintf(why, sizeof why, "%s", c->message);
  if (kind != MEMORY)
    return fail(c, CORE_BUSY, "cannot create another instance: this process has %u (%s); retry later, or run fewer"
                " models and requests in one process", atomic_load(&core_live), why);
  return fail(c, MEMORY, "the module needs more memory than its limit of %lu bytes (%s): %s", p->plan->max_memory,
              plan_at(p->plan, p->plan->raise_memory.at), why);
}
