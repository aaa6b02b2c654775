/* What the files of the shell share: a model, its instances, and what is done for them. The shell knows no call convention. */
#ifndef PORTALIS_SHELL_H
#define PORTALIS_SHELL_H

#include "box.h"
#include "triton.h"

#define EXPORT __attribute__((visibility("default")))

enum { NATIVE = 0x57415349, METRICS = 6 }; /* an odd number: where the Python backend keeps its models, a pointer comes first */

union counted { struct core_stats stats; uint64_t of[METRICS]; };

struct model {
  uint32_t kind; /* NATIVE */
  struct core_program *program;
  const struct plan *plan;
  char name[256];           /* with its version */
  pthread_mutex_t lock;     /* of what follows: its metrics, and the lines that its guests write */
  union counted sent;
  Metric *metrics[METRICS];
  uint64_t second, lines, dropped; /* the second of the last call that wrote, its lines, and those not yet said */
};

extern char folder[1024]; /* the backend's: triton.c */

/* report.c */
Error *error_f(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
void drop(Error *);
void log_f(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));
void metrics_new(struct model *, const char *name, uint64_t version);
void metrics_send(struct model *);
void metrics_free(struct model *);
void report_end(struct model *); /* what was counted */
void report_output(void *model, int stream, const char *text, size_t bytes);

/* text.c */
enum { TEXT_MOST = 16 << 10, TEXT_ROOM = 4096 + 256, TEXT_LINE = 4096 };
size_t text_plain(const char *from, size_t bytes, char *to); /* as a message that may leave the server, in TEXT_ROOM; its length */
void text_line(const char *from, size_t bytes, char *to);    /* as one line of a log, in TEXT_LINE: a longer one is cut */

/* requests.c */
Error *execute(struct model *, struct core_slot *, ModelInstance *, Request **, uint32_t count);

/* gpu.c: `bytes` bytes of a device's memory; NULL, or why they cannot be read */
const char *gpu_read(void *to, const void *from, uint64_t bytes, int64_t device);

/* helper.c: a Python process that plans. What is ERROR_UNSUPPORTED may run in Triton's Python backend. */
struct answer { char kind[4]; uint32_t bytes; char *text; }; /* 'P': a plan behind a path; 'R': why Python runs the model; 'E': an error */
Error *helper_ask(const char *question, size_t bytes, struct answer *);
void helper_end(void);

/* refer.c: Triton's Python backend, for which this library stands */
Error *refer_model(Model *), *refer_model_end(Model *), *refer_instance(ModelInstance *), *refer_instance_end(ModelInstance *);
Error *refer_execute(ModelInstance *, Request **, uint32_t), *refer_end(Backend *);

#endif
