#define SCARCE_ITSELF
#include "scarce.h"

#include "fake.h"

struct failing scarce_memory = {.at = -1}, scarce_threads = {.at = -1}; /* memory counts threads, too */

void *scarce_malloc(size_t bytes) { return now_fails(&scarce_memory) ? NULL : malloc(bytes); }
void *scarce_calloc(size_t count, size_t bytes) { return now_fails(&scarce_memory) ? NULL : calloc(count, bytes); }
void *scarce_realloc(void *from, size_t bytes) { return now_fails(&scarce_memory) ? NULL : realloc(from, bytes); }
char *scarce_strndup(const char *from, size_t bytes) { return now_fails(&scarce_memory) ? NULL : strndup(from, bytes); }
int scarce_thread(pthread_t *thread, const pthread_attr_t *how, void *(*run)(void *), void *data) {
  return now_fails(&scarce_memory) || now_fails(&scarce_threads) ? 11 : pthread_create(thread, how, run, data);
}
