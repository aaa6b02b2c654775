/* Fuzzing the plan's reader: whatever the bytes say, `core_load` refuses them, or calls of the program read and write only what is theirs.
   The header's first fields are made right, so that mutations reach what lies behind them. */
#include "fake_wasmtime.h"
#include "made_plan.h"

#include <unistd.h>

static void prepare(const char *program) {
  char path[4096];
  const char *slash = strrchr(program, '/');
  snprintf(path, sizeof path, "%.*s/libfake_wasmtime.so", slash ? (int)(slash - program) : 1, slash ? program : ".");
  const char *why = core_open(path);
  CHECK(!why, "%s", why);
  core_set(&UNTIDY);
}
int LLVMFuzzerInitialize(int *count, char ***arguments) { (void)count; prepare((*arguments)[0]); return 0; }

static void call(struct core_program *program, struct core_pool *pool, char what) {
  const struct plan *p = core_plan(program);
  struct core_tensor tensors[MAX_TENSORS] = {0};
  uint8_t in[64], out[64 * MAX_TENSORS];
  struct core_piece in_piece = {in, sizeof in}, out_pieces[MAX_TENSORS];
  struct core_call *c = malloc(sizeof *c);
  memset(in, 1, sizeof in);
  in[0] = (uint8_t)what;
  memset(c, 0, offsetof(struct core_call, message));
  c->pool = pool; c->timeout_ns = 100000000u; c->in = tensors; c->out = tensors + p->inputs;
  for (uint32_t i = 0; i < p->inputs + p->outputs; i++) {
    out_pieces[i] = (struct core_piece){out + 64 * i, 64};
    tensors[i] = (struct core_tensor){.rank = 2, .pieces = 1, .bytes = 64, .piece = i < p->inputs ? &in_piece : &out_pieces[i], .dims = {4, 16}};
  }
  if (core_run(c, now_ns() + c->timeout_ns) == CORE_OPEN) core_abort(c);
  CHECK(!c->instance, "an instance is left");
  free(c);
}

static void use(struct core_program *program) {
  struct core_pool *pool = core_pool_new(program);
  static const char acts[] = {0, DOES_TRAP, DOES_WRITE, DOES_STATUS};
  for (size_t i = 0; i < sizeof acts; i++) call(program, pool, acts[i]);
  static const enum failure ways[] = {FAIL_INTERRUPT, FAIL_MEMORY, FAIL_EXIT};
  for (size_t i = 0; i < 3; i++) {
    fake_wasmtime.failure = ways[i];
    fail_at(&fake_wasmtime.failing, i == 0 ? 1 : 0, false);
    call(program, pool, 0);
    fail_at(&fake_wasmtime.failing, -1, false);
  }
  core_pool_free(pool);
}

static void output(void *data, int stream, const char *text, size_t bytes) { (void)data, (void)stream, (void)text, (void)bytes; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char why[256] = "";
  struct plan *plan = malloc(size ? size : 1);
  memcpy(plan, data, size);
  if (size >= sizeof *plan && data[0] == 'P') {
    memcpy(plan->magic, "PORTPLAN", 8);
    plan->version = PLAN_VERSION; plan->bytes = (uint32_t)size; plan->struct_sizes = core_struct_sizes();
    plan->max_stack = (plan->max_stack % 4 + 1) << 18; /* each makes an engine, which is kept */
  }
  struct core_program *program = core_load(plan, size, output, NULL, why, sizeof why);
  free(plan);
  CHECK(program || *why, "it was refused without a word");
  if (program) { use(program); core_unload(program); }
  check_balance(fake_wasmtime.counters, FIRST_COUNTED, WASMTIME_KINDS, "a plan");
  return 0;
}
