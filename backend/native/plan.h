/* The plan of a model as one block of bytes, written by the planner in Python (docs/architecture/plan.md). Numbers are
   little-endian, offsets are relative to the start of the block. `plan_check` checks once that all offsets and counts are inside. */
#ifndef PORTALIS_PLAN_H
#define PORTALIS_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../adapter/control.h"

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

enum { PLAN_VERSION = 2, MAX_MODULES = 4, MAX_LINKS = 1024, MAX_NAMES = 100000, MAX_STACK = 4 << 20, TYPE_BYTES = 13 };
enum { KEEPS = 1, STATEFUL = 2, REWINDS_INSTANCE = 4, JOINS = 8, HAS_HOST = 16, HAS_MEMORY = 32, EXACT = 64, SIGNALS = 128 };

struct span { uint32_t at, bytes; }; /* a string has a NUL after it */
struct plan_module { struct span code; uint32_t links, pad; }; /* machine code; number of links that are its imports */
struct plan_link { uint32_t module; struct span name; };       /* an export of an earlier module */
struct plan_tensor { struct span name; uint32_t dtype, item; int32_t rank; uint32_t optional, cores, pad; int64_t dims[MAX_RANK]; };
struct plan_name { uint32_t function; struct span name; };     /* for backtraces, sorted by function */

struct plan {
  char magic[8];
  uint32_t version, bytes, flags, max_stack;
  uint32_t modules, links, inputs, outputs, names, kept; /* kept: number of bytes before the machine code, which an executor keeps */
  int64_t max_batch;
  uint64_t timeout_ns, max_memory, max_output;
  uint64_t struct_sizes;   /* sizes of wasmtime's structs, packed */
  struct span entry, initializer, configuration;
  struct span more_time, own_limit, raise_memory, raise_output; /* remediations; `own_limit` ends with the limit in seconds */
  uint32_t modules_at, links_at, tensors_at, names_at;
};

static inline bool plan_inside(uint64_t room, uint64_t at, uint64_t bytes) { return at <= room && bytes <= room - at; }
static inline const char *plan_at(const struct plan *p, uint32_t at) { return (const char *)p + at; }
static inline const struct plan_module *plan_modules(const struct plan *p) { return (const void *)plan_at(p, p->modules_at); }
static inline const struct plan_link *plan_links(const struct plan *p) { return (const void *)plan_at(p, p->links_at); }
static inline const struct plan_tensor *plan_tensors(const struct plan *p) { return (const void *)plan_at(p, p->tensors_at); }
static inline const struct plan_name *plan_names(const struct plan *p) { return (const void *)plan_at(p, p->names_at); }

static inline const char *plan_tensor_name(const struct plan *p, uint32_t i) { return plan_at(p, plan_tensors(p)[i].name.at); }

static inline bool plan_text(const struct plan *p, struct span s) {
  return plan_inside(p->kept, s.at, s.bytes + 1ull) && !plan_at(p, s.at)[s.bytes];
}

static inline bool plan_tensor_check(const struct plan_tensor *t) {
  if (t->dtype < 1 || t->dtype > 14 || t->item < 1 || t->item > 8 || t->rank < 0 || t->rank > MAX_RANK || t->cores > MAX_RANK) return false;
  for (int k = 0; k < t->rank; k++) if (t->dims[k] < -1) return false;
  return true;
}

/* Whether `bytes` bytes at `p`, aligned to 8, are a valid plan. */
static inline bool plan_check(const struct plan *p, size_t bytes) {
  if (bytes < sizeof *p || __builtin_memcmp(p->magic, "PORTPLAN", 8) || p->version != PLAN_VERSION || p->bytes != bytes) return false;
  if (p->modules < 3 || p->modules > MAX_MODULES || p->links > MAX_LINKS || p->names > MAX_NAMES) return false;
  if (!p->inputs || !p->outputs || p->inputs > MAX_TENSORS || p->outputs > MAX_TENSORS - p->inputs) return false;
  if (!p->max_stack || p->max_stack > MAX_STACK || p->max_memory > 4ull << 30 || p->max_batch < 0) return false;
  const struct { uint32_t at; uint64_t bytes; } tables[] = {
    {p->modules_at, p->modules * sizeof(struct plan_module)}, {p->tensors_at, (p->inputs + p->outputs) * sizeof(struct plan_tensor)},
    {p->links_at, p->links * sizeof(struct plan_link)}, {p->names_at, p->names * sizeof(struct plan_name)}};
  const struct span texts[] = {p->entry, p->initializer, p->configuration, p->more_time, p->own_limit, p->raise_memory, p->raise_output};
  if (p->kept < sizeof *p || p->kept > bytes) return false;
  for (size_t i = 0; i < COUNT_OF(tables); i++) if (tables[i].at & 7 || !plan_inside(p->kept, tables[i].at, tables[i].bytes)) return false;
  for (size_t i = 0; i < COUNT_OF(texts); i++) if (!plan_text(p, texts[i])) return false;
  uint32_t link = 0;
  for (uint32_t m = 0; m < p->modules; m++) {
    struct span code = plan_modules(p)[m].code;
    if (code.at < p->kept || !plan_inside(bytes, code.at, code.bytes) || plan_modules(p)[m].links > p->links - link) return false;
    for (uint32_t i = 0; i < plan_modules(p)[m].links; i++, link++)
      if (plan_links(p)[link].module >= m || !plan_text(p, plan_links(p)[link].name)) return false;
  }
  for (uint32_t i = 0; i < p->inputs + p->outputs; i++)
    if (!plan_tensor_check(plan_tensors(p) + i) || !plan_text(p, plan_tensors(p)[i].name)) return false;
  for (uint32_t i = 0; i < p->names; i++) if (!plan_text(p, plan_names(p)[i].name)) return false;
  return true;
}

#endif
