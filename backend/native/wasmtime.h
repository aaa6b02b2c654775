/* wasmtime's C API as used by the core, looked up in the library of the Python package, so that tests can replace it. Handles are
   opaque; `core_struct_sizes` is compared with the sizes of the structs in wasmtime-py. */
#ifndef PORTALIS_WASMTIME_H
#define PORTALIS_WASMTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct { uint64_t store; void *hidden; } Func;
typedef struct { struct { uint64_t store; uint32_t hidden; }; uint32_t more; } Memory;
typedef struct { uint64_t store; size_t hidden; } Instance;
typedef struct { uint8_t kind; union { Func func; Memory memory; struct { uint64_t store; uint32_t a, b, c; } global; } of; } Extern;
typedef union { int32_t i32; int64_t i64; float f32; double f64; uint8_t v128[16]; } Raw;
typedef struct { size_t size; char *data; } Bytes;
typedef struct { size_t size; void **data; } Frames;
enum { EXTERN_FUNC = 0, EXTERN_MEMORY = 3, TRAP_INTERRUPT = 10 };

typedef void *(*Callback)(void *data, void *caller, Raw *values, size_t count);

/* A row for each type: its constructor, accessors and destructor. The settings of engines are in engine.c. */
#define WASMTIME(X) \
  X(void *, wasm_config_new, (void)) X(void, wasmtime_config_memory_guard_size_set, (void *, uint64_t)) \
  X(void, wasmtime_config_memory_reservation_set, (void *, uint64_t)) \
  X(void *, wasmtime_pooling_allocation_config_new, (void)) X(void, wasmtime_pooling_allocation_config_delete, (void *)) \
  X(void, wasmtime_pooling_allocation_strategy_set, (void *, void *)) \
  X(void *, wasm_engine_new_with_config, (void *)) X(void, wasm_engine_delete, (void *)) \
  X(void, wasmtime_engine_increment_epoch, (void *)) \
  X(void *, wasmtime_linker_new, (void *)) X(void, wasmtime_linker_delete, (void *)) \
  X(void, wasmtime_linker_allow_shadowing, (void *, bool)) X(void *, wasmtime_linker_define_wasi, (void *)) \
  X(void *, wasmtime_linker_define_func_unchecked, \
    (void *, const char *, size_t, const char *, size_t, void *, Callback, void *, void (*)(void *))) \
  X(void *, wasm_valtype_new, (uint8_t)) X(void, wasm_valtype_vec_new, (Bytes *, size_t, void **)) \
  X(void *, wasm_functype_new, (Bytes *, Bytes *)) X(void, wasm_functype_delete, (void *)) \
  X(void *, wasmtime_caller_context, (void *)) X(bool, wasmtime_caller_export_get, (void *, const char *, size_t, Extern *)) \
  X(void *, wasmtime_module_new, (void *, const uint8_t *, size_t, void **)) X(void, wasmtime_module_delete, (void *)) \
  X(void *, wasmtime_module_deserialize, (void *, const uint8_t *, size_t, void **)) \
  X(void *, wasmtime_module_serialize, (void *, Bytes *)) \
  X(void *, wasmtime_linker_instantiate_pre, (void *, void *, void **)) X(void, wasmtime_instance_pre_delete, (void *)) \
  X(void *, wasmtime_store_new, (void *, void *, void (*)(void *))) X(void, wasmtime_store_delete, (void *)) \
  X(void *, wasmtime_store_context, (void *)) X(void, wasmtime_store_limiter, (void *, int64_t, int64_t, int64_t, int64_t, int64_t)) \
  X(void *, wasmtime_context_get_data, (void *)) X(void, wasmtime_context_set_epoch_deadline, (void *, uint64_t)) \
  X(void *, wasi_config_new, (void)) X(void *, wasmtime_context_set_wasi, (void *, void *)) \
  X(void *, wasmtime_instance_pre_instantiate, (void *, void *, Instance *, void **)) \
  X(void *, wasmtime_instance_new, (void *, void *, const Extern *, size_t, Instance *, void **)) \
  X(bool, wasmtime_instance_export_get, (void *, const Instance *, const char *, size_t, Extern *)) \
  X(void *, wasmtime_func_call_unchecked, (void *, const Func *, Raw *, size_t, void **)) \
  X(uint8_t *, wasmtime_memory_data, (void *, const Memory *)) X(size_t, wasmtime_memory_data_size, (void *, const Memory *)) \
  X(void *, wasmtime_trap_new, (const char *, size_t)) X(void, wasm_trap_delete, (void *)) \
  X(bool, wasmtime_trap_code, (void *, uint8_t *)) \
  X(bool, wasmtime_error_exit_status, (void *, int *)) X(void, wasmtime_error_delete, (void *)) \
  X(void, wasm_trap_message, (void *, Bytes *)) X(void, wasmtime_error_message, (void *, Bytes *)) \
  X(void, wasm_byte_vec_delete, (Bytes *)) \
  X(void, wasm_trap_trace, (void *, Frames *)) X(void, wasmtime_error_wasm_trace, (void *, Frames *)) \
  X(void, wasm_frame_vec_delete, (Frames *)) \
  X(uint32_t, wasm_frame_func_index, (void *)) X(size_t, wasm_frame_module_offset, (void *)) \
  X(const Bytes *, wasmtime_frame_module_name, (void *)) X(const Bytes *, wasmtime_frame_func_name, (void *))

#define DECLARE(result, name, arguments) extern result(*p_##name) arguments;
WASMTIME(DECLARE)
#undef DECLARE

#endif
