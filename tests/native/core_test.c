/* The core over a stand-in for wasmtime: each call that can fail fails in turn, an adapter lies, hosts are called with bad arguments.
   Whatever happens, what was made is deleted once, and the same process answers the next call. */
#define _GNU_SOURCE
#include "lying.h"
#include "made_plan.h"

#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static _Atomic uint64_t output_bytes, output_dropped;
static volatile uint8_t seen; /* each byte is read */
static void output(void *data, int stream, const char *text, size_t bytes) {
  CHECK(data == &output_bytes && (stream == 0 || stream == 1), "strange output");
  if (text) output_bytes += bytes; else output_dropped += bytes;
  for (size_t i = 0; text && i < bytes; i++) seen += (uint8_t)text[i];
}

/* ---- one program and its calls ---- */

enum { ROWS = 4, ROW = 24, IS_REFUSED = 'I' };
#define GENEROUS_NS 20000000000u /* for a call that is to be answered, however loaded the machine is */
#define SHORT_NS 20000000u
static uint64_t limit_ns = GENEROUS_NS;

struct tried {
  struct core_call call;
  struct core_tensor tensors[8];
  struct core_piece pieces[8];
  uint8_t *in, *out;
};

/* A call with `rows` rows whose first begins with `what`; 0 for plain data. The inputs lie in memory of exactly their size. */
static struct tried *try_new(struct core_pool *pool, const struct plan *p, char what, int64_t rows) {
  struct tried *t = calloc(1, sizeof *t);
  int64_t width = what == IS_REFUSED ? REFUSED_DIM : ROW;
  uint64_t bytes = (uint64_t)(rows * width);
  t->in = malloc(bytes + !bytes); t->out = malloc(bytes * p->outputs + 1);
  for (uint64_t i = 0; i < bytes; i++) t->in[i] = (uint8_t)(i % 32);
  if (what && bytes) t->in[0] = (uint8_t)what;
  t->call.pool = pool;
  t->call.timeout_ns = limit_ns;
  t->call.in = t->tensors; t->call.out = t->tensors + p->inputs;
  for (uint32_t i = 0; i < p->inputs + p->outputs; i++) {
    t->tensors[i] = (struct core_tensor){.rank = 2, .pieces = 1, .bytes = bytes, .piece = &t->pieces[i], .dims = {rows, width}};
    t->pieces[i] = i < p->inputs ? (struct core_piece){t->in, bytes} : (struct core_piece){t->out + (i - p->inputs) * bytes, bytes};
  }
  return t;
}
static void try_free(struct tried *t) { free(t->in); free(t->out); free(t); }

static bool is_kind(int32_t kind) { return (kind >= DONE && kind <= INTERNAL && kind != RENEW) || (kind >= CORE_TRAP && kind <= CORE_GUEST); }

static int32_t finish(struct tried *t, uint32_t outputs, int32_t kind) {
  if (kind == CORE_OPEN) { /* with several passes, or other sizes */
    for (uint32_t i = 0; i < outputs; i++) t->call.out[i].pieces = 0;
    kind = core_end(&t->call);
  }
  CHECK(is_kind(kind), "kind %d", kind);
  CHECK(!kind || t->call.kind == kind, "kinds %d and %d", kind, t->call.kind);
  CHECK(!t->call.instance, "an instance is left");
  CHECK(t->call.message_bytes < CORE_MESSAGE && (t->call.message_bytes || !kind), "kind %d has a message of %u bytes", kind, t->call.message_bytes);
  return kind;
}

static int32_t call(struct core_program *program, struct core_pool *pool, char what, int64_t rows) {
  const struct plan *p = core_plan(program);
  struct tried *t = try_new(pool, p, what, rows);
  int32_t kind = finish(t, p->outputs, core_run(&t->call, now_ns() + t->call.timeout_ns));
  if (!kind && what != DOES_HARM && what != DOES_WRITE)
    for (uint32_t i = 0; i < p->outputs; i++) CHECK(!memcmp(t->in, t->out + i * (uint64_t)rows * ROW, (uint64_t)rows * ROW), "another output");
  try_free(t);
  return kind;
}

static struct core_program *load(const struct making *w, char *message) {
  size_t bytes;
  struct plan *plan = plan_new(w, &bytes);
  struct core_program *program = core_load(plan, bytes, output, &output_bytes, message, 1024);
  free(plan);
  return program;
}

static struct core_program *shared_program;
static void check_all_deleted(const char *when) {
  check_balance(fake_wasmtime.counters, FIRST_COUNTED, WASMTIME_KINDS, when);
  CHECK(fake_wasmtime.counters[ENGINE].made - fake_wasmtime.counters[ENGINE].deleted <= 8, "engines are made again and again");
  CHECK(!fake_wasmtime.pooled, "%u instances of the pool are in use", fake_wasmtime.pooled);
}

/* All that a program can do, in one go. */
static void walk(const struct making *w) {
  static const char acts[] = {0, DOES_RENEW, 0, DOES_TRAP, DOES_STATUS, DOES_STATUS_TRAP, DOES_ABI, DOES_EXIT, DOES_GROW, DOES_WRITE, DOES_HARM, IS_REFUSED};
  char message[1024] = "";
  struct core_program *program = load(w, message);
  if (!program) { CHECK(*message, "no message"); return; }
  struct core_pool *pool = core_pool_new(program);
  for (size_t i = 0; pool && i < sizeof acts; i++) call(program, pool, acts[i], ROWS);
  if (pool) {
    call(program, pool, 0, 0);
    fake_wasmtime.passes = 3;
    call(program, pool, 0, ROWS);
    fake_wasmtime.passes = 1;
    core_pool_free(pool);
  }
  core_unload(program);
}

static const struct making *const KINDS_OF_PLANS[] = {
  &MAKING,
  &(struct making){2, 2, INT8, 1, HAS_MEMORY | HAS_HOST | REWINDS_INSTANCE | JOINS, 512 << 10, GENEROUS_NS, 64 << 20, 100, "_initialize"},
  &(struct making){1, 2, INT8, 1, HAS_MEMORY | KEEPS | STATEFUL | SIGNALS, 1 << 20, GENEROUS_NS, 64 << 20, 0, "_start"},
  &(struct making){1, 1, INT8, 1, HAS_HOST, MAX_STACK, GENEROUS_NS, 1ull << 32, 1 << 20, ""}};
enum { PLANS = sizeof KINDS_OF_PLANS / sizeof *KINDS_OF_PLANS };

static void check_still_works(void) {
  char message[1024];
  struct core_program *program = load(&MAKING, message);
  CHECK(program, "%s", message);
  struct core_pool *pool = core_pool_new(program);
  CHECK(call(program, pool, 0, ROWS) == DONE, "the next call fails");
  core_pool_free(pool);
  core_unload(program);
  check_all_deleted("afterwards");
}

/* ---- the tests ---- */

static void failures(void) {
  for (int plan = 0; plan < PLANS; plan++)
    for (int how = 0; how < FAILURES; how++)
      for (int pool = 0; pool < 2; pool++)
        for (int64_t n = 0;; n++) {
          if (plan != 1 && (pool || (how != FAIL_ERROR && how != FAIL_TRAP))) break; /* one plan in all ways */
          fake_wasmtime.failure = how;
          fake_wasmtime.pool = pool ? 1000 : 0;
          fail_at(&fake_wasmtime.failing, n, false);
          walk(KINDS_OF_PLANS[plan]);
          bool reached = fake_wasmtime.failing.calls > n;
          fail_at(&fake_wasmtime.failing, -1, false);
          check_all_deleted("a failure");
          if (!reached) { CHECK(n > 100, "only %lld calls can fail", (long long)n); break; }
        }
  fake_wasmtime.pool = 1000;
  check_still_works();
}

/* From one call on all fail: no loop waits for better times beyond the deadline. */
static void failures_for_good(void) {
  limit_ns = SHORT_NS;
  for (int how = 0; how < FAILURES; how++)
    for (int64_t n = 0; n < 60; n += 3) {
      fake_wasmtime.failure = how;
      fail_at(&fake_wasmtime.failing, n, true);
      walk(KINDS_OF_PLANS[1]);
      fail_at(&fake_wasmtime.failing, -1, false);
      check_all_deleted("failures for good");
    }
  limit_ns = GENEROUS_NS;
  check_still_works();
}

static void no_memory(void) {
  for (int plan = 0; plan < PLANS; plan++)
    for (int64_t n = 0;; n++) {
      fail_at(&scarce_memory, n, false);
      walk(KINDS_OF_PLANS[plan]);
      bool reached = scarce_memory.calls > n;
      fail_at(&scarce_memory, -1, false);
      check_all_deleted("no memory");
      if (!reached) { CHECK(n > 5, "only %lld allocations", (long long)n); break; }
    }
  check_still_works();
}

/* ---- an adapter that lies ---- */

enum { UNWRITTEN = 0xA5, MAX_LOOKED_AT = 1 << 20 };

/* Ends a call with outputs of other sizes than were expected, in memory of exactly those. Each byte of it is written, or the call fails. */
static int32_t finish_exactly(struct tried *t, uint32_t outputs, int32_t kind) {
  uint8_t *buffers[4] = {NULL};
  struct core_piece pieces[4];
  for (uint32_t i = 0; kind == CORE_OPEN && i < outputs; i++) {
    struct core_tensor *out = &t->call.out[i];
    out->pieces = 0;
    if (out->bytes > MAX_LOOKED_AT) continue; /* nobody has so much */
    buffers[i] = malloc(out->bytes + !out->bytes);
    memset(buffers[i], UNWRITTEN, out->bytes);
    pieces[i] = (struct core_piece){buffers[i], out->bytes};
    out->piece = &pieces[i]; out->pieces = 1;
  }
  if (kind == CORE_OPEN) kind = core_end(&t->call);
  for (uint32_t i = 0; i < outputs; i++) {
    const struct core_tensor *out = &t->call.out[i];
    if (!kind) CHECK(out->rank >= 0 && out->rank <= MAX_OUT_RANK, "rank %d", out->rank);
    for (int d = 0; !kind && d < out->rank; d++) CHECK(out->dims[d] >= 0, "a negative dimension");
    for (uint64_t b = 0; !kind && out->pieces && b < out->bytes; b++) CHECK(out->piece->data[b] != UNWRITTEN, "an output has bytes that nobody wrote");
    free(buffers[i]);
  }
  return finish(t, outputs, kind);
}

static void lie_once(struct core_program *program, struct core_pool *pool, char what) {
  fake_wasmtime.lie = tell;
  for (int i = 0; i < 2; i++) { /* the second call begins with `restore`, where that is called at all */
    const struct plan *p = core_plan(program);
    struct tried *t = try_new(pool, p, i ? 0 : what, ROWS);
    t->call.timeout_ns = SHORT_NS;
    memset(t->out, UNWRITTEN, ROWS * ROW * p->outputs);
    finish_exactly(t, p->outputs, core_run(&t->call, now_ns() + t->call.timeout_ns));
    try_free(t);
  }
  fake_wasmtime.lie = NULL;
  fake_wasmtime.passes = 1;
  lie_count = 0;
  int32_t kind = call(program, pool, 0, ROWS);
  CHECK(kind == DONE, "the next call fails, kind %d", kind);
}

/* One lie after the other, in every place. */
static void single_lies(struct core_program *program, struct core_pool *pool) {
  const struct plan *p = core_plan(program);
  uint32_t end = offsetof(struct control, t) + (p->inputs + p->outputs) * sizeof(struct tensor);
  static const char acts[] = {0, DOES_STATUS, DOES_TRAP};
  for (int function = CALL_PLACE; function <= CALL_EXPLAIN; function++)
    for (uint32_t at = 0; at <= end; at += 4)
      for (uint32_t w = 0; w < WILDS; w++) {
        uint32_t in_tensor = at < offsetof(struct control, t) ? 0 : (at - offsetof(struct control, t)) % sizeof(struct tensor);
        if (in_tensor >= offsetof(struct tensor, dims) + 24) continue; /* dimensions that are not looked at */
        if (function == CALL_EXPLAIN && at >= offsetof(struct control, t) && at < end) continue;
        lies[0] = (struct lie){function, at == end ? THE_STATUS : at, at % 8 ? 4 : 8, WILD[w]};
        lie_count = 1;
        lie_once(program, pool, acts[function == CALL_EXPLAIN ? 1 + w % 2 : 0]);
      }
}

static void many_lies(struct core_program *program, struct core_pool *pool, int times) {
  static const char acts[] = {0, 0, 0, 0, 0, DOES_STATUS, DOES_TRAP, DOES_GROW, DOES_RENEW};
  const struct plan *p = core_plan(program);
  for (int i = 0; i < times; i++) {
    some_lies(p->inputs + p->outputs);
    fake_wasmtime.passes = chance(4) ? 1 : 1 + (uint32_t)chance(5);
    lie_once(program, pool, acts[chance(sizeof acts)]);
  }
  fake_wasmtime.passes = 1;
}

static void lying(void) {
  static const struct making words = {1, 2, BYTES_TENSOR, 1, HAS_MEMORY | REWINDS_INSTANCE, 512 << 10, GENEROUS_NS, 64 << 20, 100, ""};
  for (int i = 0; i < 4; i++) {
    char message[1024];
    struct core_program *program = load(i == 3 ? &words : KINDS_OF_PLANS[i], message);
    struct core_pool *pool = core_pool_new(program);
    if (i == 0) { /* no elements, and fewer than none in a dimension */
      uint32_t at = offsetof(struct control, t) + sizeof(struct tensor), dims = at + offsetof(struct tensor, dims);
      lies[0] = (struct lie){CALL_RUN, dims, 8, 0};
      lies[1] = (struct lie){CALL_RUN, dims + 8, 8, UINT64_MAX};
      lies[2] = (struct lie){CALL_RUN, at + offsetof(struct tensor, bytes), 8, 0};
      lie_count = 3;
      lie_once(program, pool, 0);
    }
    if (i == 1) single_lies(program, pool);
    many_lies(program, pool, 4000);
    core_pool_free(pool);
    core_unload(program);
    check_all_deleted("lies");
  }
  check_still_works();
}

/* The adapter's memory is smaller than the executor's part of it. */
static void small_memories(void) {
  char message[1024];
  struct core_program *program = load(&MAKING, message);
  struct core_pool *pool = core_pool_new(program);
  for (uint64_t pages = 0; pages < 4; pages++) {
    fake_wasmtime.own_bytes = pages << 16;
    CHECK((call(program, pool, DOES_TRAP, ROWS) == INTERNAL) == (pages < 3), "an adapter with %d pages", (int)pages);
  }
  core_pool_free(pool);
  core_unload(program);
  check_still_works();
}

/* ---- pieces and lending ---- */

static void pieces(void) {
  char message[1024];
  struct core_program *program = load(&MAKING, message);
  struct core_pool *pool = core_pool_new(program);
  const struct plan *p = core_plan(program);
  for (uint64_t first = 0; first <= ROWS * ROW; first += 7)
    for (int how = 0; how < 4; how++) { /* joined pieces; one that nobody wants; too few bytes; looked at where they lie */
      struct tried *t = try_new(pool, p, 0, ROWS);
      uint64_t whole = ROWS * ROW;
      struct core_piece in[] = {{t->in, first}, {NULL, 0}, {t->in + first, whole - first - (how == 2)}};
      struct core_piece out[] = {{t->out, first}, {NULL, 0}, {how == 1 ? NULL : t->out + first, whole - first}};
      t->tensors[0].piece = in; t->tensors[0].pieces = 3;
      int32_t kind = core_begin(&t->call);
      CHECK(kind == (how == 2 ? INTERNAL : DONE), "kind %d", kind);
      if (how == 2) { try_free(t); continue; }
      CHECK(t->tensors[1].data && !memcmp(t->tensors[1].data, t->in, whole), "the output lies elsewhere");
      t->tensors[1].piece = out; t->tensors[1].pieces = 3;
      if (how == 3) core_abort(&t->call);
      else CHECK(core_end(&t->call) == DONE && !memcmp(t->in, t->out, how == 1 ? first : whole), "another output");
      CHECK(!t->call.instance, "an instance is left");
      try_free(t);
    }
  core_pool_free(pool);
  core_unload(program);
  check_all_deleted("pieces");
}

/* Outputs that stay in the instance while others use it, and after its program is gone. */
static void lending(void) {
  char message[1024];
  struct core_program *program = load(KINDS_OF_PLANS[2], message);
  struct core_pool *pool = core_pool_new(program);
  const struct plan *p = core_plan(program);
  struct tried *t = try_new(pool, p, 0, ROWS);
  CHECK(core_lend(&t->call, now_ns() + GENEROUS_NS) == DONE && t->call.instance, "not lent");
  CHECK(call(program, pool, DOES_TRAP, ROWS) == CORE_TRAP, "no trap"); /* the instance goes */
  CHECK(call(program, pool, 0, ROWS) == DONE, "the next call fails");
  core_pool_free(pool);
  core_unload(program);
  for (int i = 0; i < 2; i++) for (uint64_t b = 0; b < t->call.out[i].bytes; b++) seen += t->call.out[i].data[b]; /* whoever wrote it last */
  core_release(t->call.instance);
  try_free(t);
  check_all_deleted("lending");
}

/* ---- host functions with bad arguments ---- */

static bool without_memory;
static uint64_t host_calls;
static void *call_hosts(struct fake_store *s, int function, int32_t *status) {
  static const char *const names[] = {"fd_write", "fd_read", "clock_time_get", "clock_res_get", "random_get", "abort", "poll_oneoff"};
  (void)status;
  if (function != CALL_RUN) return NULL;
  for (int i = 0; i < 60; i++) {
    Raw arguments[4], result;
    const char *name = names[chance(7)];
    for (uint64_t k = chance(64); k < 128; k++) {
      uint64_t value = chance(3) ? chance(s->tensors_bytes) : WILD[chance(WILDS)];
      memcpy(s->tensors + 4 * k, &value, 4);
    }
    for (int k = 0; k < 4; k++) arguments[k].i64 = (int64_t)(chance(2) ? chance(512) : chance(2) ? chance(4) : WILD[chance(WILDS)] & 0xFFFFFFFF);
    if (!strcmp(name, "poll_oneoff") && chance(2)) memset(s->tensors, 0, 256); /* clocks that fire at once */
    if (without_memory) fail_at(&fake_wasmtime.failing, 0, true);
    void *error = fake_host_call(s, name, arguments, 4, &result);
    fail_at(&fake_wasmtime.failing, -1, false);
    if (error) return error;
    host_calls++;
    CHECK(!without_memory || result.i64 == 8 || result.i64 == 28 || result.i64 == 21 || !strcmp(name, "abort"), "%s gives %d without a memory", name, result.i32);
  }
  return NULL;
}

/* A guest that writes while its tensors are placed, and then has to give way to a new instance. */
static void *write_and_renew(struct fake_store *s, int function, int32_t *status) {
  static int times;
  if (function != CALL_PLACE || times++ % 2) return NULL;
  uint32_t vector[] = {16, 5};
  memcpy(s->tensors, vector, sizeof vector);
  memcpy(s->tensors + 16, "words", 5);
  void *error = fake_host_call(s, "fd_write", (Raw[]){{.i64 = 1}, {.i64 = 0}, {.i64 = 1}, {.i64 = 60}}, 4, NULL);
  if (!error) error = fake_host_call(s, "abort", (Raw[]){{.i64 = 0}, {.i64 = 0}, {.i64 = 1}, {.i64 = 1}}, 4, NULL);
  *status = RENEW;
  return error;
}
static void renewing(void) {
  char message[1024];
  struct core_program *program = load(KINDS_OF_PLANS[1], message);
  struct core_pool *pool = core_pool_new(program);
  output_bytes = 0;
  fake_wasmtime.lie = write_and_renew;
  for (int i = 0; i < 10; i++) CHECK(call(program, pool, 0, ROWS) == DONE, "it is not renewed");
  fake_wasmtime.lie = NULL;
  CHECK(output_bytes == 50, "%d bytes were handed on", (int)output_bytes);
  core_pool_free(pool);
  core_unload(program);
  check_all_deleted("renewing");
}

static void hosts(void) {
  char message[1024];
  struct core_program *program = load(KINDS_OF_PLANS[1], message);
  struct core_pool *pool = core_pool_new(program);
  for (int i = 0; i < 600; i++) {
    struct tried *t = try_new(pool, core_plan(program), 0, ROWS);
    t->call.timeout_ns = SHORT_NS / 4;
    fake_wasmtime.lie = call_hosts;
    without_memory = i % 4 == 3;
    finish(t, 2, core_run(&t->call, now_ns() + t->call.timeout_ns));
    fake_wasmtime.lie = NULL;
    try_free(t);
  }
  core_pool_free(pool);
  core_unload(program);
  check_all_deleted("host functions");
  CHECK(host_calls > 5000, "only %d calls came to an end", (int)host_calls);
  check_still_works();
}

/* ---- deadlines, room, threads ---- */

static void deadlines(void) {
  char message[1024];
  struct core_program *program = load(KINDS_OF_PLANS[1], message);
  struct core_pool *pool = core_pool_new(program);
  for (int i = 0; i < 4; i++) {
    limit_ns = SHORT_NS;
    CHECK(call(program, pool, i % 2 ? DOES_LOOP : DOES_SLEEP, ROWS) == CORE_TIMEOUT, "it was not stopped");
    limit_ns = GENEROUS_NS;
    CHECK(call(program, pool, 0, ROWS) == DONE, "the next call fails");
  }
  CHECK(core_stats(program).timeouts == 4, "%d timeouts were counted", (int)core_stats(program).timeouts);
  core_pool_free(pool);
  core_unload(program);
  check_all_deleted("deadlines");
}

/* A deadline that is set while the ticks are late, as on a busy machine, does not come early by those that are made up for. */
static void *let_tick(struct fake_store *s, int function, int32_t *status) {
  (void)s, (void)status;
  if (function == CALL_PLACE) fake_wasmtime.holds = false;
  return NULL;
}
static void late_ticks(void) {
  static const struct timespec pause = {0, 1000000}, late = {0, 300000000};
  char message[1024];
  struct core_program *program = load(&MAKING, message);
  struct core_pool *pool = core_pool_new(program);
  CHECK(call(program, pool, 0, ROWS) == DONE, "the first call fails");
  fake_wasmtime.holds = true;
  while (!fake_wasmtime.held) nanosleep(&pause, NULL);
  nanosleep(&late, NULL);
  limit_ns = 200000000;
  fake_wasmtime.lie = let_tick;
  uint64_t began = now_ns();
  CHECK(call(program, pool, DOES_LOOP, ROWS) == CORE_TIMEOUT, "it was not stopped");
  CHECK(now_ns() - began >= limit_ns, "it was stopped after %d ms", (int)((now_ns() - began) / 1000000));
  limit_ns = GENEROUS_NS;
  fake_wasmtime.lie = NULL;
  core_pool_free(pool);
  core_unload(program);
  check_still_works();
}

/* Where nothing can watch the time limit no guest runs; the process must not have had a call before. */
static void no_ticker(void) {
  char message[1024];
  struct core_program *program = load(&MAKING, message);
  struct core_pool *pool = core_pool_new(program);
  limit_ns = SHORT_NS;
  fail_at(&scarce_threads, 0, true);
  for (int i = 0; i < 2; i++) CHECK(call(program, pool, DOES_LOOP, ROWS) == CORE_BUSY, "a guest runs without a time limit");
  fail_at(&scarce_threads, -1, false);
  CHECK(call(program, pool, DOES_LOOP, ROWS) == CORE_TIMEOUT, "it was not stopped");
  limit_ns = GENEROUS_NS;
  core_pool_free(pool);
  core_unload(program);
  check_still_works();
}

/* The pool has room for one: idle instances give way, those whose guest counts on them do not. */
static void room(void) {
  char message[1024];
  struct core_program *programs[3];
  struct core_pool *pools[3];
  fake_wasmtime.pool = 1;
  for (int i = 0; i < 3; i++) { programs[i] = load(KINDS_OF_PLANS[i == 2 ? 2 : 1], message); pools[i] = core_pool_new(programs[i]); }
  for (int i = 0; i < 12; i++) CHECK(call(programs[i % 3], pools[i % 3], 0, ROWS) == DONE, "no room");
  CHECK(core_stats(programs[2]).instances == 1, "a stateful guest lost its instance");
  for (int i = 0; i < 3; i++) { core_pool_free(pools[i]); core_unload(programs[i]); }
  fake_wasmtime.pool = 1000;
  check_all_deleted("room");
}

/* A thread that has less stack than a guest may use has another run it. */
static void *call_from_little(void *data) {
  char message[1024];
  struct core_program *program = load(data, message);
  struct core_pool *pool = core_pool_new(program);
  for (int i = 0; i < 6; i++) {
    fake_wasmtime.passes = i % 2 ? 3 : 1;
    fail_at(&scarce_threads, i == 2 || i == 3 ? 0 : -1, true);
    int32_t kind = call(program, pool, 0, ROWS);
    fail_at(&scarce_threads, -1, false);
    CHECK(kind == (i == 2 || i == 3 ? CORE_BUSY : DONE), "kind %d", kind);
  }
  fake_wasmtime.passes = 1;
  core_pool_free(pool);
  core_unload(program);
  return NULL;
}
static void small_stacks(void) {
  pthread_t thread;
  pthread_attr_t little;
  pthread_attr_init(&little);
  pthread_attr_setstacksize(&little, 2 << 20);
  check_still_works(); /* the clock's thread runs */
  CHECK(!pthread_create(&thread, &little, call_from_little, (void *)KINDS_OF_PLANS[3]), "no thread");
  pthread_join(thread, NULL);
  check_all_deleted("small stacks");
}

/* Programs work on in a child, which leaves the instances of before alone; a child of a child as well. */
static void forks(void) {
  char message[1024];
  struct core_program *programs[2] = {load(KINDS_OF_PLANS[1], message), load(KINDS_OF_PLANS[2], message)};
  struct core_pool *pools[2] = {core_pool_new(programs[0]), core_pool_new(programs[1])};
  for (int i = 0; i < 2; i++) CHECK(call(programs[i], pools[i], 0, ROWS) == DONE, "the first call fails");
  int depth = 0, status;
  pid_t child;
  while (depth < 2 && !(child = fork())) {
    depth++;
    for (int i = 0; i < 4; i++) CHECK(call(programs[i % 2], pools[i % 2], i == 2 ? DOES_TRAP : 0, ROWS) == (i == 2 ? CORE_TRAP : DONE), "a call in a child fails");
    limit_ns = SHORT_NS;
    CHECK(call(programs[0], pools[0], DOES_LOOP, ROWS) == CORE_TIMEOUT, "it was not stopped in a child");
    limit_ns = GENEROUS_NS;
  }
  if (depth < 2) CHECK(waitpid(child, &status, 0) == child && !status, "the child ended with %d", status);
  for (int i = 0; i < 2; i++) CHECK(call(programs[i], pools[i], 0, ROWS) == DONE, "the next call fails");
  for (int i = 0; i < 2; i++) { core_pool_free(pools[i]); core_unload(programs[i]); }
  if (depth) _exit(0); /* what is the parent's is left alone */
  check_all_deleted("forks");
}

/* Instances that rest are let go and free pools are emptied, while calls go on. */
static void *call_at_times(void *data) {
  struct core_pool *pool = data;
  for (int i = 0; i < 40; i++) {
    struct timespec pause = {0, i % 8 ? 200000 : 9000000};
    call(shared_program, pool, i % 5 ? 0 : DOES_TRAP, ROWS);
    nanosleep(&pause, NULL);
  }
  return NULL;
}
static void tidying(void) {
  enum { THREADS = 3 };
  pthread_t thread[THREADS];
  char message[1024];
  core_set(&(struct core_settings){500000000u, 2000000u, 4000000u, 4096});
  fake_wasmtime.pool = 5;
  shared_program = load(KINDS_OF_PLANS[1], message);
  struct core_pool *pool = core_pool_new(shared_program);
  for (int i = 0; i < THREADS; i++) CHECK(!pthread_create(&thread[i], NULL, call_at_times, pool), "no thread");
  for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
  for (int i = 0; i < 2000 && core_instances(); i++) nanosleep(&(struct timespec){0, 10000000}, NULL);
  CHECK(!core_instances(), "%u instances rest", core_instances());
  core_pool_free(pool);
  core_unload(shared_program);
  for (int i = 0; i < 2000 && fake_wasmtime.pooled; i++) nanosleep(&(struct timespec){0, 10000000}, NULL); /* pools that are being emptied */
  core_set(&UNTIDY);
  fake_wasmtime.pool = 1000;
}

static struct core_pool *shared_pools[2];
static void *call_often(void *data) {
  static const char acts[] = {0, 0, 0, 0, DOES_TRAP, DOES_GROW, DOES_WRITE, DOES_STATUS};
  for (uintptr_t i = 0; i < 250; i++) call(shared_program, shared_pools[(i + (uintptr_t)data) % 2], acts[(i * 7 + (uintptr_t)data) % sizeof acts], 1 + (int64_t)i % 5);
  return NULL;
}

static void threads(void) {
  enum { THREADS = 6 };
  pthread_t thread[THREADS];
  char message[1024];
  fake_wasmtime.pool = 4;
  shared_program = load(KINDS_OF_PLANS[1], message);
  for (int i = 0; i < 2; i++) shared_pools[i] = core_pool_new(shared_program);
  for (uintptr_t i = 0; i < THREADS; i++) CHECK(!pthread_create(&thread[i], NULL, call_often, (void *)i), "no thread");
  for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
  CHECK(core_stats(shared_program).calls == THREADS * 250, "%d calls were counted", (int)core_stats(shared_program).calls);
  for (int i = 0; i < 2; i++) core_pool_free(shared_pools[i]);
  core_unload(shared_program);
  fake_wasmtime.pool = 1000;
  check_all_deleted("threads");
}

static void bad_plans(void) {
  char message[1024];
  size_t bytes;
  struct plan *plan = plan_new(&MAKING, &bytes);
  for (size_t cut = 0; cut < bytes; cut++) {
    struct plan *exact = malloc(cut + !cut);
    memcpy(exact, plan, cut);
    CHECK(!core_load(exact, cut, NULL, NULL, message, sizeof message) && strstr(message, "damaged"), "%s", message);
    if (cut >= 16) { exact->bytes = (uint32_t)cut; struct core_program *p = core_load(exact, cut, NULL, NULL, message, sizeof message); if (p) core_unload(p); }
    free(exact);
  }
  for (uint32_t m = 0; m < 3; m++) /* code before something else would have that cut off */
    for (uint32_t at = 0; at < bytes; at++) {
      struct plan_module *module = (struct plan_module *)((char *)plan + plan->modules_at) + m, before = *module;
      module->code.at = at;
      struct core_program *p = core_load(plan, bytes, NULL, NULL, message, sizeof message);
      uint32_t tables_end = plan->modules_at + 3 * sizeof *module;
      CHECK(!p == (at < tables_end || at + before.code.bytes > bytes), "module %u at %u", m, at);
      if (p) core_unload(p);
      *module = before;
    }
  plan->struct_sizes++;
  CHECK(!core_load(plan, bytes, NULL, NULL, message, sizeof message) && strstr(message, "structs"), "%s", message);
  free(plan);
  check_all_deleted("bad plans");
  check_still_works();
}

/* ---- mapped files ---- */

enum { PAGES = 16, MAPPED_BY = 4 };
static sigjmp_buf elsewhere;
static void leave(int number) { siglongjmp(elsewhere, number); }

static size_t page_bytes(void) { return (size_t)sysconf(_SC_PAGESIZE); }

static int file_of(size_t bytes) {
  int file = memfd_create("mapped", 0);
  char *data = malloc(bytes);
  memset(data, 'x', bytes);
  CHECK(file >= 0 && pwrite(file, data, bytes, 0) == (ssize_t)bytes, "no file");
  free(data);
  return file;
}

/* Copies from and to a mapping while the file becomes smaller and larger. */
static void *copy_mapped(void *data) {
  size_t bytes = PAGES * page_bytes();
  uint8_t *copied = malloc(bytes);
  for (int round = 0; round < 200; round++) {
    int file = file_of(bytes);
    struct core_mapping *m = core_map(file, 0, bytes);
    CHECK(m && core_mapping_intact(m) >= bytes, "it was not mapped");
    CHECK(!ftruncate(file, (off_t)((size_t)round % PAGES * page_bytes())), "not truncated");
    memcpy(copied, core_mapping_data(m), bytes);
    memset(core_mapping_data(m), 'y', bytes);
    size_t intact = core_mapping_intact(m);
    CHECK(intact == (size_t)round % PAGES * page_bytes(), "%zu bytes are intact in round %d", intact, round);
    for (size_t i = 0; i < bytes; i++) CHECK(copied[i] == (i < intact ? 'x' : 0), "byte %zu is %d", i, copied[i]);
    core_unmap(m);
    close(file);
  }
  free(copied);
  return data;
}

static void map_files(void) {
  struct sigaction handler = {.sa_handler = leave, .sa_flags = SA_NODEFER};
  pthread_t thread[MAPPED_BY];
  size_t page = page_bytes();
  int file = file_of(2 * page);
  CHECK(!sigaction(SIGBUS, &handler, NULL), "no handler");
  CHECK(!core_map(file, 0, 0) && !core_map(file, UINT64_MAX, 1) && !core_map(file, 0, UINT64_MAX) && !core_map(-1, 0, 1), "strange ranges are mapped");
  struct core_mapping *m = core_map(file, page + 1, 1);
  uint8_t *others = mmap(NULL, page, PROT_READ, MAP_SHARED, file, 0);
  CHECK(m && *core_mapping_data(m) == 'x' && others != MAP_FAILED, "it was not mapped");
  CHECK(!ftruncate(file, 0) && !*core_mapping_data(m) && !core_mapping_intact(m), "the byte has not become 0");
  if (!sigsetjmp(elsewhere, 1)) { seen += *others; CHECK(false, "the handler before was not called"); }
  munmap(others, page);
  core_unmap(m);
  close(file);
  for (int i = 0; i < MAPPED_BY; i++) CHECK(!pthread_create(&thread[i], NULL, copy_mapped, NULL), "no thread");
  for (int i = 0; i < MAPPED_BY; i++) pthread_join(thread[i], NULL);
}

static const struct { const char *name; void (*run)(void); } TESTS[] = {
  {"failures", failures}, {"failures-for-good", failures_for_good}, {"no-memory", no_memory}, {"lies", lying}, {"small-memories", small_memories},
  {"pieces", pieces}, {"hosts", hosts}, {"renewing", renewing}, {"deadlines", deadlines}, {"late-ticks", late_ticks}, {"no-ticker", no_ticker}, {"room", room}, {"lending", lending}, {"small-stacks", small_stacks}, {"forks", forks}, {"tidying", tidying}, {"threads", threads}, {"bad-plans", bad_plans}, {"mappings", map_files}};

int main(int count, char **arguments) {
  const char *why;
  CHECK((why = core_open("/nowhere/libwasmtime.so")), "a library that is not there was opened");
  CHECK((why = core_open("libm.so.6")) && strstr(why, "different version"), "%s", why);
  CHECK(count >= 3, "usage: core_test LIBRARY TEST ...");
  CHECK(!(why = core_open(arguments[1])), "%s", why);
  core_set(&UNTIDY);
  for (int i = 2; i < count; i++)
    for (size_t k = 0; k < sizeof TESTS / sizeof *TESTS; k++)
      if (!strcmp(arguments[i], TESTS[k].name)) { TESTS[k].run(); printf("%s: passed\n", arguments[i]); fflush(stdout); }
  return 0;
}
