/* Host functions: WASI's streams, clocks, sleep and random bytes, and AssemblyScript's abort. Guests have no files, network or
   environment. wasmtime's own functions write from other threads, and sleep and generate random bytes without a deadline. A bad
   pointer is an errno for the guest; a deadline that passes ends its call. */
#include "instance.h"

#include <errno.h>
#include <sys/random.h>

enum { BADF = 8, FAULT = 21, INVAL = 28 };                        /* __wasi_errno_t */
enum { REALTIME, MONOTONIC, LAST_CLOCK = 3 };                     /* 2 and 3 are CPU times, which guests cannot read */
enum { CLOCK_EVENT, LAST_EVENT = 2, SUBSCRIPTION = 48, EVENT = 32, ABSOLUTE = 1 };
enum { MAX_VECTORS = 1024, MAX_SUBSCRIPTIONS = 64, RANDOM_CHUNK = 1 << 20, MAX_TEXT = 2048 };

struct guest { struct core_instance *instance; uint8_t *memory; uint64_t size; };

static uint8_t *at(const struct guest *g, uint64_t from, uint64_t bytes) {
  return g->memory && from <= g->size && bytes <= g->size - from ? g->memory + from : NULL;
}
static uint32_t u32(const uint8_t *from) { uint32_t n; memcpy(&n, from, 4); return n; }
static uint64_t u64(const uint8_t *from) { uint64_t n; memcpy(&n, from, 8); return n; }

/* Write the first `bytes` bytes of `n` at `to`; returns an errno. */
static int put(const struct guest *g, uint32_t to, uint64_t n, size_t bytes) {
  uint8_t *p = at(g, to, bytes);
  if (p) memcpy(p, &n, bytes);
  return p ? 0 : FAULT;
}
static bool is_late(struct guest *g) { return g->instance->late |= now_ns() >= g->instance->deadline_ns; }

/* Append as much as `cap` allows; the remainder is counted. */
static void append(struct captured *c, uint64_t cap, const void *from, uint64_t bytes) {
  uint64_t n = smaller(bytes, cap - c->bytes);
  char *grown = n ? realloc(c->data, c->bytes + n) : NULL;
  c->dropped += grown ? bytes - n : bytes;
  if (!grown) return;
  memcpy(grown + c->bytes, from, n);
  c->data = grown;
  c->bytes += n;
}

/* An array of pointers and sizes, all inside the memory, or NULL. One call handles at most MAX_VECTORS of them. */
static const uint8_t *pieces(const struct guest *g, const uint32_t *a, uint32_t *count) {
  *count = (uint32_t)smaller(a[2], MAX_VECTORS);
  const uint8_t *v = at(g, a[1], 8ull * *count);
  for (uint32_t i = 0; v && i < *count; i++) if (!at(g, u32(v + 8 * i), u32(v + 8 * i + 4))) return NULL;
  return v;
}

static int fd_write(struct guest *g, const uint32_t *a) {
  uint32_t fd = a[0], count, total = 0;
  if (fd != 1 && fd != 2) return BADF;
  const uint8_t *v = pieces(g, a, &count);
  if (!v) return FAULT;
  for (uint32_t i = 0; i < count; total += u32(v + 8 * i++ + 4))
    append(&g->instance->captured[fd - 1], g->instance->program->plan->max_output, g->memory + u32(v + 8 * i), u32(v + 8 * i + 4));
  return put(g, a[3], total, 4);
}

static int fd_read(struct guest *g, const uint32_t *a) {
  uint32_t count;
  if (a[0]) return BADF;
  return pieces(g, a, &count) ? put(g, a[3], 0, 4) : FAULT; /* stdin is empty */
}

static uint64_t guest_ns(const struct guest *g, uint32_t clock) {
  return clock == MONOTONIC ? now_ns() - g->instance->began_ns : clock_ns(CLOCK_REALTIME);
}

static int put_time(const struct guest *g, uint32_t clock, uint32_t to, uint64_t ns) {
  return clock <= MONOTONIC ? put(g, to, ns, 8) : clock <= LAST_CLOCK ? BADF : INVAL;
}

static int clock_time_get(struct guest *g, const uint32_t *a) { return put_time(g, a[0], a[2], guest_ns(g, a[0])); }
static int clock_res_get(struct guest *g, const uint32_t *a) { return put_time(g, a[0], a[1], 1); }

/* Sleep until the first clock fires. Streams are always ready. */
static int poll_oneoff(struct guest *g, const uint32_t *a) {
  uint32_t from = a[0], to = a[1], count = a[2], fired = 0;
  uint64_t delay[MAX_SUBSCRIPTIONS], wait = UINT64_MAX;
  if (!count || count > MAX_SUBSCRIPTIONS) return INVAL;
  uint8_t *out = at(g, to, (uint64_t)count * EVENT), block[MAX_SUBSCRIPTIONS * SUBSCRIPTION];
  const uint8_t *in = at(g, from, (uint64_t)count * SUBSCRIPTION);
  if (!out || !in) return FAULT;
  memcpy(block, in, (size_t)count * SUBSCRIPTION);
  for (uint32_t i = 0; i < count; i++) {
    const uint8_t *s = block + i * SUBSCRIPTION;
    uint32_t clock = u32(s + 16);
    if (s[8] > LAST_EVENT || (s[8] == CLOCK_EVENT && clock > MONOTONIC)) return INVAL;
    uint64_t until = u64(s + 24), now = s[8] == CLOCK_EVENT && (s[40] & ABSOLUTE) ? guest_ns(g, clock) : 0;
    delay[i] = s[8] != CLOCK_EVENT ? 0 : until > now ? until - now : 0;
    wait = smaller(wait, delay[i]);
  }
  if (wait) {
    uint64_t now = now_ns(), deadline = g->instance->deadline_ns;
    sleep_ns(deadline > now ? smaller(wait, deadline - now) : 0);
    if (is_late(g)) return 0;
  }
  for (uint32_t i = 0; i < count; i++) {
    if (delay[i] > wait) continue;
    uint8_t *event = out + EVENT * fired++;
    memset(event, 0, EVENT);
    memcpy(event, block + i * SUBSCRIPTION, 8);
    event[10] = block[i * SUBSCRIPTION + 8];
  }
  return put(g, a[3], fired, 4);
}

static int random_get(struct guest *g, const uint32_t *a) {
  uint64_t bytes = a[1];
  uint8_t *to = at(g, a[0], bytes);
  if (!to) return FAULT;
  while (bytes && !is_late(g)) {
    ssize_t n = getrandom(to, smaller(bytes, RANDOM_CHUNK), 0);
    if (n < 0 && errno != EINTR) return FAULT;
    if (n > 0) { to += n; bytes -= (uint64_t)n; }
  }
  return 0;
}

/* Decode a character of UTF-16 from `left` bytes; `used` is set to its size. Invalid units become U+FFFD. */
static uint32_t character(const uint8_t *from, uint32_t left, uint32_t *used) {
  uint32_t c = left < 2 ? 0xDC00 : from[0] | (uint32_t)from[1] << 8, low = left < 4 ? 0 : from[2] | (uint32_t)from[3] << 8;
  bool is_pair = c >= 0xD800 && c < 0xDC00 && low >= 0xDC00 && low < 0xE000, is_cut = left < 2 || (c >= 0xD800 && c < 0xDC00 && left < 4);
  *used = is_pair ? 4 : is_cut ? left : 2;
  return is_pair ? 0x10000 + ((c & 0x3FF) << 10) + (low & 0x3FF) : c >= 0xD800 && c < 0xE000 ? 0xFFFD : c;
}

static char *utf8(uint32_t c, char *to) {
  int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  static const uint8_t first[] = {0, 0xC0, 0xE0, 0xF0};
  *to++ = (char)(first[more] | c >> 6 * more);
  while (more--) *to++ = (char)(0x80 | (c >> 6 * more & 0x3F));
  return to;
}

/* Copy the string at `from` to `to`; returns its end, or NULL if it is outside the memory. AssemblyScript's strings are UTF-16, preceded
   by their size. At most MAX_TEXT bytes are read. */
static char *read_text(const struct guest *g, uint32_t from, char *to) {
  const uint8_t *size = from >= 4 ? at(g, from - 4, 4) : NULL;
  uint32_t left = size ? (uint32_t)smaller(u32(size), MAX_TEXT) : 0;
  const uint8_t *text = size ? at(g, from, left) : NULL;
  if (!text) return from ? NULL : to;
  for (uint32_t used; left; text += used, left -= used) to = utf8(character(text, left, &used), to);
  return to;
}

/* The guest traps right after the call. */
static int aborted(struct guest *g, const uint32_t *a) {
  char text[4 * MAX_TEXT + 64], *end = read_text(g, a[0], text); /* a unit of two bytes becomes at most three */
  if (end) end = read_text(g, a[1], stpcpy(end, " at "));
  if (end) end += sprintf(end, ":%u:%u", a[2], a[3]);
  else end = stpcpy(text, "abort");
  g->instance->captured[ABORTED].bytes = 0;
  append(&g->instance->captured[ABORTED], sizeof text, text, (uint64_t)(end - text));
  return 0;
}

/* WASI's functions return an errno, abort returns nothing. */
static const struct function { const char *name, *kinds; bool is_wasi; int (*run)(struct guest *, const uint32_t *); } PROVIDED[] = {
  {"fd_write", "iiii", true, fd_write},
  {"fd_read", "iiii", true, fd_read},
  {"clock_time_get", "iIi", true, clock_time_get},
  {"clock_res_get", "ii", true, clock_res_get},
  {"poll_oneoff", "iiii", true, poll_oneoff},
  {"random_get", "ii", true, random_get},
  {"abort", "iiii", false, aborted},
};

static void *enter(void *data, void *caller, Raw *values, size_t count) {
  const struct function *f = data;
  void *context = p_wasmtime_caller_context(caller);
  struct guest g = {p_wasmtime_context_get_data(context), NULL, 0};
  Extern memory;
  uint32_t a[4]; /* no function uses a 64-bit parameter */
  for (size_t i = 0; i < count && i < COUNT_OF(a); i++) a[i] = (uint32_t)values[i].i32;
  if (p_wasmtime_caller_export_get(caller, "memory", 6, &memory) && memory.kind == EXTERN_MEMORY) {
    g.memory = p_wasmtime_memory_data(context, &memory.of.memory);
    g.size = p_wasmtime_memory_data_size(context, &memory.of.memory);
  }
  int result = is_late(&g) ? 0 : f->run(&g, a);
  if (g.instance->late) return p_wasmtime_trap_new("late", 4);
  if (f->is_wasi) values[0].i64 = result;
  return NULL;
}

static void *function_type(const struct function *f) {
  void *kinds[4], *result[1] = {NULL};
  Bytes parameters, results;
  size_t n = strlen(f->kinds);
  for (size_t i = 0; i < n; i++) kinds[i] = p_wasm_valtype_new(f->kinds[i] == 'I'); /* WASM_I32 is 0, WASM_I64 1 */
  if (f->is_wasi) result[0] = p_wasm_valtype_new(0);
  p_wasm_valtype_vec_new(&parameters, n, kinds);
  p_wasm_valtype_vec_new(&results, f->is_wasi, result);
  return p_wasm_functype_new(&parameters, &results);
}

void *host_define(void *linker) {
  p_wasmtime_linker_allow_shadowing(linker, true);
  void *error = p_wasmtime_linker_define_wasi(linker);
  for (size_t i = 0; !error && i < COUNT_OF(PROVIDED); i++) {
    const struct function *f = &PROVIDED[i];
    void *type = function_type(f);
    const char *module = f->is_wasi ? "wasi_snapshot_preview1" : "env";
    size_t in = strlen(module), as = strlen(f->name);
    error = p_wasmtime_linker_define_func_unchecked(linker, module, in, f->name, as, type, enter, (void *)f, NULL);
    p_wasm_functype_delete(type);
  }
  return error;
}

void host_forward_output(struct core_instance *b) {
  const struct core_program *p = b->program;
  for (int i = 0; i < STREAMS; i++) {
    struct captured *c = &b->captured[i];
    bool goes = p->output && i != ABORTED;
    if (goes && c->bytes) p->output(p->data, i, c->data, c->bytes);
    if (goes && c->dropped) p->output(p->data, i, NULL, c->dropped); /* without a text: the number of dropped bytes */
    free(c->data);
    *c = (struct captured){0};
  }
}
