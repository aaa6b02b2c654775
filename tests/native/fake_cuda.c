/* Stands in for the GPU driver's library: a device's memory is the process's own. FAKE_CUDA_FAILS names the function that fails. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FAKE __attribute__((visibility("default")))
static int depth;
static int fails(const char *name) {
  const char *wanted = getenv("FAKE_CUDA_FAILS");
  return wanted && !strcmp(wanted, name);
}

FAKE int cuInit(unsigned flags) { return flags || fails("cuInit"); }
FAKE int cuDeviceGet(int *device, int number) { *device = number; return number > 0 || fails("cuDeviceGet"); }
FAKE int cuDevicePrimaryCtxRetain(void **context, int device) { *context = &depth; return device || fails("cuDevicePrimaryCtxRetain"); }
FAKE int cuCtxPushCurrent_v2(void *context) {
  if (context != &depth || fails("cuCtxPushCurrent_v2")) return 1;
  depth++;
  return 0;
}
FAKE int cuCtxPopCurrent_v2(void **context) { *context = &depth; return !depth--; }
FAKE int cuMemcpyDtoH_v2(void *to, unsigned long long from, size_t bytes) {
  if (depth != 1 || fails("cuMemcpyDtoH_v2")) return 1;
  memcpy(to, (const void *)(uintptr_t)from, bytes);
  return 0;
}
