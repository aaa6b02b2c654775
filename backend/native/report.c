/* A model's reports to Triton: errors, log lines, metrics, and output of its guests. */
#include "triton_layer.h"

#include <stdarg.h>
#include <unistd.h>

enum { MAX_LINES = 1000 }; /* maximum number of lines of a model's guests per second */

#define FORMAT(text, format) do { \
    va_list arguments; \
    va_start(arguments, format); \
    vsnprintf(text, sizeof text, format, arguments); \
    va_end(arguments); \
  } while (0)

Error *error_f(int code, const char *format, ...) {
  char text[8192];
  FORMAT(text, format);
  return TRITONSERVER_ErrorNew(code, text);
}

void drop(Error *error) { if (error) TRITONSERVER_ErrorDelete(error); }

void log_f(int level, const char *format, ...) {
  char text[TEXT_LINE + 512];
  FORMAT(text, format);
  drop(TRITONSERVER_LogMessage(level, "wasm", 0, text));
}

/* ---- metrics ---- */

static const struct { int kind; const char *name, *text; double unit; } NAMED[METRICS] = { /* in the order of struct core_stats */
  {COUNTER, "wasm_calls", "Guest calls", 1},
  {COUNTER, "wasm_traps", "Guest calls that trapped", 1},
  {COUNTER, "wasm_timeouts", "Guest calls that were stopped at their deadline", 1},
  {COUNTER, "wasm_instances_created", "Guest instances created", 1},
  {COUNTER, "wasm_guest_seconds", "Wall time spent in guest calls", 1e9},
  {GAUGE, "wasm_memory_high_water_bytes", "Maximum linear memory of a guest", 1},
};

/* One family for all models, because Triton counts the users of a metric per family object. A model and its replacement have equal labels:
   with separate families the first one to end would free the metric that the other still uses. */
static MetricFamily *families[METRICS];
static uint32_t users;
static pthread_mutex_t families_lock = PTHREAD_MUTEX_INITIALIZER; /* Triton does not support concurrent creation and deletion */

void metrics_new(struct model *m, const char *name, uint64_t version) {
  char number[24], process[24];
  snprintf(number, sizeof number, "%lu", version);
  snprintf(process, sizeof process, "%d", (int)getpid());
  const Parameter *labels[] = {TRITONSERVER_ParameterNew("model", PARAMETER_STRING, name),
                               TRITONSERVER_ParameterNew("version", PARAMETER_STRING, number),
                               TRITONSERVER_ParameterNew("pid", PARAMETER_STRING, process)};
  HOLD(&families_lock);
  for (int i = 0; i < METRICS; i++) {
    Error *error = users ? NULL : TRITONSERVER_MetricFamilyNew(&families[i], NAMED[i].kind, NAMED[i].name, NAMED[i].text);
    if (error) families[i] = NULL; /* a server without metrics still serves */
    else if (families[i] && (error = TRITONSERVER_MetricNew(&m->metrics[i], families[i], labels, 3))) m->metrics[i] = NULL;
    drop(error);
  }
  users++;
  for (int i = 0; i < 3; i++) TRITONSERVER_ParameterDelete((Parameter *)labels[i]);
}

void metrics_free(struct model *m) {
  HOLD(&families_lock);
  users--;
  for (int i = 0; i < METRICS; i++) {
    if (m->metrics[i]) drop(TRITONSERVER_MetricDelete(m->metrics[i]));
    if (!users && families[i]) drop(TRITONSERVER_MetricFamilyDelete(families[i]));
    if (!users) families[i] = NULL;
  }
}

void metrics_send(struct model *m) {
  HOLD(&m->lock);
  union counted now = {core_stats(m->program)};
  for (int i = 0; i < METRICS; i++) {
    uint64_t more = now.of[i] - m->sent.of[i];
    if (!m->metrics[i] || !more) continue;
    if (NAMED[i].kind == COUNTER) drop(TRITONSERVER_MetricIncrement(m->metrics[i], (double)more / NAMED[i].unit));
    else drop(TRITONSERVER_MetricSet(m->metrics[i], (double)now.of[i]));
  }
  m->sent = now;
}

/* ---- output of guests ---- */

static void report_dropped(struct model *m) {
  if (m->dropped) log_f(LOG_INFO, "wasm model %s: %lu more lines of the guest were dropped", m->name, m->dropped);
  m->dropped = 0;
}

/* Log at most MAX_LINES per second, and count the others. */
static void say_line(struct model *m, int stream, const char *text, size_t bytes) {
  char line[TEXT_LINE];
  if (m->lines++ >= MAX_LINES) { m->dropped++; return; }
  text_line(text, bytes, line);
  log_f(LOG_INFO, "wasm model %s: %s: %s", m->name, stream == STDERR ? "stderr" : "stdout", line);
}

/* Log the lines of one stream of a call; without a text, the number of bytes that were dropped. */
void report_output(void *data, int stream, const char *text, size_t bytes) {
  struct model *m = data;
  const struct plan *p = m->plan;
  uint64_t second = now_ns() / 1000000000u;
  char more[256];
  HOLD(&m->lock);
  if (second != m->second) { report_dropped(m); m->lines = 0; m->second = second; }
  bool was_full = m->lines >= MAX_LINES;
  if (!text) {
    snprintf(more, sizeof more, "... %zu more bytes were dropped (%s is %lu)", bytes, plan_at(p, p->raise_output.at), p->max_output);
    say_line(m, stream, more, strlen(more));
  }
  while (text && bytes) {
    const char *end = memchr(text, '\n', bytes);
    size_t n = end ? (size_t)(end - text) : bytes;
    say_line(m, stream, text, n && text[n - 1] == '\r' ? n - 1 : n);
    n += end != NULL;
    text += n;
    bytes -= n;
  }
  if (!was_full) report_dropped(m); /* later drops are reported with the first line of the next second, or at the end */
}

void report_end(struct model *m) {
  struct core_stats s = core_stats(m->program);
  metrics_send(m);
  report_dropped(m);
  log_f(LOG_INFO, "wasm model %s: unloaded after %lu guest calls (%lu traps, %lu timeouts) in %.3f s; "
                  "%lu instances, memory at most %lu bytes",
        m->name, s.calls, s.traps, s.timeouts, (double)s.guest_ns / 1e9, s.instances, s.high_water);
}
