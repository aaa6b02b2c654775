/* Instances: each has all parts of a plan in a store of its own. */
#include <sys/mman.h>

#include "box.h"

#define PAUSE_NS 10000000u
enum { STORE_INSTANCES = 6, STORE_TABLES = 8, STORE_MEMORIES = 6, OWN_BYTES = 2 << 20, HUGE_BYTES = 8 << 20 };

int32_t box_arm(struct core_call *c, struct core_box *b) {
  uint64_t ticks = engines_ticks_until(c->deadline_ns, now_ns());
  b->deadline_ns = c->deadline_ns;
  p_wasmtime_context_set_epoch_deadline(b->context, ticks);
  return ticks ? DONE : fail(c, CORE_BUSY, "no thread can be started for deadlines");
}

/* Huge pages for large tensors, which do not fit the caches: each copy is a quarter faster. In the pool a memory stays where it is, but its
   place is the next instance's afterwards, which may be a small one. */
static void huge_pages(const struct core_box *b, int advice) {
  if (b->huge) madvise(p_wasmtime_memory_data(b->context, &b->tensors), b->huge, advice);
}

/* The last of those who hold it frees it: the core, or an array that looks into it. In a process that was forked off it stays, since its
   engine is the other process's. */
void core_release(struct core_box *b) {
  if (b->fork != atomic_load(&core_forks) || atomic_fetch_sub(&b->references, 1) > 1) return;
  huge_pages(b, MADV_NOHUGEPAGE);
  p_wasmtime_store_delete(b->store);
  atomic_fetch_sub(&core_live, 1);
  if (b->engine->pooled) engines_tidy(b->engine);
  free(b);
}

/* ---- making one ---- */

static void limit(struct core_box *b, uint64_t bytes) {
  p_wasmtime_store_limiter(b->store, (int64_t)bytes, MAX_TABLE_ELEMENTS, STORE_INSTANCES, STORE_TABLES, STORE_MEMORIES);
}

static bool find(struct core_box *b, const Instance *from, const char *name, uint8_t kind, Extern *found) {
  return p_wasmtime_instance_export_get(b->context, from, name, strlen(name), found) && found->kind == kind;
}

/* The module's `_initialize` or `_start`. A program's runtime may leave `_start` by proc_exit(0). */
static int32_t initialize(struct core_call *c, struct core_box *b, const Instance *guest) {
  const char *name = plan_at(b->program->plan, b->program->plan->initializer.at);
  void *trap = NULL;
  Extern e;
  Raw raw[1];
  int status = 0;
  if (!*name) return DONE;
  if (!find(b, guest, name, EXTERN_FUNC, &e)) return fail(c, INTERNAL, "the plan names no initialiser");
  void *error = p_wasmtime_func_call_unchecked(b->context, &e.of.func, raw, 1, &trap);
  if (!error && !trap) return DONE;
  if (strcmp(name, "_start") || trap || !p_wasmtime_error_exit_status(error, &status)) return failed(c, b, error, trap);
  p_wasmtime_error_delete(error);
  if (!status) return DONE;
  return fail(c, CORE_GUEST, "the module's '_start', which initialises each instance, ended with exit code %d, not with 0", status);
}

/* Instantiate all parts, one after the other. */
static int32_t instantiate(struct core_call *c, struct core_box *b, const struct compiled *code, Instance *made) {
  const struct plan *p = b->program->plan;
  const struct plan_link *link = plan_links(p) + plan_modules(p)[0].links;
  void *trap = NULL, *error = p->flags & HAS_HOST ? p_wasmtime_context_set_wasi(b->context, p_wasi_config_new()) : NULL;
  Extern imports[MAX_LINKS];
  if (!error) error = p_wasmtime_instance_pre_instantiate(code->pre, b->context, &made[0], &trap);
  for (uint32_t m = 1; m < p->modules && !error && !trap; m++) {
    uint32_t n = plan_modules(p)[m].links;
    for (uint32_t i = 0; i < n; i++, link++)
      if (!p_wasmtime_instance_export_get(b->context, &made[link->module], plan_at(p, link->name.at), link->name.bytes, &imports[i]))
        return fail(c, INTERNAL, "the plan links what is not there");
    if (m == p->modules - 2) limit(b, greater(p->max_memory, OWN_BYTES)); /* the bridge has the adapter's memory */
    error = p_wasmtime_instance_new(b->context, code->module[m], imports, n, &made[m], &trap);
  }
  limit(b, p->max_memory);
  return error || trap ? failed(c, b, error, trap) : DONE;
}

/* Where the bridge and the adapter have what an executor uses. */
static int32_t look_up(struct core_call *c, struct core_box *b, const Instance *bridge, const Instance *adapter) {
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
  b->huge = b->engine->pooled && b->made_for >= HUGE_BYTES ? b->program->plan->max_memory : 0;
  huge_pages(b, MADV_HUGEPAGE);
  b->control = (struct control *)(p_wasmtime_memory_data(b->context, &own.of.memory) + CONTROL_AT); /* it never grows */
  return DONE;
}

static int32_t box_try(struct core_call *c, const struct compiled *code) {
  const struct plan *p = c->slot->program->plan;
  Instance instances[MAX_MODULES];
  uint32_t most = core_settings.most_instances;
  if (atomic_load(&core_live) >= most) return fail(c, CORE_BUSY, "%u are the most for one process", most);
  struct core_box *b = malloc(sizeof *b);
  if (!b) return fail(c, CORE_BUSY, "out of memory");
  *b = (struct core_box){.program = c->slot->program, .engine = code->engine, .references = 1, .fork = core_forks, .began_ns = now_ns(),
                         .made_for = call_bytes(c)};
  b->store = p_wasmtime_store_new(code->engine->handle, b, NULL);
  b->context = p_wasmtime_store_context(b->store);
  atomic_fetch_add(&core_live, 1);
  limit(b, p->max_memory);
  int32_t kind = box_arm(c, b);
  if (!kind) kind = instantiate(c, b, code, instances);
  if (!kind) kind = initialize(c, b, &instances[0]);
  if (!kind) kind = look_up(c, b, &instances[p->modules - 2], &instances[p->modules - 1]);
  c->box = kind ? NULL : b;
  if (!kind) return DONE;
  host_hand_on(b);
  core_release(b);
  return kind;
}

int32_t box_new(struct core_call *c) {
  struct core_program *p = c->slot->program;
  uint64_t until = smaller(now_ns() + core_settings.wait_ns, c->deadline_ns);
  const struct compiled *code = program_code(p, false);
  bool pooled = code && code->engine->pooled;
  int32_t kind = CORE_BUSY;
  char why[512];
  pthread_mutex_lock(&core_lock);
  p->stats.instances++;
  pthread_mutex_unlock(&core_lock);
  /* in the pool, for which idle ones give way */
  if (pooled) while ((kind = box_try(c, code)) == POOL_FULL && !engines_tidying && slots_give_way()) {}
  if (kind == POOL_FULL || kind == CORE_BUSY) { /* else on demand, and when there is room */
    if (pooled) code = program_code(p, true);
    if (!code) kind = fail(c, CORE_BUSY, "the modules cannot be loaded again");
    else while ((kind = box_try(c, code)) == CORE_BUSY && now_ns() < until)
      if (!slots_give_way()) sleep_ns(PAUSE_NS);
    if (!kind) c->box->extra = pooled;
  }
  if (kind != CORE_BUSY && kind != POOL_FULL && kind != MEMORY) return c->kind = kind;
  snprintf(why, sizeof why, "%s", c->message);
  if (kind != MEMORY)
    return fail(c, CORE_BUSY, "this host has no room for another instance beside %u others (%s): send the request again later,"
                " or have fewer models and requests in one process", atomic_load(&core_live), why);
  return fail(c, MEMORY, "the module needs more memory than its limit of %lu bytes (%s): %s", p->plan->max_memory,
              plan_at(p->plan, p->plan->raise_memory.at), why);
}
