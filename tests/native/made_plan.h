/* A small plan for the stand-in for wasmtime: a guest, a bridge and an adapter with some tensors of one data type. */
#ifndef PORTALIS_MADE_PLAN_H
#define PORTALIS_MADE_PLAN_H

#include "../../backend/native/core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INT8 = 6, FP64 = 12, BYTES_TENSOR = 13, MADE_ROOM = 64 << 10 };

struct making {
  uint32_t inputs, outputs, dtype, item, flags, max_stack;
  uint64_t timeout_ns, max_memory, max_output;
  const char *initializer;
};
static const struct making MAKING = {1, 1, INT8, 1, HAS_MEMORY, 512 << 10, 2000000000u, 64 << 20, 100, ""};

uint64_t now_ns(void); /* the core's */

struct made { char *block; uint32_t bytes; };

static inline struct span made_put(struct made *m, const void *from, size_t bytes) {
  struct span s = {m->bytes, (uint32_t)bytes};
  if (bytes) memcpy(m->block + m->bytes, from, bytes);
  m->bytes = (uint32_t)((m->bytes + bytes + 7) & ~(size_t)7);
  return s;
}
static inline struct span made_text(struct made *m, const char *text) {
  return (struct span){made_put(m, text, strlen(text) + 1).at, (uint32_t)strlen(text)};
}

/* In new memory of exactly the size. */
static inline struct plan *plan_new(const struct making *w, size_t *bytes) {
  struct made m = {calloc(1, MADE_ROOM), (sizeof(struct plan) + 7) & ~7u};
  struct plan *p = (struct plan *)m.block;
  struct plan_link links[3] = {{0, {0, 0}, }, {0, {0, 0}}, {1, {0, 0}}};
  struct plan_module modules[3] = {{{0, 0}, 0, 0}, {{0, 0}, 2, 0}, {{0, 0}, 1, 0}};
  struct plan_tensor tensors[MAX_TENSORS] = {0};
  struct plan_name names[2] = {{2, {0, 0}}, {5, {0, 0}}};
  char adapter[64];
  memcpy(p->magic, "PORTPLAN", 8);
  *p = (struct plan){.version = PLAN_VERSION, .flags = w->flags, .max_stack = w->max_stack, .modules = 3, .links = 3, .inputs = w->inputs,
                     .outputs = w->outputs, .names = 2, .max_batch = 8, .timeout_ns = w->timeout_ns, .max_memory = w->max_memory,
                     .max_output = w->max_output, .struct_sizes = core_struct_sizes()};
  memcpy(p->magic, "PORTPLAN", 8);
  p->entry = made_text(&m, "entry"); p->initializer = made_text(&m, w->initializer); p->configuration = made_text(&m, "{}");
  p->more_time = made_text(&m, "wasm.timeout_s gives it more"); p->own_limit = made_text(&m, "the request's own limit of 2");
  p->raise_memory = made_text(&m, "wasm.max_memory_bytes gives it more"); p->raise_output = made_text(&m, "wasm.max_output_bytes");
  for (int i = 0; i < 3; i++) links[i].name = made_text(&m, i ? "memory" : "f");
  for (uint32_t i = 0; i < w->inputs + w->outputs; i++) {
    char name[16];
    snprintf(name, sizeof name, "%c%u", i < w->inputs ? 'x' : 'y', i);
    tensors[i] = (struct plan_tensor){made_text(&m, name), w->dtype, w->item, 1, i == 1, 0, 0, {-1}};
  }
  for (int i = 0; i < 2; i++) names[i].name = made_text(&m, "a function");
  p->links_at = made_put(&m, links, sizeof links).at;
  p->tensors_at = made_put(&m, tensors, (w->inputs + w->outputs) * sizeof *tensors).at;
  p->names_at = made_put(&m, names, sizeof names).at;
  p->modules_at = made_put(&m, modules, sizeof modules).at;
  p->kept = m.bytes;
  snprintf(adapter, sizeof adapter, "adapter %u %u", w->inputs, w->outputs);
  for (int i = 0; i < 3; i++) modules[i].code = made_text(&m, i == 0 ? "guest" : i == 1 ? "bridge" : adapter);
  memcpy(m.block + p->modules_at, modules, sizeof modules);
  p->bytes = m.bytes;
  *bytes = m.bytes;
  char *exact = malloc(m.bytes);
  memcpy(exact, m.block, m.bytes);
  free(m.block);
  return (struct plan *)exact;
}

#endif
