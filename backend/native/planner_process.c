/* The planner process: a Python process that creates plans sequentially, and exits after a time without requests. Untrusted modules are
   parsed there, not in the server. */
#include "triton_layer.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define WITHIN_NS 120000000000ull
#define MAX_RESPONSE_BYTES (512u << 20)
#define ADVICE "PORTALIS_PYTHON names a Python with wasmtime and numpy"

extern char **environ;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pid_t pid;
static int channel = -1;

static void end(void) {
  if (channel >= 0) close(channel);
  if (pid > 0) { kill(pid, SIGKILL); waitpid(pid, NULL, 0); }
  pid = 0;
  channel = -1;
}

void planner_end(void) {
  HOLD(&lock);
  end();
}

/* PORTALIS_PYTHON, else the one that installed the backend, else (it is missing, or the directory was moved to another machine) PATH's. */
static const char *interpreter(void) {
  static char path[1024]; /* guarded by `lock` */
  const char *named = getenv("PORTALIS_PYTHON");
  if (named && *named) return named;
  char file[1200];
  snprintf(file, sizeof file, "%s/interpreter", folder);
  FILE *source = fopen(file, "re");
  size_t n = source ? fread(path, 1, sizeof path - 1, source) : 0;
  if (source) fclose(source);
  path[n && path[n - 1] == '\n' ? n - 1 : n] = 0;
  return *path && !access(path, X_OK) ? path : "python3";
}

/* Wait for a planner process to end, so that it does not remain a zombie. */
static void *reap(void *child) {
  pid_t mine = (pid_t)(intptr_t)child;
  siginfo_t info;
  while (waitid(P_PID, (id_t)mine, &info, WEXITED | WNOWAIT) && errno == EINTR) {}
  HOLD(&lock);
  if (pid == mine) end();
  return NULL;
}

/* Start the planner process; its end of the channel is `theirs`. Returns 0, or an errno. */
static int spawn(char **arguments, int theirs) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t none, all;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, theirs, 0);
  posix_spawn_file_actions_adddup2(&actions, theirs, 1);
  posix_spawnattr_init(&attributes);
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  int failed = posix_spawnp(&pid, arguments[0], &actions, &attributes, arguments, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (failed) pid = 0;
  return failed;
}

static Error *start(void) {
  int pair[2];
  pthread_t reaper;
  char script[1200];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
    return error_f(ERROR_UNAVAILABLE, "no channel to the planner: %s", strerror(errno));
  snprintf(script, sizeof script, "%s/plan.py", folder);
  char *arguments[] = {(char *)interpreter(), "-B", script, NULL};
  int failed = spawn(arguments, pair[1]);
  close(pair[1]);
  channel = pair[0];
  if (!failed && !pthread_create(&reaper, NULL, reap, (void *)(intptr_t)pid)) pthread_detach(reaper);
  if (!failed) return NULL;
  end();
  return error_f(ERROR_UNSUPPORTED, "the planner cannot be started with %s: %s (" ADVICE ")", arguments[0], strerror(failed));
}

static bool transfer(bool sending, void *data, size_t bytes, uint64_t deadline) {
  char *at = data;
  while (bytes) {
    uint64_t now = now_ns();
    struct pollfd wait = {channel, sending ? POLLOUT : POLLIN, 0};
    if (now >= deadline || poll(&wait, 1, (int)((deadline - now) / 1000000u) + 1) <= 0) return false;
    ssize_t n = sending ? send(channel, at, bytes, MSG_NOSIGNAL) : recv(channel, at, bytes, 0);
    if (n <= 0) { if (n < 0 && errno == EINTR) continue; return false; }
    at += n;
    bytes -= (size_t)n;
  }
  return true;
}

/* Send a request and read its response: the fields of the struct before the text, then the text. */
static bool exchange(const char *request, size_t bytes, struct plan_response *a, uint64_t deadline) {
  uint32_t size = (uint32_t)bytes;
  bool good = transfer(true, &size, sizeof size, deadline) && transfer(true, (void *)request, bytes, deadline) &&
              transfer(false, a, offsetof(struct plan_response, text), deadline) && a->bytes <= MAX_RESPONSE_BYTES &&
              (a->text = malloc(a->bytes + 1)) &&
              transfer(false, a->text, a->bytes, deadline);
  if (good) a->text[a->bytes] = 0;
  else free(a->text);
  return good;
}

Error *planner_request(const char *request, size_t bytes, struct plan_response *a) {
  HOLD(&lock);
  for (;;) {
    bool fresh = channel < 0;
    if (fresh) TRY(start());
    uint64_t deadline = now_ns() + WITHIN_NS;
    *a = (struct plan_response){.text = NULL};
    if (exchange(request, bytes, a, deadline)) return NULL;
    bool late = now_ns() >= deadline;
    end();
    if (late) return error_f(ERROR_UNAVAILABLE, "the planner took too long and was stopped");
    if (fresh) return error_f(ERROR_UNSUPPORTED, "the planner ended without a response (" ADVICE ")");
  } /* it had exited after a time without requests, or was killed: start a new one */
}
