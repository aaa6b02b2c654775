#define _GNU_SOURCE
#include "fake_wasmtime.h"

#include <sys/mman.h>
#include <time.h>

struct fake_wasmtime fake_wasmtime = {
  .counters = {{"engine"}, {"linker"}, {"empty module"}, {"config"}, {"pool"}, {"module"}, {"pre-instance"}, {"store"}, {"WASI"}, {"error"}, {"trap"}, {"text"}, {"frames"},
               {"frame"}, {"value type"}, {"function type"}, {"caller"}},
  .failing = {.at = -1}, .own_bytes = 256 << 10, .tensors_bytes = 64 << 10, .passes = 1, .pool = 1000};

#define NEW(type, kind) ((type *)object_new(fake_wasmtime.counters, kind, sizeof(type)))
#define IS(object, kind) object_is(fake_wasmtime.counters, object, kind)
#define DELETE(object, kind) object_delete(fake_wasmtime.counters, object, kind)

struct config { struct object object; bool pooled; };
struct host_function { char module[32], name[32]; Callback run; void *data; };
struct engine { struct object object; bool pooled; _Atomic uint64_t epoch; struct linker *linker; };
struct linker { struct object object; struct engine *engine; uint32_t functions; struct host_function function[16]; };
struct module { struct object object; struct engine *engine; size_t bytes; char *code; };
struct pre { struct object object; struct engine *engine; char *code; };
struct failure_object { struct object object; uint8_t code; int exit; const char *text; };
struct frame { struct object object; uint32_t number; };
struct caller { struct object object; struct fake_store *store; };

/* ---- errors and traps ---- */

static void *failure_new(uint32_t kind, uint8_t code, int exit, const char *text) {
  struct failure_object *f = NEW(struct failure_object, kind);
  f->code = code; f->exit = exit; f->text = text;
  return f;
}
static void *an_error(void) {
  static const char *const texts[FAILURES] = {
    [FAIL_ERROR] = "error while executing at wasm backtrace:\n  0: x\n\nCaused by:\n    0: it was to fail\n", [FAIL_EXIT] = "exit",
    [FAIL_POOL] = "maximum concurrent core instance limit of 128 reached", [FAIL_MMAP] = "mmap failed to reserve 0x1000 bytes: Cannot allocate memory (os error 12)",
    [FAIL_MEMORY] = "memory minimum size of 5 pages exceeds memory limits", [FAIL_TRAP] = "Caused by:", [FAIL_STRANGE_TRAP] = "strange", [FAIL_INTERRUPT] = "it was to fail\n\nCaused by:\n    0: wasm trap: this\n    1: that\n", [FAIL_LEAVE] = "exit"};
  return failure_new(ERROR, 0, fake_wasmtime.failure == FAIL_EXIT ? 3 : fake_wasmtime.failure == FAIL_LEAVE ? 0 : -1, texts[fake_wasmtime.failure]);
}
/* The failure of a function that may trap. */
static void *a_failure(void **trap) {
  if (fake_wasmtime.failure < FAIL_TRAP || fake_wasmtime.failure == FAIL_LEAVE) return an_error();
  *trap = failure_new(TRAP, fake_wasmtime.failure == FAIL_TRAP ? 9 : fake_wasmtime.failure == FAIL_INTERRUPT ? TRAP_INTERRUPT : 77, -1, "a strange trap");
  return NULL;
}
static bool fails(void) { return now_fails(&fake_wasmtime.failing); }

static void text_new(Bytes *to, const char *from, size_t bytes) {
  struct object *o = object_new(fake_wasmtime.counters, TEXT, sizeof *o + bytes);
  memcpy(o + 1, from, bytes);
  *to = (Bytes){bytes, (char *)(o + 1)};
}
FAKE void wasm_byte_vec_delete(Bytes *b) {
  if (b->data) DELETE((struct object *)b->data - 1, TEXT);
  *b = (Bytes){0, NULL};
}
FAKE void wasm_trap_message(void *trap, Bytes *to) { struct failure_object *f = IS(trap, TRAP); text_new(to, f->text, strlen(f->text) + 1); }
FAKE void wasm_trap_delete(void *trap) { DELETE(trap, TRAP); }
FAKE bool wasmtime_trap_code(void *trap, uint8_t *code) {
  struct failure_object *f = IS(trap, TRAP);
  if (f->code == 77) return false;
  *code = f->code;
  return true;
}
FAKE void *wasmtime_trap_new(const char *text, size_t bytes) { CHECK(bytes == 4 && !memcmp(text, "late", 4), "an unknown text"); return failure_new(TRAP, 77, -1, "late"); }
FAKE void wasmtime_error_message(void *error, Bytes *to) { struct failure_object *f = IS(error, ERROR); text_new(to, f->text, strlen(f->text)); }
FAKE bool wasmtime_error_exit_status(void *error, int *status) {
  struct failure_object *f = IS(error, ERROR);
  if (f->exit < 0) return false;
  *status = f->exit;
  return true;
}
FAKE void wasmtime_error_delete(void *error) { DELETE(error, ERROR); }

/* Frames in turn of the bridge, of a module with names, and of one without. */
static void frames_new(Frames *to) {
  enum { COUNT = 70 };
  struct object *o = object_new(fake_wasmtime.counters, FRAMES, sizeof *o + COUNT * sizeof(void *));
  *to = (Frames){COUNT, (void **)(o + 1)};
  for (uint32_t i = 0; i < COUNT; i++) {
    struct frame *f = NEW(struct frame, FRAME);
    f->number = i;
    to->data[i] = f;
  }
}
FAKE void wasm_trap_trace(void *trap, Frames *to) { IS(trap, TRAP); frames_new(to); }
FAKE void wasmtime_error_wasm_trace(void *error, Frames *to) { IS(error, ERROR); frames_new(to); }
FAKE void wasm_frame_vec_delete(Frames *f) {
  for (size_t i = 0; i < f->size; i++) DELETE(f->data[i], FRAME);
  DELETE((struct object *)f->data - 1, FRAMES);
}
FAKE uint32_t wasm_frame_func_index(void *frame) { return ((struct frame *)IS(frame, FRAME))->number; }
FAKE size_t wasm_frame_module_offset(void *frame) { uint32_t n = ((struct frame *)IS(frame, FRAME))->number; return n == 7 ? SIZE_MAX : n * 16; }
FAKE const Bytes *wasmtime_frame_module_name(void *frame) {
  static char bridge[] = "bridge", guest[] = "guest";
  static const Bytes names[] = {{6, bridge}, {5, guest}};
  uint32_t n = ((struct frame *)IS(frame, FRAME))->number % 3;
  return n < 2 ? &names[n] : NULL;
}
FAKE const Bytes *wasmtime_frame_func_name(void *frame) {
  static char text[3000];
  static const Bytes name = {sizeof text, text};
  IS(frame, FRAME);
  memset(text, 'n', sizeof text);
  return &name;
}

/* ---- engines ---- */

FAKE void *wasm_config_new(void) { return NEW(struct config, CONFIG); }
FAKE void *wasm_engine_new_with_config(void *config) {
  struct config *c = IS(config, CONFIG);
  struct engine *e = NEW(struct engine, ENGINE);
  e->pooled = c->pooled;
  DELETE(config, CONFIG);
  return e;
}
FAKE void *wasmtime_pooling_allocation_config_new(void) { return NEW(struct object, POOL); }
FAKE void wasmtime_pooling_allocation_config_delete(void *pool) { DELETE(pool, POOL); }
FAKE void wasmtime_pooling_allocation_strategy_set(void *config, void *pool) { IS(pool, POOL); ((struct config *)IS(config, CONFIG))->pooled = true; }
#define SETS(name, kind, type) FAKE void name(void *object, type value) { (void)value; IS(object, kind); }
#define CONFIGURES(name, type) SETS(wasmtime_config_##name##_set, CONFIG, type)
CONFIGURES(epoch_interruption, bool)
CONFIGURES(signals_based_traps, bool)
CONFIGURES(memory_reservation, uint64_t)
CONFIGURES(memory_guard_size, uint64_t)
CONFIGURES(async_stack_size, uint64_t)
CONFIGURES(max_wasm_stack, size_t)
CONFIGURES(wasm_threads, bool)
CONFIGURES(wasm_memory64, bool)
CONFIGURES(wasm_gc, bool)
CONFIGURES(wasm_function_references, bool)
CONFIGURES(wasm_exceptions, bool)
CONFIGURES(parallel_compilation, bool)
#define POOLS(name, type) SETS(wasmtime_pooling_allocation_config_##name##_set, POOL, type)
POOLS(total_memories, uint32_t)
POOLS(total_core_instances, uint32_t)
POOLS(total_tables, uint32_t)
POOLS(max_memories_per_module, uint32_t)
POOLS(max_tables_per_module, uint32_t)
POOLS(table_elements, size_t)
POOLS(max_core_instance_size, size_t)
POOLS(max_memory_size, size_t)
POOLS(linear_memory_keep_resident, size_t)
POOLS(table_keep_resident, size_t)
POOLS(max_unused_warm_slots, uint32_t)
FAKE void wasmtime_engine_increment_epoch(void *engine) {
  struct timespec pause = {0, 200000};
  while (fake_wasmtime.holds) { fake_wasmtime.held = true; nanosleep(&pause, NULL); }
  atomic_fetch_add(&((struct engine *)IS(engine, ENGINE))->epoch, 1);
}

/* ---- modules and linkers ---- */

FAKE void *wasmtime_module_deserialize(void *engine, const uint8_t *code, size_t bytes, void **module) {
  IS(engine, ENGINE);
  if (fails() || (bytes && *code == '!')) return an_error();
  struct module *m = NEW(struct module, MODULE);
  m->engine = engine; m->bytes = bytes;
  CHECK((m->code = malloc(bytes + 1)), "out of memory");
  memcpy(m->code, code, bytes);
  m->code[bytes] = 0;
  *module = m;
  return NULL;
}
/* The core compiles one module itself, which is nothing but a memory. */
FAKE void *wasmtime_module_new(void *engine, const uint8_t *wasm, size_t bytes, void **module) {
  CHECK(bytes > 8 && !memcmp(wasm, "\0asm\1\0\0", 8), "no module");
  return wasmtime_module_deserialize(engine, (const uint8_t *)"vacant", 6, module);
}
FAKE void wasmtime_module_delete(void *module) { free(((struct module *)IS(module, MODULE))->code); DELETE(module, MODULE); }
FAKE void *wasmtime_module_serialize(void *module, Bytes *to) {
  struct module *m = IS(module, MODULE);
  if (fails()) return an_error();
  text_new(to, m->code, m->bytes);
  return NULL;
}
FAKE void *wasm_valtype_new(uint8_t kind) { (void)kind; return NEW(struct object, VALUE_TYPE); }
FAKE void wasm_valtype_vec_new(Bytes *to, size_t count, void **types) {
  for (size_t i = 0; i < count; i++) DELETE(types[i], VALUE_TYPE);
  *to = (Bytes){count, NULL};
}
FAKE void *wasm_functype_new(Bytes *parameters, Bytes *results) { CHECK(parameters->size <= 4 && results->size <= 1, "a strange type"); return NEW(struct object, FUNCTION_TYPE); }
FAKE void wasm_functype_delete(void *type) { DELETE(type, FUNCTION_TYPE); }
FAKE void *wasmtime_linker_new(void *engine) {
  struct linker *l = NEW(struct linker, LINKER);
  l->engine = IS(engine, ENGINE);
  return l->engine->linker = l;
}
FAKE void wasmtime_linker_delete(void *linker) { DELETE(linker, LINKER); }
FAKE void wasm_engine_delete(void *engine) { DELETE(engine, ENGINE); }
FAKE void wasmtime_linker_allow_shadowing(void *linker, bool allowed) { (void)allowed; IS(linker, LINKER); }
FAKE void *wasmtime_linker_define_wasi(void *linker) { IS(linker, LINKER); return fails() ? an_error() : NULL; }
FAKE void *wasmtime_linker_define_func_unchecked(void *linker, const char *module, size_t module_bytes, const char *name, size_t bytes, void *type, Callback run,
                                                 void *data, void (*end)(void *)) {
  struct linker *l = IS(linker, LINKER);
  (void)end;
  IS(type, FUNCTION_TYPE);
  if (fails()) return an_error();
  CHECK(l->functions < 16 && module_bytes < 32 && bytes < 32, "a function too many");
  struct host_function *f = &l->function[l->functions++];
  memcpy(f->module, module, module_bytes);
  memcpy(f->name, name, bytes);
  f->run = run; f->data = data;
  return NULL;
}
FAKE void *wasmtime_linker_instantiate_pre(void *linker, void *module, void **pre) {
  struct linker *l = IS(linker, LINKER);
  struct module *m = IS(module, MODULE);
  CHECK(l->engine == m->engine, "module and linker have other engines");
  if (fails()) return an_error();
  struct pre *p = NEW(struct pre, strcmp(m->code, "vacant") ? PRE : VACANT);
  p->engine = m->engine;
  p->code = strdup(m->code); /* the module may be deleted before */
  *pre = p;
  return NULL;
}
static struct pre *pre_is(void *pre) { return IS(pre, pre && ((struct object *)pre)->kind == VACANT ? VACANT : PRE); }
FAKE void wasmtime_instance_pre_delete(void *pre) {
  struct pre *p = pre_is(pre);
  free(p->code);
  DELETE(pre, p->object.kind);
}

/* ---- stores and memories ---- */

enum { EDGE = 64 << 10 };
#define SPACE (4ull << 30) /* whatever 32 bits address is in it */

static uint8_t *memory_new(uint64_t bytes) {
  uint8_t *at = mmap(NULL, SPACE + 2 * EDGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(at != MAP_FAILED, "no room for a memory");
  CHECK(!bytes || !mprotect(at + EDGE, bytes, PROT_READ | PROT_WRITE), "no memory");
  return at + EDGE;
}
static void memory_delete(uint8_t *at) { munmap(at - EDGE, SPACE + 2 * EDGE); }

FAKE void fake_grow(struct fake_store *s, uint64_t bytes) {
  uint8_t *moved = memory_new(bytes);
  CHECK(bytes >= s->tensors_bytes, "memories do not shrink");
  memcpy(moved, s->tensors, s->tensors_bytes);
  memory_delete(s->tensors);
  s->tensors = moved;
  s->tensors_bytes = bytes;
}

FAKE void *wasmtime_store_new(void *engine, void *data, void (*end)(void *)) {
  static _Atomic uint64_t last;
  struct fake_store *s = NEW(struct fake_store, STORE);
  (void)end;
  s->engine = IS(engine, ENGINE);
  s->data = data;
  s->id = atomic_fetch_add(&last, 1) + 1;
  s->own_bytes = fake_wasmtime.own_bytes; s->tensors_bytes = fake_wasmtime.tensors_bytes;
  s->own = memory_new(s->own_bytes); s->tensors = memory_new(s->tensors_bytes);
  return s;
}
FAKE void *wasmtime_store_context(void *store) { return IS(store, STORE); }
FAKE void wasmtime_store_delete(void *store) {
  struct fake_store *s = IS(store, STORE);
  atomic_fetch_sub(&fake_wasmtime.pooled, s->pooled);
  memory_delete(s->own);
  memory_delete(s->tensors);
  DELETE(store, STORE);
}
FAKE void wasmtime_store_limiter(void *store, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e) { (void)a, (void)b, (void)c, (void)d, (void)e; IS(store, STORE); }
FAKE void wasmtime_context_set_epoch_deadline(void *context, uint64_t ticks) {
  struct fake_store *s = IS(context, STORE);
  s->deadline = atomic_load(&((struct engine *)s->engine)->epoch) + ticks;
}
FAKE void *wasmtime_context_get_data(void *context) { return ((struct fake_store *)IS(context, STORE))->data; }
FAKE void *wasi_config_new(void) { return NEW(struct object, WASI); }
FAKE void *wasmtime_context_set_wasi(void *context, void *wasi) {
  IS(context, STORE);
  DELETE(wasi, WASI);
  return fails() ? an_error() : NULL;
}
static struct fake_store *store_of(void *context, uint64_t id) {
  struct fake_store *s = IS(context, STORE);
  CHECK(s->id == id, "it belongs to another store");
  return s;
}
FAKE uint8_t *wasmtime_memory_data(void *context, const Memory *m) {
  struct fake_store *s = store_of(context, m->store);
  return m->more == 1 ? s->own : s->tensors;
}
FAKE size_t wasmtime_memory_data_size(void *context, const Memory *m) {
  struct fake_store *s = store_of(context, m->store);
  return m->more == 1 ? s->own_bytes : s->tensors_bytes;
}

/* ---- instances ---- */

static void *instance_new(struct fake_store *s, struct engine *engine, const char *code, Instance *made, void **trap) {
  struct engine *e = s->engine;
  unsigned inputs, outputs;
  bool is_vacant = !strcmp(code, "vacant");
  CHECK(e == engine, "module and store have other engines");
  if (fails()) return a_failure(trap);
  if (e->pooled && (!s->pooled || is_vacant)) {
    if (atomic_fetch_add(&fake_wasmtime.pooled, 1) >= fake_wasmtime.pool) {
      atomic_fetch_sub(&fake_wasmtime.pooled, 1);
      return failure_new(ERROR, 0, -1, "maximum concurrent core instance limit reached");
    }
    s->pooled++;
  }
  if (sscanf(code, "adapter %u %u", &inputs, &outputs) == 2 && inputs <= MAX_TENSORS && outputs <= MAX_TENSORS - inputs) { s->inputs = inputs; s->outputs = outputs; }
  *made = (Instance){s->id, s->instances++};
  return NULL;
}
FAKE void *wasmtime_instance_pre_instantiate(void *pre, void *context, Instance *made, void **trap) {
  struct pre *p = pre_is(pre);
  return instance_new(IS(context, STORE), p->engine, p->code, made, trap);
}
FAKE void *wasmtime_instance_new(void *context, void *module, const Extern *imports, size_t count, Instance *made, void **trap) {
  struct module *m = IS(module, MODULE);
  for (size_t i = 0; i < count; i++) { /* all are there, and of this store */
    if (imports[i].kind == EXTERN_FUNC) store_of(context, imports[i].of.func.store);
    else if (imports[i].kind == EXTERN_MEMORY) store_of(context, imports[i].of.memory.store);
    else CHECK(false, "an import of kind %d", imports[i].kind);
  }
  return instance_new(IS(context, STORE), m->engine, m->code, made, trap);
}

static void found(const struct fake_store *s, const char *name, size_t bytes, Extern *to) {
  static const char *const functions[] = {"place", "run", "restore", "explain"};
  bool own = bytes == 6 && !memcmp(name, "memory", 6);
  if (own || (bytes == 7 && !memcmp(name, "tensors", 7))) {
    to->kind = EXTERN_MEMORY;
    to->of.memory = (Memory){{s->id, 0}, own ? 1 : 2};
    return;
  }
  uintptr_t number = 0;
  while (number < CALL_OTHER && (strlen(functions[number]) != bytes || memcmp(name, functions[number], bytes))) number++;
  to->kind = EXTERN_FUNC;
  to->of.func = (Func){s->id, (void *)(number + 1)};
}
FAKE bool wasmtime_instance_export_get(void *context, const Instance *from, const char *name, size_t bytes, Extern *to) {
  struct fake_store *s = store_of(context, from->store);
  CHECK(from->hidden < s->instances, "it is no instance");
  if (fails() || (bytes && *name == '?')) return false;
  found(s, name, bytes, to);
  return true;
}
FAKE bool wasmtime_caller_export_get(void *caller, const char *name, size_t bytes, Extern *to) {
  struct fake_store *s = ((struct caller *)IS(caller, CALLER))->store;
  CHECK(bytes == 6 && !memcmp(name, "memory", 6), "another export than the memory");
  if (fails()) return false;
  *to = (Extern){.kind = EXTERN_MEMORY, .of.memory = {{s->id, 0}, 2}};
  return true;
}
FAKE void *wasmtime_caller_context(void *caller) { return ((struct caller *)IS(caller, CALLER))->store; }

FAKE void *fake_host_call(struct fake_store *s, const char *name, const Raw *arguments, size_t count, Raw *result) {
  struct linker *l = ((struct engine *)s->engine)->linker;
  Raw values[4] = {{.i64 = 0}};
  uint32_t i = 0;
  while (i < l->functions && strcmp(l->function[i].name, name)) i++;
  CHECK(i < l->functions, "the host has no %s", name);
  memcpy(values, arguments, count * sizeof *values);
  struct caller *caller = NEW(struct caller, CALLER);
  caller->store = s;
  void *trap = l->function[i].run(l->function[i].data, caller, values, count);
  DELETE(caller, CALLER);
  if (result) *result = values[0];
  if (!trap) return NULL;
  DELETE(trap, TRAP);
  return failure_new(ERROR, 0, -1, "late");
}

/* ---- the adapter, and the guest behind it ---- */

static struct control *control_of(struct fake_store *s) { return (struct control *)(s->own + CONTROL_AT); }

static int32_t refuse(struct fake_store *s, int32_t status, const char *text) {
  struct control *k = control_of(s);
  k->message = MESSAGE_AT;
  k->message_bytes = (uint32_t)strlen(text);
  memcpy(s->own + MESSAGE_AT, text, k->message_bytes);
  return status;
}

static int32_t place(struct fake_store *s) {
  struct control *k = control_of(s);
  const struct tensor *first = &k->t[0];
  uint64_t at = 64;
  s->rows = s->inputs && first->rank > 0 && first->dims[0] > 0 && first->bytes ? (uint64_t)first->dims[0] : 0;
  s->row_bytes = s->rows ? first->bytes / s->rows : 0;
  k->rows = -1;
  k->passes = fake_wasmtime.passes;
  k->generation = ++s->generation;
  if (s->renew) { s->renew = false; return RENEW; }
  for (uint32_t i = 0; i < s->inputs; i++) {
    struct tensor *t = &k->t[i];
    if (t->rank < 0) continue;
    if (t->rank > MAX_RANK) return refuse(s, INPUT, "an input has too many dimensions");
    if (t->rank && t->dims[t->rank - 1] == REFUSED_DIM) return refuse(s, INPUT, "an input has a bad shape");
    if (at + t->bytes > 1 << 24) return refuse(s, MEMORY, "there is no room");
    if (at + t->bytes > s->tensors_bytes) fake_grow(s, (at + t->bytes + 65535) & ~65535ull);
    s->at[i] = t->at = (uint32_t)at;
    t->slice = k->passes > 1 ? (t->bytes + k->passes - 1) / k->passes : 0;
    at += (t->bytes + 15) & ~15ull;
  }
  return DONE;
}

static void *interrupted(void **trap) { *trap = failure_new(TRAP, TRAP_INTERRUPT, -1, "interrupt"); return NULL; }
static bool is_late(const struct fake_store *s) { return atomic_load(&((struct engine *)s->engine)->epoch) >= s->deadline; }

static void *write_much(struct fake_store *s) {
  static const char text[] = "the guest writes\nlines without end";
  uint32_t vector[] = {16, sizeof text - 1, 16, 5};
  memcpy(s->tensors, vector, sizeof vector);
  memcpy(s->tensors + 16, text, sizeof text);
  for (int i = 0; i < 20; i++) {
    void *error = fake_host_call(s, "fd_write", (Raw[]){{.i64 = 1 + i % 2}, {.i64 = 0}, {.i64 = 2}, {.i64 = 60}}, 4, NULL);
    if (error) return error;
  }
  return NULL;
}

/* Sleeps until long after the deadline. */
static void *sleep_long(struct fake_store *s) {
  uint8_t subscription[48] = {0};
  uint64_t hour_ns = 3600000000000ull;
  subscription[16] = 1;
  memcpy(subscription + 24, &hour_ns, 8);
  memcpy(s->tensors, subscription, 48);
  return fake_host_call(s, "poll_oneoff", (Raw[]){{.i64 = 0}, {.i64 = 48}, {.i64 = 1}, {.i64 = 40}}, 4, NULL);
}

static void *act(struct fake_store *s, char what, int32_t *status, void **trap) {
  struct timespec pause = {0, 200000};
  switch (what) {
    case DOES_TRAP: *trap = failure_new(TRAP, 9, -1, "unreachable"); return NULL;
    case DOES_LOOP: while (!is_late(s)) nanosleep(&pause, NULL); return interrupted(trap);
    case DOES_STATUS: case DOES_STATUS_TRAP: s->generation = what; *status = refuse(s, STATUS, "returned 7"); return NULL;
    case DOES_ABI: *status = refuse(s, ABI, "an output's address is none"); return NULL;
    case DOES_EXIT: return failure_new(ERROR, 0, 4, "exit");
    case DOES_GROW: fake_grow(s, s->tensors_bytes + 65536); return NULL;
    case DOES_WRITE: return write_much(s);
    case DOES_SLEEP: return sleep_long(s);
    case DOES_HARM: memset(s->tensors, 0xFF, s->tensors_bytes); return NULL;
    case DOES_RENEW: s->renew = true; return NULL;
    default: return NULL;
  }
}

static void *run(struct fake_store *s, uint32_t pass, uint32_t generation, int32_t *status, void **trap) {
  struct control *k = control_of(s);
  if (generation != s->generation) { *status = refuse(s, INTERNAL, "another generation"); return NULL; }
  for (uint64_t row = 0; fake_wasmtime.passes == 1 && row < s->rows && s->row_bytes; row++) {
    void *error = act(s, (char)s->tensors[s->at[0] + row * s->row_bytes], status, trap);
    if (error || *trap || *status) return error;
  }
  for (uint32_t i = 0; s->inputs && i < s->outputs; i++) {
    const struct tensor *from = &k->t[i % s->inputs];
    struct tensor *to = &k->t[s->inputs + i];
    *to = *from;
    if (from->rank < 0) { to->rank = 1; to->bytes = 0; to->dims[0] = 0; }
    to->at = s->at[i % s->inputs];
  }
  (void)pass;
  return NULL;
}

FAKE void *wasmtime_func_call_unchecked(void *context, const Func *f, Raw *raw, size_t count, void **trap) {
  struct fake_store *s = store_of(context, f->store);
  uint32_t number = (uint32_t)(uintptr_t)f->hidden - 1, first = count > 0 ? (uint32_t)raw[0].i64 : 0, second = count > 1 ? (uint32_t)raw[1].i64 : 0;
  int32_t status = DONE;
  void *error = NULL;
  CHECK(number <= CALL_OTHER, "it is no function");
  if (is_late(s)) return interrupted(trap);
  if (fails()) return a_failure(trap);
  if (number == CALL_PLACE) status = place(s);
  else if (number == CALL_RUN) error = run(s, first, second, &status, trap);
  else if (number == CALL_RESTORE) status = s->renew ? RENEW : DONE;
  else if (number == CALL_EXPLAIN) {
    if (s->generation == DOES_STATUS_TRAP) *trap = failure_new(TRAP, 9, -1, "unreachable");
    else refuse(s, DONE, "the guest's own words");
  }
  if (fake_wasmtime.lie && !error && !*trap && number != CALL_OTHER) error = fake_wasmtime.lie(s, (int)number, &status);
  if (count) raw[0].i64 = (uint32_t)status;
  return error;
}
