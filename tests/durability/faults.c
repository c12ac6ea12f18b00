/* A disk that fails on command, for the durability tests: loaded before the C library (LD_PRELOAD).
 *
 * Files in the folder named by PHAROS_FAULTS steer it; it touches only files under PHAROS_FAULTS_ROOT.
 *   hang       syncs wait until the file is gone
 *   fail-sync  syncs fail with EIO
 *   full       writes to journals, and to the files of the ledger, fail with ENOSPC
 *   synced/    for each inode what is known to be on disk: "<inode> <position> <size>" lines in `log`, and the whole content
 *              of small files as it was at the last sync
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SMALL (64 * 1024)

/* The path of an open file, if it lies under the root. */
static int in_root(int fd, char *path) {
    const char *root = getenv("PHAROS_FAULTS_ROOT");
    char link[64];
    if (!root) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return strncmp(path, root, strlen(root)) == 0;
}

static int ordered(const char *what) {
    const char *folder = getenv("PHAROS_FAULTS");
    char path[PATH_MAX];
    if (!folder) return 0;
    snprintf(path, sizeof path, "%s/%s", folder, what);
    return access(path, F_OK) == 0;
}

static ssize_t plain_write(int fd, const void *bytes, size_t length) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    return real(fd, bytes, length);
}

/* Notes what a sync that succeeded has made safe. */
static void note(int fd, off_t position, const struct stat *stat, const char *content, ssize_t length) {
    const char *folder = getenv("PHAROS_FAULTS");
    char path[PATH_MAX], line[128];
    if (!folder) return;
    if (length < 0) {
        /* The number may have been that of a small file, which was deleted: its content is not this one's. */
        snprintf(path, sizeof path, "%s/synced/%lu", folder, (unsigned long)stat->st_ino);
        unlink(path);
    } else {
        snprintf(path, sizeof path, "%s/synced/%lu.new", folder, (unsigned long)stat->st_ino);
        int copy = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
        if (copy >= 0) {
            char final[PATH_MAX];
            if (plain_write(copy, content, length) == length) {
                snprintf(final, sizeof final, "%s/synced/%lu", folder, (unsigned long)stat->st_ino);
                rename(path, final);
            }
            close(copy);
        }
    }
    snprintf(path, sizeof path, "%s/synced/log", folder);
    int log = open(path, O_CREAT | O_APPEND | O_WRONLY, 0600);
    if (log < 0) return;
    int n = snprintf(line, sizeof line, "%lu %ld %ld\n", (unsigned long)stat->st_ino, (long)position, (long)stat->st_size);
    plain_write(log, line, n);
    close(log);
}

static int sync_with(int (*real)(int), int fd) {
    char path[PATH_MAX];
    struct stat stat;
    char *content = NULL;
    ssize_t length = -1;
    if (!in_root(fd, path) || fstat(fd, &stat) != 0 || !S_ISREG(stat.st_mode)) return real(fd);
    while (ordered("hang")) usleep(5000);
    if (ordered("fail-sync")) {
        errno = EIO;
        return -1;
    }
    off_t position = (fcntl(fd, F_GETFL) & O_APPEND) ? stat.st_size : lseek(fd, 0, SEEK_CUR);
    if (stat.st_size <= SMALL && (content = malloc(SMALL))) {
        int copy = open(path, O_RDONLY);
        if (copy >= 0) {
            length = pread(copy, content, SMALL, 0);
            close(copy);
        }
    }
    int result = real(fd);
    if (result == 0) note(fd, position, &stat, content, length);
    free(content);
    return result;
}

int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fsync");
    return sync_with(real, fd);
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
    return sync_with(real, fd);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    char path[PATH_MAX];
    if (ordered("full") && in_root(fd, path)) {
        size_t end = strlen(path);
        const char *name = strrchr(path, '/');
        int is_journal = end > 4 && strcmp(path + end - 4, ".jnl") == 0;
        if (is_journal || (name && strncmp(name, "/ledger-", 8) == 0)) {
            errno = ENOSPC;
            return -1;
        }
    }
    return plain_write(fd, bytes, length);
}
