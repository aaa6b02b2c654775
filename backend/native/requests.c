/* One execution: Triton's requests become calls of the core, and what comes of them responses. Requests whose shapes allow it are
   joined into one call along axis 0; where that fails each is run alone, so that a request fails by itself (as `batch/batch.py` does). */
#define _GNU_SOURCE
#include "shell.h"

#include "text.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHORTEST_NS 10000000u                     /* of a try */
enum { TRIES = 4, MOST_THREADS = 64 };            /* one part in so many of a time limit is for all short tries together */
enum { CANCELLED = 32, NOBODY = -1, ALONE = -1 };

struct copy { struct copy *next; uint64_t data[]; }; /* of an input that lay in GPU memory */

struct job {
  Request *request;
  Response *response;
  Error *error;
  struct core_tensor *in;           /* with their pieces */
  struct copy *copies;
  uint64_t timeout_ns, patience_ns; /* of the guest; of the request, 0 without */
  int64_t rows;                     /* in a joined call, or ALONE */
  int32_t next, last;               /* the next of its group, or NOBODY; of the first one, the last */
  int64_t total;                    /* of the first one: the group's rows */
  bool answered;
};

struct batch {
  struct instance *instance;
  const struct model *model;
  ModelInstance *triton;
  struct job *jobs;
  uint64_t began_ns, first_ns, last_ns, rows; /* when the first guest call began to compute, and the last ended; rows that went well */
  pthread_mutex_t lock;                       /* of those */
};

/* ---- requests ---- */

static Error *read_parameter(struct job *job, const char *key, int type, const void *value) {
  double ms = 0;
  char shown[160], *end;
  if (strcmp(key, "wasm.timeout_ms"))
    return error_f(ERROR_INVALID_ARG, "request parameter %.128s is unknown: a request may set wasm.timeout_ms", key);
  if (type == PARAMETER_INT) {
    ms = (double)*(const int64_t *)value;
    snprintf(shown, sizeof shown, "%lld", (long long)*(const int64_t *)value);
  }
  else if (type == PARAMETER_DOUBLE) snprintf(shown, sizeof shown, "%.17g", ms = *(const double *)value);
  else if (type == PARAMETER_BOOL) snprintf(shown, sizeof shown, "%s", *(const bool *)value ? "true" : "false");
  else if (type == PARAMETER_STRING) {
    snprintf(shown, sizeof shown, "'%.120s'", (const char *)value);
    ms = strtod(value, &end);
    if (*end || end == value) ms = 0;
  } else snprintf(shown, sizeof shown, "no number");
  if (!(ms > 0 && ms < 1e12))
    return error_f(ERROR_INVALID_ARG, "request parameter wasm.timeout_ms is %s: use a number of milliseconds above 0", shown);
  uint64_t asked = ms * 1e6 < 1 ? 1 : (uint64_t)(ms * 1e6);
  if (asked < job->timeout_ns) job->timeout_ns = asked;
  return NULL;
}

static Error *read_limits(const struct model *m, struct job *job) {
  uint32_t count = 0;
  uint64_t patience_us = 0;
  const char *key;
  const void *value;
  int type;
  job->timeout_ns = m->plan->timeout_ns;
  TRY(TRITONBACKEND_RequestParameterCount(job->request, &count));
  for (uint32_t i = 0; i < count; i++) {
    TRY(TRITONBACKEND_RequestParameter(job->request, i, &key, &type, &value));
    if (!strncmp(key, "wasm.", 5)) TRY(read_parameter(job, key, type, value));
  }
  TRY(TRITONBACKEND_InferenceRequestTimeoutMicroseconds(job->request, &patience_us));
  job->patience_ns = patience_us < UINT64_MAX / 1000 ? patience_us * 1000 : 0;
  if (job->patience_ns && job->patience_ns < job->timeout_ns) job->timeout_ns = job->patience_ns;
  return NULL;
}

static Error *read_piece(struct job *job, Input *input, uint32_t number, const char *name, struct core_piece *piece) {
  int type = MEMORY_CPU;
  int64_t device = 0;
  const void *data;
  TRY(TRITONBACKEND_InputBuffer(input, number, &data, &piece->bytes, &type, &device));
  piece->data = (uint8_t *)data;
  if (type != MEMORY_GPU) return NULL;
  struct copy *copy = piece->bytes < SIZE_MAX / 2 ? malloc(sizeof *copy + piece->bytes) : NULL;
  if (!copy) return error_f(ERROR_UNAVAILABLE, "out of memory");
  copy->next = job->copies;
  job->copies = copy;
  piece->data = (uint8_t *)copy->data;
  const char *wrong = gpu_read(copy->data, data, piece->bytes, device);
  return wrong ? error_f(ERROR_INVALID_ARG, "input '%s' is in GPU memory, and %s: send it from the host's memory", name, wrong) : NULL;
}

static Error *read_input(const struct model *m, struct job *job, Input *input, uint32_t i) {
  const struct plan_tensor *s = plan_tensors(m->plan) + i;
  struct core_tensor *t = &job->in[i];
  const int64_t *dims;
  uint32_t rank, buffers;
  int dtype;
  TRY(TRITONBACKEND_InputProperties(input, NULL, &dtype, &dims, &rank, &t->bytes, &buffers));
  if (dtype != (int)s->dtype) return error_f(ERROR_INVALID_ARG, "input '%s' has another data type than the model's", m->names[i]);
  uint64_t bytes = s->item;
  for (uint32_t k = 0; k < rank; k++) {
    if (dims[k] < 0 || __builtin_mul_overflow(bytes, (uint64_t)dims[k], &bytes))
      return error_f(ERROR_INVALID_ARG, "input '%s' has an impossible shape", m->names[i]);
    if (k < MAX_OUT_RANK) t->dims[k] = dims[k];
  }
  t->rank = (int32_t)rank - (!s->rank && rank && dims[rank - 1] == 1); /* a scalar is a vector of one in Triton */
  if (dtype != TYPE_BYTES && bytes != t->bytes)
    return error_f(ERROR_INVALID_ARG, "input '%s' has %llu bytes, but its shape %llu", m->names[i], (unsigned long long)t->bytes,
                   (unsigned long long)bytes);
  if (!(t->piece = malloc((buffers + 1) * sizeof *t->piece))) return error_f(ERROR_UNAVAILABLE, "out of memory");
  for (; t->pieces < buffers; t->pieces++) TRY(read_piece(job, input, t->pieces, m->names[i], &t->piece[t->pieces]));
  return NULL;
}

/* Why a request is not to be run any more. */
static Error *outlived(const struct batch *b, const struct job *job) {
  bool cancelled = false;
  if (job->patience_ns && now_ns() - b->began_ns > job->patience_ns)
    return error_f(ERROR_CANCELLED, "the request expired before it was run");
  drop(TRITONBACKEND_RequestIsCancelled(job->request, &cancelled));
  return cancelled ? error_f(ERROR_CANCELLED, "the request was cancelled before it was run") : NULL;
}

static Error *read_request(const struct batch *b, struct job *job) {
  const struct model *m = b->model;
  uint32_t count, taken = 0;
  TRY(outlived(b, job));
  TRY(read_limits(m, job));
  TRY(TRITONBACKEND_RequestInputCount(job->request, &count));
  for (uint32_t i = 0; i < m->plan->inputs; i++) {
    Input *input;
    Error *missing = TRITONBACKEND_RequestInput(job->request, m->names[i], &input);
    drop(missing);
    job->in[i].rank = -1;
    if (missing && !plan_tensors(m->plan)[i].optional) return error_f(ERROR_INVALID_ARG, "input '%s' is missing", m->names[i]);
    if (missing) continue;
    TRY(read_input(m, job, input, i));
    taken++;
  }
  return taken == count ? NULL : error_f(ERROR_INVALID_ARG, "the request has inputs that the model does not have");
}

/* ---- groups ---- */

/* The rows that all inputs of a request share along their first axis; ALONE where it has to run so. */
static int64_t rows_of(const struct plan *p, const struct job *job) {
  int64_t rows = ALONE;
  int32_t loops = -1;
  for (uint32_t i = 0; i < p->inputs; i++) {
    const struct core_tensor *t = &job->in[i];
    if (t->rank < 0) continue;
    if (t->rank < 1 || t->rank > MAX_RANK || (rows >= 0 && t->dims[0] != rows)) return ALONE;
    if (!(p->flags & EXACT)) { /* axis 0 has to be a loop dimension in all of them */
      int32_t mine = t->rank - (int32_t)plan_tensors(p)[i].cores;
      if (mine < 1 || (loops >= 0 && mine != loops)) return ALONE;
      loops = mine;
    }
    rows = t->dims[0];
  }
  return rows;
}

static bool joinable(const struct plan *p, const struct job *first, const struct job *other) {
  if (first->rows < 0 || first->timeout_ns != other->timeout_ns) return false;
  if (p->flags & EXACT && first->total + other->rows > p->max_batch) return false;
  for (uint32_t i = 0; i < p->inputs; i++) {
    const struct core_tensor *a = &first->in[i], *b = &other->in[i];
    if (a->rank != b->rank || (a->rank > 1 && memcmp(a->dims + 1, b->dims + 1, ((size_t)a->rank - 1) * sizeof *a->dims))) return false;
  }
  return true;
}

/* Fills `queue` with the first of each group that is to be one guest call; how many there are. */
static uint32_t group(const struct plan *p, struct job *jobs, uint32_t count, int32_t *queue) {
  uint32_t groups = 0;
  for (uint32_t j = 0; j < count; j++) {
    struct job *job = &jobs[j];
    uint32_t g = 0;
    if (job->answered) continue;
    job->next = NOBODY;
    job->last = (int32_t)j;
    job->total = job->rows = p->flags & JOINS ? rows_of(p, job) : ALONE;
    while (g < groups && (job->rows < 0 || !joinable(p, &jobs[queue[g]], job))) g++;
    if (g == groups) { queue[groups++] = (int32_t)j; continue; }
    struct job *first = &jobs[queue[g]];
    jobs[first->last].next = (int32_t)j;
    first->last = (int32_t)j;
    first->total += job->rows;
  }
  return groups;
}

/* ---- responses ---- */

static int code_of(int32_t kind) {
  switch (kind) {
    case INPUT: case STATUS: case MEMORY: return ERROR_INVALID_ARG;
    case CORE_TIMEOUT: case CORE_BUSY: return ERROR_UNAVAILABLE;
    default: return ERROR_INTERNAL;
  }
}

static Error *error_of(const struct model *m, const struct core_call *c) {
  bool named = c->kind != INPUT && c->kind != CORE_BUSY && c->kind != INTERNAL;
  char text[CORE_MESSAGE + 1024], plain[TEXT_ROOM];
  int n = named ? snprintf(text, 1024, "entry '%.*s': ", (int)m->plan->entry.bytes, plan_at(m->plan, m->plan->entry.at)) : 0;
  n = n < 1024 ? n : 1023;
  memcpy(text + n, c->message, c->message_bytes);
  text_plain(text, (size_t)n + c->message_bytes, plain);
  return TRITONSERVER_ErrorNew(code_of(c->kind), plain);
}

static Error *make_output(const struct model *m, struct job *job, uint32_t i, const struct core_tensor *t, struct core_piece *piece) {
  const struct plan_tensor *s = plan_tensors(m->plan) + m->plan->inputs + i;
  Output *made;
  int64_t dims[MAX_OUT_RANK + 1], device = 0;
  uint32_t rank = (uint32_t)t->rank;
  int type = MEMORY_CPU;
  memcpy(dims, t->dims, sizeof t->dims);
  if (job->rows >= 0) dims[0] = job->rows;
  if (!s->rank) dims[rank++] = 1;
  TRY(TRITONBACKEND_ResponseOutput(job->response, &made, m->names[m->plan->inputs + i], (int)s->dtype, dims, rank));
  TRY(TRITONBACKEND_OutputBuffer(made, (void **)&piece->data, piece->bytes, &type, &device));
  if (type != MEMORY_GPU) return NULL;
  piece->data = NULL;
  return error_f(ERROR_UNSUPPORTED, "output '%s' is wanted in GPU memory, to which this backend does not write: ask for the host's memory",
                 m->names[m->plan->inputs + i]);
}

/* A response with room for the outputs that were asked for. Those of a joined call have `step` pieces each. */
static Error *make_response(const struct model *m, struct job *job, const struct core_tensor *out, struct core_piece *pieces,
                            uint32_t step) {
  uint32_t asked;
  const char *name;
  TRY(TRITONBACKEND_ResponseNew(&job->response, job->request));
  TRY(TRITONBACKEND_RequestOutputCount(job->request, &asked));
  for (uint32_t k = 0; k < asked; k++) {
    TRY(TRITONBACKEND_RequestOutputName(job->request, k, &name));
    for (uint32_t i = 0; i < m->plan->outputs; i++)
      if (!strcmp(name, m->names[m->plan->inputs + i])) TRY(make_output(m, job, i, &out[i], &pieces[i * step]));
  }
  return NULL;
}

static void forget_response(struct job *job) {
  if (job->response) drop(TRITONBACKEND_ResponseDelete(job->response));
  job->response = NULL;
}

static void answer(struct batch *b, struct job *job, uint64_t first_ns, uint64_t last_ns) {
  bool well = !job->error;
  if (!well) forget_response(job);
  Error *failed = job->response ? NULL : TRITONBACKEND_ResponseNew(&job->response, job->request);
  if (!failed) drop(TRITONBACKEND_ResponseSend(job->response, COMPLETE_FINAL, job->error));
  drop(failed);
  drop(TRITONBACKEND_ModelInstanceReportStatistics(b->triton, job->request, well, b->began_ns, first_ns, last_ns, now_ns()));
  drop(job->error);
  drop(TRITONBACKEND_RequestRelease(job->request, RELEASE_ALL));
  job->answered = true;
}

static void answer_error(struct batch *b, struct job *job, Error *error) {
  uint64_t now = now_ns();
  job->error = error;
  answer(b, job, now, now);
}

/* ---- calls ---- */

#define EACH(job, b, first) (struct job *job = first; job; job = job->next == NOBODY ? NULL : &(b)->jobs[job->next])

/* The inputs of a group, joined: `tensors`, whose pieces are put into `pieces`. */
static void join(const struct batch *b, struct job *first, struct core_tensor *tensors, struct core_piece *pieces) {
  for (uint32_t i = 0; i < b->model->plan->inputs; i++) {
    struct core_tensor *t = &tensors[i];
    *t = first->in[i];
    t->piece = pieces;
    t->pieces = 0;
    t->bytes = 0;
    if (t->rank > 0 && first->next != NOBODY) t->dims[0] = first->total;
    for EACH(job, b, first) {
      const struct core_tensor *from = &job->in[i];
      if (from->pieces) memcpy(pieces, from->piece, from->pieces * sizeof *pieces);
      pieces += from->pieces; t->pieces += from->pieces; t->bytes += from->bytes;
    }
  }
}

/* Bytes of the next `count` elements of serialised BYTES, which the adapter has counted. */
static uint64_t span_of(const uint8_t *data, uint64_t bytes, uint64_t count) {
  uint64_t at = 0;
  while (count-- && bytes - at >= 4) {
    uint32_t length;
    memcpy(&length, data + at, 4);
    at += 4;
    at += length < bytes - at ? length : bytes - at;
  }
  return at;
}

/* Each request's share of an output: `pieces`, one for each. False where the shares are not the whole. */
static bool share(const struct batch *b, struct job *first, const struct plan_tensor *s, struct core_tensor *t, struct core_piece *pieces) {
  uint64_t from = 0, each = 1;
  t->piece = pieces;
  t->pieces = 1;
  if (first->next == NOBODY) { pieces->bytes = t->bytes; return true; }
  if (t->rank < 1 || t->dims[0] != first->total) return false;
  for (int k = 1; k < t->rank; k++) each *= (uint64_t)t->dims[k];
  t->pieces = 0;
  for EACH(job, b, first) {
    uint64_t elements = each * (uint64_t)job->rows;
    struct core_piece *piece = &pieces[t->pieces++];
    piece->bytes = s->dtype == TYPE_BYTES && t->data ? span_of(t->data + from, t->bytes - from, elements) : elements * s->item;
    from += piece->bytes;
  }
  return from == t->bytes;
}

/* Make the responses of a group, and have the outputs copied into them. */
static int32_t respond(struct batch *b, struct job *first, uint32_t count, struct core_call *c, struct core_piece *pieces) {
  const struct model *m = b->model;
  for (uint32_t i = 0; i < m->plan->outputs; i++)
    if (!share(b, first, plan_tensors(m->plan) + m->plan->inputs + i, &c->out[i], pieces + (uint64_t)i * count)) {
      core_abort(c);
      c->message_bytes = (uint32_t)snprintf(c->message, CORE_MESSAGE, "the adapter gives a joined output a false shape");
      return c->kind = INTERNAL;
    }
  if (count == 1) first->rows = ALONE; /* the output's own shape is its */
  for EACH(job, b, first) job->error = make_response(m, job, c->out, pieces++, count);
  return core_end(c);
}

static void note(struct batch *b, const struct core_call *c, int32_t kind) {
  const struct core_tensor *t = &c->in[0];
  pthread_mutex_lock(&b->lock);
  if (!b->first_ns) b->first_ns = c->started_ns;
  b->last_ns = c->ended_ns;
  if (!kind) b->rows += t->rank > 0 && b->model->plan->max_batch > 0 ? (uint64_t)t->dims[0] : 1;
  pthread_mutex_unlock(&b->lock);
}

/* One guest call for a group, which is answered if it went well. */
static int32_t run(struct batch *b, struct job *first, uint64_t timeout_ns, struct core_call *c) {
  const struct plan *p = b->model->plan;
  uint32_t count = 0, pieces = 0;
  for EACH(job, b, first) {
    count++;
    for (uint32_t i = 0; i < p->inputs; i++) pieces += job->in[i].pieces;
  }
  c->slot = b->instance->slot;
  c->timeout_ns = timeout_ns;
  struct core_tensor *tensors = calloc(p->inputs + p->outputs, sizeof *tensors);
  struct core_piece *all = calloc(pieces + (uint64_t)p->outputs * count, sizeof *all);
  if (!tensors || !all) {
    free(tensors); free(all);
    c->message_bytes = (uint32_t)snprintf(c->message, CORE_MESSAGE, "out of memory");
    return c->kind = CORE_BUSY;
  }
  c->in = tensors;
  c->out = tensors + p->inputs;
  join(b, first, tensors, all);
  int32_t kind = core_begin(c);
  if (!kind) kind = respond(b, first, count, c, all + pieces);
  if (!c->started_ns) c->started_ns = b->began_ns;
  if (!c->ended_ns) c->ended_ns = now_ns();
  note(b, c, kind);
  for EACH(job, b, first) {
    if (!kind) { answer(b, job, c->started_ns, c->ended_ns); continue; }
    drop(job->error);
    job->error = NULL;
    forget_response(job);
  }
  free(tensors);
  free(all);
  return kind;
}

/* ---- the order of the calls ---- */

struct late { struct batch *batch; int32_t *jobs; uint32_t count; _Atomic uint32_t taken; };

static void *run_some_late(void *data) {
  struct late *l = data;
  struct core_call *c = malloc(sizeof *c);
  for (uint32_t i; (i = l->taken++) < l->count;) {
    struct job *job = &l->batch->jobs[l->jobs[i]];
    Error *error = c ? outlived(l->batch, job) : error_f(ERROR_UNAVAILABLE, "out of memory");
    if (!error && run(l->batch, job, job->timeout_ns, c)) error = error_of(l->batch->model, c);
    if (error) answer_error(l->batch, job, error);
  }
  free(c);
  return NULL;
}

/* What outlasted its try comes last, each with its whole time, side by side on the CPUs: no good request waits for endless ones. */
static void run_late(struct batch *b, int32_t *jobs, uint32_t count) {
  struct late l = {b, jobs, count, 0};
  pthread_t threads[MOST_THREADS];
  cpu_set_t cpus;
  uint32_t started = 0, most = sched_getaffinity(0, sizeof cpus, &cpus) ? 1 : (uint32_t)CPU_COUNT(&cpus);
  if (b->model->plan->flags & STATEFUL) most = 1;
  most = most < count ? most : count;
  most = most < MOST_THREADS ? most : MOST_THREADS;
  while (started + 1 < most && !pthread_create(&threads[started], NULL, run_some_late, &l)) started++;
  run_some_late(&l);
  while (started) pthread_join(threads[--started], NULL);
}

/* What comes of a group that failed: it is run again request by request at the end of `queue`, or answered. */
static void sort(struct batch *b, struct job *first, const struct core_call *c, int32_t *queue, uint32_t *count) {
  int32_t at = (int32_t)(first - b->jobs), next;
  bool again = first->next != NOBODY && c->kind != CORE_BUSY; /* which none of them causes: one after the other would wait for the same */
  for (; at != NOBODY; at = next) {
    next = b->jobs[at].next;
    b->jobs[at].next = NOBODY;
    if (again) queue[(*count)++] = at;
    else answer_error(b, &b->jobs[at], error_of(b->model, c));
  }
}

/* Runs the groups in `queue`. After the first timeout those that are left get short tries, which cost a part of one time limit in all. */
static void run_groups(struct batch *b, int32_t *queue, uint32_t count, int32_t *late, struct core_call *c) {
  uint32_t lates = 0;
  int64_t tries_ns = -1;
  for (uint32_t g = 0; g < count; g++) {
    struct job *first = &b->jobs[queue[g]];
    Error *gone = g && first->next == NOBODY ? outlived(b, first) : NULL;
    if (gone) { answer_error(b, first, gone); continue; }
    uint64_t whole = first->timeout_ns, limit = whole, began = now_ns();
    if (tries_ns >= 0) {
      limit = (uint64_t)tries_ns / (count - g);
      limit = limit < SHORTEST_NS ? SHORTEST_NS : limit;
      limit = limit < whole ? limit : whole;
    }
    int32_t kind = run(b, first, limit, c);
    if (tries_ns >= 0) { int64_t used = (int64_t)(now_ns() - began); tries_ns = tries_ns > used ? tries_ns - used : 0; }
    if (kind == CORE_TIMEOUT && tries_ns < 0) tries_ns = (int64_t)(whole / TRIES);
    if (kind == CORE_TIMEOUT && limit < whole && first->next == NOBODY) late[lates++] = queue[g];
    else if (kind) sort(b, first, c, queue, &count);
  }
  if (lates) run_late(b, late, lates);
}

static void free_all(struct job *jobs, struct core_tensor *tensors, uint32_t count, uint32_t inputs) {
  for (uint64_t i = 0; tensors && i < (uint64_t)count * inputs; i++) free(tensors[i].piece);
  for (uint32_t j = 0; jobs && j < count; j++)
    for (struct copy *copy = jobs[j].copies, *next; copy; copy = next) { next = copy->next; free(copy); }
  free(jobs);
  free(tensors);
}

Error *execute(struct instance *s, ModelInstance *triton, Request **requests, uint32_t count) {
  struct model *m = s->model;
  const struct plan *p = m->plan;
  struct job *jobs = calloc(count, sizeof *jobs);
  struct core_tensor *tensors = calloc((uint64_t)count * p->inputs, sizeof *tensors);
  int32_t *queue = malloc(3 * (uint64_t)count * sizeof *queue); /* each job at most twice, in its group and alone; then the late ones */
  struct core_call *c = malloc(sizeof *c);
  struct batch b = {s, m, triton, jobs, now_ns(), 0, 0, 0, PTHREAD_MUTEX_INITIALIZER};
  bool ready = jobs && tensors && queue && c;
  for (uint32_t j = 0; ready && j < count; j++) {
    jobs[j].request = requests[j];
    jobs[j].in = tensors + (uint64_t)j * p->inputs;
    Error *wrong = read_request(&b, &jobs[j]);
    if (wrong) answer_error(&b, &jobs[j], wrong);
  }
  if (ready) {
    run_groups(&b, queue, group(p, jobs, count, queue), queue + 2 * (uint64_t)count, c);
    if (b.rows) drop(TRITONBACKEND_ModelInstanceReportBatchStatistics(triton, b.rows, b.began_ns, b.first_ns, b.last_ns, now_ns()));
    metrics_send(m);
  }
  free_all(jobs, tensors, count, p->inputs);
  free(queue);
  free(c);
  return ready ? NULL : error_f(ERROR_UNAVAILABLE, "out of memory"); /* Triton keeps the requests then, and answers them */
}
