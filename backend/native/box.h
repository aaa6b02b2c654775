/* One instance of a plan: what core.c and host.c know of it. */
#ifndef PORTALIS_BOX_H
#define PORTALIS_BOX_H

#include "core.h"
#include "wasmtime.h"

enum { STDOUT, STDERR, STREAMS };

/* What a guest wrote to a stream, up to a cap; the rest is counted. */
struct captured { char *data; uint64_t bytes, dropped; };

struct core_box {
  struct core_program *program;
  void *store, *context;
  Memory own, tensors;
  Func place, run, restore, explain;
  struct control *control;
  bool dirty, extra;         /* was called; made outside the pool */
  uint64_t deadline_ns, began_ns;
  struct captured captured[STREAMS];
  char aborted[512];         /* what AssemblyScript's abort was told */
  bool late;                 /* a host function met the deadline */
  struct core_box *next;
};

uint64_t now_ns(void);
/* Define the host's functions, and those of WASI that are wasmtime's. NULL, or an error. */
void *host_define(void *linker);
void host_forget(struct core_box *); /* what it wrote */

#endif
