/* One execution: converts Triton's requests to calls of the core, and the results to responses. Requests with matching shapes are joined
   into one call along axis 0. If it fails, each runs alone, so that an error affects only its own request (as in `batch/batch.py`). */
#include "triton_layer.h"

#include <sched.h>

#define INVALID(...) error_f(ERROR_INVALID_ARG, __VA_ARGS__)
#define MIN_TRY_NS 10000000u                      /* minimum length of a try */
enum { TRIES = 4, MAX_THREADS = 64, ALONE = -1 }; /* TRIES: all short tries together take 1/TRIES of a time limit */

struct copy { struct copy *next; uint64_t data[]; }; /* a copy of an input in GPU memory */

struct job {
  Request *request;                 /* NULL: the response was sent */
  Response *response;
  Error *error;
  struct core_tensor *in;           /* with their pieces */
  uint64_t timeout_ns, patience_ns; /* of the guest; of the request in Triton's queue, 0: none */
  int64_t rows;                     /* in a joined call, or ALONE */
  struct job *next, *last;          /* next: in its group; last: of the group, in its first job */
  int64_t total;                    /* in the first job: rows of the group */
};

struct batch {
  struct core_pool *pool;
  const struct plan *plan;
  ModelInstance *triton;
  struct copy *copies;
  uint64_t began_ns, first_ns, last_ns, rows; /* begin of the first guest call, end of the last; rows without an error */
  pthread_mutex_t lock;                       /* guards them */
};

/* ---- requests ---- */

static Error *read_parameter(struct job *job, const char *key, int type, const void *value) {
  char shown[160] = "no number", *end;
  if (strcmp(key, "wasm.timeout_ms")) return INVALID("request parameter %.128s is unknown: a request can set wasm.timeout_ms", key);
  if (type == PARAMETER_INT) snprintf(shown, sizeof shown, "%ld", *(const int64_t *)value);
  else if (type == PARAMETER_DOUBLE) snprintf(shown, sizeof shown, "%.17g", *(const double *)value);
  else if (type == PARAMETER_BOOL) snprintf(shown, sizeof shown, "%s", *(const bool *)value ? "true" : "false");
  else if (type == PARAMETER_STRING) snprintf(shown, sizeof shown, "'%.120s'", (const char *)value);
  const char *number = type == PARAMETER_STRING ? value : shown;
  double ms = strtod(number, &end);
  if (end == number || *end || !(ms > 0 && ms < 1e12))
    return INVALID("request parameter wasm.timeout_ms is %s: use a number of milliseconds above 0", shown);
  job->timeout_ns = smaller(job->timeout_ns, greater(1, (uint64_t)(ms * 1e6)));
  return NULL;
}

static Error *read_limits(const struct plan *p, struct job *job) {
  uint32_t count = 0;
  uint64_t patience_us = 0;
  const char *key;
  const void *value;
  int type;
  job->timeout_ns = p->timeout_ns;
  TRY(TRITONBACKEND_RequestParameterCount(job->request, &count));
  for (uint32_t i = 0; i < count; i++) {
    TRY(TRITONBACKEND_RequestParameter(job->request, i, &key, &type, &value));
    if (!strncmp(key, "wasm.", 5)) TRY(read_parameter(job, key, type, value));
  }
  TRY(TRITONBACKEND_InferenceRequestTimeoutMicroseconds(job->request, &patience_us));
  job->patience_ns = patience_us < UINT64_MAX / 1000 ? patience_us * 1000 : 0;
  if (job->patience_ns) job->timeout_ns = smaller(job->timeout_ns, job->patience_ns);
  return NULL;
}

static Error *read_piece(struct batch *b, Input *input, uint32_t number, const char *name, struct core_piece *piece) {
  int type = MEMORY_CPU;
  int64_t device = 0;
  const void *data;
  TRY(TRITONBACKEND_InputBuffer(input, number, &data, &piece->bytes, &type, &device));
  piece->data = (uint8_t *)data;
  if (type != MEMORY_GPU) return NULL;
  struct copy *copy = piece->bytes < SIZE_MAX / 2 ? malloc(sizeof *copy + piece->bytes) : NULL;
  if (!copy) return error_f(ERROR_UNAVAILABLE, "out of memory");
  copy->next = b->copies;
  b->copies = copy;
  piece->data = (uint8_t *)copy->data;
  const char *wrong = gpu_read(copy->data, data, piece->bytes, device);
  return wrong ? INVALID("input '%s' is in GPU memory, and %s: send it from host memory", name, wrong) : NULL;
}

static Error *read_input(struct batch *b, struct core_tensor *t, Input *input, uint32_t i) {
  const struct plan_tensor *s = plan_tensors(b->plan) + i;
  const char *name = plan_tensor_name(b->plan, i);
  const int64_t *dims;
  uint32_t rank, buffers;
  int dtype;
  TRY(TRITONBACKEND_InputProperties(input, NULL, &dtype, &dims, &rank, &t->bytes, &buffers));
  if (dtype != (int)s->dtype) return INVALID("input '%s' has a different data type than the model's input", name);
  uint64_t bytes = s->item;
  for (uint32_t k = 0; k < rank; k++) {
    if (dims[k] < 0 || __builtin_mul_overflow(bytes, (uint64_t)dims[k], &bytes))
      return INVALID("input '%s' has an invalid shape", name);
    if (k < MAX_OUT_RANK) t->dims[k] = dims[k];
  }
  t->rank = (int32_t)rank - (!s->rank && rank && dims[rank - 1] == 1); /* in Triton a scalar is a vector of one element */
  if (dtype != TYPE_BYTES && bytes != t->bytes) return INVALID("input '%s' has %lu bytes, but its shape %lu", name, t->bytes, bytes);
  if (!(t->piece = malloc((buffers + 1) * sizeof *t->piece))) return error_f(ERROR_UNAVAILABLE, "out of memory");
  for (; t->pieces < buffers; t->pieces++) TRY(read_piece(b, input, t->pieces, name, &t->piece[t->pieces]));
  return NULL;
}

/* The error of a request that expired or was cancelled while it waited. */
static Error *outlived(const struct batch *b, const struct job *job) {
  bool cancelled = false;
  if (job->patience_ns && now_ns() - b->began_ns > job->patience_ns)
    return error_f(ERROR_CANCELLED, "the request expired before it was run");
  drop(TRITONBACKEND_RequestIsCancelled(job->request, &cancelled));
  return cancelled ? error_f(ERROR_CANCELLED, "the request was cancelled before it was run") : NULL;
}

static Error *read_request(struct batch *b, struct job *job) {
  uint32_t count, taken = 0;
  TRY(outlived(b, job));
  TRY(read_limits(b->plan, job));
  TRY(TRITONBACKEND_RequestInputCount(job->request, &count));
  for (uint32_t i = 0; i < b->plan->inputs; i++) {
    const char *name = plan_tensor_name(b->plan, i);
    Input *input;
    Error *missing = TRITONBACKEND_RequestInput(job->request, name, &input);
    drop(missing);
    job->in[i].rank = -1;
    if (missing && !plan_tensors(b->plan)[i].optional) return INVALID("input '%s' is missing", name);
    if (missing) continue;
    TRY(read_input(b, &job->in[i], input, i));
    taken++;
  }
  return taken == count ? NULL : INVALID("the request has unknown inputs");
}

/* ---- groups ---- */

/* The number of rows of all inputs of a request along axis 0; ALONE if it cannot be joined. */
static int64_t rows_of(const struct plan *p, const struct job *job) {
  int64_t rows = ALONE;
  int32_t loops = -1;
  for (uint32_t i = 0; i < p->inputs; i++) {
    const struct core_tensor *t = &job->in[i];
    if (t->rank < 0) continue;
    if (t->rank < 1 || t->rank > MAX_RANK || (rows >= 0 && t->dims[0] != rows)) return ALONE;
    if (!(p->flags & EXACT)) { /* axis 0 must be a loop dimension of all of them */
      int32_t mine = t->rank - (int32_t)plan_tensors(p)[i].cores;
      if (mine < 1 || (loops >= 0 && mine != loops)) return ALONE;
      loops = mine;
    }
    rows = t->dims[0];
  }
  return rows;
}

static bool joinable(const struct plan *p, const struct job *first, const struct job *other) {
  if (first->rows < 0 || other->rows < 0 || first->timeout_ns != other->timeout_ns) return false;
  if (p->flags & EXACT && first->total + other->rows > p->max_batch) return false;
  for (uint32_t i = 0; i < p->inputs; i++) {
    const struct core_tensor *a = &first->in[i], *b = &other->in[i];
    if (a->rank != b->rank || (a->rank > 1 && memcmp(a->dims + 1, b->dims + 1, ((size_t)a->rank - 1) * sizeof *a->dims))) return false;
  }
  return true;
}

/* Fill `queue` with the first job of each group, which is one guest call; returns the number of groups. */
static uint32_t group(const struct plan *p, struct job *jobs, uint32_t count, struct job **queue) {
  uint32_t groups = 0;
  for (struct job *job = jobs; job < jobs + count; job++) {
    uint32_t g = 0;
    if (!job->request) continue;
    job->last = job;
    job->total = job->rows = p->flags & JOINS ? rows_of(p, job) : ALONE;
    while (g < groups && !joinable(p, queue[g], job)) g++;
    if (g == groups) { queue[groups++] = job; continue; }
    queue[g]->last->next = job;
    queue[g]->last = job;
    queue[g]->total += job->rows;
  }
  return groups;
}

/* ---- responses ---- */

static Error *error_of(const struct plan *p, const struct core_call *c) {
  int32_t kind = c->kind;
  bool named = kind != INPUT && kind != CORE_BUSY && kind != INTERNAL, is_its = kind == INPUT || kind == STATUS || kind == MEMORY;
  int code = is_its ? ERROR_INVALID_ARG : kind == CORE_TIMEOUT || kind == CORE_BUSY ? ERROR_UNAVAILABLE : ERROR_INTERNAL;
  char text[CORE_MESSAGE + 1024], plain[TEXT_ROOM];
  size_t n = named ? smaller((uint64_t)snprintf(text, 1024, "entry '%s': ", plan_at(p, p->entry.at)), 1023) : 0;
  memcpy(text + n, c->message, c->message_bytes);
  text_plain(text, n + c->message_bytes, plain);
  return TRITONSERVER_ErrorNew(code, plain);
}

static Error *make_output(const struct batch *b, struct job *job, uint32_t i, const struct core_tensor *t, struct core_piece *piece) {
  const struct plan_tensor *s = plan_tensors(b->plan) + b->plan->inputs + i;
  const char *name = plan_tensor_name(b->plan, b->plan->inputs + i);
  Output *made;
  int64_t dims[MAX_OUT_RANK + 1], device = 0;
  uint32_t rank = (uint32_t)t->rank;
  int type = MEMORY_CPU;
  memcpy(dims, t->dims, sizeof t->dims);
  if (job->rows >= 0) dims[0] = job->rows;
  if (!s->rank) dims[rank++] = 1;
  TRY(TRITONBACKEND_ResponseOutput(job->response, &made, name, (int)s->dtype, dims, rank));
  TRY(TRITONBACKEND_OutputBuffer(made, (void **)&piece->data, piece->bytes, &type, &device));
  if (type != MEMORY_GPU) return NULL;
  piece->data = NULL;
  return error_f(ERROR_UNSUPPORTED, "output '%s' is requested in GPU memory, which this backend does not write: request host memory",
                 name);
}

/* Create a response with buffers for the requested outputs. In a joined call each output has `step` pieces. */
static Error *make_response(const struct batch *b, struct job *job, const struct core_tensor *out, struct core_piece *pieces,
                            uint32_t step) {
  uint32_t asked;
  const char *name;
  TRY(TRITONBACKEND_ResponseNew(&job->response, job->request));
  TRY(TRITONBACKEND_RequestOutputCount(job->request, &asked));
  for (uint32_t k = 0; k < asked; k++) {
    TRY(TRITONBACKEND_RequestOutputName(job->request, k, &name));
    for (uint32_t i = 0; i < b->plan->outputs; i++)
      if (!strcmp(name, plan_tensor_name(b->plan, b->plan->inputs + i))) TRY(make_output(b, job, i, &out[i], &pieces[i * step]));
  }
  return NULL;
}

static void forget_response(struct job *job) {
  if (job->response) drop(TRITONBACKEND_ResponseDelete(job->response));
  job->response = NULL;
}

static void send_response(struct batch *b, struct job *job, uint64_t first_ns, uint64_t last_ns) {
  bool well = !job->error;
  if (!well) forget_response(job);
  Error *failed = job->response ? NULL : TRITONBACKEND_ResponseNew(&job->response, job->request);
  if (!failed) drop(TRITONBACKEND_ResponseSend(job->response, COMPLETE_FINAL, job->error));
  drop(failed);
  drop(TRITONBACKEND_ModelInstanceReportStatistics(b->triton, job->request, well, b->began_ns, first_ns, last_ns, now_ns()));
  drop(job->error);
  drop(TRITONBACKEND_RequestRelease(job->request, RELEASE_ALL));
  job->request = NULL;
}

static void send_error(struct batch *b, struct job *job, Error *error) {
  uint64_t now = now_ns();
  job->error = error;
  send_response(b, job, now, now);
}

/* ---- calls ---- */

#define EACH(job, first) (struct job *job = first; job; job = job->next)

/* Join the inputs of a group in `tensors`; their pieces are stored in `pieces`. */
static void join(uint32_t inputs, struct job *first, struct core_tensor *tensors, struct core_piece *pieces) {
  for (uint32_t i = 0; i < inputs; i++) {
    struct core_tensor *t = &tensors[i];
    *t = first->in[i];
    t->piece = pieces;
    t->pieces = 0;
    t->bytes = 0;
    if (t->rank > 0 && first->next) t->dims[0] = first->total;
    for EACH(job, first) {
      const struct core_tensor *from = &job->in[i];
      if (from->pieces) memcpy(pieces, from->piece, from->pieces * sizeof *pieces);
      pieces += from->pieces; t->pieces += from->pieces; t->bytes += from->bytes;
    }
  }
}

/* The size of the next `count` elements of serialized BYTES, which the adapter has counted. */
static uint64_t span_of(const uint8_t *data, uint64_t bytes, uint64_t count) {
  uint64_t at = 0;
  while (count-- && bytes - at >= 4) {
    uint32_t length;
    memcpy(&length, data + at, 4);
    at += 4;
    at += smaller(length, bytes - at);
  }
  return at;
}

/* Split an output into `pieces`, one per request. False if they do not cover the output. */
static bool share(struct job *first, const struct plan_tensor *s, struct core_tensor *t, struct core_piece *pieces) {
  uint64_t from = 0, each = 1;
  t->piece = pieces;
  if (!first->next) { pieces->bytes = t->bytes; t->pieces = 1; return true; }
  if (t->rank < 1 || t->dims[0] != first->total) return false;
  for (int k = 1; k < t->rank; k++) each *= (uint64_t)t->dims[k];
  for EACH(job, first) {
    uint64_t elements = each * (uint64_t)job->rows;
    struct core_piece *piece = &pieces[t->pieces++];
    piece->bytes = s->dtype == TYPE_BYTES && t->data ? span_of(t->data + from, t->bytes - from, elements) : elements * s->item;
    from += piece->bytes;
  }
  return from == t->bytes;
}

/* Create the responses of a group, and copy the outputs to them. */
static int32_t respond(const struct batch *b, struct job *first, uint32_t count, struct core_call *c, struct core_piece *pieces) {
  const struct plan_tensor *specs = plan_tensors(b->plan) + b->plan->inputs;
  for (uint32_t i = 0; i < b->plan->outputs; i++) {
    if (share(first, &specs[i], &c->out[i], pieces + (uint64_t)i * count)) continue;
    core_abort(c);
    return fail(c, INTERNAL, "the adapter reports a joined output with an invalid shape");
  }
  if (count == 1) first->rows = ALONE; /* its response has the output's own shape */
  for EACH(job, first) job->error = make_response(b, job, c->out, pieces++, count);
  return core_end(c);
}

static void note(struct batch *b, const struct core_call *c, int32_t kind) {
  const struct core_tensor *t = &c->in[0];
  HOLD(&b->lock);
  if (!b->first_ns) b->first_ns = c->started_ns;
  b->last_ns = c->ended_ns;
  if (!kind) b->rows += t->rank > 0 && b->plan->max_batch > 0 ? (uint64_t)t->dims[0] : 1;
}

/* Run one guest call for a group; send its responses if it succeeds. */
static int32_t run(struct batch *b, struct job *first, uint64_t timeout_ns, struct core_call *c) {
  uint32_t count = 0, pieces = 0, inputs = b->plan->inputs, outputs = b->plan->outputs;
  for EACH(job, first) {
    count++;
    for (uint32_t i = 0; i < inputs; i++) pieces += job->in[i].pieces;
  }
  size_t tensor_bytes = (inputs + outputs) * sizeof *c->in;
  c->in = calloc(1, tensor_bytes + (pieces + (uint64_t)outputs * count) * sizeof(struct core_piece));
  if (!c->in) return fail(c, CORE_BUSY, "out of memory");
  struct core_piece *all = (struct core_piece *)((char *)c->in + tensor_bytes);
  c->out = c->in + inputs;
  c->pool = b->pool;
  c->timeout_ns = timeout_ns;
  join(inputs, first, c->in, all);
  int32_t kind = core_begin(c);
  if (!kind) kind = respond(b, first, count, c, all + pieces);
  if (!c->started_ns) c->started_ns = b->began_ns;
  if (!c->ended_ns) c->ended_ns = now_ns();
  note(b, c, kind);
  for EACH(job, first) {
    if (!kind) { send_response(b, job, c->started_ns, c->ended_ns); continue; }
    drop(job->error);
    job->error = NULL;
    forget_response(job);
  }
  free(c->in);
  return kind;
}

/* ---- the order of the calls ---- */

struct late { struct batch *batch; struct job **jobs; uint32_t count; _Atomic uint32_t taken; };

static void *run_some_late(void *data) {
  struct late *l = data;
  struct core_call c;
  for (uint32_t i; (i = l->taken++) < l->count;) {
    struct job *job = l->jobs[i];
    Error *error = outlived(l->batch, job);
    if (!error && run(l->batch, job, job->timeout_ns, &c)) error = error_of(l->batch->plan, &c);
    if (error) send_error(l->batch, job, error);
  }
  return NULL;
}

/* Run the jobs that exceeded their try, each with its full time limit, in parallel on the CPUs: a good request does not wait for endless
   ones. */
static void run_late(struct batch *b, struct job **jobs, uint32_t count) {
  struct late l = {b, jobs, count, 0};
  pthread_t threads[MAX_THREADS];
  cpu_set_t cpus;
  bool alone = b->plan->flags & STATEFUL || sched_getaffinity(0, sizeof cpus, &cpus);
  uint64_t started = 0, most = smaller(alone ? 1 : (uint64_t)CPU_COUNT(&cpus), smaller(count, MAX_THREADS));
  while (started + 1 < most && !pthread_create(&threads[started], NULL, run_some_late, &l)) started++;
  run_some_late(&l);
  while (started) pthread_join(threads[--started], NULL);
}

/* Handle a failed group: append its requests to `queue` to run one by one, or send the error. */
static void sort(struct batch *b, struct job *first, const struct core_call *c, struct job **queue, uint32_t *count) {
  bool again = first->next && c->kind != CORE_BUSY; /* not caused by a request: each would wait for the same capacity */
  for (struct job *job = first, *next; job; job = next) {
    next = job->next;
    job->next = NULL;
    if (again) queue[(*count)++] = job;
    else send_error(b, job, error_of(b->plan, c));
  }
}

/* Run the groups in `queue`. After the first timeout the remaining ones get short tries, which together take a part of one time limit. */
static void run_groups(struct batch *b, struct job **queue, uint32_t count, struct job **late) {
  struct core_call c;
  uint32_t lates = 0;
  uint64_t tries_ns = 0;
  bool tries = false;
  for (uint32_t g = 0; g < count; g++) {
    struct job *first = queue[g];
    Error *gone = g && !first->next ? outlived(b, first) : NULL;
    if (gone) { send_error(b, first, gone); continue; }
    uint64_t whole = first->timeout_ns, began = now_ns();
    uint64_t limit = tries ? smaller(whole, greater(MIN_TRY_NS, tries_ns / (count - g))) : whole;
    int32_t kind = run(b, first, limit, &c);
    if (tries) tries_ns -= smaller(tries_ns, now_ns() - began);
    else if (kind == CORE_TIMEOUT) { tries = true; tries_ns = whole / TRIES; }
    if (kind == CORE_TIMEOUT && limit < whole && !first->next) late[lates++] = first;
    else if (kind) sort(b, first, &c, queue, &count);
  }
  if (lates) run_late(b, late, lates);
}

Error *execute(struct model *m, struct core_pool *pool, ModelInstance *triton, Request **requests, uint32_t count) {
  struct batch b = {pool, m->plan, triton, .began_ns = now_ns(), .lock = PTHREAD_MUTEX_INITIALIZER};
  uint64_t inputs = (uint64_t)count * b.plan->inputs;
  /* the queue contains each job at most twice, in its group and alone; the late ones follow */
  struct job *jobs = calloc(1, count * (sizeof *jobs + 3 * sizeof(struct job *)) + inputs * sizeof(struct core_tensor));
  if (!jobs) return error_f(ERROR_UNAVAILABLE, "out of memory"); /* then Triton owns the requests, and responds to them */
  struct core_tensor *tensors = (struct core_tensor *)(jobs + count);
  struct job **queue = (struct job **)(tensors + inputs);
  for (uint32_t j = 0; j < count; j++) {
    jobs[j].request = requests[j];
    jobs[j].in = tensors + (uint64_t)j * b.plan->inputs;
    Error *wrong = read_request(&b, &jobs[j]);
    if (wrong) send_error(&b, &jobs[j], wrong);
  }
  run_groups(&b, queue, group(b.plan, jobs, count, queue), queue + 2 * (uint64_t)count);
  if (b.rows) drop(TRITONBACKEND_ModelInstanceReportBatchStatistics(triton, b.rows, b.began_ns, b.first_ns, b.last_ns, now_ns()));
  metrics_send(m);
  for (uint64_t i = 0; i < inputs; i++) free(tensors[i].piece);
  for (struct copy *copy = b.copies, *next; copy; copy = next) { next = copy->next; free(copy); }
  free(jobs);
  return NULL;
}
