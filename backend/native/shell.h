/* What the files of the shell share: a model, its instances, and what is done for them. The shell knows no call convention. */
#ifndef PORTALIS_SHELL_H
#define PORTALIS_SHELL_H

#include "box.h"
#include "triton.h"

#include <pthread.h>

#define EXPORT __attribute__((visibility("default")))
#define TRY(call) do { Error *error_ = (call); if (error_) return error_; } while (0)

enum { NATIVE = 0x57415349, METRICS = 6 }; /* an odd number: where the Python backend keeps its models, a pointer comes first */

struct model {
  uint32_t kind; /* NATIVE */
  struct core_program *program;
  const struct plan *plan;
  char name[256];           /* with its version */
  char *names[MAX_TENSORS]; /* of the tensors */
  pthread_mutex_t lock;     /* of what follows: its metrics, and the lines that its guests write */
  struct core_stats sent;
  Metric *metrics[METRICS];
  bool counts; /* it has metrics to give back */
  uint64_t second, lines, dropped; /* the second of the last call that wrote, its lines, and those not yet said */
};

struct instance { struct model *model; struct core_slot *slot; };

/* report.c */
Error *error_f(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
void drop(Error *);
void log_f(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));
void metrics_new(struct model *, const char *name, uint64_t version);
void metrics_send(struct model *);
void metrics_free(struct model *);
void report_end(struct model *); /* what was counted */
void report_output(void *model, int stream, const char *text, size_t bytes);

/* requests.c */
Error *execute(struct instance *, ModelInstance *, Request **, uint32_t count);

/* gpu.c: `bytes` bytes of a device's memory; NULL, or why they cannot be read */
const char *gpu_read(void *to, const void *from, uint64_t bytes, int64_t device);

/* helper.c: a Python process that plans. What is ERROR_UNSUPPORTED may run in Triton's Python backend. */
void helper_folder(const char *);
Error *helper_ask(const char *question, size_t bytes, char *kind, char **answer, uint32_t *answer_bytes);
void helper_end(void);

/* refer.c: Triton's Python backend, for which this library stands */
void refer_folder(const char *);
Error *refer_model(Model *), *refer_model_end(Model *), *refer_instance(ModelInstance *), *refer_instance_end(ModelInstance *);
Error *refer_execute(ModelInstance *, Request **, uint32_t), *refer_end(Backend *);

#endif
