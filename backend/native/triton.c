/* Triton's backend API: lifecycle of models and instances. A model is native, or runs in Triton's Python backend (python_backend.c). */
#include "triton_layer.h"

char folder[1024];
static bool is_old; /* whether the server's backend API lacks functions that native models need */

static struct model *native(Model *triton) {
  struct model *m = NULL;
  drop(TRITONBACKEND_ModelState(triton, (void **)&m));
  return m && m->kind == NATIVE ? m : NULL;
}

static struct model *model_of(ModelInstance *triton) {
  Model *model = NULL;
  drop(TRITONBACKEND_ModelInstanceModel(triton, &model));
  return model ? native(model) : NULL;
}

EXPORT Error *TRITONBACKEND_Initialize(Backend *backend) {
  uint32_t major, minor;
  int type;
  const char *location;
  TRY(TRITONBACKEND_ApiVersion(&major, &minor));
  if (major != 1) return error_f(ERROR_UNSUPPORTED, "the wasm backend needs version 1 of Triton's backend API, not %u", major);
  is_old = minor < 17;
  TRY(TRITONBACKEND_BackendArtifacts(backend, &type, &location));
  snprintf(folder, sizeof folder, "%s", location);
  return NULL;
}

EXPORT Error *TRITONBACKEND_Finalize(Backend *backend) {
  planner_end();
  return python_backend_end(backend);
}

EXPORT Error *TRITONBACKEND_GetBackendAttribute(Backend *backend, BackendAttribute *attributes) {
  (void)backend;
  TRY(TRITONBACKEND_BackendAttributeAddPreferredInstanceGroup(attributes, KIND_CPU, 1, NULL, 0));
  return is_old ? NULL : TRITONBACKEND_BackendAttributeSetParallelModelInstanceLoading(attributes, true);
}

/* ---- models ---- */

static void model_free(struct model *m) {
  if (m->program) core_unload(m->program);
  free(m);
}

/* Initialize a model from the planner's response: the path of wasmtime's library, NUL, zeros up to a multiple of 8, and the plan. */
static Error *model_load(struct model *m, const struct plan_response *a) {
  char why[1024];
  uint64_t skip = (strlen(a->text) + 8) & ~7ull;
  const struct plan *plan = (const struct plan *)(a->text + skip);
  const char *wrong = core_open(a->text);
  if (!wrong && skip >= a->bytes) wrong = "the planner's response is damaged";
  if (!wrong && !(m->program = core_load(plan, a->bytes - skip, report_output, m, why, sizeof why))) wrong = why;
  if (wrong) return error_f(ERROR_UNSUPPORTED, "%s", wrong);
  m->plan = core_plan(m->program);
  return NULL;
}

/* Request a plan from the planner process. `insists`: the configuration requires the native engine. */
static Error *ask(Model *triton, uint64_t version, bool completes, struct plan_response *response, bool *insists) {
  const char *location, *config;
  int type;
  size_t bytes;
  Message *message;
  TRY(TRITONBACKEND_ModelRepository(triton, &type, &location));
  TRY(TRITONBACKEND_ModelConfig(triton, 1, &message));
  Error *error = TRITONSERVER_MessageSerializeToJson(message, &config, &bytes);
  char *request = error ? NULL : malloc(bytes + strlen(location) + 64);
  if (request) {
    int n = sprintf(request, "%lu %d %s\n%.*s", version, completes, location, (int)bytes, config);
    *insists = strstr(strchr(request, '\n'), "\"wasm.engine\":{\"string_value\":\"native\"}") != NULL;
    error = planner_request(request, (size_t)n, response);
  } else if (!error) error = error_f(ERROR_UNAVAILABLE, "out of memory");
  free(request);
  drop(TRITONSERVER_MessageDelete(message));
  return error;
}

static Error *configure(Model *triton, const struct plan *p) {
  Message *message;
  if (!p->configuration.bytes) return NULL;
  TRY(TRITONSERVER_MessageNewFromSerializedJson(&message, plan_at(p, p->configuration.at), p->configuration.bytes));
  Error *error = TRITONBACKEND_ModelSetConfig(triton, 1, message);
  drop(TRITONSERVER_MessageDelete(message));
  return error;
}

/* Load a model natively. ERROR_UNSUPPORTED: it can run in Triton's Python backend. */
static Error *start(Model *triton, struct model *m, uint64_t version, bool *insists) {
  bool completes;
  struct plan_response a;
  if (is_old) return error_f(ERROR_UNSUPPORTED, "this server's backend API is older than 1.17");
  TRY(TRITONBACKEND_ModelAutoCompleteConfig(triton, &completes));
  TRY(ask(triton, version, completes, &a, insists));
  Error *error = a.kind[0] == 'P' ? model_load(m, &a)
                                  : error_f(a.kind[0] == 'R' ? ERROR_UNSUPPORTED : ERROR_INVALID_ARG, "%.4000s", a.text);
  free(a.text);
  return error || !completes ? error : configure(triton, m->plan);
}

static Error *serve_in_python(Model *triton, const char *name, const char *why) {
  log_f(LOG_INFO, "wasm model %s: runs in Triton's Python backend: %.4000s", name, why);
  Error *error = python_backend_model(triton), *both = NULL;
  if (error)
    both = error_f(TRITONSERVER_ErrorCode(error), "%.3000s (it is not run natively: %.3000s)", TRITONSERVER_ErrorMessage(error), why);
  drop(error);
  return both;
}

EXPORT Error *TRITONBACKEND_ModelInitialize(Model *triton) {
  const char *name;
  uint64_t version, began = now_ns();
  bool insists = false;
  TRY(TRITONBACKEND_ModelName(triton, &name));
  TRY(TRITONBACKEND_ModelVersion(triton, &version));
  struct model *m = malloc(sizeof *m);
  if (!m) return error_f(ERROR_UNAVAILABLE, "out of memory");
  *m = (struct model){.kind = NATIVE, .lock = PTHREAD_MUTEX_INITIALIZER};
  snprintf(m->name, sizeof m->name, "%s version %lu", name, version);
  Error *error = start(triton, m, version, &insists);
  if (!error && !(error = TRITONBACKEND_ModelSetState(triton, m))) {
    metrics_new(m, name, version);
    log_f(LOG_INFO, "wasm model %s: native, loaded in %.1f ms", m->name, (double)(now_ns() - began) / 1e6);
    return NULL;
  }
  Error *result = TRITONSERVER_ErrorCode(error) == ERROR_UNSUPPORTED && !insists
                  ? serve_in_python(triton, m->name, TRITONSERVER_ErrorMessage(error))
                  : error_f(TRITONSERVER_ErrorCode(error), "wasm model %s: %.7000s", m->name, TRITONSERVER_ErrorMessage(error));
  drop(error);
  model_free(m);
  return result;
}

EXPORT Error *TRITONBACKEND_ModelFinalize(Model *triton) {
  struct model *m = native(triton);
  if (!m) return python_backend_model_end(triton);
  report_end(m);
  metrics_free(m);
  model_free(m);
  return NULL;
}

/* ---- instances ---- */

EXPORT Error *TRITONBACKEND_ModelInstanceInitialize(ModelInstance *triton) {
  struct model *m = model_of(triton);
  int kind = KIND_CPU;
  if (!m) return python_backend_instance(triton);
  struct core_pool *pool = core_pool_new(m->program);
  if (!pool) return error_f(ERROR_UNAVAILABLE, "out of memory");
  drop(TRITONBACKEND_ModelInstanceKind(triton, &kind));
  if (kind == KIND_GPU)
    log_f(LOG_INFO, "wasm model %s: WebAssembly runs on the CPU; its GPU instance group only places the instance", m->name);
  Error *error = TRITONBACKEND_ModelInstanceSetState(triton, pool);
  if (error) core_pool_free(pool);
  return error;
}

EXPORT Error *TRITONBACKEND_ModelInstanceFinalize(ModelInstance *triton) {
  struct core_pool *pool = NULL;
  if (!model_of(triton)) return python_backend_instance_end(triton);
  TRY(TRITONBACKEND_ModelInstanceState(triton, (void **)&pool));
  if (pool) core_pool_free(pool);
  return NULL;
}

EXPORT Error *TRITONBACKEND_ModelInstanceExecute(ModelInstance *triton, Request **requests, const uint32_t count) {
  struct model *m = model_of(triton);
  struct core_pool *pool;
  if (!m) return python_backend_execute(triton, requests, count);
  TRY(TRITONBACKEND_ModelInstanceState(triton, (void **)&pool));
  return execute(m, pool, triton, requests, count);
}
