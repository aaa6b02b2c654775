/* Programs, and the pools of their idle instances. */
#include "instance.h"

pthread_mutex_t core_lock = PTHREAD_MUTEX_INITIALIZER;
static struct core_pool *pools;

/* ---- machine code ---- */

static void code_free(struct compiled *c) {
  if (c->pre) p_wasmtime_instance_pre_delete(c->pre);
  for (int i = 0; i < MAX_MODULES; i++) if (c->module[i]) p_wasmtime_module_delete(c->module[i]);
}

static void *refuse(char *message, size_t room, const char *why) {
  snprintf(message, room, "%s", why);
  return NULL;
}

/* Load modules from the plan `code`. Without one, load them again from the modules that were loaded first, in the parent of a fork. The
   caller holds `engines_lock`. */
static bool code_load(struct core_program *p, bool on_demand, const struct plan *code, char *message, size_t room) {
  const struct plan *plan = p->plan;
  bool signals = plan->flags & SIGNALS;
  struct compiled made = {.engine = engine_for(plan->max_stack, signals, !on_demand && plan->max_memory <= slot_bytes(signals))};
  void *error = NULL;
  if (!made.engine) return refuse(message, room, "wasmtime cannot create an engine: out of memory, or host functions cannot be defined");
  for (uint32_t i = 0; i < plan->modules && !error; i++) {
    Bytes own = {0, NULL};
    if (code) own = (Bytes){plan_modules(code)[i].code.bytes, (char *)plan_at(code, plan_modules(code)[i].code.at)};
    else error = p_wasmtime_module_serialize(p->code[0].module[i], &own);
    if (!error) error = p_wasmtime_module_deserialize(made.engine->handle, (const uint8_t *)own.data, own.size, &made.module[i]);
    if (!code) p_wasm_byte_vec_delete(&own);
  }
  if (!error) error = p_wasmtime_linker_instantiate_pre(made.engine->linker, made.module[0], &made.pre);
  if (error) {
    error_message(error, message, room);
    code_free(&made);
    return false;
  }
  p->code[on_demand] = made;
  atomic_store(&p->loaded[on_demand], atomic_load(&core_forks));
  return true;
}

/* In the child of a fork the code is loaded again, for the engines of this process. */
const struct compiled *program_code(struct core_program *p, bool on_demand) {
  unsigned process = atomic_load(&core_forks);
  char why[64];
  if (atomic_load(&p->loaded[on_demand]) == process) return &p->code[on_demand];
  HOLD(&engines_lock);
  bool good = atomic_load(&p->loaded[on_demand]) == process || code_load(p, on_demand, NULL, why, sizeof why);
  return good ? &p->code[on_demand] : NULL;
}

/* ---- programs ---- */

struct core_program *core_load(const struct plan *plan, size_t bytes, void (*output)(void *, int, const char *, size_t), void *data,
                               char *message, size_t room) {
  if (!plan_check(plan, bytes)) return refuse(message, room, "the plan is damaged, or has a different version");
  if (plan->struct_sizes != core_struct_sizes())
    return refuse(message, room, "the structs of this wasmtime differ from those that the executor was built for");
  struct core_program *p = calloc(1, sizeof *p + plan->kept);
  if (!p) return refuse(message, room, "out of memory");
  p->plan = memcpy(p + 1, plan, plan->kept);
  p->output = output;
  p->data = data;
  HOLD(&engines_lock);
  if (code_load(p, false, plan, message, room)) return p;
  free(p);
  return NULL;
}

void core_unload(struct core_program *p) {
  HOLD(&engines_lock);
  for (int i = 0; i < 2; i++) if (p->loaded[i] == core_forks) code_free(&p->code[i]);
  free(p);
}

const struct plan *core_plan(const struct core_program *p) { return p->plan; }

struct core_stats core_stats(const struct core_program *p) {
  HOLD(&core_lock);
  return p->stats;
}

/* ---- pools ---- */

struct core_pool *core_pool_new(struct core_program *p) {
  struct core_pool *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  HOLD(&core_lock);
  s->program = p;
  s->next = pools;
  return pools = s;
}

/* Free instances that were removed from a pool. The caller does not hold `core_lock`. */
static void free_all(struct core_instance *b) { for (struct core_instance *next; b; b = next) { next = b->next; core_release(b); } }

static struct core_instance *take_all(struct core_pool *s) {
  HOLD(&core_lock);
  struct core_instance *idle = s->idle;
  s->idle = NULL;
  return idle;
}

void core_pool_clear(struct core_pool *s) { free_all(take_all(s)); }

void core_pool_free(struct core_pool *s) {
  struct core_pool **at = &pools;
  core_pool_clear(s);
  HOLD(&core_lock);
  while (*at != s) at = &(*at)->next;
  *at = s->next;
  free(s);
}

/* Whether the tensor block of the instance has about this size. The adapter decides; this check avoids calls of unfitting instances. */
static bool fits(const struct core_instance *b, uint64_t bytes) {
  uint32_t flags = b->program->plan->flags;
  if (flags & KEEPS || !(flags & REWINDS_INSTANCE)) return true;
  return bytes <= b->input_bytes && b->input_bytes - bytes <= greater(bytes, SPARE_BYTES);
}

/* Remove the last instance of a non-empty list. */
static struct core_instance *drop_last(struct core_instance **at) {
  while ((*at)->next) at = &(*at)->next;
  struct core_instance *b = *at;
  *at = NULL;
  return b;
}

/* The most recently used instance that fits. If none fits: NULL while few instances of other sizes are idle, else the oldest. */
struct core_instance *pool_take(struct core_pool *s, uint64_t bytes, uint64_t now) {
  struct core_instance **at = &s->idle;
  HOLD(&core_lock);
  s->called_ns = now;
  for (int others = 0; *at && !fits(*at, bytes); at = &(*at)->next)
    if (++others == MAX_IDLE_SIZES) return drop_last(at);
  struct core_instance *b = *at;
  if (b) *at = b->next;
  return b;
}

static bool stays(const struct core_pool *s) { return !s->idle || s->program->plan->flags & STATEFUL; }

/* Remove the longest idle instance of the least recently called program from its pool. */
static struct core_instance *longest_idle(void) {
  struct core_pool *found = NULL;
  HOLD(&core_lock);
  for (struct core_pool *s = pools; s; s = s->next) if (!stays(s) && (!found || s->called_ns < found->called_ns)) found = s;
  return found ? drop_last(&found->idle) : NULL;
}

bool pools_evict_idle(void) {
  struct core_instance *dropped = longest_idle();
  if (dropped) core_release(dropped);
  return dropped != NULL;
}

bool pools_evict_unused(uint64_t now) {
  struct core_instance *dropped = NULL, **end = &dropped;
  bool more = false;
  pthread_mutex_lock(&core_lock);
  for (struct core_pool *s = pools; s; s = s->next) {
    bool rests = now >= s->called_ns + core_settings.rest_ns;
    more |= !stays(s) && !rests;
    if (stays(s) || !rests) continue;
    *end = s->idle;
    s->idle = NULL;
    while (*end) end = &(*end)->next;
  }
  pthread_mutex_unlock(&core_lock);
  free_all(dropped);
  return more;
}

void pools_after_fork(void) { for (struct core_pool *s = pools; s; s = s->next) s->idle = NULL; }
