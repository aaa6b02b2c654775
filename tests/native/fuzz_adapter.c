/* Fuzzing the core with an adapter that lies: the bytes say what the adapter's functions write into the control block and return, how the
   tensors' memory grows, which arguments the guest gives host functions, and which call of wasmtime fails. */
#include "fake_wasmtime.h"
#include "made_plan.h"

#define SHORT_NS 4000000u
static struct core_program *programs[6];
static struct core_pool *pools[6];

static const struct making PLANS[6] = {
  {1, 1, INT8, 1, HAS_MEMORY, 512 << 10, SHORT_NS, 64 << 20, 100, ""},
  {2, 2, INT8, 1, HAS_MEMORY | HAS_HOST | REWINDS_INSTANCE | JOINS, 512 << 10, SHORT_NS, 64 << 20, 100, "_initialize"},
  {1, 2, INT8, 1, HAS_MEMORY | KEEPS | STATEFUL | SIGNALS, 512 << 10, SHORT_NS, 64 << 20, 0, "_start"},
  {1, 1, FP64, 8, HAS_MEMORY | EXACT | KEEPS, 512 << 10, SHORT_NS, 64 << 20, 100, ""},
  {1, 2, BYTES_TENSOR, 1, HAS_MEMORY | REWINDS_INSTANCE, 512 << 10, SHORT_NS, 64 << 20, 100, ""},
  {3, 1, INT8, 1, HAS_HOST, 512 << 10, SHORT_NS, 1ull << 32, 100, ""}};

static const uint8_t *script;
static size_t left;
static uint32_t turns;
static uint8_t take8(void) { return left ? (left--, *script++) : 0; }
static uint64_t take_number(void) {
  static const uint64_t wild[] = {0, 1, 2, 8, 16, 17, 64, 95, 96, 97, 65535, 65536, 65537, INT32_MAX, 1ull << 31, UINT32_MAX, 1ull << 32, INT64_MAX, 1ull << 63,
                                  UINT64_MAX, MESSAGE_AT, MESSAGE_AT + MESSAGE_BYTES, MESSAGE_BYTES, MESSAGE_BYTES + 1, TEXTS_AT, 256 << 10};
  uint8_t how = take8();
  if (how < 128) return how;
  if (how < 240) return wild[how % (sizeof wild / sizeof *wild)];
  uint64_t number = 0;
  for (int i = 0; i < 8; i++) number |= (uint64_t)take8() << 8 * i;
  return number;
}

static void *call_host(struct fake_store *s) {
  static const char *const names[] = {"fd_write", "fd_read", "clock_time_get", "clock_res_get", "random_get", "abort", "poll_oneoff"};
  Raw arguments[4];
  for (int i = 0; i < 8; i++) { uint32_t value = (uint32_t)take_number(); memcpy(s->tensors + 4 * i, &value, 4); }
  for (int i = 0; i < 4; i++) arguments[i].i64 = (uint32_t)take_number();
  return fake_host_call(s, names[take8() % 7], arguments, 4, NULL);
}

static void *lie(struct fake_store *s, int function, int32_t *status) {
  struct control *k = (struct control *)(s->own + CONTROL_AT);
  (void)function;
  if (++turns > 200) s->deadline = 0; /* passes without end would end at the deadline: it comes now */
  void *error = NULL;
  for (uint32_t n = take8() & 7; n && left && !error; n--) {
    uint8_t where = take8();
    struct tensor *t = &k->t[where % (s->inputs + s->outputs)];
    uint64_t number = take_number();
    switch (where >> 4) {
      case 0: k->rows = (int64_t)number; break;
      case 1: k->passes = (uint32_t)number; break;
      case 2: k->generation = (uint32_t)number; break;
      case 3: k->message = (uint32_t)number; break;
      case 4: k->message_bytes = (uint32_t)number; break;
      case 5: k->grew = (uint32_t)number; break;
      case 6: t->rank = (int32_t)number; break;
      case 7: t->at = (uint32_t)number; break;
      case 8: t->bytes = number; break;
      case 9: t->slice = number; break;
      case 10: t->dims[take8() % MAX_OUT_RANK] = (int64_t)number; break;
      case 11: *status = (int32_t)number; break;
      case 12: fake_grow(s, s->tensors_bytes + (number % 3 << 16)); break;
      case 13: error = call_host(s); break;
      case 14: t->rank = 1; t->dims[0] = (int64_t)number; t->bytes = number; break; /* a shape that fits its size */
      default: k->passes = 1 + number % 5; t->slice = t->bytes / k->passes + 1; break;
    }
  }
  return error;
}

int LLVMFuzzerInitialize(int *count, char ***arguments) {
  char path[4096];
  const char *program = (*arguments)[0], *slash = strrchr(program, '/');
  (void)count;
  snprintf(path, sizeof path, "%.*s/libfake_wasmtime.so", slash ? (int)(slash - program) : 1, slash ? program : ".");
  const char *why = core_open(path);
  CHECK(!why, "%s", why);
  core_set(&UNTIDY);
  for (int i = 0; i < 6; i++) {
    size_t bytes;
    char message[256];
    struct plan *plan = plan_new(&PLANS[i], &bytes);
    programs[i] = core_load(plan, bytes, NULL, NULL, message, sizeof message);
    CHECK(programs[i], "%s", message);
    free(plan);
    pools[i] = core_pool_new(programs[i]);
  }
  return 0;
}

enum { BYTES_OF_INPUT = 96 };
static volatile uint8_t seen;

/* What may be looked at of the outputs is there. */
static void look(const struct core_call *c, uint32_t outputs) {
  for (uint32_t i = 0; i < outputs; i++) {
    const struct core_tensor *t = &c->out[i];
    CHECK(t->rank >= 0 && t->rank <= MAX_OUT_RANK, "rank %d", t->rank);
    for (int d = 0; d < t->rank; d++) CHECK(t->dims[d] >= 0, "a negative dimension");
    if (t->data && t->bytes) seen = t->data[0] ^ t->data[t->bytes - 1];
  }
}

/* One call as Python makes it (in one go, or its outputs lent) or the shell (begun, then ended in pieces). */
static void call(int which, uint8_t how) {
  const struct plan *p = core_plan(programs[which]);
  struct core_tensor tensors[8] = {0};
  struct core_piece in_pieces[2], out_pieces[8][2];
  uint8_t *in = malloc(BYTES_OF_INPUT), *out = malloc(BYTES_OF_INPUT * 4);
  struct core_call *c = malloc(sizeof *c);
  uint64_t first = how % BYTES_OF_INPUT;
  memset(in, 1, BYTES_OF_INPUT);
  in[0] = (uint8_t)"....TSEAXGWHR"[take8() % 13];
  in_pieces[0] = (struct core_piece){in, first}; in_pieces[1] = (struct core_piece){in + first, BYTES_OF_INPUT - first};
  memset(c, 0, offsetof(struct core_call, message));
  c->pool = pools[which]; c->timeout_ns = SHORT_NS; c->in = tensors; c->out = tensors + p->inputs;
  for (uint32_t i = 0; i < p->inputs; i++)
    tensors[i] = (struct core_tensor){.rank = i && how & 1 ? -1 : 1, .pieces = 2, .bytes = BYTES_OF_INPUT, .piece = in_pieces, .dims = {BYTES_OF_INPUT / p->inputs}};
  for (uint32_t i = 0; i < p->outputs; i++) {
    out_pieces[i][0] = (struct core_piece){out + i * BYTES_OF_INPUT, BYTES_OF_INPUT};
    tensors[p->inputs + i] = (struct core_tensor){.pieces = 1, .piece = out_pieces[i]};
  }
  turns = 0;
  bool lends = how & 32, begins = how & 2 && !lends;
  int32_t kind = lends ? core_lend(c, now_ns() + SHORT_NS) : begins ? core_begin(c) : core_run(c, now_ns() + SHORT_NS);
  if (!kind && lends) {
    look(c, p->outputs);
    core_release(c->instance);
    c->instance = NULL;
  }
  if (kind == CORE_OPEN || (!kind && begins)) {
    look(c, p->outputs);
    for (uint32_t i = 0; i < p->outputs; i++) {
      struct core_tensor *t = &c->out[i];
      out_pieces[i][0].bytes = first; out_pieces[i][1] = (struct core_piece){how & 4 ? NULL : out + i * BYTES_OF_INPUT + first, BYTES_OF_INPUT - first};
      t->pieces = how & 8 ? 0 : 2;
    }
    if (how & 16) core_abort(c); else kind = core_end(c);
  }
  CHECK(!c->instance, "an instance is left");
  CHECK(c->message_bytes < CORE_MESSAGE, "a message of %u bytes", c->message_bytes);
  free(in); free(out); free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  script = data; left = size;
  uint8_t which = take8(), fails = take8();
  fake_wasmtime.passes = which & 64 ? 3 : 1;
  fake_wasmtime.pool = which & 128 ? 1 : 1000;
  fake_wasmtime.failure = take8() % FAILURES;
  fake_wasmtime.lie = lie;
  if (fails & 128) fail_at(&fake_wasmtime.failing, fails & 127, false);
  for (int i = 0; i < 3; i++) call((which & 63) % 6, take8());
  fail_at(&fake_wasmtime.failing, -1, false);
  fake_wasmtime.lie = NULL;
  fake_wasmtime.passes = 1;
  left = 0;
  call((which & 63) % 6, 0); /* the next one is served */
  return 0;
}
