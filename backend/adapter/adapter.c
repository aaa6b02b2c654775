/* The adapter: implements the call conventions between an executor and a guest. It is WebAssembly itself, so that a bug in it cannot
   affect the process. It checks requests, places tensors in the guest's memory, calls the guest, checks its outputs, and rewinds
   instances to their initial state. Names, shapes and limits come from the planner's data segment (`control.h`), functions of the
   guest through the bridge, which is generated per module. Built for wasm32; CI compares `adapter.wasm` with a build of this file. */
#include "control.h"

typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t i64;

#define FROM_BRIDGE(name) __attribute__((import_module("bridge"), import_name(#name)))
#define EXPORTED(name) __attribute__((export_name(#name)))

/* functions of the tensors' memory: the guest's, or the elementwise loop's */
FROM_BRIDGE(pages) u32 tensor_pages(void);
FROM_BRIDGE(grow) int32_t tensor_grow(u32 pages);
FROM_BRIDGE(put) void put(u32 to, const void *from, u32 bytes);
FROM_BRIDGE(get) void get(void *to, u32 from, u32 bytes);
FROM_BRIDGE(move) void move(u32 to, u32 from, u32 bytes);
FROM_BRIDGE(zero) void zero(u32 at, u32 bytes);
/* functions of the guest's memory and mutable globals, which are saved and restored */
FROM_BRIDGE(state_pages) u32 state_pages(void);
FROM_BRIDGE(state_put) void state_put(u32 to, const void *from, u32 bytes);
FROM_BRIDGE(state_get) void state_get(void *to, u32 from, u32 bytes);
FROM_BRIDGE(state_zero) void state_zero(u32 at, u32 bytes);
FROM_BRIDGE(save_globals) void save_globals(void);
FROM_BRIDGE(load_globals) void load_globals(void);
/* the guest's functions */
FROM_BRIDGE(allocate) u32 guest_allocate(u32 old, u32 old_bytes, u32 bytes);
FROM_BRIDGE(call) int32_t guest_call(u32 in, u32 n_in, u32 out, u32 n_out);
FROM_BRIDGE(error) u32 guest_error(void);
FROM_BRIDGE(reset) void guest_reset(void);

enum {
  STRUCT = 40, /* DLTensor for wasm32 */
  CPU = 1, /* kDLCPU */
  MAX_CLEARED = 64 << 20, /* beyond, a new instance is faster, although wasmtime also changes the protection of its pages */
  MAX_SAVED = 512 << 10, /* beyond, a new instance is as fast; the planner reserves this size */
  CHUNK = 2 << 20, /* part of a gufunc's batch that fits the caches */
  ONE_PASS = 1 << 20 /* a smaller batch is one chunk */
};
_Static_assert(MAX_RANK == 8, "messages append so");
#define TOO_LARGE ((u64)1 << 60) /* elements: eight bytes each still fit into 63 bits */
#define NONE UINT64_MAX

static struct control *const control = (struct control *)CONTROL_AT;
static const struct fixed *const fixed = (const struct fixed *)(CONTROL_AT + sizeof(struct control));
static u32 *const arguments = (u32 *)ARGUMENTS_AT;
_Static_assert(CONTROL_AT + sizeof(struct control) + sizeof(struct fixed) <= ARGUMENTS_AT, "the control block is too large");
_Static_assert(sizeof(struct tensor) == 152 && sizeof(struct control) == 32 + MAX_TENSORS * 152 && sizeof(struct spec) == 136, "plan/control.py");

struct dl { u32 data; int32_t device, id, ndim; uint8_t code, bits; uint16_t lanes; u32 shape, strides, pad; u64 offset; };
_Static_assert(sizeof(struct dl) == STRUCT, "DLTensor for wasm32");

/* macros: variables in an imported memory would be zeroed for each instance */
static char *const message = (char *)MESSAGE_AT;
static char *const window = (char *)WINDOW_AT;
static char *const image = (char *)IMAGE_AT;
_Static_assert(IMAGE_AT + MAX_TENSORS * (STRUCT + 8 * (MAX_RANK + 3)) <= TEXTS_AT, "an image of all structs is too large");

static u32 block, capacity, raw;                  /* the block for tensors in the guest's memory */
static u32 used, saved, low, high, first, latest; /* the initial state: bytes before and after the block; sizes of the memory */
static u32 header_bytes, data_at[MAX_TENSORS], shape_at[MAX_TENSORS];
static u64 item[MAX_TENSORS], elements, chunk; /* bytes per batch item; elements of the entire batch, of one pass */
static u32 spread_at[MAX_TENSORS];             /* address for the copies of a repeated input, 0: none */
static struct tensor loops;                    /* the broadcast loop dimensions of all inputs */

/* ---- messages ---- */

static u32 message_length;
static void append_bytes(const void *from, u64 bytes) {
  for (u64 i = 0; i < bytes && message_length < MESSAGE_BYTES; i++) message[message_length++] = ((const char *)from)[i];
}
static void append(const char *s) { while (*s && message_length < MESSAGE_BYTES) message[message_length++] = *s++; }
static void append_text(struct text t) { append_bytes((const char *)t.at, t.bytes); }
static void append_unsigned(u64 n) {
  char digits[20];
  int at = 20;
  do digits[--at] = (char)('0' + n % 10); while (n /= 10);
  append_bytes(digits + at, (u64)(20 - at));
}
static void append_number(i64 n) {
  if (n < 0) append("-");
  append_unsigned(n < 0 ? -(u64)n : (u64)n);
}
static void append_hex(u64 n, int carried) {
  char digits[16];
  int at = 16;
  do digits[--at] = "0123456789abcdef"[n & 15]; while ((n >>= 4) || (carried && at));
  append(carried ? "0x1" : "0x");
  append_bytes(digits + at, (u64)(16 - at));
}
static void append_dims(const i64 *dims, int rank) {
  append("[");
  for (int k = 0; k < rank; k++) { if (k) append(", "); append_number(dims[k]); }
  append("]");
}
static void say_tensor(u32 i) {
  append(i < fixed->inputs ? "input '" : "output '");
  append_text(fixed->s[i].name);
  append("'");
}
static int end(int status) {
  control->message = (u32)message;
  control->message_bytes = message_length;
  return status;
}
static int fail(int status, const char *what) { message_length = 0; append(what); return end(status); }
static int bad(u32 i, const char *what) { message_length = 0; say_tensor(i); append(what); return end(ABI); }

/* ---- numbers ---- */

/* NONE represents numbers that are too large: 2^63 and more. */
static u64 times(u64 a, u64 b) { return !a || !b ? 0 : __builtin_clzll(a) + __builtin_clzll(b) < 64 ? NONE : a * b; }
static u64 plus(u64 a, u64 b) { u64 n; return __builtin_add_overflow(a, b, &n) ? NONE : n; }
static u64 up(u64 n) { return (n + ALIGN - 1) & ~(u64)(ALIGN - 1); }
static u64 product(const i64 *dims, int rank) { u64 n = 1; for (int k = 0; k < rank; k++) n = times(n, (u64)dims[k]); return n; }
static u64 product_but_zeros(const i64 *dims, int rank) {
  u64 n = 1;
  for (int k = 0; k < rank; k++) n = times(n, dims[k] ? (u64)dims[k] : 1);
  return n;
}
static u64 memory_size(void) { return (u64)tensor_pages() << 16; }

/* ---- saving and restoring the initial state ---- */

static char *store(void) { return (char *)fixed->store_at; }

static void save(void) {
  u64 size = (u64)state_pages() << 16, behind = (u64)block + capacity;
  if (!(fixed->flags & REWINDS) || size - capacity > MAX_SAVED) return;
  low = capacity ? block : (u32)size;
  high = capacity ? (u32)(size - behind) : 0;
  first = latest = (u32)size;
  if ((u64)fixed->store_at + low + high > (u64)__builtin_wasm_memory_size(0) << 16) return;
  state_get(store(), 0, low);
  state_get(store() + low, (u32)behind, high);
  save_globals();
  saved = 1;
}

EXPORTED(restore) int restore(void) {
  u64 size = (u64)state_pages() << 16;
  control->grew = size != latest;
  latest = (u32)size;
  if (!saved) return RENEW;
  if (size > first) {
    u64 most = 4 * (u64)capacity > SPARE_BYTES ? 4 * (u64)capacity : SPARE_BYTES;
    if (size - first > (most < MAX_CLEARED ? most : MAX_CLEARED)) return RENEW;
    state_zero(first, (u32)(size - first));
  }
  state_put(0, store(), low);
  state_put(block + capacity, store() + low, high);
  load_globals();
  return DONE;
}

/* ---- the block for tensors ---- */

static int no_room(u64 size, u64 wanted) {
  u64 now = memory_size(), most = fixed->max_memory_bytes, enough = now + 2 * wanted + (16 << 20);
  if (fixed->own_maximum < most) most = fixed->own_maximum;
  message_length = 0;
  append("the tensors need "); append_unsigned(size); append(" bytes, which the guest could not allocate: its memory is ");
  append_unsigned(now); append(" bytes, and ");
  if (fixed->allocator.bytes && most >= enough) {
    append("may grow to "); append_unsigned(most); append(", so its own allocator ("); append_text(fixed->allocator);
    append(") failed (build the module with a larger heap");
  } else if (fixed->own_maximum <= fixed->max_memory_bytes) {
    append("the module's own maximum is "); append_unsigned(fixed->own_maximum);
    append(" bytes (build it with a larger one: clang -Wl,--max-memory=, Emscripten: -sMAXIMUM_MEMORY=, asc --maximumMemory");
  } else { append("may grow to "); append_unsigned(fixed->max_memory_bytes); append(" ("); append_text(fixed->raise_memory_bytes); }
  append(", or send smaller batches)");
  return end(MEMORY);
}

static int too_wide(u64 size) {
  message_length = 0;
  append("the tensors need "); append_unsigned(size); append(" bytes, which a 32-bit guest cannot address");
  return end(MEMORY);
}

/* Ensure that `block` has `size` bytes. RENEW: only a new instance can have them. */
static int reserve(u64 size) {
  if (used && !saved && (fixed->flags & RESETS)) {
    guest_reset();
    if (fixed->flags & FORGETS) block = capacity = raw = 0;
  }
  if (saved && (size > capacity || capacity > size + (size > SPARE_BYTES ? size : SPARE_BYTES))) return RENEW;
  if (!block || size > capacity) {
    if (size + ALIGN >= (u64)1 << 32) return too_wide(size);
    /* a growing block doubles, so that an allocator without `free` leaks at most as much as it uses */
    u64 wanted = 2 * (u64)capacity < size + (16 << 20) ? 2 * (u64)capacity : size + (16 << 20);
    if (wanted < size) wanted = size;
    if (wanted + ALIGN >= (u64)1 << 32) wanted = size;
    u32 got = guest_allocate(raw, raw ? capacity + ALIGN : 0, (u32)wanted + ALIGN);
    if (!got) return no_room(size, wanted);
    if ((u64)got + wanted + ALIGN > memory_size()) {
      message_length = 0;
      append_text(fixed->allocator); append(" returned "); append_hex(got, 0); append(" for "); append_unsigned(wanted + ALIGN);
      append(" bytes, outside the guest's memory of "); append_unsigned(memory_size());
      return end(ABI);
    }
    raw = got; block = (u32)up(got); capacity = (u32)wanted;
    control->generation++;
  }
  if (!used) save();
  return DONE;
}

/* Clear the block outside the inputs, as in a new instance. */
static void clear_gaps(u32 from) {
  if (saved && used)
    for (u32 i = 0; i <= fixed->inputs; i++) {
      u32 to = i == fixed->inputs ? capacity : data_at[i];
      if (to > from) zero(block + from, to - from);
      if (i < fixed->inputs && control->t[i].rank >= 0) from = data_at[i] + (u32)control->t[i].bytes;
      else if (i < fixed->inputs) from = data_at[i];
    }
  used = 1;
}

/* ---- the shapes of a request ---- */

/* Report all problems of the shapes of single inputs in one message. */
static int check_inputs(int exact) {
  int wrong = 0;
  message_length = 0;
  for (u32 i = 0; i < fixed->inputs; i++) {
    const struct tensor *t = &control->t[i];
    const struct spec *s = &fixed->s[i];
    int batch = exact && fixed->max_batch, fits = 1, any = 1;
    if (t->rank < 0 && s->optional) continue;
    if (t->rank >= 0 && t->rank <= MAX_RANK) {
      for (int k = 0; k < s->rank; k++) any = any && s->dims[k] == -1;
      int lead = t->rank - s->rank;
      if (fixed->convention == GUFUNC || (!exact && any)) continue;
      fits = exact ? lead == batch : lead >= 0 || !t->rank;
      for (int k = 0; fits && k < s->rank && t->rank; k++) fits = s->dims[k] == -1 || s->dims[k] == t->dims[lead + k];
      if (fits) continue;
    }
    if (wrong++) append("; ");
    say_tensor(i);
    if (t->rank < 0) append(" is missing");
    else if (t->rank > MAX_RANK) { append(" has rank "); append_number(t->rank); append("; at most 8 is allowed"); }
    else {
      append(" has shape "); append_dims(t->dims, t->rank); append("; it must be "); append_dims(s->dims, s->rank);
      if (batch) append(" after the batch dimension");
    }
  }
  return wrong ? end(INPUT) : DONE;
}

/* Check that all inputs have the same number of rows. */
static int count_rows(void) {
  i64 rows = -1;
  int differ = 0, wrong = 0;
  for (u32 i = 0; i < fixed->inputs; i++) {
    if (control->t[i].rank < 0) continue;
    if (rows < 0) rows = control->t[i].dims[0];
    differ |= control->t[i].dims[0] != rows;
  }
  if (rows < 0) rows = 1;
  message_length = 0;
  if (differ) {
    append("the inputs have different batch sizes: ");
    for (u32 i = 0, n = 0; i < fixed->inputs; i++) {
      if (control->t[i].rank < 0) continue;
      if (n++) append(", ");
      append("'"); append_text(fixed->s[i].name); append("' "); append_number(control->t[i].dims[0]);
    }
    wrong = 1;
  }
  if (rows > fixed->max_batch) {
    if (wrong) append("; ");
    append("the batch of "); append_number(rows); append(" is larger than the maximum of "); append_number(fixed->max_batch);
    wrong = 1;
  }
  control->rows = rows;
  return wrong ? end(INPUT) : DONE;
}

static int too_large(u64 bytes) {
  message_length = 0;
  append("the inputs' shapes make arrays of "); append_unsigned(bytes); append(" bytes, more than the limit of ");
  append_unsigned(fixed->max_tensor_bytes); append(" ("); append_text(fixed->raise_tensor_bytes); append(", or send smaller batches)");
  return end(INPUT);
}

/* ---- dlpack ---- */

static int is_bytes(const struct spec *s) { return s->bits == 0; }

static void known_output(u32 i) {
  struct tensor *t = &control->t[i];
  const struct spec *s = &fixed->s[i];
  int batch = control->rows >= 0;
  t->rank = -1; t->bytes = t->slice = 0;
  if (is_bytes(s)) return;
  for (int k = 0; k < s->rank; k++) if (s->dims[k] < 0) return;
  t->rank = s->rank + batch;
  if (batch) t->dims[0] = control->rows;
  for (int k = 0; k < s->rank; k++) t->dims[k + batch] = s->dims[k];
  t->bytes = times(product(t->dims, t->rank), s->item);
}

static int place_dlpack(void) {
  int status = check_inputs(1);
  if (status || (fixed->max_batch && (status = count_rows()))) return status;
  u32 n = fixed->inputs + fixed->outputs;
  u64 total = STRUCT * n;
  for (u32 i = 0; i < n; i++) {
    if (i >= fixed->inputs) known_output(i);
    shape_at[i] = (u32)total;
    total += 8 * (u32)((control->t[i].rank > 0 ? control->t[i].rank : 0) + 2);
  }
  header_bytes = (u32)total;
  for (u32 i = 0; i < n; i++) {
    total = up(total);
    data_at[i] = (u32)total;
    total = plus(total, control->t[i].bytes);
    if (total >> 32) return too_wide(total);
  }
  if ((status = reserve(total > ALIGN ? total : ALIGN))) return status;
  for (u32 i = 0; i < n; i++) { control->t[i].at = block + data_at[i]; control->t[i].slice = 0; }
  clear_gaps(header_bytes);
  control->passes = 1;
  return DONE;
}

static void write_headers(void) {
  for (u32 i = 0; i < fixed->inputs + fixed->outputs; i++) {
    const struct tensor *t = &control->t[i];
    const struct spec *s = &fixed->s[i];
    struct dl *d = (struct dl *)(image + STRUCT * i);
    i64 *sizes = (i64 *)(image + shape_at[i]);
    *d = (struct dl){0, CPU, 0, -1, s->code, is_bytes(s) ? 8 : s->bits, 1, 0, 0, 0, 0};
    sizes[0] = sizes[1] = 0;
    if (t->rank < 0) continue;
    d->data = block + data_at[i]; d->ndim = t->rank; d->shape = block + shape_at[i];
    if (is_bytes(s)) { /* a vector of bytes; `strides` leads to the logical shape: its rank, then the sizes */
      *sizes++ = (i64)t->bytes; *sizes++ = t->rank;
      d->ndim = 1; d->strides = d->shape + 8;
    } else sizes[t->rank] = sizes[t->rank + 1] = 0;
    for (int k = 0; k < t->rank; k++) sizes[k] = t->dims[k];
  }
  put(block, image, header_bytes);
}

static int read_sizes(u32 i, u32 from, i64 rank, i64 *dims) {
  if (rank > MAX_RANK) { bad(i, " has rank "); append_number(rank); append("; at most 8 is allowed"); return end(ABI); }
  if ((u64)from + 8 * (u64)rank > memory_size()) {
    bad(i, " has its shape at "); append_hex(from, 0);
    append(", outside the guest's memory of "); append_unsigned(memory_size()); append(" bytes");
    return end(ABI);
  }
  get(dims, from, 8 * (u32)rank);
  for (int k = 0; k < rank; k++)
    if (dims[k] < 0) { bad(i, " has a negative size in its shape "); append_dims(dims, (int)rank); return end(ABI); }
  return DONE;
}

/* A size of 0 means no elements, but NumPy still multiplies the other sizes. */
static int check_size(u32 i, const i64 *dims, int rank) {
  if (product_but_zeros(dims, rank) < TOO_LARGE) return DONE;
  bad(i, " has shape "); append_dims(dims, rank); append(", which is too large");
  return end(ABI);
}

static void wanted_dims(u32 i, i64 *dims) {
  const struct spec *s = &fixed->s[i];
  int batch = control->rows >= 0;
  if (batch) dims[0] = control->rows;
  for (int k = 0; k < s->rank; k++) dims[k + batch] = s->dims[k];
}

static int check_shape(u32 i, const i64 *dims, int rank) {
  int wanted_rank = fixed->s[i].rank + (control->rows >= 0), fits = rank == wanted_rank;
  i64 wanted[MAX_RANK + 1];
  wanted_dims(i, wanted);
  for (int k = 0; fits && k < rank; k++) fits = wanted[k] == -1 || wanted[k] == dims[k];
  if (fits) return DONE;
  bad(i, " has shape "); append_dims(dims, rank); append("; the interface says "); append_dims(wanted, wanted_rank);
  if (control->rows >= 0) { append(" (the first is the batch of "); append_number(control->rows); append(")"); }
  return end(ABI);
}

/* The address of an output according to its struct, checked against the memory. */
static int find_output(u32 i, struct dl *d) {
  struct tensor *t = &control->t[i];
  const struct spec *s = &fixed->s[i];
  u32 bits = is_bytes(s) ? 8 : s->bits;
  get(d, block + STRUCT * i, STRUCT);
  if (d->device != CPU) { bad(i, " is on device type "); append_number(d->device); append(", not 1 (kDLCPU)"); return end(ABI); }
  if (d->code != s->code || d->bits != bits || d->lanes != 1) {
    bad(i, " has DLPack type code "); append_number(d->code); append(", "); append_number(d->bits); append(" bits, "); append_number(d->lanes);
    append(" lanes; "); append_text(s->dtype); append(" is code "); append_number(s->code);
    append(", "); append_number(bits); append(" bits, 1 lane");
    return end(ABI);
  }
  if (d->ndim < 0) { bad(i, " was not set by the guest (its ndim is still "); append_number(d->ndim); append(")"); return end(ABI); }
  int status = read_sizes(i, d->shape, d->ndim, t->dims);
  if (status) return status;
  t->rank = d->ndim; t->slice = 0;
  t->bytes = times(product(t->dims, t->rank), s->item);
  u64 where = (u64)d->data + d->offset;
  int carried = where < d->offset;
  if (t->bytes && (carried || plus(where, t->bytes) > memory_size())) {
    bad(i, " points outside the guest's memory: ");
    if (t->bytes == NONE) append("2^63 or more"); else append_unsigned(t->bytes);
    append(" bytes at "); append_hex(where, carried); append(", memory is "); append_unsigned(memory_size()); append(" bytes");
    return end(ABI);
  }
  if ((status = check_size(i, t->dims, t->rank))) return status;
  t->at = t->bytes ? (u32)where : 0;
  return DONE;
}

static int check_strides(u32 i, u32 from) {
  const struct tensor *t = &control->t[i];
  i64 strides[MAX_RANK], step = 1;
  if ((u64)from + 8 * (u64)t->rank > memory_size()) {
    bad(i, " has its strides at "); append_hex(from, 0);
    append(", outside the guest's memory of "); append_unsigned(memory_size()); append(" bytes");
    return end(ABI);
  }
  get(strides, from, 8 * (u32)t->rank);
  for (int k = t->rank - 1; k >= 0; k--) {
    if (t->dims[k] > 1 && strides[k] != step) {
      bad(i, " has strides "); append_dims(strides, t->rank); append("; only row-major tensors are allowed");
      return end(ABI);
    }
    step *= t->dims[k] > 1 ? t->dims[k] : 1;
  }
  return DONE;
}

/* Normalize booleans: any byte except 0 is true, as in C, but readers expect only 0 and 1. */
static void make_bool(u32 at, u64 bytes) {
  while (bytes) {
    u32 n = bytes < WINDOW_BYTES ? (u32)bytes : WINDOW_BYTES;
    uint8_t other = 0;
    get(window, at, n);
    for (u32 k = 0; k < n; k++) other |= (uint8_t)window[k] & 0xfe;
    if (other) {
      for (u32 k = 0; k < n; k++) window[k] = window[k] != 0;
      put(at, window, n);
    }
    at += n; bytes -= n;
  }
}

/* Count the elements of serialized BYTES, up to `most` + 1. */
static int count_elements(u32 i, u64 most, u64 *count) {
  const struct tensor *t = &control->t[i];
  u64 at = 0, from = 0, loaded = 0;
  for (*count = 0; at < t->bytes; ++*count) {
    u64 left = t->bytes - at;
    u32 length;
    if (*count > most) return DONE;
    if (left < 4) {
      bad(i, " is not serialized BYTES: "); append_unsigned(left); append(" bytes are left at "); append_unsigned(at);
      append(", too few for a length");
      return end(ABI);
    }
    if (at < from || at + 4 > from + loaded) {
      from = at; loaded = left < WINDOW_BYTES ? left : WINDOW_BYTES;
      get(window, t->at + (u32)at, (u32)loaded);
    }
    __builtin_memcpy(&length, window + (at - from), 4);
    if (4 + (u64)length > left) {
      bad(i, " is not serialized BYTES: the element at "); append_unsigned(at); append(" has "); append_unsigned(length);
      append(" bytes, but only "); append_unsigned(left - 4); append(" are left");
      return end(ABI);
    }
    at += 4 + (u64)length;
  }
  return DONE;
}

static int bytes_output(u32 i, u32 logical) {
  struct tensor *t = &control->t[i];
  const struct spec *s = &fixed->s[i];
  i64 dims[MAX_RANK + 1], rank = s->rank + (control->rows >= 0);
  int status, unknown = -1, known = 1;
  if (t->rank != 1) { bad(i, " is BYTES, so it must be a vector of bytes, not of rank "); append_number(t->rank); return end(ABI); }
  wanted_dims(i, dims);
  for (int k = 0; k < rank; k++) if (dims[k] == -1) { unknown = known ? k : -1; known = 0; }
  if (logical) {
    if ((status = read_sizes(i, logical, 1, &rank)) || (status = read_sizes(i, logical + 8, rank, dims)) ||
        (status = check_size(i, dims, (int)rank)) || (status = check_shape(i, dims, (int)rank))) return status;
    known = 1;
  }
  u64 limit = fixed->max_bytes_elements, expected = known ? product(dims, (int)rank) : NONE, count;
  u64 most = known && expected < limit ? expected : limit;
  if ((status = count_elements(i, most, &count))) return status;
  if (count > most) {
    if (!known || expected > limit) {
      bad(i, " has more than "); append_unsigned(limit); append(" elements, its limit ("); append_text(fixed->raise_bytes_elements);
      append(", or send smaller batches)");
      return end(OUTPUT);
    }
    bad(i, " has more than "); append_unsigned(expected); append(" elements, but its shape is "); append_dims(dims, (int)rank);
    return end(ABI);
  }
  if (!known) { /* a single unknown size is derived from the number of elements */
    u64 rest = 1;
    for (int k = 0; k < rank; k++) if (dims[k] > 0) rest = times(rest, (u64)dims[k]);
    if (unknown >= 0 && rest && count % rest == 0) dims[unknown] = (i64)(count / rest);
    else { rank = 1; dims[0] = (i64)count; }
    if ((status = check_shape(i, dims, (int)rank))) return status;
    expected = product(dims, (int)rank);
  }
  if (expected != count) {
    bad(i, " has "); append_unsigned(count); append(" elements, but its shape is "); append_dims(dims, (int)rank);
    return end(ABI);
  }
  t->rank = (int32_t)rank;
  for (int k = 0; k < rank; k++) t->dims[k] = dims[k];
  return DONE;
}

static int run_dlpack(void) {
  struct dl d[MAX_TENSORS];
  u64 total = 0;
  int status;
  write_headers();
  int32_t answer = guest_call(block, fixed->inputs, block + STRUCT * fixed->inputs, fixed->outputs);
  if (answer) { fail(STATUS, "the guest returned status "); append_number(answer); return end(STATUS); }
  for (u32 i = fixed->inputs; i < fixed->inputs + fixed->outputs; i++) {
    if ((status = find_output(i, &d[i]))) return status;
    total = plus(total, control->t[i].bytes);
  }
  if (total > fixed->max_tensor_bytes) {
    fail(OUTPUT, "the outputs have "); append_unsigned(total); append(" bytes, more than the limit of "); append_unsigned(fixed->max_tensor_bytes);
    append(" ("); append_text(fixed->raise_tensor_bytes); append(", or send smaller batches)");
    return end(OUTPUT);
  }
  for (u32 i = fixed->inputs; i < fixed->inputs + fixed->outputs; i++) {
    struct tensor *t = &control->t[i];
    if (is_bytes(&fixed->s[i])) { if ((status = bytes_output(i, d[i].strides))) return status; continue; }
    if ((status = check_shape(i, t->dims, t->rank)) || (d[i].strides && (status = check_strides(i, d[i].strides)))) return status;
    if (fixed->s[i].is_bool) make_bool(t->at, t->bytes);
  }
  return DONE;
}

/* ---- loop dimensions, broadcast as in NumPy ---- */

/* Add the first `rank` dimensions of `t` to `loops`; returns whether they broadcast. */
static int broadcast(const struct tensor *t, int rank) {
  i64 dims[MAX_OUT_RANK];
  int most = rank > loops.rank ? rank : loops.rank;
  for (int k = 0; k < most; k++) {
    int mine = k - (most - rank), theirs = k - (most - loops.rank);
    i64 a = mine < 0 ? 1 : t->dims[mine], b = theirs < 0 ? 1 : loops.dims[theirs];
    if (a != b && a != 1 && b != 1) return 0;
    dims[k] = a == 1 ? b : a;
  }
  loops.rank = most;
  for (int k = 0; k < most; k++) loops.dims[k] = dims[k];
  return 1;
}

static int same_loops(const struct tensor *t, int rank) {
  if (rank != loops.rank) return 0;
  for (int k = 0; k < rank; k++) if (t->dims[k] != loops.dims[k]) return 0;
  return 1;
}

/* Set the shape of an output that follows from the inputs: the loop dimensions, then `cores` core dimensions. */
static int output_shape(u32 i, const i64 *core, int cores) {
  struct tensor *t = &control->t[i];
  t->rank = loops.rank + cores;
  for (int k = 0; k < loops.rank; k++) t->dims[k] = loops.dims[k];
  for (int k = 0; k < cores; k++) t->dims[loops.rank + k] = core[k];
  t->bytes = times(product(t->dims, t->rank), fixed->s[i].item);
  if (product_but_zeros(t->dims, t->rank) < TOO_LARGE) return DONE;
  message_length = 0;
  say_tensor(i); append(" has shape "); append_dims(t->dims, t->rank); append(", which is too large");
  return end(INPUT);
}

/* Copies `count` items of input `i`, from item `start` of the loops on, to where they follow each other. Its own lie at
   `from`, and are repeated along the dimensions in which it has size 1. */
static void spread(u32 to, u32 from, u64 size, const struct tensor *t, int rank, u64 start, u64 count) {
  u64 stride[MAX_OUT_RANK], run = 1, own = 1;
  int tail = loops.rank;
  for (int k = loops.rank - 1; k >= 0; k--) {
    int mine = k - (loops.rank - rank);
    i64 extent = mine < 0 ? 1 : t->dims[mine];
    stride[k] = extent == 1 ? 0 : own;
    own *= (u64)extent;
  }
  /* the dimensions after `tail` are one run in both: contiguous, or a single repeated item */
  int repeats = loops.rank && !stride[loops.rank - 1];
  while (tail > 0 && (loops.dims[tail - 1] == 1 || (repeats ? !stride[tail - 1] : stride[tail - 1] == run))) run *= (u64)loops.dims[--tail];
  while (count) {
    u64 inside = start % run, n = run - inside < count ? run - inside : count, rest = start / run, source = repeats ? 0 : inside;
    for (int k = tail - 1; k >= 0; k--) { source += rest % (u64)loops.dims[k] * stride[k]; rest /= (u64)loops.dims[k]; }
    u32 place = from + (u32)(source * size), bytes = (u32)(n * size);
    if (!repeats) move(to, place, bytes);
    else { /* copy one item, then double the copied part each time */
      move(to, place, (u32)size);
      for (u32 have = (u32)size; have < bytes; have *= 2) move(to + have, to, have < bytes - have ? have : bytes - have);
    }
    to += bytes; start += n; count -= n;
  }
}

/* ---- elementwise: chunks are copied to fixed addresses of the loop's memory ---- */

static u32 singles[MAX_TENSORS];

static int place_elementwise(void) {
  int status = check_inputs(0);
  u32 n = fixed->inputs + fixed->outputs;
  u64 row = 0, spreads = 0, need = fixed->free_at;
  if (status) return status;
  loops = control->t[0];
  for (u32 i = 1; i < fixed->inputs; i++)
    if (!broadcast(&control->t[i], control->t[i].rank)) {
      fail(INPUT, "the inputs' shapes do not broadcast together: ");
      for (u32 k = 0; k < fixed->inputs; k++) {
        if (k) append(", ");
        append("'"); append_text(fixed->s[k].name); append("' "); append_dims(control->t[k].dims, control->t[k].rank);
      }
      return end(INPUT);
    }
  elements = product(loops.dims, loops.rank);
  for (u32 i = 0; i < n; i++) {
    if (i >= fixed->inputs) { if ((status = output_shape(i, 0, 0))) return status; row += fixed->s[i].item; continue; }
    const struct tensor *t = &control->t[i];
    u64 own = product(t->dims, t->rank);
    singles[i] = own == 1;
    spread_at[i] = 0;
    if (own != 1 && !same_loops(t, t->rank)) { spread_at[i] = fixed->s[i].position; spreads += fixed->s[i].item; }
  }
  u64 total = times(elements, row + spreads);
  if (total > fixed->max_tensor_bytes) return too_large(total);
  control->passes = (u32)((elements + fixed->capacity - 1) / fixed->capacity);
  for (u32 i = 0; i < n; i++) {
    struct tensor *t = &control->t[i];
    t->at = fixed->s[i].position;
    t->slice = control->passes < 2 || (i < fixed->inputs && singles[i]) ? 0 : (u64)fixed->capacity * fixed->s[i].item;
    if (i < fixed->inputs && spread_at[i]) { t->at = (u32)need; t->slice = 0; need = up(need + t->bytes); }
  }
  if (need > memory_size()) {
    if (need >> 32 || tensor_grow((u32)((need - memory_size() + PAGE - 1) / PAGE)) < 0) return no_room(need, need);
    control->generation++;
  }
  if (!used) save();
  used = 1;
  return DONE;
}

static int run_elementwise(u32 pass) {
  u32 header[1 + 3 * 16], n = 0; /* an elementwise entry has at most 16 parameters and results */
  u64 start = (u64)pass * fixed->capacity, left = elements - start;
  header[n++] = left < fixed->capacity ? (u32)left : fixed->capacity;
  for (u32 i = 0; i < fixed->inputs; i++) {
    if (spread_at[i]) spread(spread_at[i], control->t[i].at, fixed->s[i].item, &control->t[i], control->t[i].rank, start, header[0]);
    header[n++] = fixed->s[i].position;
    header[n++] = singles[i] ? 0 : fixed->s[i].item;
  }
  for (u32 i = fixed->inputs; i < fixed->inputs + fixed->outputs; i++) header[n++] = fixed->s[i].position;
  put(0, header, 4 * n);
  guest_call(0, 0, 0, 0);
  return DONE;
}

/* ---- gufunc: the generated loop, or the kernel itself, is called once for each chunk of the batch ---- */

static u32 fixed_item[MAX_TENSORS]; /* whether one item of this input is used for the entire batch */

static int misfit(u32 i, const char *what, i64 size, u32 symbol, i64 must) {
  message_length = 0;
  append("input "); append_number(i); append(what); append_number(size); append(" for core dimension '");
  if (symbol == (u32)-1) append_number(must); else append_text(fixed->symbol[symbol]);
  append("', but it must be "); append_number(must); append(" (signature "); append_text(fixed->signature); append(")");
  return end(INPUT);
}

static int resolve(i64 *sizes) {
  int apart = 0;
  for (u32 i = 0; i < fixed->inputs; i++) {
    const struct tensor *t = &control->t[i];
    const struct spec *s = &fixed->s[i];
    if (t->rank < s->cores) {
      fail(INPUT, "input "); append_number(i); append(" has shape "); append_dims(t->dims, t->rank); append(", but signature ");
      append_text(fixed->signature); append(" requires at least "); append_number(s->cores); append(" dimensions");
      return end(INPUT);
    }
    for (int k = 0; k < s->cores; k++) {
      i64 size = t->dims[t->rank - s->cores + k];
      u32 symbol = s->core[k] < 0 ? (u32)(-1 - s->core[k]) : (u32)-1;
      if (symbol != (u32)-1 && sizes[symbol] < 0) sizes[symbol] = size;
      i64 must = symbol == (u32)-1 ? s->core[k] : sizes[symbol];
      if (size != must) return misfit(i, " has size ", size, symbol, must);
    }
  }
  loops.rank = 0;
  for (u32 i = 0; i < fixed->inputs && !apart; i++) apart = !broadcast(&control->t[i], control->t[i].rank - fixed->s[i].cores);
  if (!apart) return DONE;
  fail(INPUT, "the inputs' loop dimensions do not broadcast together: ");
  for (u32 i = 0; i < fixed->inputs; i++) {
    if (i) append(", ");
    append_dims(control->t[i].dims, control->t[i].rank - fixed->s[i].cores);
  }
  append(" (signature "); append_text(fixed->signature); append(")");
  return end(INPUT);
}

static int gufunc_shapes(i64 *sizes, u64 *outputs, u64 *copies) {
  int status = check_inputs(0), any = 0;
  for (u32 k = 0; k < fixed->symbols; k++) sizes[k] = -1;
  if (status || (status = resolve(sizes))) return status;
  elements = product(loops.dims, loops.rank);
  *outputs = *copies = 0;
  for (u32 i = 0; i < fixed->inputs + fixed->outputs; i++) {
    struct tensor *t = &control->t[i];
    const struct spec *s = &fixed->s[i];
    i64 core[MAX_RANK];
    for (int k = 0; k < s->cores; k++) {
      core[k] = s->core[k] < 0 ? sizes[-1 - s->core[k]] : s->core[k];
      if (core[k] >= 0) continue;
      fail(INPUT, "the size of core dimension '"); append_text(fixed->symbol[-1 - s->core[k]]);
      append("' follows from no input: give it a fixed size");
      return end(INPUT);
    }
    item[i] = times(product(core, s->cores), s->item);
    spread_at[i] = 0;
    if (i < fixed->inputs) {
      int rank = t->rank - s->cores;
      fixed_item[i] = product(t->dims, rank) == 1 && (elements == 1 || !(fixed->flags & LOOPS));
      if (!fixed_item[i] && !same_loops(t, rank)) { spread_at[i] = 1; *copies = plus(*copies, times(elements, item[i])); }
    } else {
      if ((status = output_shape(i, core, s->cores))) return status;
      fixed_item[i] = 0;
      *outputs = plus(*outputs, t->bytes);
      any |= t->bytes != 0;
    }
  }
  u64 total = plus(*outputs, *copies);
  if (total > fixed->max_tensor_bytes) return too_large(total);
  if (!any) elements = 0;
  return DONE;
}

static int place_gufunc(void) {
  i64 sizes[MAX_TENSORS];
  u64 outputs, copies, total = 0, each = 0;
  u32 n = fixed->inputs + fixed->outputs;
  int status = gufunc_shapes(sizes, &outputs, &copies);
  if (status) return status;
  control->passes = 0;
  if (!elements) return DONE;
  for (u32 i = 0; i < n; i++) if (!fixed_item[i]) each = plus(each, item[i]);
  chunk = each && each * elements > ONE_PASS ? CHUNK / each : elements;
  if (chunk < 1) chunk = 1;
  if (chunk > elements) chunk = elements;
  for (u32 i = 0; i < n; i++) {
    struct tensor *t = &control->t[i];
    int whole = i < fixed->inputs && (fixed_item[i] || spread_at[i]);
    t->slice = whole || chunk == elements ? 0 : chunk * item[i];
    data_at[i] = (u32)total;
    total = up(plus(total, whole ? t->bytes : times(chunk, item[i])));
    if (total >> 32) return too_wide(total);
    if (i >= fixed->inputs || !spread_at[i]) continue;
    spread_at[i] = (u32)total + 1; /* an offset for now, replaced by an address below */
    total = up(plus(total, times(chunk, item[i])));
    if (total >> 32) return too_wide(total);
  }
  if ((status = reserve(total > ALIGN ? total : ALIGN))) return status;
  for (u32 i = 0; i < n; i++) {
    control->t[i].at = block + data_at[i];
    if (spread_at[i]) spread_at[i] += block - 1;
    u32 *pair = arguments + 1 + 2 * fixed->s[i].position;
    pair[0] = spread_at[i] ? spread_at[i] : control->t[i].at;
    pair[1] = fixed_item[i] ? 0 : (u32)item[i];
  }
  for (u32 k = 0; k < fixed->symbols; k++) arguments[1 + 2 * n + k] = (u32)sizes[k];
  clear_gaps(0);
  control->passes = (u32)((elements + chunk - 1) / chunk);
  return DONE;
}

static int run_gufunc(u32 pass) {
  u64 start = pass * chunk, left = elements - start, n = left < chunk ? left : chunk;
  for (u32 i = 0; i < fixed->inputs; i++)
    if (spread_at[i])
      spread(spread_at[i], control->t[i].at, item[i], &control->t[i], control->t[i].rank - fixed->s[i].cores, start, n);
  arguments[0] = (u32)n;
  int32_t status = guest_call(0, 0, 0, 0);
  if (status) { fail(STATUS, "the guest returned status "); append_number(status); return end(STATUS); }
  for (u32 i = fixed->inputs; i < fixed->inputs + fixed->outputs; i++)
    if (fixed->s[i].is_bool) make_bool(control->t[i].at, n * item[i]);
  return DONE;
}

/* ---- exports for the executor ---- */

/* Check the inputs' shapes, and set their addresses and the number of passes. */
EXPORTED(place) int place(void) {
  control->rows = -1;
  control->message_bytes = 0;
  switch (fixed->convention) {
    case DLPACK: return place_dlpack();
    case ELEMENTWISE: return place_elementwise();
    default: return place_gufunc();
  }
}

/* Call the guest for one pass; after the first, the shapes and addresses of the outputs are set. */
EXPORTED(run) int run(u32 pass, u32 generation) {
  if (generation != control->generation || pass >= control->passes) return fail(INTERNAL, "the tensors have been moved since they were placed");
  switch (fixed->convention) {
    case DLPACK: return run_dlpack();
    case ELEMENTWISE: return run_elementwise(pass);
    default: return run_gufunc(pass);
  }
}

/* Set `message` to the guest's own message about its failure, if any. */
EXPORTED(explain) int explain(void) {
  message_length = 0;
  if (fixed->flags & EXPLAINS) {
    u32 from = guest_error();
    u64 size = memory_size();
    if (from && from < size) {
      u32 most = size - from < MESSAGE_BYTES ? (u32)(size - from) : (u32)MESSAGE_BYTES;
      get(message, from, most);
      while (message_length < most && message[message_length]) message_length++;
    }
  }
  return end(DONE);
}
