/* A disk that fails from one moment on: preloaded, it lets the n-th change under a folder fail, and all that come after it.
 *
 * fail_under(folder, n, error): changes are counted from now on; n = 0 lets all through. changes(): how many there were.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char under[PATH_MAX];
static long at, count;
static int with;

void fail_under(const char *folder, long n, int error) {
    snprintf(under, sizeof under, "%s/", folder);
    at = n;
    count = 0;
    with = error;
}

long changes(void) { return count; }

static int fails(const char *path) {
    if (!under[0] || !path || strncmp(path, under, strlen(under)) != 0) return 0;
    long now = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    if (!at || now < at) return 0;
    errno = with;
    return 1;
}

static int fails_at(int descriptor) {
    char link[64], path[PATH_MAX];
    if (!under[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return fails(path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int d, const void *b, size_t n) { return fails_at(d) ? -1 : REAL(write)(d, b, n); }
ssize_t pwrite(int d, const void *b, size_t n, off_t o) { return fails_at(d) ? -1 : REAL(pwrite)(d, b, n, o); }
ssize_t pwrite64(int d, const void *b, size_t n, off64_t o) { return fails_at(d) ? -1 : REAL(pwrite64)(d, b, n, o); }
ssize_t writev(int d, const struct iovec *v, int n) { return fails_at(d) ? -1 : REAL(writev)(d, v, n); }
int fsync(int d) { return fails_at(d) ? -1 : REAL(fsync)(d); }
int ftruncate(int d, off_t n) { return fails_at(d) ? -1 : REAL(ftruncate)(d, n); }
int ftruncate64(int d, off64_t n) { return fails_at(d) ? -1 : REAL(ftruncate64)(d, n); }
int mkdir(const char *p, mode_t m) { return fails(p) ? -1 : REAL(mkdir)(p, m); }
int rename(const char *a, const char *b) { return fails(b) ? -1 : REAL(rename)(a, b); }

/* Opening for writing makes a file; opening for reading changes nothing. */
static int opened(const char *name, int folder, const char *path, int flags, mode_t mode, int has_folder) {
    typedef int (*Open)(const char *, int, ...);
    typedef int (*OpenAt)(int, const char *, int, ...);
    if ((flags & O_CREAT) && fails(path)) return -1;
    if (has_folder) return ((OpenAt)dlsym(RTLD_NEXT, name))(folder, path, flags, mode);
    return ((Open)dlsym(RTLD_NEXT, name))(path, flags, mode);
}

#define MODE(flags, last) \
    mode_t mode = 0; \
    if ((flags) & O_CREAT) { va_list rest; va_start(rest, last); mode = va_arg(rest, mode_t); va_end(rest); }

int open(const char *path, int flags, ...) { MODE(flags, flags) return opened("open", 0, path, flags, mode, 0); }
int open64(const char *path, int flags, ...) { MODE(flags, flags) return opened("open64", 0, path, flags, mode, 0); }
int openat(int d, const char *path, int flags, ...) { MODE(flags, flags) return opened("openat", d, path, flags, mode, 1); }
int openat64(int d, const char *path, int flags, ...) { MODE(flags, flags) return opened("openat64", d, path, flags, mode, 1); }
