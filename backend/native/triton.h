/* Triton's backend API 1.17 as used by the Triton layer; the server that loads the library resolves it. Handles are opaque. */
#ifndef PORTALIS_TRITON_H
#define PORTALIS_TRITON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERVER(name) typedef struct TRITONSERVER_##name name;
SERVER(Error) SERVER(Message) SERVER(Parameter) SERVER(MetricFamily) SERVER(Metric)
#define BACKEND(name) typedef struct TRITONBACKEND_##name name;
BACKEND(Backend) BACKEND(BackendAttribute) BACKEND(Model) BACKEND(ModelInstance)
BACKEND(Request) BACKEND(Input) BACKEND(Response) BACKEND(Output)

enum { ERROR_UNKNOWN, ERROR_INTERNAL, ERROR_NOT_FOUND, ERROR_INVALID_ARG, ERROR_UNAVAILABLE, ERROR_UNSUPPORTED, ERROR_ALREADY_EXISTS,
       ERROR_CANCELLED };
enum { LOG_INFO, LOG_WARN, LOG_ERROR, LOG_VERBOSE };
enum { MEMORY_CPU, MEMORY_CPU_PINNED, MEMORY_GPU };
enum { KIND_AUTO, KIND_CPU, KIND_GPU, KIND_MODEL };
enum { PARAMETER_STRING, PARAMETER_INT, PARAMETER_BOOL, PARAMETER_BYTES, PARAMETER_DOUBLE };
enum { COUNTER, GAUGE };
enum { RELEASE_ALL = 1, COMPLETE_FINAL = 1 };

Error *TRITONSERVER_ErrorNew(int code, const char *message);
void TRITONSERVER_ErrorDelete(Error *);
int TRITONSERVER_ErrorCode(Error *);
const char *TRITONSERVER_ErrorMessage(Error *);
Error *TRITONSERVER_LogMessage(int level, const char *file, int line, const char *message);
Error *TRITONSERVER_MessageNewFromSerializedJson(Message **, const char *base, size_t bytes);
Error *TRITONSERVER_MessageSerializeToJson(Message *, const char **base, size_t *bytes);
Error *TRITONSERVER_MessageDelete(Message *);
Parameter *TRITONSERVER_ParameterNew(const char *name, int type, const void *value);
void TRITONSERVER_ParameterDelete(Parameter *);
Error *TRITONSERVER_MetricFamilyNew(MetricFamily **, int kind, const char *name, const char *description);
Error *TRITONSERVER_MetricFamilyDelete(MetricFamily *);
Error *TRITONSERVER_MetricNew(Metric **, MetricFamily *, const Parameter **labels, uint64_t count);
Error *TRITONSERVER_MetricDelete(Metric *);
Error *TRITONSERVER_MetricIncrement(Metric *, double);
Error *TRITONSERVER_MetricSet(Metric *, double);

#define NEWER __attribute__((weak)) /* missing in older servers, which can still load the library */

Error *TRITONBACKEND_ApiVersion(uint32_t *major, uint32_t *minor);
Error *TRITONBACKEND_BackendArtifacts(Backend *, int *type, const char **location);
Error *TRITONBACKEND_BackendAttributeAddPreferredInstanceGroup(BackendAttribute *, int kind, uint64_t, const uint64_t *, uint64_t);
NEWER Error *TRITONBACKEND_BackendAttributeSetParallelModelInstanceLoading(BackendAttribute *, bool);
Error *TRITONBACKEND_ModelBackend(Model *, Backend **);
Error *TRITONBACKEND_ModelName(Model *, const char **);
Error *TRITONBACKEND_ModelVersion(Model *, uint64_t *);
Error *TRITONBACKEND_ModelRepository(Model *, int *type, const char **location);
Error *TRITONBACKEND_ModelConfig(Model *, uint32_t version, Message **);
Error *TRITONBACKEND_ModelAutoCompleteConfig(Model *, bool *);
Error *TRITONBACKEND_ModelSetConfig(Model *, uint32_t version, Message *);
Error *TRITONBACKEND_ModelState(Model *, void **);
Error *TRITONBACKEND_ModelSetState(Model *, void *);
Error *TRITONBACKEND_ModelInstanceKind(ModelInstance *, int *);
Error *TRITONBACKEND_ModelInstanceModel(ModelInstance *, Model **);
Error *TRITONBACKEND_ModelInstanceState(ModelInstance *, void **);
Error *TRITONBACKEND_ModelInstanceSetState(ModelInstance *, void *);
Error *TRITONBACKEND_ModelInstanceReportStatistics(ModelInstance *, Request *, bool success, uint64_t, uint64_t, uint64_t, uint64_t);
Error *TRITONBACKEND_ModelInstanceReportBatchStatistics(ModelInstance *, uint64_t batch, uint64_t, uint64_t, uint64_t, uint64_t);
Error *TRITONBACKEND_RequestInput(Request *, const char *name, Input **);
Error *TRITONBACKEND_RequestInputCount(Request *, uint32_t *);
Error *TRITONBACKEND_InputProperties(Input *, const char **name, int *datatype, const int64_t **shape, uint32_t *rank, uint64_t *bytes,
                                     uint32_t *buffers);
Error *TRITONBACKEND_InputBuffer(Input *, uint32_t index, const void **buffer, uint64_t *bytes, int *memory_type, int64_t *memory_id);
Error *TRITONBACKEND_RequestOutputCount(Request *, uint32_t *);
Error *TRITONBACKEND_RequestOutputName(Request *, uint32_t, const char **);
NEWER Error *TRITONBACKEND_RequestParameterCount(Request *, uint32_t *);
NEWER Error *TRITONBACKEND_RequestParameter(Request *, uint32_t, const char **key, int *type, const void **value);
NEWER Error *TRITONBACKEND_RequestIsCancelled(Request *, bool *);
Error *TRITONBACKEND_RequestRelease(Request *, uint32_t flags);
Error *TRITONBACKEND_ResponseNew(Response **, Request *);
Error *TRITONBACKEND_ResponseDelete(Response *);
Error *TRITONBACKEND_ResponseOutput(Response *, Output **, const char *name, int datatype, const int64_t *shape, uint32_t rank);
Error *TRITONBACKEND_OutputBuffer(Output *, void **buffer, uint64_t bytes, int *memory_type, int64_t *memory_id);
Error *TRITONBACKEND_ResponseSend(Response *, uint32_t flags, Error *);
NEWER Error *TRITONBACKEND_InferenceRequestTimeoutMicroseconds(Request *, uint64_t *);

#endif
