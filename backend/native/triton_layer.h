/* Shared declarations of the Triton layer: models, instances, and their functions. The layer is independent of call conventions. */
#ifndef PORTALIS_TRITON_LAYER_H
#define PORTALIS_TRITON_LAYER_H

#include "instance.h"
#include "triton.h"

#define EXPORT __attribute__((visibility("default")))

enum { NATIVE = 0x57415349, METRICS = 6 }; /* an odd number, since the state of a model of the Python backend begins with a pointer */

union counted { struct core_stats stats; uint64_t of[METRICS]; };

struct model {
  uint32_t kind; /* NATIVE */
  struct core_program *program;
  const struct plan *plan;
  char name[256];           /* name and version */
  pthread_mutex_t lock;     /* guards the following: metrics, and log lines of its guests */
  union counted sent;
  Metric *metrics[METRICS];
  uint64_t second, lines, dropped; /* the second of the last line, its number of lines, and of drops that are not reported yet */
};

extern char folder[1024]; /* the backend's directory: triton.c */

/* report.c */
Error *error_f(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
void drop(Error *);
void log_f(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));
void metrics_new(struct model *, const char *name, uint64_t version);
void metrics_send(struct model *);
void metrics_free(struct model *);
void report_end(struct model *); /* logs the totals */
void report_output(void *model, int stream, const char *text, size_t bytes);

/* text.c */
enum { TEXT_MOST = 16 << 10, TEXT_ROOM = 4096 + 256, TEXT_LINE = 4096 };
size_t text_plain(const char *from, size_t bytes, char *to); /* escaped and truncated to TEXT_ROOM, as a message; returns its length */
void text_line(const char *from, size_t bytes, char *to);    /* as one line of a log, truncated to TEXT_LINE */

/* requests.c */
Error *execute(struct model *, struct core_pool *, ModelInstance *, Request **, uint32_t count);

/* gpu.c: reads `bytes` bytes of a device's memory; NULL, or the reason why they cannot be read */
const char *gpu_read(void *to, const void *from, uint64_t bytes, int64_t device);

/* planner_process.c: a Python process that creates plans. With ERROR_UNSUPPORTED a model can run in Triton's Python backend. */
/* 'P': a path and a plan; 'R': the reason why Python runs the model; 'E': an error */
struct plan_response { char kind[4]; uint32_t bytes; char *text; };
Error *planner_request(const char *request, size_t bytes, struct plan_response *);
void planner_end(void);

/* python_backend.c: forwards calls to Triton's Python backend */
Error *python_backend_model(Model *), *python_backend_model_end(Model *);
Error *python_backend_instance(ModelInstance *), *python_backend_instance_end(ModelInstance *);
Error *python_backend_execute(ModelInstance *, Request **, uint32_t), *python_backend_end(Backend *);

#endif
