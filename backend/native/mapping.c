/* Mappings of files that other processes can make smaller. An access behind the end of the file raises SIGBUS. The handler replaces the
   rest of the mapping by zeros in memory of this process, so that the access succeeds, and notes where they begin. */
#include "instance.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAPPINGS = 4096 };

/* Read by the signal handler at any time: `end` is valid while `start` stays the same, and is not 0. */
struct core_mapping { atomic_uintptr_t start, end, zeros; atomic_bool used; uint8_t *data; };

static struct core_mapping mappings[MAPPINGS];
static struct sigaction before;
static uintptr_t page;

static bool replace_rest(struct core_mapping *m, uintptr_t from) {
  uintptr_t start = atomic_load(&m->start), end = atomic_load(&m->end);
  if (!start || from < start || from >= end || atomic_load(&m->start) != start) return false;
  from &= ~(page - 1);
  /* first: a thread that reads zeros reads this too */
  for (uintptr_t zeros = atomic_load(&m->zeros); from < zeros && !atomic_compare_exchange_weak(&m->zeros, &zeros, from);) ;
  return mmap((void *)from, end - from, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
}

static void on_bus_error(int number, siginfo_t *info, void *context) {
  int error = errno;
  bool replaced = false;
  if (info->si_code == BUS_ADRERR)
    for (size_t i = 0; i < MAPPINGS && !replaced; i++) replaced = replace_rest(&mappings[i], (uintptr_t)info->si_addr);
  errno = error;
  if (replaced) return;
  if (before.sa_flags & SA_SIGINFO) before.sa_sigaction(number, info, context);
  else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) before.sa_handler(number);
  else sigaction(number, &(struct sigaction){.sa_handler = SIG_DFL}, NULL); /* the access is repeated, and ends the process */
}

static void install_handler(void) {
  struct sigaction ours = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
  uintptr_t size = (uintptr_t)sysconf(_SC_PAGESIZE);
  if (!sigaction(SIGBUS, NULL, &before) && !sigaction(SIGBUS, &ours, NULL)) page = size;
}

struct core_mapping *core_map(int file, uint64_t offset, uint64_t bytes) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, install_handler);
  if (!page || !bytes || bytes > INT64_MAX / 2 || offset > INT64_MAX / 2) return NULL;
  uint64_t skipped = offset & (page - 1), size = (skipped + bytes + page - 1) & ~(uint64_t)(page - 1);
  for (size_t i = 0; i < MAPPINGS; i++) {
    struct core_mapping *m = &mappings[i];
    if (atomic_exchange(&m->used, true)) continue;
    uint8_t *start = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, (off_t)(offset - skipped));
    if (start == MAP_FAILED) { atomic_store(&m->used, false); return NULL; }
    m->data = start + skipped;
    atomic_store(&m->zeros, (uintptr_t)start + size);
    atomic_store(&m->end, (uintptr_t)start + size);
    atomic_store(&m->start, (uintptr_t)start);
    return m;
  }
  return NULL;
}

uint8_t *core_mapping_data(const struct core_mapping *m) { return m->data; }

uint64_t core_mapping_intact(const struct core_mapping *m) {
  uintptr_t data = (uintptr_t)m->data, zeros = atomic_load(&m->zeros);
  return zeros > data ? zeros - data : 0;
}

void core_unmap(struct core_mapping *m) {
  uintptr_t start = atomic_exchange(&m->start, 0); /* first: the addresses can belong to others from here on */
  munmap((void *)start, atomic_load(&m->end) - start);
  atomic_store(&m->used, false);
}
