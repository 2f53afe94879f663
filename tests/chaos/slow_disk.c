/* Preloaded into a node: every fsync and fdatasync takes as many milliseconds longer as the file $SLOW_DISK says.

   The file (one int) is mapped before the first fork, so that a jailed child needs no way to it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static volatile int *late;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("SLOW_DISK");
  int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  void *found;
  if (fd < 0) return;
  found = mmap(NULL, sizeof *late, PROT_READ, MAP_SHARED, fd, 0);
  if (found != MAP_FAILED) late = found;
  close(fd);
}
static void wait_for_it(void) {
  struct timespec time;
  if (!late || *late <= 0) return;
  time.tv_sec = *late / 1000, time.tv_nsec = (*late % 1000) * 1000000L;
  nanosleep(&time, NULL);
}
int fsync(int fd) {
  static int (*real)(int);
  if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  wait_for_it();
  return real(fd);
}
int fdatasync(int fd) {
  static int (*real)(int);
  if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  wait_for_it();
  return real(fd);
}
