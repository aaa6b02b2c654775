/* Stands in for the allocator in a core that is built for a test: the allocation whose number is in `failing_at` fails. */
#include <stdlib.h>

__attribute__((visibility("default"))) int failing_at;
static int count;

static int fails(void) { return failing_at && ++count == failing_at; }

__attribute__((visibility("default"))) int failing_count(int reset) { int n = count; if (reset) count = 0; return n; }

void *failing_malloc(size_t bytes) { return fails() ? NULL : malloc(bytes); }
void *failing_calloc(size_t n, size_t bytes) { return fails() ? NULL : calloc(n, bytes); }
void *failing_realloc(void *from, size_t bytes) { return fails() ? NULL : realloc(from, bytes); }
