/* Stands in for Triton's Python backend, to which models are referred: answers each request with an error of its own. */
#include "../../backend/native/triton_layer.h"

#include <stdlib.h>

EXPORT Error *TRITONBACKEND_Initialize(Backend *b) { (void)b; return NULL; }
EXPORT Error *TRITONBACKEND_Finalize(Backend *b) { (void)b; return NULL; }
EXPORT Error *TRITONBACKEND_ModelInitialize(Model *m) {
  void *state = calloc(1, 64);
  Error *error = TRITONBACKEND_ModelSetState(m, state);
  if (error) free(state);
  return error;
}
EXPORT Error *TRITONBACKEND_ModelFinalize(Model *m) {
  void *state;
  TRY(TRITONBACKEND_ModelState(m, &state));
  free(state);
  return NULL;
}
EXPORT Error *TRITONBACKEND_ModelInstanceInitialize(ModelInstance *i) {
  void *state = calloc(1, 64);
  Error *error = TRITONBACKEND_ModelInstanceSetState(i, state);
  if (error) free(state);
  return error;
}
EXPORT Error *TRITONBACKEND_ModelInstanceFinalize(ModelInstance *i) {
  void *state;
  TRY(TRITONBACKEND_ModelInstanceState(i, &state));
  free(state);
  return NULL;
}
EXPORT Error *TRITONBACKEND_ModelInstanceExecute(ModelInstance *i, Request **requests, uint32_t count) {
  (void)i;
  for (uint32_t n = 0; n < count; n++) {
    Response *response;
    Error *error = TRITONSERVER_ErrorNew(ERROR_UNAVAILABLE, "answered in Python");
    TRY(TRITONBACKEND_ResponseNew(&response, requests[n]));
    TRY(TRITONBACKEND_ResponseSend(response, COMPLETE_FINAL, error));
    TRITONSERVER_ErrorDelete(error);
    TRY(TRITONBACKEND_RequestRelease(requests[n], RELEASE_ALL));
  }
  return NULL;
}
