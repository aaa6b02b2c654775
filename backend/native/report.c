/* What a model reports to Triton: errors, log lines, metrics, and what its guests write. */
#include "shell.h"

#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_LINES = 1000 }; /* of a model's guests in a second */

Error *error_f(int code, const char *format, ...) {
  char text[8192];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return TRITONSERVER_ErrorNew(code, text);
}

void drop(Error *error) { if (error) TRITONSERVER_ErrorDelete(error); }

void log_f(int level, const char *format, ...) {
  char text[TEXT_LINE + 512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  drop(TRITONSERVER_LogMessage(level, "wasm", 0, text));
}

/* ---- metrics ---- */

static const struct { int kind; const char *name, *text; } NAMED[METRICS] = {
  {COUNTER, "wasm_calls", "Guest calls"},
  {COUNTER, "wasm_traps", "Guest calls that ended in a trap"},
  {COUNTER, "wasm_timeouts", "Guest calls that were stopped at their deadline"},
  {COUNTER, "wasm_instances_created", "Guest instances made"},
  {COUNTER, "wasm_guest_seconds", "Wall time spent in guest calls"},
  {GAUGE, "wasm_memory_high_water_bytes", "The largest linear memory that a guest had"},
};

/* One family for all models: by its object Triton counts who uses a metric. A model and the one that replaces it have equal labels, and a
   metric that each knew through a family of its own would be freed with the first of them, under the other's hands. */
static Family *families[METRICS];
static uint32_t users;
static pthread_mutex_t families_lock = PTHREAD_MUTEX_INITIALIZER; /* Triton itself does not bear one who goes while another comes */

void metrics_new(struct model *m, const char *name, uint64_t version) {
  char number[24], process[24];
  snprintf(number, sizeof number, "%llu", (unsigned long long)version);
  snprintf(process, sizeof process, "%d", (int)getpid());
  const char *values[][2] = {{"model", name}, {"version", number}, {"pid", process}};
  const Parameter *labels[3];
  for (int i = 0; i < 3; i++) labels[i] = TRITONSERVER_ParameterNew(values[i][0], PARAMETER_STRING, values[i][1]);
  pthread_mutex_lock(&families_lock);
  for (int i = 0; i < METRICS; i++) {
    Error *error = users ? NULL : TRITONSERVER_MetricFamilyNew(&families[i], NAMED[i].kind, NAMED[i].name, NAMED[i].text);
    if (error) families[i] = NULL; /* a server without metrics serves all the same */
    else if (families[i] && (error = TRITONSERVER_MetricNew(&m->metrics[i], families[i], labels, 3))) m->metrics[i] = NULL;
    drop(error);
  }
  m->counts = true;
  users++;
  pthread_mutex_unlock(&families_lock);
  for (int i = 0; i < 3; i++) TRITONSERVER_ParameterDelete((Parameter *)labels[i]);
}

void metrics_free(struct model *m) {
  if (!m->counts) return;
  pthread_mutex_lock(&families_lock);
  users--;
  for (int i = 0; i < METRICS; i++) {
    if (m->metrics[i]) drop(TRITONSERVER_MetricDelete(m->metrics[i]));
    if (!users && families[i]) drop(TRITONSERVER_MetricFamilyDelete(families[i]));
    if (!users) families[i] = NULL;
  }
  pthread_mutex_unlock(&families_lock);
}

void metrics_send(struct model *m) {
  pthread_mutex_lock(&m->lock);
  struct core_stats now = core_stats(m->program), sent = m->sent;
  m->sent = now;
  double more[METRICS] = {(double)(now.calls - sent.calls), (double)(now.traps - sent.traps), (double)(now.timeouts - sent.timeouts),
                          (double)(now.instances - sent.instances), (double)(now.guest_ns - sent.guest_ns) / 1e9, (double)now.high_water};
  for (int i = 0; i < METRICS; i++) {
    if (!m->metrics[i] || more[i] <= 0) continue;
    if (NAMED[i].kind == COUNTER) drop(TRITONSERVER_MetricIncrement(m->metrics[i], more[i]));
    else if (now.high_water > sent.high_water) drop(TRITONSERVER_MetricSet(m->metrics[i], more[i]));
  }
  pthread_mutex_unlock(&m->lock);
}

/* ---- what guests write ---- */

static void say_dropped(struct model *m) {
  if (m->dropped) log_f(LOG_INFO, "wasm model %s: %llu more lines of the guest were dropped", m->name, (unsigned long long)m->dropped);
  m->dropped = 0;
}

/* Logs at most MOST_LINES in a second, and counts the others. */
static void say_line(struct model *m, int stream, const char *text, size_t bytes) {
  char line[TEXT_LINE];
  if (m->lines++ >= MOST_LINES) { m->dropped++; return; }
  text_line(text, bytes, line);
  log_f(LOG_INFO, "wasm model %s: %s: %s", m->name, stream == STDERR ? "stderr" : "stdout", line);
}

/* The lines of one stream of a call; without a text, how many bytes of it were not kept. */
void report_output(void *data, int stream, const char *text, size_t bytes) {
  struct model *m = data;
  const struct plan *p = m->plan;
  uint64_t second = now_ns() / 1000000000u;
  char more[256];
  pthread_mutex_lock(&m->lock);
  if (second != m->second) { say_dropped(m); m->lines = 0; m->second = second; }
  bool was_full = m->lines >= MOST_LINES;
  if (!text) {
    int n = snprintf(more, sizeof more, "... %zu more bytes were dropped (%.*s is %llu)", bytes, (int)p->raise_output.bytes,
                     plan_at(p, p->raise_output.at), (unsigned long long)p->max_output);
    say_line(m, stream, more, (size_t)n < sizeof more ? (size_t)n : sizeof more - 1);
  }
  while (text && bytes) {
    const char *end = memchr(text, '\n', bytes);
    size_t n = end ? (size_t)(end - text) : bytes;
    say_line(m, stream, text, n && text[n - 1] == '\r' ? n - 1 : n);
    n += end != NULL;
    text += n;
    bytes -= n;
  }
  if (!was_full) say_dropped(m); /* what comes after is said with the next second's first line, or at the end */
  pthread_mutex_unlock(&m->lock);
}

void report_end(struct model *m) {
  struct core_stats s = core_stats(m->program);
  metrics_send(m);
  say_dropped(m);
  log_f(LOG_INFO, "wasm model %s: unloaded after %llu guest calls (%llu traps, %llu timeouts) in %.3f s; "
                  "%llu instances, memory at most %llu bytes",
        m->name, (unsigned long long)s.calls, (unsigned long long)s.traps, (unsigned long long)s.timeouts, (double)s.guest_ns / 1e9,
        (unsigned long long)s.instances, (unsigned long long)s.high_water);
}
