/* Programs, and the slots that keep their idle instances. */
#define _GNU_SOURCE
#include "box.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

pthread_mutex_t core_lock = PTHREAD_MUTEX_INITIALIZER;
static struct core_slot *slots;

/* ---- machine code ---- */

static void compiled_free(struct compiled *c) {
  if (c->pre) p_wasmtime_instance_pre_delete(c->pre);
  for (int i = 0; i < MAX_MODULES; i++) if (c->module[i]) p_wasmtime_module_delete(c->module[i]);
  *c = (struct compiled){0};
}

static bool refuse(char *message, size_t room, const char *why) {
  snprintf(message, room, "%s", why);
  return false;
}

/* Load modules from the plan `code`, or, without one, as they were loaded `from` there. By whoever has `engines_lock`. */
static bool compiled_load(struct compiled *c, const struct core_program *p, const struct plan *code, const struct compiled *from,
                          bool pooled, char *message, size_t room) {
  void *error = NULL;
  c->engine = engine_for(p->plan->max_stack, p->plan->flags & SIGNALS, pooled);
  if (!c->engine) return refuse(message, room, "wasmtime has no engine for it: memory is short, or host functions cannot be defined");
  for (uint32_t i = 0; i < p->plan->modules && !error; i++) {
    Bytes own = {0, NULL};
    if (code) own = (Bytes){plan_modules(code)[i].code.bytes, (char *)plan_at(code, plan_modules(code)[i].code.at)};
    else error = p_wasmtime_module_serialize(from->module[i], &own);
    if (!error) error = p_wasmtime_module_deserialize(c->engine->handle, (const uint8_t *)own.data, own.size, &c->module[i]);
    if (!code) p_wasm_byte_vec_delete(&own);
  }
  if (!error) error = p_wasmtime_linker_instantiate_pre(c->engine->linker, c->module[0], &c->pre);
  if (!error) return true;
  told(error, message, room);
  compiled_free(c);
  return false;
}

static bool fits_pool(const struct plan *p) { return p->max_memory <= slot_bytes(p->flags & SIGNALS); }

/* In a process that was forked off the code is loaded anew, for engines that are this process's. */
static bool renew(struct core_program *p) {
  struct compiled fresh = {0};
  char why[64];
  if (!compiled_load(&fresh, p, NULL, &p->pooled, fits_pool(p->plan), why, sizeof why)) return false;
  p->pooled = fresh;
  p->on_demand = (struct compiled){0};
  atomic_store(&p->fork, atomic_load(&core_forks));
  return true;
}

const struct compiled *program_code(struct core_program *p, bool on_demand) {
  char why[64];
  if (!on_demand && atomic_load(&p->fork) == atomic_load(&core_forks)) return &p->pooled;
  pthread_mutex_lock(&engines_lock);
  bool good = atomic_load(&p->fork) == atomic_load(&core_forks) || renew(p);
  if (good && on_demand && !p->on_demand.engine) good = compiled_load(&p->on_demand, p, NULL, &p->pooled, false, why, sizeof why);
  pthread_mutex_unlock(&engines_lock);
  return !good ? NULL : on_demand ? &p->on_demand : &p->pooled;
}

/* ---- programs ---- */

struct core_program *core_load(const struct plan *plan, size_t bytes, void (*output)(void *, int, const char *, size_t), void *data,
                               char *message, size_t room) {
  if (!plan_check(plan, bytes)) return refuse(message, room, "the plan is damaged, or of another version"), NULL;
  if (plan->layouts != core_layouts())
    return refuse(message, room, "this wasmtime has other structs than the executor was built for"), NULL;
  struct core_program *p = calloc(1, sizeof *p);
  size_t kept = plan_kept(plan); /* machine code is not needed afterwards */
  if (!p || !(p->plan = malloc(kept))) return free(p), refuse(message, room, "out of memory"), NULL;
  memcpy(p->plan, plan, kept);
  p->output = output;
  p->data = data;
  p->fork = atomic_load(&core_forks);
  pthread_mutex_lock(&engines_lock);
  bool good = compiled_load(&p->pooled, p, plan, NULL, fits_pool(plan), message, room);
  pthread_mutex_unlock(&engines_lock);
  if (good) return p;
  core_unload(p);
  return NULL;
}

void core_unload(struct core_program *p) {
  pthread_mutex_lock(&engines_lock);
  if (p->fork == atomic_load(&core_forks)) {
    compiled_free(&p->pooled);
    compiled_free(&p->on_demand);
  }
  pthread_mutex_unlock(&engines_lock);
  free(p->plan);
  free(p);
}

const struct plan *core_plan(const struct core_program *p) { return p->plan; }

struct core_stats core_stats(const struct core_program *p) {
  pthread_mutex_lock(&core_lock);
  struct core_stats s = p->stats;
  pthread_mutex_unlock(&core_lock);
  return s;
}

/* ---- slots ---- */

struct core_slot *core_slot_new(struct core_program *p) {
  struct core_slot *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->program = p;
  pthread_mutex_lock(&core_lock);
  s->next = slots; s->link = &slots;
  if (slots) slots->link = &s->next;
  slots = s;
  pthread_mutex_unlock(&core_lock);
  return s;
}

static void free_all(struct core_box *b) { for (struct core_box *next; b; b = next) { next = b->next; core_release(b); } }

void core_slot_clear(struct core_slot *s) {
  pthread_mutex_lock(&core_lock);
  struct core_box *idle = s->idle;
  s->idle = NULL;
  pthread_mutex_unlock(&core_lock);
  free_all(idle);
}

void core_slot_free(struct core_slot *s) {
  core_slot_clear(s);
  pthread_mutex_lock(&core_lock);
  *s->link = s->next;
  if (s->next) s->next->link = s->link;
  pthread_mutex_unlock(&core_lock);
  free(s);
}

/* Whether the instance has a block for tensors of about this size. The adapter decides; this saves asking the wrong one. */
static bool suits(const struct core_box *b, uint64_t bytes) {
  uint32_t flags = b->program->plan->flags;
  if (flags & KEEPS || !(flags & REWINDS_BOX)) return true;
  return bytes <= b->made_for && b->made_for - bytes <= (bytes > SPARE_BYTES ? bytes : SPARE_BYTES);
}

/* The last one that suits; where none does, a new instance joins the few of other sizes, or takes the place of the oldest. */
struct core_box *slot_take(struct core_slot *s, uint64_t bytes, uint64_t now) {
  struct core_box **at = &s->idle;
  pthread_mutex_lock(&core_lock);
  s->calls++;
  s->called_ns = now;
  for (int others = 0; *at && !suits(*at, bytes); at = &(*at)->next)
    if (++others == SIZES_KEPT) { while ((*at)->next) at = &(*at)->next; break; }
  struct core_box *b = *at;
  if (b) *at = b->next;
  pthread_mutex_unlock(&core_lock);
  return b;
}

static bool stays(const struct core_slot *s) { return !s->idle || s->program->plan->flags & STATEFUL; }

/* Of a program that was not called of late if there is one. */
bool slots_give_way(void) {
  struct core_box **found = NULL, *dropped = NULL;
  bool rests = false;
  pthread_mutex_lock(&core_lock);
  for (struct core_slot *s = slots; s; s = s->next) {
    bool resting = s->calls == s->seen;
    s->seen = s->calls;
    if (stays(s) || (found && (rests || !resting))) continue;
    rests = resting;
    for (found = &s->idle; (*found)->next; found = &(*found)->next) {}
  }
  if (found) { dropped = *found; *found = NULL; }
  pthread_mutex_unlock(&core_lock);
  if (dropped) core_release(dropped);
  return dropped != NULL;
}

bool slots_rest(uint64_t now) {
  struct core_box *dropped = NULL;
  bool more = false;
  pthread_mutex_lock(&core_lock);
  for (struct core_slot *s = slots; s; s = s->next) {
    if (stays(s)) continue;
    if (now < s->called_ns + core_settings.rest_ns) { more = true; continue; }
    struct core_box **end = &s->idle;
    while (*end) end = &(*end)->next;
    *end = dropped;
    dropped = s->idle;
    s->idle = NULL;
  }
  pthread_mutex_unlock(&core_lock);
  free_all(dropped);
  return more;
}

void slots_fork(void) { for (struct core_slot *s = slots; s; s = s->next) s->idle = NULL; }
