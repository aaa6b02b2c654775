/* What the stand-ins for wasmtime and for Triton share: objects that know their kind and are counted, and calls of which one fails. */
#ifndef PORTALIS_FAKE_H
#define PORTALIS_FAKE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAKE_MAGIC = 0x0b1ec7, MAX_KINDS = 24 };

#define CHECK(condition, ...) \
  do { \
    if (condition) break; \
    fprintf(stderr, "%s:%d: %s is false: ", __FILE__, __LINE__, #condition); \
    fprintf(stderr, __VA_ARGS__); \
    fputc('\n', stderr); \
    abort(); \
  } while (0)

struct counter { const char *name; _Atomic int64_t made, deleted; };

/* Which call fails, of those that can: the one with this number, and with `ever` all that come later; none where it is negative. */
struct failing { _Atomic int64_t calls, at; bool ever; };

static inline bool now_fails(struct failing *f) {
  int64_t call = atomic_fetch_add(&f->calls, 1), at = atomic_load(&f->at);
  return at >= 0 && (call == at || (f->ever && call > at));
}
static inline void fail_at(struct failing *f, int64_t at, bool ever) {
  f->ever = ever;
  atomic_store(&f->calls, 0);
  atomic_store(&f->at, at);
}

extern struct failing scarce_memory, scarce_threads; /* scarce.c */

struct object { uint32_t magic, kind; };

static inline void *object_new(struct counter *counters, uint32_t kind, size_t bytes) {
  struct object *o = calloc(1, bytes);
  CHECK(o, "out of memory");
  *o = (struct object){FAKE_MAGIC, kind};
  atomic_fetch_add(&counters[kind].made, 1);
  return o;
}
/* `object`, which must be of the kind. A deleted one is found by AddressSanitizer. */
static inline void *object_is(struct counter *counters, const void *object, uint32_t kind) {
  const struct object *o = object;
  CHECK(o, "a null %s", counters[kind].name);
  CHECK(o->magic == FAKE_MAGIC && o->kind == kind, "it is no %s", counters[kind].name);
  return (void *)o;
}
static inline void object_delete(struct counter *counters, void *object, uint32_t kind) {
  object_is(counters, object, kind);
  ((struct object *)object)->magic = 0;
  atomic_fetch_add(&counters[kind].deleted, 1);
  free(object);
}
static inline void check_balance(const struct counter *counters, uint32_t from, uint32_t to, const char *when) {
  for (uint32_t i = from; i < to; i++)
    CHECK(counters[i].made == counters[i].deleted, "%s: %lld of %s were made, %lld deleted", when, (long long)counters[i].made, counters[i].name,
          (long long)counters[i].deleted);
}

#endif
