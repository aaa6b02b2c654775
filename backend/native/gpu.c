/* Reads GPU memory through the driver's library, if installed: the only use of GPUs in this backend. */
#include "triton_layer.h"

enum { MAX_DEVICES = 64 };

static struct { /* each returns 0, or an error */
  int (*init)(unsigned), (*device)(int *, int), (*retain)(void **, int), (*push)(void *), (*pop)(void **);
  int (*read)(void *, unsigned long long, size_t);
} cuda;
static const struct symbol OF_DRIVER[] = {
  {&cuda.init, "cuInit"}, {&cuda.device, "cuDeviceGet"}, {&cuda.retain, "cuDevicePrimaryCtxRetain"}, {&cuda.push, "cuCtxPushCurrent_v2"},
  {&cuda.pop, "cuCtxPopCurrent_v2"}, {&cuda.read, "cuMemcpyDtoH_v2"}};

static const char *load(void) {
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) return "this host has no libcuda.so.1";
  if (symbols_find(library, OF_DRIVER, COUNT_OF(OF_DRIVER))) return "libcuda.so.1 lacks functions";
  return cuda.init(0) ? "CUDA cannot be initialized" : NULL;
}

/* The context of a device, which all users of CUDA in a process share; on failure NULL, and the reason in `wrong`. */
static void *context_of(int64_t device, const char **wrong) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  static const char *problem;
  static void *contexts[MAX_DEVICES];
  static bool loaded;
  int number;
  HOLD(&lock);
  if (!loaded) problem = load();
  loaded = true;
  *wrong = problem ? problem : "its device cannot be used";
  if (problem || device < 0 || device >= MAX_DEVICES) return NULL;
  if (!contexts[device] && (cuda.device(&number, (int)device) || cuda.retain(&contexts[device], number))) contexts[device] = NULL;
  return contexts[device];
}

const char *gpu_read(void *to, const void *from, uint64_t bytes, int64_t device) {
  const char *wrong;
  void *context = context_of(device, &wrong), *before;
  if (!context || cuda.push(context)) return wrong;
  int failed = cuda.read(to, (unsigned long long)(uintptr_t)from, (size_t)bytes);
  cuda.pop(&before);
  return failed ? "CUDA cannot copy it" : NULL;
}
