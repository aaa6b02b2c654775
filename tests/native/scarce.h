/* Memory and threads that run out when a test wants it: included before each source of the native libraries, and nowhere else. */
#ifndef PORTALIS_SCARCE_H
#define PORTALIS_SCARCE_H

#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

void *scarce_malloc(size_t);
void *scarce_calloc(size_t, size_t);
void *scarce_realloc(void *, size_t);
char *scarce_strndup(const char *, size_t);
int scarce_thread(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

#ifndef SCARCE_ITSELF
#undef strndup
#define malloc scarce_malloc
#define calloc scarce_calloc
#define realloc scarce_realloc
#define strndup scarce_strndup
#define pthread_create scarce_thread
#endif

#endif
