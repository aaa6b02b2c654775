/* A stand-in for the functions of a Triton server that the shell calls: objects that are counted, requests made by the test, and a call
   that fails when the test wants it. Who owns what is as in Triton's own sources: a response that is sent is gone whatever comes of it, a
   request that could not be released is not, and models and instances whose start failed are finalised all the same. */
#ifndef PORTALIS_FAKE_TRITON_H
#define PORTALIS_FAKE_TRITON_H

#include "../../backend/native/triton.h"
#include "fake.h"

enum { AN_ERROR, A_MESSAGE, A_PARAMETER, A_FAMILY, A_METRIC, A_RESPONSE, A_REQUEST, TRITON_KINDS };
enum { MAX_BUFFERS = 4, MAX_INPUTS = 4, MAX_OUTPUTS = 4, MAX_PARAMETERS = 4 };
enum { UNWRITTEN = 0xA5 }; /* what a new buffer is filled with */

struct TRITONBACKEND_Backend { const char *location; };
struct TRITONBACKEND_Model {
  Backend *backend;
  const char *name, *folder, *config;
  bool completes;
  void *state;
  char configured[256]; /* what the backend set */
};
struct TRITONBACKEND_ModelInstance { Model *model; void *state; uint64_t batches; };

struct fake_buffer { uint8_t *data; uint64_t bytes; int memory; };
struct TRITONBACKEND_Input { const char *name; int dtype; int64_t shape[8]; uint32_t rank; uint64_t bytes; uint32_t buffers; struct fake_buffer buffer[MAX_BUFFERS]; int64_t device; };
struct TRITONBACKEND_Output { char name[32]; int64_t shape[20]; uint32_t rank; uint8_t *data; uint64_t bytes; int dtype; };
struct fake_parameter { const char *key; int type; const void *value; };
struct TRITONBACKEND_Request {
  struct object object;
  uint32_t inputs, outputs, parameters;
  struct TRITONBACKEND_Input input[MAX_INPUTS];
  const char *output[MAX_OUTPUTS];
  struct fake_parameter parameter[MAX_PARAMETERS];
  bool cancelled;
  uint64_t timeout_us;
  /* what came of it */
  uint32_t responses, released, good, bad; /* statistics */
  bool excused;                            /* its release or its response failed */
  int code;                                /* of the error, or -1 */
  char message[5000];
  uint32_t results;
  struct TRITONBACKEND_Output result[MAX_OUTPUTS];
};
struct TRITONBACKEND_Response { struct object object; Request *request; uint32_t outputs; struct TRITONBACKEND_Output output[MAX_OUTPUTS]; };

struct fake_triton {
  struct counter counters[TRITON_KINDS];
  struct failing failing;
  int output_memory;
  _Atomic uint64_t lines;
  char last_line[4096];
  double counted[8]; /* what the metrics came to, in the order in which they were made */
};
extern struct fake_triton fake_triton;
const char *fake_message(const Error *);

/* What the library exports, and what its planner's process is called by. */
void planner_end(void);
Error *TRITONBACKEND_Initialize(Backend *);
Error *TRITONBACKEND_Finalize(Backend *);
Error *TRITONBACKEND_GetBackendAttribute(Backend *, BackendAttribute *);
Error *TRITONBACKEND_ModelInitialize(Model *);
Error *TRITONBACKEND_ModelFinalize(Model *);
Error *TRITONBACKEND_ModelInstanceInitialize(ModelInstance *);
Error *TRITONBACKEND_ModelInstanceFinalize(ModelInstance *);
Error *TRITONBACKEND_ModelInstanceExecute(ModelInstance *, Request **, uint32_t);

#endif
