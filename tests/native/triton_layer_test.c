/* The shell between stand-ins for Triton and for wasmtime, driven as a server drives it: models load, instances start, requests come alone
   and in batches, good and bad, cancelled and late; then all ends. Each call that can fail fails in turn. Whatever happens, every request
   is answered at most once and released once, what was made is deleted once, and the next model is served. */
#define _GNU_SOURCE
#include "fake_triton.h"
#include "lying.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static Backend backend;

/* ---- requests ---- */

enum { ROW = 24, AN_INT8 = 6, MAX_REQUESTS = 40 };

static Request *request_new(void) {
  Request *r = object_new(fake_triton.counters, A_REQUEST, sizeof *r);
  r->code = -1;
  return r;
}
/* An input in `buffers` pieces, each in memory of exactly its size; the first row begins with `what`. */
static void add_input(Request *r, const char *name, int dtype, int64_t rows, char what, uint32_t buffers) {
  struct TRITONBACKEND_Input *i = &r->input[r->inputs++];
  *i = (struct TRITONBACKEND_Input){.name = name, .dtype = dtype, .shape = {rows, ROW}, .rank = 2, .bytes = (uint64_t)rows * ROW, .buffers = buffers};
  uint64_t done = 0;
  for (uint32_t b = 0; b < buffers; b++) {
    uint64_t n = b + 1 == buffers ? i->bytes - done : i->bytes / buffers + b;
    if (n > i->bytes - done) n = i->bytes - done;
    i->buffer[b] = (struct fake_buffer){malloc(n ? n : 1), n, MEMORY_CPU};
    for (uint64_t k = 0; k < n; k++) i->buffer[b].data[k] = (uint8_t)((done + k) % 32);
    if (!b && n && what) i->buffer[b].data[0] = (uint8_t)what;
    done += n;
  }
}
static Request *a_request(int64_t rows, char what, uint32_t buffers) {
  Request *r = request_new();
  add_input(r, "x", AN_INT8, rows, what, buffers);
  r->output[r->outputs++] = "y";
  return r;
}
static void request_free(Request *r) {
  for (uint32_t i = 0; i < r->inputs; i++) for (uint32_t b = 0; b < r->input[i].buffers; b++) free(r->input[i].buffer[b].data);
  for (uint32_t i = 0; i < r->results; i++) free(r->result[i].data);
  object_delete(fake_triton.counters, r, A_REQUEST);
}
static bool is_copy(const Request *r) {
  uint64_t at = 0;
  const struct TRITONBACKEND_Input *from = &r->input[0];
  if (r->results != 1 || r->result[0].bytes != from->bytes || r->result[0].shape[0] != from->shape[0]) return false;
  for (uint32_t b = 0; b < from->buffers; at += from->buffer[b++].bytes) if (memcmp(r->result[0].data + at, from->buffer[b].data, from->buffer[b].bytes)) return false;
  return true;
}

/* What a server does with a batch; whether the backend took it. */
static bool execute(ModelInstance *instance, Request **requests, uint32_t count) {
  Error *error = TRITONBACKEND_ModelInstanceExecute(instance, requests, count);
  for (uint32_t i = 0; i < count; i++) {
    Request *r = requests[i];
    if (error) CHECK(!r->released && !r->responses, "the backend refused the batch, but answered a request");
    else CHECK(r->excused || (r->released == 1 && r->responses == 1), "released %u times, answered %u times", r->released, r->responses);
    if (!error && r->responses && r->code < 0 && r->outputs == 1 && r->result[0].data) CHECK(is_copy(r), "another answer");
  }
  bool took = !error;
  if (error) TRITONSERVER_ErrorDelete(error);
  return took;
}
static Request *run(ModelInstance *instance, Request *r) {
  execute(instance, &r, 1);
  return r;
}
#define EXPECT(request, wanted, words) \
  do { \
    Request *r_ = (request); \
    CHECK(r_->code == (wanted) && strstr(r_->message, words), "code %d, '%s'", r_->code, r_->message); \
    CHECK(r_->good == (r_->code < 0) && r_->bad == (r_->code >= 0), "statistics"); \
    request_free(r_); \
  } while (0)

/* ---- models ---- */

enum { MAX_INSTANCES_HERE = 2 };
struct served { Model model; ModelInstance instance[MAX_INSTANCES_HERE]; char folder[64]; bool loaded; };

/* As a server loads a model: where something fails, all that was begun is finalised. */
static Error *load(struct served *s, const char *name) {
  memset(s, 0, sizeof *s);
  snprintf(s->folder, sizeof s->folder, "/models/%s", name);
  s->model = (struct TRITONBACKEND_Model){&backend, name, s->folder, "{\"name\": \"model\"}", true, NULL, ""};
  Error *error = TRITONBACKEND_ModelInitialize(&s->model);
  for (int i = 0; i < MAX_INSTANCES_HERE && !error; i++) {
    s->instance[i].model = &s->model;
    error = TRITONBACKEND_ModelInstanceInitialize(&s->instance[i]);
  }
  s->loaded = !error;
  return error;
}
static void unload(struct served *s) {
  for (int i = 0; i < MAX_INSTANCES_HERE; i++) {
    Error *error = s->instance[i].model ? TRITONBACKEND_ModelInstanceFinalize(&s->instance[i]) : NULL;
    if (error) TRITONSERVER_ErrorDelete(error);
  }
  Error *error = TRITONBACKEND_ModelFinalize(&s->model);
  if (error) TRITONSERVER_ErrorDelete(error);
}
static void refused(const char *name, const char *words) {
  struct served s;
  Error *error = load(&s, name);
  CHECK(error && strstr(fake_message(error), words), "%s: %s", name, error ? fake_message(error) : "loaded");
  TRITONSERVER_ErrorDelete(error);
  unload(&s);
}
static void check_all_deleted(const char *when) {
  check_balance(fake_triton.counters, 0, TRITON_KINDS, when);
  check_balance(fake_wasmtime.counters, FIRST_COUNTED, WASMTIME_KINDS, when);
}
static void check_still_works(void) {
  struct served s;
  Error *error = load(&s, "echo");
  CHECK(!error, "%s", fake_message(error));
  EXPECT(run(&s.instance[0], a_request(2, 0, 1)), -1, "");
  unload(&s);
  check_all_deleted("afterwards");
}

/* ---- one life ---- */

static void batch_of(ModelInstance *instance, const char *acts, uint64_t timeout_us, uint32_t cancelled) {
  Request *requests[MAX_REQUESTS];
  uint32_t count = (uint32_t)strlen(acts);
  for (uint32_t i = 0; i < count; i++) {
    requests[i] = a_request(1 + i % 3, acts[i] == '.' ? 0 : acts[i], 1 + i % 3);
    requests[i]->timeout_us = timeout_us;
    requests[i]->cancelled = cancelled >> i & 1;
  }
  execute(instance, requests, count);
  for (uint32_t i = 0; i < count; i++) request_free(requests[i]);
}

static void walk(const char *name) {
  struct served s;
  Error *error = load(&s, name);
  if (error) { CHECK(*fake_message(error), "no words"); TRITONSERVER_ErrorDelete(error); }
  if (s.loaded) {
    request_free(run(&s.instance[0], a_request(2, 0, 3)));
    request_free(run(&s.instance[1], a_request(2, DOES_STATUS, 1)));
    request_free(run(&s.instance[0], a_request(1, DOES_WRITE, 1)));
    batch_of(&s.instance[0], "...", 0, 0);
    batch_of(&s.instance[1], ".T.", 0, 4);
    Request *r = a_request(1, 0, 1);
    r->parameters = 2;
    r->parameter[0] = (struct fake_parameter){"wasm.timeout_ms", PARAMETER_INT, &(int64_t){60000}};
    r->parameter[1] = (struct fake_parameter){"priority", PARAMETER_BOOL, &(bool){true}};
    request_free(run(&s.instance[0], r));
  }
  unload(&s);
}

static void failures_of_triton(void) {
  static const char *const models[] = {"echo", "fresh"};
  for (size_t m = 0; m < 2; m++)
    for (int64_t n = 0;; n++) {
      fail_at(&fake_triton.failing, n, false);
      walk(models[m]);
      bool reached = fake_triton.failing.calls > n;
      fail_at(&fake_triton.failing, -1, false);
      check_all_deleted("a failure of Triton");
      if (!reached) { CHECK(n > 150, "only %lld calls can fail", (long long)n); break; }
    }
  for (int64_t n = 0; n < 150; n++) { /* all that come later fail, too */
    fail_at(&fake_triton.failing, n, true);
    walk("echo");
    fail_at(&fake_triton.failing, -1, false);
    check_all_deleted("failures of Triton for good");
  }
  check_still_works();
}

static void failures_of_wasmtime(void) {
  static const enum failure ways[] = {FAIL_ERROR, FAIL_MMAP, FAIL_INTERRUPT}; /* core_test has them all */
  for (int how = 0; how < 3; how++)
    for (int64_t n = 0;; n++) {
      fake_wasmtime.failure = ways[how];
      fail_at(&fake_wasmtime.failing, n, false);
      walk("echo");
      bool reached = fake_wasmtime.failing.calls > n;
      fail_at(&fake_wasmtime.failing, -1, false);
      check_all_deleted("a failure of wasmtime");
      if (!reached) break;
    }
  check_still_works();
}

static void no_memory(void) {
  for (int64_t n = 0;; n++) {
    fail_at(&scarce_memory, n, false);
    walk("echo");
    bool reached = scarce_memory.calls > n;
    fail_at(&scarce_memory, -1, false);
    check_all_deleted("no memory");
    if (!reached) { CHECK(n > 20, "only %lld allocations", (long long)n); break; }
  }
  check_still_works();
}

/* ---- what requests may be ---- */

static void bad_requests(void) {
  struct served s;
  ModelInstance *i = &s.instance[0];
  Request *r;
  CHECK(!load(&s, "echo"), "not loaded");
  CHECK(strstr(s.model.configured, "model"), "no configuration was completed");
  EXPECT(run(i, request_new()), ERROR_INVALID_ARG, "input 'x' is missing");
  r = a_request(2, 0, 1); add_input(r, "other", AN_INT8, 1, 0, 1);
  EXPECT(run(i, r), ERROR_INVALID_ARG, "unknown inputs");
  r = a_request(2, 0, 1); r->input[0].dtype = AN_INT8 + 1;
  EXPECT(run(i, r), ERROR_INVALID_ARG, "different data type");
  static const int64_t shapes[][2] = {{-1, ROW}, {INT64_MAX, ROW}, {3, ROW}, {2, 0}};
  for (size_t k = 0; k < 4; k++) {
    r = a_request(2, 0, 1); memcpy(r->input[0].shape, shapes[k], 16);
    EXPECT(run(i, r), ERROR_INVALID_ARG, k < 2 ? "invalid shape" : "but its shape");
  }
  r = a_request(2, 0, 2); r->input[0].buffer[1].memory = MEMORY_GPU;
  EXPECT(run(i, r), ERROR_INVALID_ARG, "GPU memory"); /* this process has no driver */
  r = a_request(2, 0, 2); r->input[0].buffer[1].bytes--;
  EXPECT(run(i, r), ERROR_INTERNAL, "fewer bytes");
  r = a_request(2, 0, 1); r->input[0].buffers = 0; free(r->input[0].buffer[0].data);
  EXPECT(run(i, r), ERROR_INTERNAL, "fewer bytes");
  EXPECT(run(i, a_request(0, 0, 1)), -1, "");
  r = a_request(2, 0, 1); r->outputs = 0;
  EXPECT(run(i, r), -1, "");
  fake_triton.output_memory = MEMORY_GPU;
  EXPECT(run(i, a_request(2, 0, 1)), ERROR_UNSUPPORTED, "GPU memory");
  fake_triton.output_memory = MEMORY_CPU;
  EXPECT(run(i, a_request(2, DOES_TRAP, 1)), ERROR_INTERNAL, "trapped");
  EXPECT(run(i, a_request(2, DOES_STATUS, 1)), ERROR_INVALID_ARG, "the guest's own words");
  EXPECT(run(i, a_request(2, 0, 4)), -1, "");
  unload(&s);
  check_all_deleted("bad requests");
}

static void parameters(void) {
  struct served s;
  const struct { const char *key; int type; const void *value; int code; const char *words; } cases[] = {
    {"wasm.timeout_ms", PARAMETER_INT, &(int64_t){0}, ERROR_INVALID_ARG, "is 0"},
    {"wasm.timeout_ms", PARAMETER_INT, &(int64_t){INT64_MIN}, ERROR_INVALID_ARG, "-9223372036854775808"},
    {"wasm.timeout_ms", PARAMETER_INT, &(int64_t){INT64_MAX}, ERROR_INVALID_ARG, "9223372036854775807"},
    {"wasm.timeout_ms", PARAMETER_DOUBLE, &(double){1e300}, ERROR_INVALID_ARG, "e+300"},
    {"wasm.timeout_ms", PARAMETER_DOUBLE, &(double){__builtin_nan("")}, ERROR_INVALID_ARG, "nan"},
    {"wasm.timeout_ms", PARAMETER_DOUBLE, &(double){60000.5}, -1, ""},
    {"wasm.timeout_ms", PARAMETER_STRING, "", ERROR_INVALID_ARG, "''"},
    {"wasm.timeout_ms", PARAMETER_STRING, "1e4x", ERROR_INVALID_ARG, "'1e4x'"},
    {"wasm.timeout_ms", PARAMETER_STRING, "60000", -1, ""},
    {"wasm.timeout_ms", PARAMETER_BOOL, &(bool){true}, ERROR_INVALID_ARG, "true"},
    {"wasm.other", PARAMETER_INT, &(int64_t){1}, ERROR_INVALID_ARG, "wasm.other is unknown"},
    {"other", PARAMETER_INT, &(int64_t){1}, -1, ""}};
  CHECK(!load(&s, "echo"), "not loaded");
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    Request *r = a_request(1, 0, 1);
    r->parameter[r->parameters++] = (struct fake_parameter){cases[k].key, cases[k].type, cases[k].value};
    EXPECT(run(&s.instance[0], r), cases[k].code, cases[k].words);
  }
  unload(&s);
  check_all_deleted("parameters");
}

/* Inputs in a device's memory, with a driver that fails in one place (FAKE_CUDA_FAILS). */
static void gpu(void) {
  struct served s;
  const char *fails = getenv("FAKE_CUDA_FAILS");
  CHECK(!load(&s, "echo"), "not loaded");
  for (int device = -1; device < 66; device += device == 1 ? 62 : 1) {
    Request *r = a_request(2, 0, 3);
    r->input[0].buffer[0].memory = r->input[0].buffer[2].memory = MEMORY_GPU;
    r->input[0].device = device;
    EXPECT(run(&s.instance[0], r), fails || device ? ERROR_INVALID_ARG : -1, fails || device ? "send it from host memory" : "");
  }
  EXPECT(run(&s.instance[0], a_request(2, 0, 1)), -1, "");
  unload(&s);
  check_all_deleted("GPU memory");
}

/* ---- batches ---- */

static void batches(void) {
  struct served s;
  for (int isolated = 0; isolated < 2; isolated++) {
    CHECK(!load(&s, isolated ? "fresh" : "echo"), "not loaded");
    Request *all[6];
    for (int k = 0; k < 6; k++) all[k] = a_request(1 + k % 3, k == 1 ? DOES_TRAP : k == 4 ? DOES_STATUS : 0, 1);
    all[5]->input[0].dtype++;
    CHECK(execute(&s.instance[0], all, 6), "refused");
    for (int k = 0; k < 6; k++) {
      if (k == 1) EXPECT(all[k], ERROR_INTERNAL, "trapped");
      else if (k == 4) EXPECT(all[k], ERROR_INVALID_ARG, "own words");
      else if (k == 5) EXPECT(all[k], ERROR_INVALID_ARG, "data type");
      else EXPECT(all[k], -1, "");
    }
    CHECK(s.instance[0].batches == 1, "%d batches were reported", (int)s.instance[0].batches);
    unload(&s);
  }
  check_all_deleted("batches");
}

/* Endless requests among good ones, with limits of their own; then a request that is cancelled while it waits. */
static void late_requests(void) {
  struct served s;
  CHECK(!load(&s, "echo"), "not loaded");
  Request *all[8];
  for (int k = 0; k < 8; k++) {
    all[k] = a_request(1, k == 2 || k == 5 || k == 7 ? DOES_LOOP : 0, 1);
    if (all[k]->input[0].buffer[0].data[0] == DOES_LOOP) all[k]->timeout_us = 60000;
    all[k]->cancelled = k == 7;
  }
  execute(&s.instance[0], all, 8);
  for (int k = 0; k < 8; k++) {
    bool is_late = k == 2 || k == 5;
    CHECK(!is_late || all[k]->code == ERROR_UNAVAILABLE || all[k]->code == ERROR_CANCELLED, "code %d: %s", all[k]->code, all[k]->message);
    EXPECT(all[k], is_late ? all[k]->code : k == 7 ? ERROR_CANCELLED : -1, "");
  }
  unload(&s);
  check_all_deleted("late requests");
}

/* BYTES: what comes is not trusted to count right. */
static void words(void) {
  struct served s;
  static const struct { const char *data; uint64_t bytes; } cases[] = {
    {"\1\0\0\0a\2\0\0\0bc", 11}, {"\xFF\xFF\xFF\xFF", 4}, {"\1\0\0", 3}, {"", 0}, {"\0\0\0\0\xFE\xFF\xFF\xFFx", 9}};
  CHECK(!load(&s, "words"), "not loaded");
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    Request *both[2];
    for (int n = 0; n < 2; n++) {
      both[n] = request_new();
      add_input(both[n], "x", TYPE_BYTES, 2, 0, 1);
      struct TRITONBACKEND_Input *i = &both[n]->input[0];
      free(i->buffer[0].data);
      i->buffer[0] = (struct fake_buffer){malloc(cases[k].bytes + !cases[k].bytes), cases[k].bytes, MEMORY_CPU};
      memcpy(i->buffer[0].data, cases[k].data, cases[k].bytes);
      i->shape[1] = 1; i->bytes = cases[k].bytes;
      both[n]->output[0] = "y"; both[n]->outputs = 1;
    }
    Error *error = TRITONBACKEND_ModelInstanceExecute(&s.instance[0], both, 2);
    CHECK(!error, "refused");
    for (int n = 0; n < 2; n++) { CHECK(both[n]->responses == 1 && both[n]->released == 1, "not answered"); request_free(both[n]); }
  }
  unload(&s);
  check_all_deleted("words");
}

/* Whatever an adapter says of a joined batch's outputs, no answer has bytes that nobody wrote. */
static void lying(void) {
  struct served s;
  CHECK(!load(&s, "pair"), "not loaded");
  fake_wasmtime.lie = tell;
  for (int n = 0; n < 3000; n++) {
    Request *all[3];
    for (int k = 0; k < 3; k++) {
      all[k] = a_request(1 + k, 0, 1 + (uint32_t)k);
      all[k]->output[all[k]->outputs++] = "w";
      all[k]->timeout_us = 20000;
    }
    some_lies(4);
    if (n % 3 == 0) { /* fewer rows than were asked for, or more, in a size that fits */
      uint32_t at = offsetof(struct control, t) + 2 * sizeof(struct tensor);
      uint64_t rows = chance(9);
      lies[0] = (struct lie){CALL_RUN, at + offsetof(struct tensor, dims), 8, rows};
      lies[1] = (struct lie){CALL_RUN, at + offsetof(struct tensor, bytes), 8, rows * ROW};
      lie_count = 2;
    }
    CHECK(!TRITONBACKEND_ModelInstanceExecute(&s.instance[0], all, 3), "refused");
    for (int k = 0; k < 3; k++) {
      CHECK(all[k]->released == 1 && all[k]->responses == 1, "not answered");
      for (uint32_t i = 0; i < all[k]->results; i++)
        for (uint64_t b = 0; b < all[k]->result[i].bytes; b++) CHECK(all[k]->result[i].data[b] != UNWRITTEN, "an answer has bytes that nobody wrote");
      request_free(all[k]);
    }
  }
  fake_wasmtime.lie = NULL;
  unload(&s);
  check_all_deleted("lies");
  check_still_works();
}

/* ---- loading ---- */

/* Start the backend again where its neighbour, the Python backend, is missing. */
static void without_python(void) {
  static char elsewhere[4096];
  const char *location = backend.location;
  snprintf(elsewhere, sizeof elsewhere, "%s/../elsewhere/wasm", location);
  backend.location = elsewhere;
  CHECK(!TRITONBACKEND_Initialize(&backend), "not started");
  backend.location = location;
  planner_end();
}
static void with_python(void) {
  CHECK(!TRITONBACKEND_Initialize(&backend), "not started");
  planner_end();
}

static void helpers(void) {
  without_python();
  refused("wrong", "no WebAssembly");
  refused("silent", "ended without a response");
  refused("huge", "ended without a response");
  refused("half", "ended without a response");
  refused("empty", "damaged");
  refused("no-plan", "damaged");
  refused("damaged", "damaged");
  refused("unknown", "");
  check_still_works();
  setenv("PORTALIS_PYTHON", "/nowhere/python", 1);
  planner_end();
  refused("echo", "/nowhere/python");
  setenv("PORTALIS_PYTHON", "/bin/true", 1);
  refused("echo", "ended without a response");
  check_all_deleted("helpers");
}

/* Called before any other model loads: a library that cannot be opened is no reason to open none later. */
static void other_library(void) {
  without_python();
  refused("other-library", "cannot be loaded");
  check_still_works();
}

static void referred(void) {
  struct served s;
  without_python();
  refused("refer", "Python backend cannot be loaded");
  with_python();
  CHECK(!load(&s, "refer"), "not loaded");
  Request *r = run(&s.instance[0], a_request(1, 0, 1));
  CHECK(r->code == ERROR_UNAVAILABLE && strstr(r->message, "in Python"), "%s", r->message);
  request_free(r);
  refused("wrong", "no WebAssembly"); /* its finalisers are called beside a Python backend that is loaded */
  check_still_works();
  unload(&s);
  for (int64_t n = 0; n < 30; n++) {
    fail_at(&fake_triton.failing, n, false);
    Error *error = load(&s, "refer");
    if (error) TRITONSERVER_ErrorDelete(error);
    fail_at(&fake_triton.failing, -1, false);
    unload(&s);
  }
  check_still_works();
}

static struct served shared;
static void *serve_often(void *data) {
  static const char acts[] = {0, 0, 0, DOES_TRAP, DOES_WRITE, DOES_STATUS};
  uintptr_t number = (uintptr_t)data;
  for (uint32_t k = 0; k < 60; k++) {
    if (number < MAX_INSTANCES_HERE) request_free(run(&shared.instance[number], a_request(1 + k % 4, acts[k % sizeof acts], 1 + k % 3)));
    else {
      struct served s;
      Error *error = load(&s, k % 2 ? "pair" : "kept");
      CHECK(!error, "%s", fake_message(error));
      unload(&s);
    }
  }
  return NULL;
}

/* Instances serve while other models come and go. */
static void threads(void) {
  enum { THREADS = 4 };
  pthread_t thread[THREADS];
  CHECK(!load(&shared, "echo"), "not loaded");
  for (uintptr_t i = 0; i < THREADS; i++) CHECK(!pthread_create(&thread[i], NULL, serve_often, (void *)i), "no thread");
  for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
  unload(&shared);
  check_all_deleted("threads");
}

static const struct { const char *name; void (*run)(void); } TESTS[] = {
  {"other-library", other_library}, {"bad-requests", bad_requests}, {"parameters", parameters}, {"gpu", gpu}, {"batches", batches}, {"late-requests", late_requests},
  {"words", words}, {"lies", lying}, {"threads", threads}, {"failures-of-triton", failures_of_triton}, {"failures-of-wasmtime", failures_of_wasmtime},
  {"no-memory", no_memory}, {"referred", referred}, {"helpers", helpers}};

/* FOLDER is the backend's: it has plan.py, and the library beside it is Triton's Python backend. */
int main(int count, char **arguments) {
  bool found = false;
  CHECK(count == 3, "usage: triton_layer_test FOLDER TEST");
  backend.location = arguments[1];
  core_set(&UNTIDY);
  for (int64_t n = 0; n < 4; n++) { /* a server whose functions fail can start the backend once more */
    fail_at(&fake_triton.failing, n, false);
    Error *error = TRITONBACKEND_Initialize(&backend);
    if (!error) error = TRITONBACKEND_GetBackendAttribute(&backend, NULL);
    fail_at(&fake_triton.failing, -1, false);
    if (error) TRITONSERVER_ErrorDelete(error);
  }
  CHECK(!TRITONBACKEND_Initialize(&backend), "not started");
  for (size_t k = 0; k < sizeof TESTS / sizeof *TESTS; k++)
    if (!strcmp(arguments[2], TESTS[k].name)) { TESTS[k].run(); found = true; }
  CHECK(found, "no such test");
  CHECK(!TRITONBACKEND_Finalize(&backend), "not ended");
  printf("%s: passed\n", arguments[2]);
  return 0;
}
