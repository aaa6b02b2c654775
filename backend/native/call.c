/* Guest calls: the adapter places the tensors, inputs are copied to its addresses, the guest runs, and outputs are copied from the
   addresses that the adapter reports. Every number that the adapter writes is checked before it is used. */
#include "instance.h"

#define STACK_RESERVE (512u << 10) /* part of a thread's stack for the callers of the guest, and for host functions */
#define LATEST_NS (UINT64_MAX / 2)

static const struct plan *plan_of(const struct core_call *c) { return c->pool->program->plan; }

static int32_t broken(struct core_call *c, const char *what) { return fail(c, INTERNAL, "%s", what); }

/* ---- begin and end of a call ---- */

static bool rewind_pays(const struct core_program *p) { return p->grown <= 8 || 4 * p->grown < p->restored; }

/* Whether the instance is reused: not after a failure, not if rewinding it costs more than a new one, and not if it was created outside the
   pool, because its memory would remain allocated after a load peak. */
static bool is_reusable(const struct core_instance *b, int32_t kind) {
  uint32_t flags = b->program->plan->flags;
  if ((kind && kind != INPUT) || b->fork != atomic_load(&core_forks) || (b->extra && !(flags & STATEFUL))) return false;
  return flags & KEEPS || !b->dirty || (flags & REWINDS_INSTANCE && rewind_pays(b->program));
}

/* End the call: forward the guest's output, update counters, and return the instance to its pool or free it. */
static int32_t over(struct core_call *c, int32_t kind) {
  struct core_instance *b = c->instance;
  struct core_program *p = c->pool->program;
  uint64_t size = b && p->plan->flags & HAS_MEMORY ? p_wasmtime_memory_data_size(b->context, &b->tensors) : 0;
  if (b) host_forward_output(b);
  pthread_mutex_lock(&core_lock);
  p->stats.calls++;
  p->stats.traps += kind == CORE_TRAP;
  p->stats.timeouts += kind == CORE_TIMEOUT;
  if (c->ended_ns > c->started_ns) p->stats.guest_ns += c->ended_ns - c->started_ns;
  p->stats.high_water = greater(p->stats.high_water, size);
  bool again = b && is_reusable(b, kind);
  if (again) { b->next = c->pool->idle; c->pool->idle = b; }
  pthread_mutex_unlock(&core_lock);
  if (again) engines_tidy(NULL); else if (b) core_release(b);
  c->instance = NULL;
  return kind;
}

/* ---- the adapter ---- */

static int32_t guest_call(struct core_call *c, int function, uint32_t first, uint32_t second, int32_t *status) {
  struct core_instance *b = c->instance;
  Raw raw[2] = {{.i64 = first}, {.i64 = second}};
  void *trap = NULL, *error = p_wasmtime_func_call_unchecked(b->context, &b->functions[function], raw, 2, &trap);
  if (error || trap) return failed(c, b, error, trap);
  *status = raw[0].i32;
  return DONE;
}

/* Append `before` and the adapter's message, if there is one. False if it is outside the message buffer. */
static bool say_its_message(struct core_call *c, const char *before) {
  const struct control *k = c->instance->control;
  uint32_t at = k->message, bytes = k->message_bytes;
  if (!bytes) return true;
  if (at < MESSAGE_AT || bytes > MESSAGE_BYTES || at > MESSAGE_AT + MESSAGE_BYTES - bytes) return false;
  append_text(c, "%s", before);
  append_bytes(c, (const char *)k - CONTROL_AT + at, bytes);
  return true;
}

/* Append the guest's own message about its failure. If `portalis_error` fails too, the first failure is still reported. */
static void explain(struct core_call *c, const char *before) {
  struct core_call other = *c;
  int32_t status;
  if (!guest_call(&other, EXPLAIN, 0, 0, &status)) say_its_message(c, before);
  else append_text(c, "%s(portalis_error failed: %.*s)", before, (int)smaller(strcspn(other.message, "\n"), 1023), other.message);
}

/* Report the error status of a function of the adapter. */
static int32_t refused(struct core_call *c, int32_t status) {
  bool says = c->instance->control->message_bytes && status >= INPUT && status <= INTERNAL;
  begin_message(c, status);
  if (!says || !say_its_message(c, "")) return broken(c, "the adapter broke its contract");
  if (status == STATUS) explain(c, ": ");
  return c->kind;
}

/* Call a function of the adapter: DONE, RENEW, or an error. */
static int32_t call_adapter(struct core_call *c, int function, uint32_t first, uint32_t second) {
  int32_t status;
  TRY(guest_call(c, function, first, second, &status));
  return status == DONE || status == RENEW ? status : refused(c, status);
}

static int32_t try_place(struct core_call *c) {
  struct control *k = c->instance->control;
  for (uint32_t i = 0; i < plan_of(c)->inputs; i++) {
    k->t[i].rank = c->in[i].rank;
    k->t[i].bytes = c->in[i].bytes;
    k->t[i].slice = 0;
    memcpy(k->t[i].dims, c->in[i].dims, sizeof k->t[i].dims);
  }
  return call_adapter(c, PLACE, 0, 0);
}

uint64_t call_bytes(const struct core_call *c) {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < plan_of(c)->inputs; i++) bytes += c->in[i].rank < 0 ? 0 : c->in[i].bytes;
  return bytes;
}

/* Replace an instance that cannot be rewound, or whose tensor block is too small. */
static int32_t renew(struct core_call *c) {
  host_forward_output(c->instance); /* an allocator can write output, too */
  core_release(c->instance);
  c->instance = NULL;
  TRY(instance_new(c));
  return try_place(c);
}

/* Rewind the instance to its initial state. */
static int32_t restore(struct core_call *c) {
  struct core_program *p = c->instance->program;
  TRY(call_adapter(c, RESTORE, 0, 0));
  HOLD(&core_lock);
  p->restored++;
  p->grown += c->instance->control->grew != 0;
  return DONE;
}

static int32_t place(struct core_call *c) {
  uint32_t flags = plan_of(c)->flags;
  int32_t kind = flags & REWINDS_INSTANCE && c->instance->dirty && !(flags & KEEPS) ? restore(c) : DONE;
  if (!kind) kind = try_place(c);
  for (int i = 0; i < 2 && kind == RENEW; i++) kind = renew(c);
  return kind == RENEW ? refused(c, RENEW) : kind;
}

/* ---- bytes ---- */

/* `bytes` bytes at `from` of the memory that contains the tensors, or NULL unless all are inside. */
static uint8_t *inside(const struct core_instance *b, uint64_t from, uint64_t bytes) {
  uint64_t size = p_wasmtime_memory_data_size(b->context, &b->tensors);
  return from <= size && bytes <= size - from ? p_wasmtime_memory_data(b->context, &b->tensors) + from : NULL;
}

/* Copy `bytes` bytes of a tensor, from `from` on, between its pieces and the guest's memory. False if the pieces have fewer. */
static bool copy(const struct core_tensor *t, uint64_t from, uint64_t bytes, uint8_t *memory, bool in) {
  for (uint32_t j = 0; j < t->pieces && bytes; j++) {
    struct core_piece piece = t->piece[j];
    if (from >= piece.bytes) { from -= piece.bytes; continue; }
    uint64_t n = smaller(piece.bytes - from, bytes);
    if (in) memcpy(memory, piece.data + from, n);
    else if (piece.data) memcpy(piece.data + from, memory, n);
    memory += n; bytes -= n; from = 0;
  }
  return !bytes;
}

/* Copy the inputs or the outputs of one pass. */
static int32_t copy_pass(struct core_call *c, uint32_t pass, bool in) {
  const struct plan *p = plan_of(c);
  for (uint32_t i = 0, n = in ? p->inputs : p->outputs; i < n; i++) {
    const struct core_tensor *t = (in ? c->in : c->out) + i;
    uint64_t from;
    if (in ? t->rank < 0 || (pass && !t->slice) : !t->pieces) continue;
    if (__builtin_mul_overflow(t->slice, pass, &from) || from > t->bytes) return broken(c, "the adapter reads past the end of a tensor");
    uint64_t bytes = smaller(t->slice ? t->slice : t->bytes, t->bytes - from);
    uint8_t *at = inside(c->instance, c->instance->control->t[in ? i : p->inputs + i].at, bytes);
    if (!at && in) return broken(c, "the adapter placed an input outside the guest's memory");
    if (!at && bytes) return broken(c, "the adapter reports an output outside the guest's memory");
    if (!copy(t, from, bytes, at, in) && in) return broken(c, "an input has fewer bytes than its shape requires");
  }
  return DONE;
}

/* Read the adapter's description of an output once, and check it before it is used for copying. */
static int32_t take_output(struct core_call *c, uint32_t i) {
  const struct plan_tensor *spec = plan_tensors(plan_of(c)) + plan_of(c)->inputs + i;
  struct tensor k = c->instance->control->t[plan_of(c)->inputs + i];
  struct core_tensor *t = &c->out[i];
  uint64_t bytes = spec->item;
  bool serialized = spec->dtype == TYPE_BYTES;
  if (k.rank < 0 || k.rank > MAX_OUT_RANK) return broken(c, "the adapter reports an output with an invalid rank");
  for (int d = 0; d < k.rank; d++)
    if (k.dims[d] < 0 || __builtin_mul_overflow(bytes, (uint64_t)k.dims[d], &bytes))
      return broken(c, "the adapter reports an output with an invalid shape");
  if ((!serialized && bytes != k.bytes) || (!c->passes && k.bytes)) return broken(c, "the adapter reports an output with an invalid size");
  if (c->passes > 1 && (serialized || !k.slice || k.bytes / k.slice + (k.bytes % k.slice != 0) != c->passes))
    return broken(c, "the adapter reports an output with an invalid slice");
  c->changed |= t->rank != k.rank || memcmp(t->dims, k.dims, (size_t)k.rank * sizeof *k.dims);
  t->rank = k.rank;
  t->bytes = k.bytes;
  t->slice = c->passes > 1 ? k.slice : 0;
  memcpy(t->dims, k.dims, (size_t)k.rank * sizeof *k.dims);
  t->data = c->passes > 1 ? NULL : k.bytes ? inside(c->instance, k.at, k.bytes) : (const uint8_t *)"";
  return c->passes == 1 && !t->data ? broken(c, "the adapter reports an output outside the guest's memory") : DONE;
}

/* ---- calls ---- */

static int32_t run_pass(struct core_call *c, uint32_t pass) {
  TRY(copy_pass(c, pass, true));
  c->instance->dirty = true;
  int32_t kind = call_adapter(c, RUN, pass, c->generation);
  return kind == RENEW ? refused(c, RENEW) : kind;
}

static int32_t first_pass(struct core_call *c) {
  int32_t kind = DONE;
  TRY(place(c));
  const struct control *k = c->instance->control;
  c->passes = k->passes; c->generation = k->generation;
  for (uint32_t i = 0; i < plan_of(c)->inputs; i++) c->in[i].slice = c->passes > 1 ? k->t[i].slice : 0;
  c->started_ns = now_ns();
  if (c->passes) kind = run_pass(c, 0);
  c->ended_ns = now_ns();
  for (uint32_t i = 0; i < plan_of(c)->outputs && !kind; i++) kind = take_output(c, i);
  return kind;
}

static int32_t begin_call(struct core_call *c) {
  c->instance = pool_take(c->pool, call_bytes(c), c->deadline_ns - c->timeout_ns);
  int32_t kind = c->instance ? instance_arm(c, c->instance) : instance_new(c);
  if (!kind) kind = first_pass(c);
  if (!kind) return DONE;
  if (kind == CORE_TRAP && c->instance) explain(c, "\nthe guest's message: ");
  return over(c, kind);
}

static int32_t end_call(struct core_call *c) {
  int32_t kind = c->passes ? copy_pass(c, 0, false) : DONE;
  for (uint32_t pass = 1; pass < c->passes && !kind; pass++) {
    if (!(kind = run_pass(c, pass))) kind = copy_pass(c, pass, false);
    c->ended_ns = now_ns();
  }
  if (kind == CORE_TRAP) explain(c, "\nthe guest's message: ");
  return over(c, kind);
}

/* ---- stacks: wasmtime does not check a thread's own bounds; if its stack is too small for the guest, a new thread runs it ---- */

struct errand { struct core_call *call; int32_t (*run)(struct core_call *); int32_t kind; };

static void *run_errand(void *data) {
  struct errand *e = data;
  e->kind = e->run(e->call);
  return NULL;
}

static size_t stack_of_this_thread(void) {
  static _Thread_local size_t size;
  pthread_attr_t attributes;
  void *where;
  if (size) return size;
  size = 512u << 10; /* if the operating system does not report it */
  if (pthread_getattr_np(pthread_self(), &attributes)) return size;
  pthread_attr_getstack(&attributes, &where, &size);
  pthread_attr_destroy(&attributes);
  return size;
}

static int32_t with_stack(struct core_call *c, int32_t (*run)(struct core_call *)) {
  size_t need = ((size_t)plan_of(c)->max_stack + STACK_RESERVE + 65535) & ~(size_t)65535;
  struct errand e = {c, run, DONE};
  pthread_attr_t attributes;
  pthread_t thread;
  if (need <= stack_of_this_thread()) return run(c);
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, need);
  int problem = pthread_create(&thread, &attributes, run_errand, &e);
  pthread_attr_destroy(&attributes);
  if (!problem) { pthread_join(thread, NULL); return e.kind; }
  return over(c, fail(c, CORE_BUSY, "cannot start a thread with a stack of %zu bytes for the guest: %s", need, strerror(problem)));
}

static int32_t begin_until(struct core_call *c, uint64_t deadline_ns) {
  begin_message(c, DONE);
  c->instance = NULL; c->passes = 0; c->started_ns = c->ended_ns = 0; c->changed = false;
  c->deadline_ns = smaller(deadline_ns, LATEST_NS);
  return with_stack(c, begin_call);
}

int32_t core_begin(struct core_call *c) { return begin_until(c, now_ns() + smaller(c->timeout_ns, LATEST_NS)); }

int32_t core_end(struct core_call *c) { return c->passes > 1 ? with_stack(c, end_call) : end_call(c); }

void core_abort(struct core_call *c) { over(c, DONE); }

int32_t core_run(struct core_call *c, uint64_t deadline_ns) {
  TRY(begin_until(c, deadline_ns));
  for (uint32_t i = 0; i < plan_of(c)->outputs; i++) c->changed |= c->out[i].pieces != 1 || c->out[i].piece[0].bytes != c->out[i].bytes;
  return c->changed ? CORE_OPEN : core_end(c);
}

int32_t core_lend(struct core_call *c, uint64_t deadline_ns) {
  TRY(begin_until(c, deadline_ns));
  if (c->passes != 1 || !(plan_of(c)->flags & SIGNALS)) return CORE_OPEN; /* without signals a memory can move when it grows */
  struct core_instance *b = c->instance;
  atomic_fetch_add(&b->references, 1);
  over(c, DONE);
  c->instance = b;
  return DONE;
}
