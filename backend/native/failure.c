/* Converts wasmtime's traps and errors to messages, with backtraces formatted here. wasmtime would demangle names without a limit, so
   guests are compiled without names, and the names of the shown frames come from the plan. */
#include "instance.h"

#include <stdarg.h>

enum { MAX_FRAMES = 20 };

int32_t begin_message(struct core_call *c, int32_t kind) {
  c->message[0] = 0;
  c->message_bytes = 0;
  return c->kind = kind;
}

int32_t append_text(struct core_call *c, const char *format, ...) {
  va_list arguments;
  uint32_t room = CORE_MESSAGE - 1 - c->message_bytes;
  va_start(arguments, format);
  int n = vsnprintf(c->message + c->message_bytes, room + 1, format, arguments);
  va_end(arguments);
  c->message_bytes += n < 0 ? 0 : (uint32_t)smaller((uint64_t)n, room);
  return c->kind;
}

void append_bytes(struct core_call *c, const char *from, size_t bytes) {
  size_t n = smaller(bytes, CORE_MESSAGE - 1 - c->message_bytes);
  memcpy(c->message + c->message_bytes, from, n);
  c->message_bytes += (uint32_t)n;
  c->message[c->message_bytes] = 0;
}

void error_message(void *error, char *message, size_t room) {
  Bytes text = {0, NULL};
  p_wasmtime_error_message(error, &text);
  snprintf(message, room, "%.*s", (int)smaller(text.size, 4096), text.data);
  p_wasm_byte_vec_delete(&text);
  p_wasmtime_error_delete(error);
}

static void say_time(struct core_call *c) {
  const struct plan *p = c->pool->program->plan;
  char seconds[32];
  snprintf(seconds, sizeof seconds, "%g", (double)c->timeout_ns / 1e9);
  for (char *s = seconds; *s; s++) if (*s == ',') *s = '.'; /* the process's locale can use a decimal comma */
  append_text(c, "the guest ran longer than its time limit of %s s and was stopped (%s)", seconds,
      plan_at(p, (c->timeout_ns < p->timeout_ns ? p->own_limit : p->more_time).at));
}

static int by_function(const void *number, const void *name) {
  uint32_t a = *(const uint32_t *)number, b = ((const struct plan_name *)name)->function;
  return (a > b) - (a < b);
}

static void append_name(struct core_call *c, const struct plan *p, uint32_t function) {
  const struct plan_name *n = bsearch(&function, plan_names(p), p->names, sizeof *n, by_function);
  if (n) append_bytes(c, plan_at(p, n->name.at), n->name.bytes);
  else append_text(c, "function %u", function);
}

static bool is(const Bytes *text, const char *words) {
  return text && text->size == strlen(words) && !memcmp(text->data, words, text->size);
}

/* Guests have no module name; generated loops are shown with theirs; the adapter and the bridge are hidden. */
static void say_backtrace(struct core_call *c, void (*trace)(void *, Frames *), void *from) {
  Frames frames = {0, NULL};
  int shown = 0;
  trace(from, &frames);
  for (size_t i = 0; i < frames.size && shown < MAX_FRAMES; i++) {
    const Bytes *module = p_wasmtime_frame_module_name(frames.data[i]), *name = p_wasmtime_frame_func_name(frames.data[i]);
    size_t offset = p_wasm_frame_module_offset(frames.data[i]);
    if (is(module, "bridge") || is(module, "adapter")) continue;
    append_text(c, shown ? "\n%5d: " : "\nwasm backtrace:\n%5d: ", shown);
    if (offset && offset < 0xFFFFFFFF) append_text(c, "%#8zx - ", offset); else append_text(c, "         - ");
    shown++;
    if (module) append_text(c, "%.*s!%.*s", (int)module->size, module->data, name ? (int)name->size : 0, name ? name->data : "");
    else append_name(c, c->pool->program->plan, p_wasm_frame_func_index(frames.data[i]));
  }
  p_wasm_frame_vec_delete(&frames);
}

/* `bytes` at `from` without surrounding blanks and zeros. */
static Bytes trimmed(char *from, size_t bytes) {
  while (bytes && (*from == ' ' || *from == '\n')) from++, bytes--;
  while (bytes && (!from[bytes - 1] || from[bytes - 1] == ' ' || from[bytes - 1] == '\n')) bytes--;
  return (Bytes){bytes, from};
}

static char *find(Bytes text, const char *words) { return memmem(text.data, text.size, words, strlen(words)); }

/* The remainder of a text, starting at `from`. */
static Bytes rest(Bytes text, char *from) { return trimmed(from, text.size - (size_t)(from - text.data)); }

/* Append the cause in wasmtime's message, or the message without its backtrace if it has no causes. */
static void say_cause(struct core_call *c, Bytes text) {
  static const char BEFORE[] = "\n\nCaused by:\n", MARK[] = "wasm trap: ", NUMBER[] = "0: ";
  char *causes = find(text, BEFORE);
  Bytes head = {causes ? (size_t)(causes - text.data) : text.size, text.data};
  char *trace = find(head, "wasm backtrace:\n");
  head = trimmed(head.data, trace ? (size_t)(trace - head.data) : head.size);
  bool both = head.size && !find(head, "error while executing");
  if (!causes || both) append_bytes(c, head.data, head.size);
  if (!causes) return;
  if (both) append_text(c, ": ");
  Bytes left = rest(text, causes + sizeof BEFORE - 1);
  /* with signals the address of a fault precedes the cause */
  for (char *mark; (mark = find(left, MARK));) left = rest(left, mark + sizeof MARK - 1);
  if (find(left, NUMBER) == left.data) left = rest(left, left.data + sizeof NUMBER - 1);
  for (char *line; (line = find(left, "\n")); left = rest(left, line)) {
    Bytes one = trimmed(left.data, (size_t)(line - left.data));
    append_bytes(c, one.data, one.size);
    append_text(c, "; ");
  }
  append_bytes(c, left.data, left.size);
}

/* The error code for wasmtime's message. */
static int32_t kind_of(const struct core_call *c) {
  static const struct { const char *words; int32_t kind; } KINDS[] = {
    {"maximum concurrent", POOL_FULL}, {"mmap failed", CORE_BUSY}, {"Cannot allocate memory", CORE_BUSY}, {"failed to allocate", CORE_BUSY},
    {"os error 12", CORE_BUSY}, {"exceeds memory limits", MEMORY}, {"memory limit", MEMORY}};
  for (size_t i = 0; i < COUNT_OF(KINDS); i++)
    if (memmem(c->message, c->message_bytes, KINDS[i].words, strlen(KINDS[i].words))) return KINDS[i].kind;
  return CORE_GUEST;
}

int32_t failed(struct core_call *c, struct core_instance *b, void *error, void *trap) {
  void (*message)(void *, Bytes *) = trap ? p_wasm_trap_message : p_wasmtime_error_message;
  Bytes text = {0, NULL};
  uint8_t code = 255;
  int status = 0;
  bool exits = !trap && p_wasmtime_error_exit_status(error, &status), late = b->late; /* late: in a host function */
  if (trap) p_wasmtime_trap_code(trap, &code);
  begin_message(c, trap ? CORE_TRAP : CORE_GUEST);
  b->late = false;
  if (code == TRAP_INTERRUPT || late) {
    c->kind = CORE_TIMEOUT;
    say_time(c);
  } else if (exits) {
    append_text(c, "the guest exited with code %d instead of returning", status);
  } else {
    if (trap) {
      append_text(c, "the guest trapped: ");
      const struct captured *aborted = &b->captured[ABORTED];
      if (aborted->bytes) { append_bytes(c, aborted->data, aborted->bytes); append_text(c, ": "); }
    }
    message(trap ? trap : error, &text);
    say_cause(c, text);
    p_wasm_byte_vec_delete(&text);
    if (!trap) c->kind = kind_of(c);
    if (c->kind == POOL_FULL && b->control) c->kind = CORE_GUEST; /* the instance exists, so the message has a different cause */
  }
  if ((c->kind == CORE_TIMEOUT && !late) || c->kind == CORE_TRAP || (c->kind == CORE_GUEST && !exits))
    say_backtrace(c, trap ? p_wasm_trap_trace : p_wasmtime_error_wasm_trace, trap ? trap : error);
  if (trap) p_wasm_trap_delete(trap);
  if (error) p_wasmtime_error_delete(error);
  return c->kind;
}
