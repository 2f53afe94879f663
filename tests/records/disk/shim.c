/* Preloaded into a process under test: counts, logs and disturbs every call that changes the disk below one folder.

   shim_arm(prefix, log, at, mode, code): the `at`-th such call (1, 2, ...) from now on
     mode 0: nothing; 1: the process is killed before it; 2: it fails with `code`; 3: it and all after it fail;
     4: as 3, but removals and truncations work (a full disk lets go of what it has).
   A write that fails with ENOSPC first writes half of its bytes, as a filling disk does. shim_count(): calls so far.
   fsync is only logged, never done: power cuts are simulated from the log. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static char prefix[PATH_MAX];
static size_t prefix_length;
static FILE *record;
static long count, at;
static int mode, code;
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

void shim_arm(const char *folder, const char *log, long when, int how, int error) {
  snprintf(prefix, sizeof prefix, "%s/", folder);
  prefix_length = strlen(prefix);
  record = log && *log ? fopen(log, "we") : NULL;
  count = 0, at = when, mode = how, code = error;
}
long shim_count(void) { return count; }

#define REAL(name) ({ static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name); real; })

static int below(const char *path) {
  return prefix_length && path && (!strncmp(path, prefix, prefix_length) ||
    (!strncmp(path, prefix, prefix_length - 1) && !path[prefix_length - 1]));
}
static int path_of(int fd, char *path) {
  char link[64];
  ssize_t n;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  n = readlink(link, path, PATH_MAX - 1);
  if (n < 0) return 0;
  path[n] = 0;
  return below(path);
}
/* Whether the call may go on; 0: it fails with errno set. `frees`: it only lets go of something. */
static int step(int frees) {
  count++;
  if (mode == 1 && count == at) kill(getpid(), SIGKILL);
  if ((mode == 2 && count == at) || (mode == 3 && count >= at) || (mode == 4 && count >= at && !frees)) {
    errno = code;
    return 0;
  }
  return 1;
}
static void text(const char *s) { for (; *s; s++) fprintf(record, "%02x", (unsigned char)*s); fputc(' ', record); }
static void log_paths(const char *what, const char *one, const char *two) {
  if (!record) return;
  fprintf(record, "%s ", what);
  text(one);
  if (two) text(two);
  fputc('\n', record);
  fflush(record);
}
static void log_write(const char *path, off_t offset, const char *data, size_t size) {
  if (!record) return;
  fputs("write ", record);
  text(path);
  fprintf(record, "%lld ", (long long)offset);
  for (size_t i = 0; i < size; i++) fprintf(record, "%02x", (unsigned char)data[i]);
  fputc('\n', record);
  fflush(record);
}

static int opened(const char *path, int flags, mode_t bits, int (*real)(const char *, int, ...)) {
  struct stat info;
  int changes = (flags & (O_CREAT | O_TRUNC)) && below(path), fresh, fd;
  if (!changes) return real(path, flags, bits);
  pthread_mutex_lock(&lock);
  fresh = lstat(path, &info) < 0;
  if ((!fresh && !(flags & O_TRUNC)) || step(0)) {
    fd = real(path, flags, bits);
    if (fd >= 0 && fresh) log_paths("make", path, NULL);
    if (fd >= 0 && !fresh && (flags & O_TRUNC)) log_paths("empty", path, NULL);
  } else fd = -1;
  pthread_mutex_unlock(&lock);
  return fd;
}
#define OPEN(name) int name(const char *path, int flags, ...) { \
  va_list more; va_start(more, flags); mode_t bits = va_arg(more, int); va_end(more); \
  return opened(path, flags, bits, REAL(name)); }
OPEN(open)
OPEN(open64)

#define FD_CALL(result, what, frees, real, logged) { \
  char path[PATH_MAX]; int saved = errno; result done; \
  if (!path_of(fd, path)) { errno = saved; return real; } \
  pthread_mutex_lock(&lock); \
  if (step(frees)) { done = real; saved = errno; if (done >= 0) logged; errno = saved; } else done = -1; \
  pthread_mutex_unlock(&lock); \
  return done; }

ssize_t write(int fd, const void *data, size_t size) {
  char path[PATH_MAX];
  int saved = errno;
  ssize_t done = -1;
  if (!path_of(fd, path)) { errno = saved; return REAL(write)(fd, data, size); }
  pthread_mutex_lock(&lock);
  off_t offset = fcntl(fd, F_GETFL) & O_APPEND ? lseek(fd, 0, SEEK_END) : lseek(fd, 0, SEEK_CUR);
  if (step(0)) {
    done = REAL(write)(fd, data, size);
    if (done > 0) log_write(path, offset, data, done);
  } else if (errno == ENOSPC && mode != 2 && size > 1 && count == at) done = REAL(write)(fd, data, size / 2);
  pthread_mutex_unlock(&lock);
  return done;
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
  FD_CALL(ssize_t, "write", 0, REAL(pwrite)(fd, data, size, offset), log_write(path, offset, data, done))
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
  FD_CALL(ssize_t, "write", 0, REAL(pwrite64)(fd, data, size, offset), log_write(path, offset, data, done))
static void log_cut(const char *path, long long size) {
  if (record) { fputs("cut ", record); text(path); fprintf(record, "%lld\n", size); fflush(record); }
}
int ftruncate(int fd, off_t size) FD_CALL(int, "cut", 1, REAL(ftruncate)(fd, size), log_cut(path, size))
int ftruncate64(int fd, off64_t size) FD_CALL(int, "cut", 1, REAL(ftruncate64)(fd, size), log_cut(path, size))
int fsync(int fd) FD_CALL(int, "sync", 0, 0, log_paths("sync", path, NULL))
int fdatasync(int fd) FD_CALL(int, "sync", 0, 0, log_paths("sync", path, NULL))
int fchmod(int fd, mode_t bits) FD_CALL(int, "mode", 0, REAL(fchmod)(fd, bits), (void)0)

#define PATH_CALL(path, frees, real, logged) { \
  int done = -1; \
  if (!below(path)) return real; \
  pthread_mutex_lock(&lock); \
  if (step(frees)) { done = real; int saved = errno; if (done == 0) logged; errno = saved; } \
  pthread_mutex_unlock(&lock); \
  return done; }

int mkdir(const char *path, mode_t bits) PATH_CALL(path, 0, REAL(mkdir)(path, bits), log_paths("mkdir", path, NULL))
int rmdir(const char *path) PATH_CALL(path, 1, REAL(rmdir)(path), log_paths("rmdir", path, NULL))
int unlink(const char *path) PATH_CALL(path, 1, REAL(unlink)(path), log_paths("unlink", path, NULL))
int rename(const char *old, const char *new) PATH_CALL(old, 0, REAL(rename)(old, new), log_paths("rename", old, new))
int link(const char *old, const char *new) PATH_CALL(old, 0, REAL(link)(old, new), log_paths("link", old, new))
int linkat(int a, const char *old, int b, const char *new, int flags)
  PATH_CALL(old, 0, REAL(linkat)(a, old, b, new, flags), log_paths("link", old, new))
int renameat2(int a, const char *old, int b, const char *new, unsigned flags)
  PATH_CALL(old, 0, REAL(renameat2)(a, old, b, new, flags), log_paths(flags & 2 ? "swap" : "rename", old, new))
