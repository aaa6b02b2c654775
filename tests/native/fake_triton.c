#define _GNU_SOURCE
#include "fake_triton.h"

#include <pthread.h>

struct fake_triton fake_triton = {
  .counters = {{"error"}, {"message"}, {"parameter"}, {"metric family"}, {"metric"}, {"response"}, {"request"}}, .failing = {.at = -1}};

#define NEW(type, kind) ((type *)object_new(fake_triton.counters, kind, sizeof(type)))
#define IS(object, kind) object_is(fake_triton.counters, object, kind)
#define DELETE(object, kind) object_delete(fake_triton.counters, object, kind)

struct TRITONSERVER_Error { struct object object; int code; char *message; };
struct TRITONSERVER_Message { struct object object; char *json; };
struct TRITONSERVER_Parameter { struct object object; };
struct TRITONSERVER_MetricFamily { struct object object; int kind; uint32_t metrics; };
struct TRITONSERVER_Metric { struct object object; MetricFamily *family; };

/* ---- errors ---- */

Error *TRITONSERVER_ErrorNew(int code, const char *message) {
  Error *e = NEW(Error, AN_ERROR);
  CHECK(code >= ERROR_UNKNOWN && code <= ERROR_CANCELLED && strlen(message) < 8192, "a strange error");
  e->code = code;
  e->message = strdup(message);
  return e;
}
void TRITONSERVER_ErrorDelete(Error *e) { free(((Error *)IS(e, AN_ERROR))->message); DELETE(e, AN_ERROR); }
const char *fake_message(const Error *e) { return ((Error *)IS(e, AN_ERROR))->message; }
int TRITONSERVER_ErrorCode(Error *e) { return ((Error *)IS(e, AN_ERROR))->code; }
const char *TRITONSERVER_ErrorMessage(Error *e) { return fake_message(e); }
static bool fails(void) { return now_fails(&fake_triton.failing); }
#define MAY_FAIL do { if (fails()) return TRITONSERVER_ErrorNew(ERROR_UNKNOWN, "it was to fail"); } while (0)

Error *TRITONSERVER_LogMessage(int level, const char *file, int line, const char *message) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  CHECK(level >= LOG_INFO && level <= LOG_VERBOSE && file && line >= 0, "a strange line");
  MAY_FAIL;
  pthread_mutex_lock(&lock);
  snprintf(fake_triton.last_line, sizeof fake_triton.last_line, "%s", message);
  fake_triton.lines++;
  pthread_mutex_unlock(&lock);
  return NULL;
}

/* ---- messages, parameters, metrics ---- */

Error *TRITONSERVER_MessageNewFromSerializedJson(Message **made, const char *base, size_t bytes) {
  MAY_FAIL;
  *made = NEW(Message, A_MESSAGE);
  (*made)->json = strndup(base, bytes);
  return NULL;
}
Error *TRITONSERVER_MessageSerializeToJson(Message *m, const char **base, size_t *bytes) {
  IS(m, A_MESSAGE);
  MAY_FAIL;
  *base = m->json;
  *bytes = strlen(m->json);
  return NULL;
}
Error *TRITONSERVER_MessageDelete(Message *m) { free(((Message *)IS(m, A_MESSAGE))->json); DELETE(m, A_MESSAGE); return NULL; }

Parameter *TRITONSERVER_ParameterNew(const char *name, int type, const void *value) {
  CHECK(name && value && type == PARAMETER_STRING && strlen(value) < 256, "a strange parameter");
  return NEW(Parameter, A_PARAMETER);
}
void TRITONSERVER_ParameterDelete(Parameter *p) { DELETE(p, A_PARAMETER); }

Error *TRITONSERVER_MetricFamilyNew(MetricFamily **made, int kind, const char *name, const char *description) {
  CHECK(name && description, "no name");
  MAY_FAIL;
  *made = NEW(MetricFamily, A_FAMILY);
  (*made)->kind = kind;
  return NULL;
}
Error *TRITONSERVER_MetricFamilyDelete(MetricFamily *f) {
  CHECK(!((MetricFamily *)IS(f, A_FAMILY))->metrics, "its metrics are there still");
  DELETE(f, A_FAMILY);
  return NULL;
}
Error *TRITONSERVER_MetricNew(Metric **made, MetricFamily *family, const Parameter **labels, uint64_t count) {
  IS(family, A_FAMILY);
  for (uint64_t i = 0; i < count; i++) IS(labels[i], A_PARAMETER);
  MAY_FAIL;
  *made = NEW(Metric, A_METRIC);
  (*made)->family = family;
  family->metrics++;
  return NULL;
}
Error *TRITONSERVER_MetricDelete(Metric *m) { ((Metric *)IS(m, A_METRIC))->family->metrics--; DELETE(m, A_METRIC); return NULL; }
Error *TRITONSERVER_MetricIncrement(Metric *m, double by) {
  CHECK(((Metric *)IS(m, A_METRIC))->family->kind == COUNTER && by > 0, "a counter by %g", by);
  MAY_FAIL;
  return NULL;
}
Error *TRITONSERVER_MetricSet(Metric *m, double to) {
  CHECK(((Metric *)IS(m, A_METRIC))->family->kind == GAUGE && to > 0, "a gauge of %g", to);
  MAY_FAIL;
  return NULL;
}

/* ---- the backend, models and instances ---- */

Error *TRITONBACKEND_ApiVersion(uint32_t *major, uint32_t *minor) { MAY_FAIL; *major = 1; *minor = 19; return NULL; }
Error *TRITONBACKEND_BackendArtifacts(Backend *b, int *type, const char **location) { MAY_FAIL; *type = 0; *location = b->location; return NULL; }
Error *TRITONBACKEND_BackendAttributeAddPreferredInstanceGroup(BackendAttribute *a, int kind, uint64_t count, const uint64_t *ids, uint64_t id_count) {
  (void)a, (void)ids;
  CHECK(kind == KIND_CPU && count == 1 && !id_count, "a strange group");
  MAY_FAIL;
  return NULL;
}
Error *TRITONBACKEND_BackendAttributeSetParallelModelInstanceLoading(BackendAttribute *a, bool on) { (void)a, (void)on; MAY_FAIL; return NULL; }
Error *TRITONBACKEND_ModelBackend(Model *m, Backend **b) { MAY_FAIL; *b = m->backend; return NULL; }
Error *TRITONBACKEND_ModelName(Model *m, const char **name) { MAY_FAIL; *name = m->name; return NULL; }
Error *TRITONBACKEND_ModelVersion(Model *m, uint64_t *version) { (void)m; MAY_FAIL; *version = 1; return NULL; }
Error *TRITONBACKEND_ModelRepository(Model *m, int *type, const char **location) { MAY_FAIL; *type = 0; *location = m->folder; return NULL; }
Error *TRITONBACKEND_ModelConfig(Model *m, uint32_t version, Message **made) {
  CHECK(version == 1, "another version");
  MAY_FAIL;
  *made = NEW(Message, A_MESSAGE);
  (*made)->json = strdup(m->config);
  return NULL;
}
Error *TRITONBACKEND_ModelAutoCompleteConfig(Model *m, bool *completes) { MAY_FAIL; *completes = m->completes; return NULL; }
Error *TRITONBACKEND_ModelSetConfig(Model *m, uint32_t version, Message *message) {
  CHECK(version == 1, "another version");
  IS(message, A_MESSAGE);
  MAY_FAIL;
  snprintf(m->configured, sizeof m->configured, "%s", message->json);
  return NULL;
}
/* These read or write one field: they do not fail in Triton, and what would follow is not asked for. */
Error *TRITONBACKEND_ModelState(Model *m, void **state) { *state = m->state; return NULL; }
Error *TRITONBACKEND_ModelInstanceModel(ModelInstance *i, Model **m) { *m = i->model; return NULL; }
Error *TRITONBACKEND_ModelInstanceState(ModelInstance *i, void **state) { *state = i->state; return NULL; }
Error *TRITONBACKEND_ModelInstanceKind(ModelInstance *i, int *kind) { (void)i; MAY_FAIL; *kind = KIND_GPU; return NULL; }
Error *TRITONBACKEND_ModelSetState(Model *m, void *state) { MAY_FAIL; m->state = state; return NULL; }
Error *TRITONBACKEND_ModelInstanceSetState(ModelInstance *i, void *state) { MAY_FAIL; i->state = state; return NULL; }
Error *TRITONBACKEND_ModelInstanceReportStatistics(ModelInstance *i, Request *r, bool success, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  (void)i;
  IS(r, A_REQUEST);
  CHECK(a <= b && b <= c && c <= d, "times go back");
  if (success) r->good++; else r->bad++;
  MAY_FAIL;
  return NULL;
}
Error *TRITONBACKEND_ModelInstanceReportBatchStatistics(ModelInstance *i, uint64_t batch, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  CHECK(batch && a <= b && b <= c && c <= d, "times go back");
  MAY_FAIL;
  i->batches++;
  return NULL;
}

/* ---- requests ---- */

Error *TRITONBACKEND_RequestInputCount(Request *r, uint32_t *count) { IS(r, A_REQUEST); MAY_FAIL; *count = r->inputs; return NULL; }
Error *TRITONBACKEND_RequestInput(Request *r, const char *name, Input **input) {
  IS(r, A_REQUEST);
  MAY_FAIL;
  for (uint32_t i = 0; i < r->inputs; i++) if (!strcmp(r->input[i].name, name)) { *input = &r->input[i]; return NULL; }
  return TRITONSERVER_ErrorNew(ERROR_INVALID_ARG, "no such input");
}
Error *TRITONBACKEND_InputProperties(Input *i, const char **name, int *dtype, const int64_t **shape, uint32_t *rank, uint64_t *bytes, uint32_t *buffers) {
  MAY_FAIL;
  if (name) *name = i->name;
  *dtype = i->dtype; *shape = i->shape; *rank = i->rank; *bytes = i->bytes; *buffers = i->buffers;
  return NULL;
}
Error *TRITONBACKEND_InputBuffer(Input *i, uint32_t index, const void **data, uint64_t *bytes, int *memory, int64_t *id) {
  CHECK(index < i->buffers, "no such buffer");
  *data = NULL;
  *bytes = 0;
  MAY_FAIL;
  *data = i->buffer[index].data; *bytes = i->buffer[index].bytes; *memory = i->buffer[index].memory; *id = i->device;
  return NULL;
}
Error *TRITONBACKEND_RequestOutputCount(Request *r, uint32_t *count) { IS(r, A_REQUEST); MAY_FAIL; *count = r->outputs; return NULL; }
Error *TRITONBACKEND_RequestOutputName(Request *r, uint32_t index, const char **name) {
  IS(r, A_REQUEST);
  CHECK(index < r->outputs, "no such output");
  MAY_FAIL;
  *name = r->output[index];
  return NULL;
}
Error *TRITONBACKEND_RequestParameterCount(Request *r, uint32_t *count) { IS(r, A_REQUEST); MAY_FAIL; *count = r->parameters; return NULL; }
Error *TRITONBACKEND_RequestParameter(Request *r, uint32_t index, const char **key, int *type, const void **value) {
  IS(r, A_REQUEST);
  CHECK(index < r->parameters, "no such parameter");
  MAY_FAIL;
  *key = r->parameter[index].key; *type = r->parameter[index].type; *value = r->parameter[index].value;
  return NULL;
}
Error *TRITONBACKEND_RequestIsCancelled(Request *r, bool *is) { IS(r, A_REQUEST); MAY_FAIL; *is = r->cancelled; return NULL; }
Error *TRITONBACKEND_InferenceRequestTimeoutMicroseconds(Request *r, uint64_t *us) { IS(r, A_REQUEST); MAY_FAIL; *us = r->timeout_us; return NULL; }
Error *TRITONBACKEND_RequestRelease(Request *r, uint32_t flags) {
  IS(r, A_REQUEST);
  CHECK(flags == RELEASE_ALL && !r->released, "released a second time");
  if (fails()) { r->excused = true; return TRITONSERVER_ErrorNew(ERROR_UNKNOWN, "it was to fail"); }
  r->released++;
  return NULL;
}

/* ---- responses ---- */

Error *TRITONBACKEND_ResponseNew(Response **made, Request *r) {
  IS(r, A_REQUEST);
  CHECK(!r->released, "the request is released");
  *made = NULL;
  if (fails()) { r->excused = true; return TRITONSERVER_ErrorNew(ERROR_UNKNOWN, "it was to fail"); }
  *made = NEW(Response, A_RESPONSE);
  (*made)->request = r;
  return NULL;
}
static void response_end(Response *r, bool keeps) {
  for (uint32_t i = 0; i < r->outputs; i++) {
    if (keeps) r->request->result[i] = r->output[i]; else free(r->output[i].data);
  }
  if (keeps) r->request->results = r->outputs;
  DELETE(r, A_RESPONSE);
}
Error *TRITONBACKEND_ResponseDelete(Response *r) { response_end(IS(r, A_RESPONSE), false); return NULL; }
Error *TRITONBACKEND_ResponseOutput(Response *r, Output **made, const char *name, int dtype, const int64_t *shape, uint32_t rank) {
  IS(r, A_RESPONSE);
  *made = NULL;
  MAY_FAIL;
  CHECK(r->outputs < MAX_OUTPUTS && rank <= 20, "an output too many");
  Output *o = &r->output[r->outputs++];
  snprintf(o->name, sizeof o->name, "%s", name);
  memcpy(o->shape, shape, rank * sizeof *shape);
  o->rank = rank; o->dtype = dtype;
  *made = o;
  return NULL;
}
Error *TRITONBACKEND_OutputBuffer(Output *o, void **data, uint64_t bytes, int *memory, int64_t *id) {
  *data = NULL;
  MAY_FAIL;
  CHECK(!o->data && bytes < 1 << 28, "a strange buffer of %llu bytes", (unsigned long long)bytes);
  o->bytes = bytes;
  *data = o->data = malloc(bytes ? bytes : 1);
  memset(o->data, UNWRITTEN, bytes);
  *memory = fake_triton.output_memory;
  *id = 0;
  return NULL;
}
Error *TRITONBACKEND_ResponseSend(Response *r, uint32_t flags, Error *error) {
  IS(r, A_RESPONSE);
  Request *request = r->request;
  CHECK(flags == COMPLETE_FINAL && !request->released && !request->responses, "answered before");
  if (error) {
    request->code = ((Error *)IS(error, AN_ERROR))->code;
    snprintf(request->message, sizeof request->message, "%s", error->message);
  }
  if (fails()) {
    request->excused = true;
    response_end(r, false);
    return TRITONSERVER_ErrorNew(ERROR_UNKNOWN, "it was to fail");
  }
  request->responses++;
  response_end(r, !error);
  return NULL;
}
