/* The shell around the core inside Triton: a model's life, requests into calls and calls into responses. It knows no call
   convention. Models that have no native plan go to Triton's Python backend, which this library then stands in for. */
#define _GNU_SOURCE
#include "triton.h"

#include "box.h"
#include "text.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHORTEST_NS 10000000u  /* of a try */
#define TRIES 4                /* one part in so many of a time limit is for all short tries together */
enum { NATIVE = 0x57415348, MOST_THREADS = 64, METRICS = 6, CANCELLED = 32 };

Error *error_f(int code, const char *format, ...) {
  char text[8192];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return TRITONSERVER_ErrorNew(code, text);
}
void drop(Error *error) { if (error) TRITONSERVER_ErrorDelete(error); }
static void log_line(int level, const char *text) { drop(TRITONSERVER_LogMessage(level, "wasm", 0, text)); }

/* ---- models ---- */

struct model {
  uint32_t kind; /* NATIVE, to be told from what the Python backend keeps there */
  struct core_program *program;
  char name[256];
  char *names[MAX_TENSORS]; /* of the tensors */
  pthread_mutex_t lock;     /* of the metrics */
  struct core_stats sent;
  Family *families[METRICS];
  Metric *metrics[METRICS];
};

struct instance { struct model *model; struct core_slot *slot; };

static const struct { int kind; const char *name, *text; } NAMED[METRICS] = {
  {COUNTER, "wasm_calls", "Guest calls"},
  {COUNTER, "wasm_traps", "Guest calls that ended in a trap"},
  {COUNTER, "wasm_timeouts", "Guest calls that were stopped at their deadline"},
  {COUNTER, "wasm_instances_created", "Guest instances made"},
  {COUNTER, "wasm_guest_seconds", "Wall time spent in guest calls"},
  {GAUGE, "wasm_memory_high_water_bytes", "The largest linear memory that a guest had"},
};

static void metrics_new(struct model *m, const char *name, uint64_t version) {
  char number[24], process[24];
  snprintf(number, sizeof number, "%llu", (unsigned long long)version);
  snprintf(process, sizeof process, "%d", (int)getpid());
  const Parameter *labels[] = {TRITONSERVER_ParameterNew("model", PARAMETER_STRING, name), TRITONSERVER_ParameterNew("version", PARAMETER_STRING, number),
                               TRITONSERVER_ParameterNew("pid", PARAMETER_STRING, process)};
  for (int i = 0; i < METRICS; i++) {
    Error *error = TRITONSERVER_MetricFamilyNew(&m->families[i], NAMED[i].kind, NAMED[i].name, NAMED[i].text);
    if (!error) error = TRITONSERVER_MetricNew(&m->metrics[i], m->families[i], labels, 3);
    if (error) m->metrics[i] = NULL; /* a server without metrics serves all the same */
    drop(error);
  }
  for (int i = 0; i < 3; i++) TRITONSERVER_ParameterDelete((Parameter *)labels[i]);
}

static void metrics_send(struct model *m) {
  struct core_stats now = core_stats(m->program);
  pthread_mutex_lock(&m->lock);
  struct core_stats sent = m->sent;
  m->sent = now;
  double more[METRICS] = {(double)(now.calls - sent.calls), (double)(now.traps - sent.traps), (double)(now.timeouts - sent.timeouts),
                          (double)(now.instances - sent.instances), (double)(now.guest_ns - sent.guest_ns) / 1e9, (double)now.high_water};
  for (int i = 0; i < METRICS; i++) {
    if (!m->metrics[i] || more[i] <= 0) continue;
    if (NAMED[i].kind == COUNTER) drop(TRITONSERVER_MetricIncrement(m->metrics[i], more[i]));
    else if (now.high_water > sent.high_water) drop(TRITONSERVER_MetricSet(m->metrics[i], more[i]));
  }
  pthread_mutex_unlock(&m->lock);
}

static void model_free(struct model *m) {
  for (int i = 0; i < METRICS; i++) {
    if (m->metrics[i]) drop(TRITONSERVER_MetricDelete(m->metrics[i]));
    if (m->families[i]) drop(TRITONSERVER_MetricFamilyDelete(m->families[i]));
  }
  for (int i = 0; i < MAX_TENSORS; i++) free(m->names[i]);
  if (m->program) core_unload(m->program);
  pthread_mutex_destroy(&m->lock);
  free(m);
}

/* What the guest wrote in one call, line by line. */
static void output(void *data, int stream, const char *text, size_t bytes) {
  const struct model *m = data;
  const struct plan *p = core_plan(m->program);
  char line[2048];
  if (!text) {
    snprintf(line, sizeof line, "wasm model %s: %s: ... %zu more bytes were dropped (%.*s is %llu)", m->name, stream ? "stderr" : "stdout", bytes,
             (int)p->raise_output.bytes, plan_at(p, p->raise_output.at), (unsigned long long)p->max_output);
    log_line(LOG_INFO, line);
  }
  while (text && bytes) {
    const char *end = memchr(text, '\n', bytes);
    size_t n = end ? (size_t)(end - text) : bytes;
    snprintf(line, sizeof line, "wasm model %s: %s: %.*s", m->name, stream ? "stderr" : "stdout", (int)(n < 1500 ? n : 1500), text);
    log_line(LOG_INFO, line);
    n += end != NULL;
    text += n;
    bytes -= n;
  }
}

/* ---- requests ---- */

struct job {
  Request *request;
  Error *error;
  Response *response;
  int64_t rows;
  uint64_t timeout_ns, patience_ns; /* of the guest; of the request, 0 without */
  bool answered;
  struct core_tensor *in; /* with their pieces */
  uint32_t next;          /* the next of its group, or NOBODY */
};
enum { NOBODY = UINT32_MAX };

static Error *bad_parameter(const char *key) { return error_f(ERROR_INVALID_ARG, "request parameter %.128s is unknown: a request may set wasm.timeout_ms", key); }

static Error *read_parameters(struct job *job) {
  uint32_t count = 0;
  TRY(TRITONBACKEND_RequestParameterCount(job->request, &count));
  for (uint32_t i = 0; i < count; i++) {
    const char *key;
    const void *value;
    int type;
    double ms = 0;
    char shown[160];
    TRY(TRITONBACKEND_RequestParameter(job->request, i, &key, &type, &value));
    if (strncmp(key, "wasm.", 5)) continue;
    if (strcmp(key, "wasm.timeout_ms")) return bad_parameter(key);
    if (type == PARAMETER_INT) { ms = (double)*(const int64_t *)value; snprintf(shown, sizeof shown, "%lld", (long long)*(const int64_t *)value); }
    else if (type == PARAMETER_DOUBLE) { ms = *(const double *)value; snprintf(shown, sizeof shown, "%.17g", ms); }
    else if (type == PARAMETER_STRING) {
      char *end;
      snprintf(shown, sizeof shown, "'%.120s'", (const char *)value);
      ms = strtod(value, &end);
      if (*end || end == value) ms = 0;
    } else snprintf(shown, sizeof shown, "%s", *(const bool *)value ? "true" : "false");
    if (!(ms > 0 && ms < 1e12)) return error_f(ERROR_INVALID_ARG, "request parameter wasm.timeout_ms is %s: use a number of milliseconds above 0", shown);
    uint64_t asked = ms * 1e6 < 1 ? 1 : (uint64_t)(ms * 1e6);
    if (asked < job->timeout_ns) job->timeout_ns = asked;
  }
  return NULL;
}

static Error *read_input(const struct model *m, Input *input, uint32_t i, struct core_tensor *t) {
  const struct plan_tensor *s = plan_tensors(core_plan(m->program)) + i;
  const int64_t *dims;
  uint32_t rank, buffers;
  int dtype;
  TRY(TRITONBACKEND_InputProperties(input, NULL, &dtype, &dims, &rank, &t->bytes, &buffers));
  if (dtype != (int)s->dtype) return error_f(ERROR_INVALID_ARG, "input '%s' has another data type than the model's", m->names[i]);
  bool is_scalar = !s->rank && rank && dims[rank - 1] == 1; /* a scalar is a vector of one in Triton */
  t->rank = (int32_t)rank - is_scalar;
  uint64_t bytes = s->item;
  for (uint32_t k = 0; k < rank; k++) {
    if (dims[k] < 0 || __builtin_mul_overflow(bytes, (uint64_t)dims[k], &bytes)) return error_f(ERROR_INVALID_ARG, "input '%s' has an impossible shape", m->names[i]);
    if (k < MAX_OUT_RANK) t->dims[k] = dims[k];
  }
  if (dtype != TYPE_BYTES && bytes != t->bytes)
    return error_f(ERROR_INVALID_ARG, "input '%s' has %llu bytes, but its shape %llu", m->names[i], (unsigned long long)t->bytes, (unsigned long long)bytes);
  if (!(t->piece = malloc((buffers ? buffers : 1) * sizeof *t->piece))) return error_f(ERROR_UNAVAILABLE, "out of memory");
  for (uint32_t b = 0; b < buffers; b++) {
    int type = MEMORY_CPU;
    int64_t id = 0;
    const void *data;
    TRY(TRITONBACKEND_InputBuffer(input, b, &data, &t->piece[b].bytes, &type, &id));
    if (type == MEMORY_GPU) return error_f(ERROR_INVALID_ARG, "input '%s' is in GPU memory, which a model of this backend does not read: send it from the host", m->names[i]);
    t->piece[b].data = (uint8_t *)data;
    t->pieces = b + 1;
  }
  return NULL;
}

static Error *read_request(const struct model *m, struct job *job) {
  const struct plan *p = core_plan(m->program);
  uint32_t count, taken = 0;
  uint64_t patience_us = 0;
  job->timeout_ns = p->timeout_ns;
  TRY(TRITONBACKEND_RequestInputCount(job->request, &count));
  for (uint32_t i = 0; i < p->inputs; i++) {
    Input *input;
    Error *missing = TRITONBACKEND_RequestInput(job->request, m->names[i], &input);
    job->in[i].rank = -1;
    if (missing) {
      drop(missing);
      if (!plan_tensors(p)[i].optional) return error_f(ERROR_INVALID_ARG, "input '%s' is missing", m->names[i]);
      continue;
    }
    TRY(read_input(m, input, i, &job->in[i]));
    taken++;
  }
  if (taken != count) return error_f(ERROR_INVALID_ARG, "the request has inputs that the model does not have");
  TRY(read_parameters(job));
  TRY(TRITONBACKEND_InferenceRequestTimeoutMicroseconds(job->request, &patience_us));
  job->patience_ns = patience_us < UINT64_MAX / 1000 ? patience_us * 1000 : 0;
  if (job->patience_ns && job->patience_ns < job->timeout_ns) job->timeout_ns = job->patience_ns;
  return NULL;
}

/* The rows that all inputs of a request share along their first axis, -1 where it has to run alone. */
static int64_t rows_of(const struct plan *p, const struct job *job) {
  int64_t rows = -1;
  int32_t loops = -1;
  for (uint32_t i = 0; i < p->inputs; i++) {
    const struct core_tensor *t = &job->in[i];
    if (t->rank < 0) continue;
    if (t->rank < 1 || t->rank > MAX_RANK || (rows >= 0 && t->dims[0] != rows)) return -1;
    if (!(p->flags & EXACT)) { /* axis 0 has to be a loop dimension in all of them */
      int32_t mine = t->rank - (int32_t)plan_tensors(p)[i].cores;
      if (mine < 1 || (loops >= 0 && mine != loops)) return -1;
      loops = mine;
    }
    rows = t->dims[0];
  }
  return rows;
}

static bool joinable(const struct plan *p, const struct job *a, const struct job *b) {
  if (a->timeout_ns != b->timeout_ns) return false;
  for (uint32_t i = 0; i < p->inputs; i++) {
    if (a->in[i].rank != b->in[i].rank) return false;
    for (int k = 1; k < a->in[i].rank; k++) if (a->in[i].dims[k] != b->in[i].dims[k]) return false;
  }
  return true;
}

/* ---- responses ---- */

static int code_of(int32_t kind) {
  switch (kind) {
    case INPUT: case STATUS: case MEMORY: return ERROR_INVALID_ARG;
    case CORE_TIMEOUT: case CORE_BUSY: return ERROR_UNAVAILABLE;
    case CANCELLED: return ERROR_CANCELLED;
    default: return ERROR_INTERNAL;
  }
}

static Error *error_of(const struct model *m, const struct core_call *c) {
  const struct plan *p = core_plan(m->program);
  bool named = c->kind != INPUT && c->kind != CORE_BUSY && c->kind != INTERNAL;
  char text[CORE_MESSAGE + 1024], plain[TEXT_ROOM];
  int n = named ? snprintf(text, 1024, "entry '%.*s': ", (int)p->entry.bytes, plan_at(p, p->entry.at)) : 0;
  memcpy(text + n, c->message, c->message_bytes);
  text_plain(text, (size_t)n + c->message_bytes, plain);
  return TRITONSERVER_ErrorNew(code_of(c->kind), plain);
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

static Error *make_output(const struct model *m, struct job *job, uint32_t i, const struct core_tensor *t, struct core_piece *piece) {
  const struct plan_tensor *s = plan_tensors(core_plan(m->program)) + core_plan(m->program)->inputs + i;
  Output *made;
  int64_t dims[MAX_OUT_RANK + 1];
  uint32_t rank = (uint32_t)t->rank;
  int type = MEMORY_CPU;
  int64_t id = 0;
  memcpy(dims, t->dims, sizeof t->dims);
  if (job->rows >= 0 && rank) dims[0] = job->rows;
  if (!s->rank) dims[rank++] = 1;
  TRY(TRITONBACKEND_ResponseOutput(job->response, &made, m->names[core_plan(m->program)->inputs + i], (int)s->dtype, dims, rank));
  TRY(TRITONBACKEND_OutputBuffer(made, (void **)&piece->data, piece->bytes, &type, &id));
  if (type != MEMORY_GPU) return NULL;
  piece->data = NULL;
  return error_f(ERROR_UNSUPPORTED, "an output is wanted in GPU memory, to which a model of this backend does not write");
}

static Error *make_response(const struct model *m, struct job *job, const struct core_tensor *out, struct core_piece *pieces, uint32_t step) {
  const struct plan *p = core_plan(m->program);
  uint32_t asked;
  TRY(TRITONBACKEND_ResponseNew(&job->response, job->request));
  TRY(TRITONBACKEND_RequestOutputCount(job->request, &asked));
  for (uint32_t k = 0; k < asked; k++) {
    const char *name;
    TRY(TRITONBACKEND_RequestOutputName(job->request, k, &name));
    for (uint32_t i = 0; i < p->outputs; i++)
      if (!strcmp(name, m->names[p->inputs + i])) TRY(make_output(m, job, i, &out[i], &pieces[i * step]));
  }
  return NULL;
}

static void answer(struct job *job, ModelInstance *triton, const uint64_t stamps[3]) {
  bool well = !job->error;
  if (!well && job->response) { drop(TRITONBACKEND_ResponseDelete(job->response)); job->response = NULL; }
  if (!job->response) {
    Error *failed = TRITONBACKEND_ResponseNew(&job->response, job->request);
    if (failed) job->response = NULL;
    drop(failed);
  }
  if (job->response) drop(TRITONBACKEND_ResponseSend(job->response, COMPLETE_FINAL, job->error));
  drop(TRITONBACKEND_ModelInstanceReportStatistics(triton, job->request, well, stamps[0], stamps[1], stamps[2], now_ns()));
  drop(job->error);
  drop(TRITONBACKEND_RequestRelease(job->request, RELEASE_ALL));
  job->answered = true;
}

/* ---- one execution ---- */

struct batch {
  struct instance *instance;
  ModelInstance *triton;
  struct job *jobs;
  uint64_t began_ns, first_ns, last_ns, rows; /* when the first guest call began to compute, and the last ended */
  pthread_mutex_t lock;
};

/* One guest call for the jobs of a group, joined along axis 0. Answers them if it went well. */
static int32_t run_group(struct batch *b, uint32_t first, uint64_t timeout_ns, struct core_call *c) {
  const struct model *m = b->instance->model;
  const struct plan *p = core_plan(m->program);
  uint32_t count = 0, pieces = 0, at = 0, n = p->inputs + p->outputs;
  for (uint32_t j = first; j != NOBODY; j = b->jobs[j].next) {
    count++;
    for (uint32_t i = 0; i < p->inputs; i++) pieces += b->jobs[j].in[i].pieces;
  }
  struct core_tensor *tensors = calloc(n, sizeof *tensors);
  struct core_piece *all = calloc(pieces + (uint64_t)p->outputs * count + 1, sizeof *all), *outputs = all ? all + pieces : NULL;
  if (!tensors || !all) { free(tensors); free(all); c->message_bytes = (uint32_t)snprintf(c->message, CORE_MESSAGE, "out of memory"); return c->kind = CORE_BUSY; }
  for (uint32_t i = 0; i < p->inputs; i++) {
    struct core_tensor *t = &tensors[i];
    *t = b->jobs[first].in[i];
    t->piece = all + at;
    t->pieces = 0; t->bytes = 0;
    for (uint32_t j = first; j != NOBODY; j = b->jobs[j].next) {
      const struct core_tensor *from = &b->jobs[j].in[i];
      memcpy(all + at, from->piece, from->pieces * sizeof *all);
      at += from->pieces; t->pieces += from->pieces; t->bytes += from->bytes;
      if (count > 1 && j != first && t->rank > 0) t->dims[0] += from->dims[0];
    }
  }
  c->slot = b->instance->slot;
  c->timeout_ns = timeout_ns;
  c->in = tensors;
  c->out = tensors + p->inputs;
  int32_t kind = core_begin(c);
  if (!kind) {
    for (uint32_t i = 0; i < p->outputs; i++) { /* each request's share of the bytes */
      struct core_tensor *t = &c->out[i];
      uint64_t from = 0, each = 1;
      for (int k = 1; k < t->rank; k++) each *= (uint64_t)t->dims[k];
      struct core_piece *piece = outputs + (uint64_t)i * count;
      for (uint32_t j = first; j != NOBODY; j = b->jobs[j].next, piece++) {
        uint64_t elements = count == 1 ? 0 : each * (uint64_t)b->jobs[j].rows;
        piece->bytes = count == 1 ? t->bytes : plan_tensors(p)[p->inputs + i].dtype == TYPE_BYTES && t->data ? span_of(t->data + from, t->bytes - from, elements)
                                                                                                       : elements * plan_tensors(p)[p->inputs + i].item;
        from += piece->bytes;
      }
      t->piece = outputs + (uint64_t)i * count;
      t->pieces = count;
    }
    uint32_t number = 0;
    for (uint32_t j = first; j != NOBODY; j = b->jobs[j].next, number++) {
      if (count == 1) b->jobs[j].rows = -1; /* its own dimensions are the output's */
      b->jobs[j].error = make_response(m, &b->jobs[j], c->out, outputs + number, count);
    }
    kind = core_end(c);
  }
  uint64_t stamps[3] = {b->began_ns, c->started_ns ? c->started_ns : b->began_ns, c->ended_ns ? c->ended_ns : now_ns()};
  pthread_mutex_lock(&b->lock);
  if (!b->first_ns) b->first_ns = stamps[1];
  b->last_ns = stamps[2];
  if (!kind) b->rows += tensors[0].rank > 0 && p->max_batch > 0 ? (uint64_t)tensors[0].dims[0] : 1;
  pthread_mutex_unlock(&b->lock);
  for (uint32_t j = first, next; j != NOBODY; j = next) {
    struct job *job = &b->jobs[j];
    next = job->next;
    if (!kind) answer(job, b->triton, stamps);
    else if (job->response) { drop(job->error); job->error = NULL; drop(TRITONBACKEND_ResponseDelete(job->response)); job->response = NULL; }
  }
  free(tensors);
  free(all);
  return kind;
}

static void answer_error(struct batch *b, struct job *job, Error *error) {
  uint64_t now = now_ns(), stamps[3] = {b->began_ns, now, now};
  job->error = error;
  answer(job, b->triton, stamps);
}

/* Why a request that comes after a failed one is not to be run any more. */
static Error *outlived(struct batch *b, const struct job *job) {
  bool cancelled = false;
  if (job->patience_ns && now_ns() - b->began_ns > job->patience_ns) return error_f(ERROR_CANCELLED, "the request expired before it was run");
  drop(TRITONBACKEND_RequestIsCancelled(job->request, &cancelled));
  return cancelled ? error_f(ERROR_CANCELLED, "the request was cancelled before it was run") : NULL;
}

struct last { struct batch *batch; uint32_t *jobs, count; _Atomic uint32_t taken; };

static void *run_last(void *data) {
  struct last *l = data;
  struct core_call *c = malloc(sizeof *c);
  for (uint32_t i; (i = l->taken++) < l->count;) {
    struct job *job = &l->batch->jobs[l->jobs[i]];
    Error *late = outlived(l->batch, job);
    if (late) answer_error(l->batch, job, late);
    else if (!c) answer_error(l->batch, job, error_f(ERROR_UNAVAILABLE, "out of memory"));
    else if (run_group(l->batch, l->jobs[i], job->timeout_ns, c)) answer_error(l->batch, job, error_of(l->batch->instance->model, c));
  }
  free(c);
  return NULL;
}

/* What outlasted its try comes last, each with its whole time, side by side: no good request waits for endless ones. */
static void run_late(struct batch *b, uint32_t *jobs, uint32_t count) {
  struct last l = {b, jobs, count, 0};
  pthread_t threads[MOST_THREADS];
  uint32_t started = 0, most = core_plan(b->instance->model->program)->flags & STATEFUL ? 1 : count < MOST_THREADS ? count : MOST_THREADS;
  while (started + 1 < most && !pthread_create(&threads[started], NULL, run_last, &l)) started++;
  run_last(&l);
  while (started) pthread_join(threads[--started], NULL);
}

/* Runs the groups in `queue`. One that fails is run again request by request; after the first timeout those that are left get short
   tries, which cost a part of one time limit in all. */
static void run_groups(struct batch *b, uint32_t *queue, uint32_t count, uint32_t *late, struct core_call *c) {
  uint32_t lates = 0;
  int64_t tries_ns = -1;
  bool failed = false;
  for (uint32_t g = 0; g < count; g++) {
    uint32_t first = queue[g];
    struct job *job = &b->jobs[first];
    Error *gone = failed && job->next == NOBODY ? outlived(b, job) : NULL;
    if (gone) { answer_error(b, job, gone); continue; }
    uint64_t limit = job->timeout_ns, began = now_ns();
    if (tries_ns >= 0) {
      uint64_t each = (uint64_t)tries_ns / (count - g);
      if (each < SHORTEST_NS) each = SHORTEST_NS;
      if (each < limit) limit = each;
    }
    int32_t kind = run_group(b, first, limit, c);
    if (tries_ns >= 0) { int64_t used = (int64_t)(now_ns() - began); tries_ns = tries_ns > used ? tries_ns - used : 0; }
    if (!kind) continue;
    failed = true;
    if (kind == CORE_TIMEOUT && tries_ns < 0) tries_ns = (int64_t)(job->timeout_ns / TRIES);
    if (kind != CORE_BUSY && job->next != NOBODY) {
      for (uint32_t j = first, next; j != NOBODY; j = next) { next = b->jobs[j].next; b->jobs[j].next = NOBODY; queue[count++] = j; }
      continue;
    }
    if (kind == CORE_TIMEOUT && limit < job->timeout_ns) { late[lates++] = first; continue; }
    for (uint32_t j = first, next; j != NOBODY; j = next) { next = b->jobs[j].next; answer_error(b, &b->jobs[j], error_of(b->instance->model, c)); }
  }
  if (lates) run_late(b, late, lates);
}

/* The jobs that are to run, in groups of one guest call each. */
static uint32_t group(const struct plan *p, struct job *jobs, uint32_t count, uint32_t *queue) {
  uint32_t groups = 0, *tails = queue + 2 * (uint64_t)count; /* of each group */
  for (uint32_t j = 0; j < count; j++) {
    uint32_t g = groups;
    if (jobs[j].answered) continue;
    jobs[j].next = NOBODY;
    jobs[j].rows = p->flags & JOINS ? rows_of(p, &jobs[j]) : -1;
    for (g = 0; g < groups && jobs[j].rows >= 0; g++) {
      int64_t rows = jobs[j].rows;
      if (jobs[queue[g]].rows < 0 || !joinable(p, &jobs[queue[g]], &jobs[j])) continue;
      for (uint32_t k = queue[g]; k != NOBODY; k = jobs[k].next) rows += jobs[k].rows;
      if (!(p->flags & EXACT) || rows <= p->max_batch) break;
    }
    if (jobs[j].rows < 0) g = groups;
    if (g == groups) { queue[groups] = tails[groups] = j; groups++; continue; }
    jobs[tails[g]].next = j;
    tails[g] = j;
  }
  return groups;
}

static Error *execute(struct instance *s, ModelInstance *triton, Request **requests, uint32_t count) {
  const struct plan *p = core_plan(s->model->program);
  struct job *jobs = calloc(count, sizeof *jobs);
  struct core_tensor *tensors = calloc((uint64_t)count * p->inputs, sizeof *tensors);
  uint32_t *queue = malloc(4 * (uint64_t)count * sizeof *queue);
  struct core_call *c = malloc(sizeof *c);
  if (!jobs || !tensors || !queue || !c) {
    free(jobs); free(tensors); free(queue); free(c);
    return error_f(ERROR_UNAVAILABLE, "out of memory"); /* Triton keeps the requests then, and answers them */
  }
  struct batch b = {s, triton, jobs, now_ns(), 0, 0, 0, PTHREAD_MUTEX_INITIALIZER};
  for (uint32_t j = 0; j < count; j++) {
    jobs[j].request = requests[j];
    jobs[j].in = tensors + (uint64_t)j * p->inputs;
    Error *wrong = read_request(s->model, &jobs[j]);
    if (wrong) answer_error(&b, &jobs[j], wrong);
  }
  /* each job is in the queue at most twice: in its group, and alone; then the late ones, then the groups' tails */
  run_groups(&b, queue, group(p, jobs, count, queue), queue + 3 * (uint64_t)count, c);
  uint64_t now = now_ns();
  if (b.rows) drop(TRITONBACKEND_ModelInstanceReportBatchStatistics(triton, b.rows, b.began_ns, b.first_ns, b.last_ns, now));
  metrics_send(s->model);
  for (uint64_t i = 0; i < (uint64_t)count * p->inputs; i++) free(tensors[i].piece);
  free(jobs); free(tensors); free(queue); free(c);
  return NULL;
}

/* ---- models that are referred to Triton's Python backend ---- */

static struct {
  void *library;
  Error *(*model_start)(Model *), *(*model_end)(Model *), *(*start)(ModelInstance *), *(*end)(ModelInstance *), *(*stop)(Backend *);
  Error *(*execute)(ModelInstance *, Request **, uint32_t);
  Backend *backend;
  char path[1200];
} python;
static pthread_mutex_t python_lock = PTHREAD_MUTEX_INITIALIZER;

static Error *load_python(Backend *backend) {
  Error *error = NULL;
  pthread_mutex_lock(&python_lock);
  void *library = python.library ? NULL : dlopen(python.path, RTLD_NOW | RTLD_LOCAL);
  if (!python.library && !library) error = error_f(ERROR_UNAVAILABLE, "Triton's Python backend cannot be loaded: %s", dlerror());
  if (library) {
    Error *(*initialize)(Backend *) = (Error * (*)(Backend *)) dlsym(library, "TRITONBACKEND_Initialize");
    *(void **)&python.model_start = dlsym(library, "TRITONBACKEND_ModelInitialize");
    *(void **)&python.model_end = dlsym(library, "TRITONBACKEND_ModelFinalize");
    *(void **)&python.start = dlsym(library, "TRITONBACKEND_ModelInstanceInitialize");
    *(void **)&python.end = dlsym(library, "TRITONBACKEND_ModelInstanceFinalize");
    *(void **)&python.execute = dlsym(library, "TRITONBACKEND_ModelInstanceExecute");
    *(void **)&python.stop = dlsym(library, "TRITONBACKEND_Finalize");
    if (!initialize || !python.model_start || !python.model_end || !python.start || !python.end || !python.execute || !python.stop)
      error = error_f(ERROR_UNSUPPORTED, "%s lacks functions of a backend", python.path);
    else if (!(error = initialize(backend))) { python.library = library; python.backend = backend; }
  }
  pthread_mutex_unlock(&python_lock);
  return error;
}

static struct model *native_model(Model *triton) {
  void *state = NULL;
  drop(TRITONBACKEND_ModelState(triton, &state));
  struct model *m = state;
  return m && m->kind == NATIVE ? m : NULL;
}
static struct model *model_of(ModelInstance *triton) {
  Model *model = NULL;
  drop(TRITONBACKEND_ModelInstanceModel(triton, &model));
  return model ? native_model(model) : NULL;
}

/* ---- what Triton calls ---- */

EXPORT Error *TRITONBACKEND_Initialize(Backend *backend) {
  uint32_t major, minor;
  int type;
  const char *location;
  TRY(TRITONBACKEND_ApiVersion(&major, &minor));
  if (major != 1 || minor < 10) return error_f(ERROR_UNSUPPORTED, "the wasm backend needs Triton's backend API 1.10 or later, not %u.%u", major, minor);
  TRY(TRITONBACKEND_BackendArtifacts(backend, &type, &location));
  helper_folder(location);
  snprintf(python.path, sizeof python.path, "%s/../python/libtriton_python.so", location);
  return NULL;
}

EXPORT Error *TRITONBACKEND_Finalize(Backend *backend) {
  helper_end();
  return python.library && python.backend == backend ? python.stop(backend) : NULL;
}

EXPORT Error *TRITONBACKEND_GetBackendAttribute(Backend *backend, Attribute *attributes) {
  (void)backend;
  TRY(TRITONBACKEND_BackendAttributeAddPreferredInstanceGroup(attributes, KIND_CPU, 1, NULL, 0));
  return TRITONBACKEND_BackendAttributeSetParallelModelInstanceLoading(attributes, true);
}

/* A model from the helper's answer: the path of wasmtime's library, NUL, zeros up to a multiple of 8, and the plan. */
static Error *model_new(const char *name, uint64_t version, const char *answer, uint32_t bytes, struct model **made) {
  char why[1024];
  size_t skip = (strlen(answer) + 8) & ~(size_t)7;
  const char *wrong = core_open(answer);
  if (wrong) return error_f(ERROR_UNSUPPORTED, "%s", wrong);
  if (skip >= bytes) return error_f(ERROR_INTERNAL, "the planner's answer is damaged");
  struct model *m = calloc(1, sizeof *m);
  if (!m) return error_f(ERROR_UNAVAILABLE, "out of memory");
  m->kind = NATIVE;
  snprintf(m->name, sizeof m->name, "%s version %llu", name, (unsigned long long)version);
  pthread_mutex_init(&m->lock, NULL);
  m->program = core_load((const struct plan *)(answer + skip), bytes - skip, output, m, why, sizeof why);
  if (!m->program) { model_free(m); return error_f(ERROR_INTERNAL, "wasm model %s: %s", name, why); }
  const struct plan *p = core_plan(m->program);
  for (uint32_t i = 0; i < p->inputs + p->outputs; i++) {
    struct span s = plan_tensors(p)[i].name;
    if (!(m->names[i] = strndup(plan_at(p, s.at), s.bytes))) { model_free(m); return error_f(ERROR_UNAVAILABLE, "out of memory"); }
  }
  metrics_new(m, name, version);
  *made = m;
  return NULL;
}

static Error *configure(Model *triton, const struct plan *p) {
  Message *message;
  TRY(TRITONSERVER_MessageNewFromSerializedJson(&message, plan_at(p, p->configuration.at), p->configuration.bytes));
  Error *error = TRITONBACKEND_ModelSetConfig(triton, 1, message);
  drop(TRITONSERVER_MessageDelete(message));
  return error;
}

static Error *ask(Model *triton, const char *name, uint64_t version, bool completes, char *kind, char **answer, uint32_t *size) {
  const char *location, *config;
  int type;
  size_t bytes;
  Message *message;
  (void)name;
  TRY(TRITONBACKEND_ModelRepository(triton, &type, &location));
  TRY(TRITONBACKEND_ModelConfig(triton, 1, &message));
  Error *error = TRITONSERVER_MessageSerializeToJson(message, &config, &bytes);
  char *question = error ? NULL : malloc(bytes + strlen(location) + 64);
  if (!error && !question) error = error_f(ERROR_UNAVAILABLE, "out of memory");
  if (!error) {
    size_t length = (size_t)sprintf(question, "%llu %d %s\n", (unsigned long long)version, completes, location);
    memcpy(question + length, config, bytes);
    error = helper_ask(question, length + bytes, kind, answer, size);
  }
  free(question);
  drop(TRITONSERVER_MessageDelete(message));
  return error;
}

EXPORT Error *TRITONBACKEND_ModelInitialize(Model *triton) {
  const char *name;
  uint64_t version, began = now_ns();
  bool completes;
  char kind = 0, *answer = NULL, line[2048];
  uint32_t size = 0;
  TRY(TRITONBACKEND_ModelName(triton, &name));
  TRY(TRITONBACKEND_ModelVersion(triton, &version));
  TRY(TRITONBACKEND_ModelAutoCompleteConfig(triton, &completes));
  TRY(ask(triton, name, version, completes, &kind, &answer, &size));
  struct model *m = NULL;
  Error *error = NULL;
  if (kind == 'R') {
    Backend *backend;
    snprintf(line, sizeof line, "wasm model %s: runs in Triton's Python backend: %.1500s", name, answer);
    log_line(LOG_INFO, line);
    error = TRITONBACKEND_ModelBackend(triton, &backend);
    if (!error) error = load_python(backend);
    free(answer);
    return error ? error : python.model_start(triton);
  }
  if (kind == 'P') error = model_new(name, version, answer, size, &m);
  else error = error_f(ERROR_INVALID_ARG, "wasm model %s: %s", name, answer);
  free(answer);
  if (!error && completes && core_plan(m->program)->configuration.bytes && (error = configure(triton, core_plan(m->program)))) model_free(m);
  if (error) return error;
  snprintf(line, sizeof line, "wasm model %s: native, loaded in %.1f ms", name, (double)(now_ns() - began) / 1e6);
  log_line(LOG_INFO, line);
  return TRITONBACKEND_ModelSetState(triton, m);
}

EXPORT Error *TRITONBACKEND_ModelFinalize(Model *triton) {
  struct model *m = native_model(triton);
  if (!m) return python.library ? python.model_end(triton) : NULL;
  struct core_stats s = core_stats(m->program);
  char line[1024];
  metrics_send(m);
  snprintf(line, sizeof line, "wasm model %s: unloaded after %llu guest calls (%llu traps, %llu timeouts) in %.3f s; %llu instances, memory at most %llu bytes",
           m->name, (unsigned long long)s.calls, (unsigned long long)s.traps, (unsigned long long)s.timeouts, (double)s.guest_ns / 1e9,
           (unsigned long long)s.instances, (unsigned long long)s.high_water);
  log_line(LOG_INFO, line);
  model_free(m);
  return NULL;
}

EXPORT Error *TRITONBACKEND_ModelInstanceInitialize(ModelInstance *triton) {
  struct model *m = model_of(triton);
  if (!m) return python.start(triton);
  struct instance *s = calloc(1, sizeof *s);
  if (!s || !(s->slot = core_slot_new(m->program))) { free(s); return error_f(ERROR_UNAVAILABLE, "out of memory"); }
  s->model = m;
  return TRITONBACKEND_ModelInstanceSetState(triton, s);
}

EXPORT Error *TRITONBACKEND_ModelInstanceFinalize(ModelInstance *triton) {
  struct instance *s;
  if (!model_of(triton)) return python.library ? python.end(triton) : NULL;
  TRY(TRITONBACKEND_ModelInstanceState(triton, (void **)&s));
  core_slot_free(s->slot);
  free(s);
  return NULL;
}

EXPORT Error *TRITONBACKEND_ModelInstanceExecute(ModelInstance *triton, Request **requests, const uint32_t count) {
  struct instance *s;
  if (!model_of(triton)) return python.execute(triton, requests, count);
  TRY(TRITONBACKEND_ModelInstanceState(triton, (void **)&s));
  return execute(s, triton, requests, count);
}
