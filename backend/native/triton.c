/* What Triton calls: the life of models and instances. A model is native, or runs in Triton's Python backend (refer.c). */
#include "shell.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_old; /* the server: its backend API lacks functions that native models need */

static struct model *native(Model *triton) {
  void *state = NULL;
  drop(TRITONBACKEND_ModelState(triton, &state));
  struct model *m = state;
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
  helper_folder(location);
  refer_folder(location);
  return NULL;
}

EXPORT Error *TRITONBACKEND_Finalize(Backend *backend) {
  helper_end();
  return refer_end(backend);
}

EXPORT Error *TRITONBACKEND_GetBackendAttribute(Backend *backend, Attribute *attributes) {
  (void)backend;
  TRY(TRITONBACKEND_BackendAttributeAddPreferredInstanceGroup(attributes, KIND_CPU, 1, NULL, 0));
  return is_old ? NULL : TRITONBACKEND_BackendAttributeSetParallelModelInstanceLoading(attributes, true);
}

/* ---- models ---- */

static void model_free(struct model *m) {
  metrics_free(m);
  for (int i = 0; i < MAX_TENSORS; i++) free(m->names[i]);
  if (m->program) core_unload(m->program);
  pthread_mutex_destroy(&m->lock);
  free(m);
}

/* Fills a model from the helper's answer: the path of wasmtime's library, NUL, zeros up to a multiple of 8, and the plan. */
static Error *model_load(struct model *m, const char *answer, uint32_t bytes) {
  char why[1024];
  uint64_t skip = (strlen(answer) + 8) & ~7ull;
  const char *wrong = core_open(answer);
  if (!wrong && skip >= bytes) wrong = "the planner's answer is damaged";
  const struct plan *plan = (const struct plan *)(answer + skip);
  if (!wrong && !(m->program = core_load(plan, bytes - skip, report_output, m, why, sizeof why))) wrong = why;
  if (wrong) return error_f(ERROR_UNSUPPORTED, "%s", wrong);
  m->plan = core_plan(m->program);
  for (uint32_t i = 0; i < m->plan->inputs + m->plan->outputs; i++) {
    struct span s = plan_tensors(m->plan)[i].name;
    if (!(m->names[i] = strndup(plan_at(m->plan, s.at), s.bytes))) return error_f(ERROR_UNAVAILABLE, "out of memory");
  }
  return NULL;
}

/* Asks the helper for a plan. `insists`: the configuration allows no other engine. */
static Error *ask(Model *triton, uint64_t version, bool completes, char *kind, char **answer, uint32_t *size, bool *insists) {
  const char *location, *config;
  int type;
  size_t bytes;
  Message *message;
  TRY(TRITONBACKEND_ModelRepository(triton, &type, &location));
  TRY(TRITONBACKEND_ModelConfig(triton, 1, &message));
  Error *error = TRITONSERVER_MessageSerializeToJson(message, &config, &bytes);
  char *question = error ? NULL : malloc(bytes + strlen(location) + 64);
  if (!error && !question) error = error_f(ERROR_UNAVAILABLE, "out of memory");
  if (!error) {
    size_t length = (size_t)sprintf(question, "%llu %d %s\n", (unsigned long long)version, completes, location);
    memcpy(question + length, config, bytes);
    question[length + bytes] = 0;
    *insists = strstr(question + length, "\"wasm.engine\":{\"string_value\":\"native\"}") != NULL;
    error = helper_ask(question, length + bytes, kind, answer, size);
  }
  free(question);
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

/* Loads a model natively. ERROR_UNSUPPORTED: it may run in Triton's Python backend. */
static Error *start(Model *triton, struct model *m, uint64_t version, bool *insists) {
  bool completes;
  char kind = 0, *answer = NULL;
  uint32_t size = 0;
  if (is_old) return error_f(ERROR_UNSUPPORTED, "this server's backend API is older than 1.17");
  TRY(TRITONBACKEND_ModelAutoCompleteConfig(triton, &completes));
  TRY(ask(triton, version, completes, &kind, &answer, &size, insists));
  Error *error = kind == 'P' ? model_load(m, answer, size)
               : kind == 'R' ? error_f(ERROR_UNSUPPORTED, "%.4000s", answer)
                             : error_f(ERROR_INVALID_ARG, "%.4000s", answer);
  free(answer);
  return error || !completes ? error : configure(triton, m->plan);
}

static Error *refer(Model *triton, const char *name, const char *why) {
  log_f(LOG_INFO, "wasm model %s: runs in Triton's Python backend: %.4000s", name, why);
  Error *error = refer_model(triton), *both = NULL;
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
  struct model *m = calloc(1, sizeof *m);
  if (!m) return error_f(ERROR_UNAVAILABLE, "out of memory");
  m->kind = NATIVE;
  pthread_mutex_init(&m->lock, NULL);
  snprintf(m->name, sizeof m->name, "%s version %llu", name, (unsigned long long)version);
  Error *error = start(triton, m, version, &insists);
  if (!error && !(error = TRITONBACKEND_ModelSetState(triton, m))) {
    metrics_new(m, name, version);
    log_f(LOG_INFO, "wasm model %s: native, loaded in %.1f ms", m->name, (double)(now_ns() - began) / 1e6);
    return NULL;
  }
  Error *told = TRITONSERVER_ErrorCode(error) == ERROR_UNSUPPORTED && !insists
                  ? refer(triton, m->name, TRITONSERVER_ErrorMessage(error))
                  : error_f(TRITONSERVER_ErrorCode(error), "wasm model %s: %.7000s", m->name, TRITONSERVER_ErrorMessage(error));
  drop(error);
  model_free(m);
  return told;
}

EXPORT Error *TRITONBACKEND_ModelFinalize(Model *triton) {
  struct model *m = native(triton);
  if (!m) return refer_model_end(triton);
  report_end(m);
  model_free(m);
  return NULL;
}

/* ---- instances ---- */

EXPORT Error *TRITONBACKEND_ModelInstanceInitialize(ModelInstance *triton) {
  struct model *m = model_of(triton);
  int kind = KIND_CPU;
  if (!m) return refer_instance(triton);
  struct instance *s = calloc(1, sizeof *s);
  if (!s || !(s->slot = core_slot_new(m->program))) { free(s); return error_f(ERROR_UNAVAILABLE, "out of memory"); }
  s->model = m;
  drop(TRITONBACKEND_ModelInstanceKind(triton, &kind));
  if (kind == KIND_GPU)
    log_f(LOG_INFO, "wasm model %s: WebAssembly runs on the CPU; its GPU instance group only places the instance", m->name);
  Error *error = TRITONBACKEND_ModelInstanceSetState(triton, s);
  if (!error) return NULL;
  core_slot_free(s->slot);
  free(s);
  return error;
}

EXPORT Error *TRITONBACKEND_ModelInstanceFinalize(ModelInstance *triton) {
  struct instance *s = NULL;
  if (!model_of(triton)) return refer_instance_end(triton);
  TRY(TRITONBACKEND_ModelInstanceState(triton, (void **)&s));
  if (s) core_slot_free(s->slot);
  free(s);
  return NULL;
}

EXPORT Error *TRITONBACKEND_ModelInstanceExecute(ModelInstance *triton, Request **requests, const uint32_t count) {
  struct instance *s;
  if (!model_of(triton)) return refer_execute(triton, requests, count);
  TRY(TRITONBACKEND_ModelInstanceState(triton, (void **)&s));
  return execute(s, triton, requests, count);
}
