/* Models that run in Triton's Python backend: loads that backend's library, and forwards calls to it. (A model's `runtime: "model.py"` is
   no alternative: the backend that a server loads first could then serve the models of both.) */
#include "triton_layer.h"

static struct {
  void *library;
  Error *(*initialize)(Backend *), *(*end)(Backend *), *(*model)(Model *), *(*model_end)(Model *);
  Error *(*instance)(ModelInstance *), *(*instance_end)(ModelInstance *), *(*execute)(ModelInstance *, Request **, uint32_t);
} python;
static const struct symbol OF_BACKEND[] = {
  {&python.initialize, "TRITONBACKEND_Initialize"},           {&python.model, "TRITONBACKEND_ModelInitialize"},
  {&python.model_end, "TRITONBACKEND_ModelFinalize"},         {&python.instance, "TRITONBACKEND_ModelInstanceInitialize"},
  {&python.execute, "TRITONBACKEND_ModelInstanceExecute"},    {&python.instance_end, "TRITONBACKEND_ModelInstanceFinalize"},
  {&python.end, "TRITONBACKEND_Finalize"}};

static Error *load(Backend *backend) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  char path[1200];
  HOLD(&lock);
  if (python.library) return NULL;
  snprintf(path, sizeof path, "%s/../python/libtriton_python.so", folder);
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) return error_f(ERROR_UNAVAILABLE, "Triton's Python backend cannot be loaded: %s", dlerror());
  const char *missing = symbols_find(library, OF_BACKEND, COUNT_OF(OF_BACKEND));
  if (missing) return error_f(ERROR_UNAVAILABLE, "%s is not a backend: it does not export %s", path, missing);
  TRY(python.initialize(backend));
  python.library = library;
  return NULL;
}

Error *python_backend_model(Model *model) {
  Backend *backend;
  TRY(TRITONBACKEND_ModelBackend(model, &backend));
  TRY(load(backend));
  return python.model(model);
}

Error *python_backend_model_end(Model *model) { return python.library ? python.model_end(model) : NULL; }
Error *python_backend_instance(ModelInstance *instance) { return python.instance(instance); }
Error *python_backend_instance_end(ModelInstance *instance) { return python.library ? python.instance_end(instance) : NULL; }
Error *python_backend_execute(ModelInstance *instance, Request **requests, uint32_t count) {
  return python.execute(instance, requests, count);
}
Error *python_backend_end(Backend *backend) { return python.library ? python.end(backend) : NULL; }
