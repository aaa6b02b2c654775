/* An adapter that lies: what its functions write into the control block, and what they return, in numbers that are near a limit. */
#ifndef PORTALIS_LYING_H
#define PORTALIS_LYING_H

#include "fake_wasmtime.h"

enum { MAX_LIES = 6 };
struct lie { int function; uint32_t at, bytes; uint64_t value; };
static struct lie lies[MAX_LIES];
static uint32_t lie_count;
enum { THE_STATUS = sizeof(struct control) }; /* instead of a place in the control block */

static void *tell(struct fake_store *s, int function, int32_t *status) {
  for (uint32_t i = 0; i < CONTROL_AT; i += 4096) CHECK(!*(uint64_t *)(s->own + i), "the core wrote to the adapter's own data");
  for (uint32_t i = 0; i < lie_count; i++) {
    if (lies[i].function != function) continue;
    if (lies[i].at == THE_STATUS) *status = (int32_t)lies[i].value;
    else memcpy(s->own + CONTROL_AT + lies[i].at, &lies[i].value, lies[i].bytes);
  }
  return NULL;
}

static const uint64_t WILD[] = {
  0, 1, 2, 3, 7, 8, 12, 13, 16, 17, 24, 63, 64, 95, 96, 97, 0xFFFF, 65536 - 96, 65536 - 95, 65536, 65537, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE,
  1ull << 32, (1ull << 32) + 96, INT64_MAX, 1ull << 63, UINT64_MAX, UINT64_MAX - 95, MESSAGE_AT - 1, MESSAGE_AT, MESSAGE_AT + 1, MESSAGE_AT + MESSAGE_BYTES - 1,
  MESSAGE_AT + MESSAGE_BYTES, MESSAGE_BYTES, MESSAGE_BYTES + 1, TEXTS_AT, 256 << 10};
enum { WILDS = sizeof WILD / sizeof *WILD };

static uint64_t seed = 0x9E3779B97F4A7C15ull;
static uint64_t chance(uint64_t below) {
  seed ^= seed << 13; seed ^= seed >> 7; seed ^= seed << 17;
  return seed % below;
}

/* Some lies about a call with so many tensors. */
static inline void some_lies(uint32_t tensors) {
  uint32_t words = (uint32_t)(offsetof(struct control, t) + tensors * sizeof(struct tensor)) / 4;
  lie_count = 1 + (uint32_t)chance(MAX_LIES);
  for (uint32_t k = 0; k < lie_count; k++) {
    uint32_t at = 4 * (uint32_t)chance(words + 1);
    if (chance(2)) at = (uint32_t)(offsetof(struct control, t) + chance(tensors) * sizeof(struct tensor) + 4 * chance(10));
    lies[k] = (struct lie){(int)chance(4), at == 4 * words || !chance(12) ? THE_STATUS : at, at % 8 ? 4 : 8, WILD[chance(WILDS)]};
  }
}

#endif
