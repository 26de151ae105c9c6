/* Records what a process does to the files below one folder, so that a power loss can be simulated afterwards.
 *
 * Preloaded (LD_PRELOAD) with two variables:
 *     VSEARCH_RECORD_ROOT     the folder whose files are recorded
 *     VSEARCH_RECORD_JOURNAL  the file that the records are appended to; must lie outside the folder
 *
 * Each function that changes a file is replaced by one that makes the system call and appends a record of it, both
 * under one lock, which holds across threads and processes: the order of the journal is the order of events. Calls
 * that fail are not recorded; of data, as much is recorded as the call took.
 *
 * stdio writes inside the C library, where it cannot be seen. Bytes that pass through a stream are recorded when it is
 * flushed or closed, or its file is synced: what lies between the descriptor's last and its present position.
 *
 * What would not be simulated correctly is recorded as UNSUPPORTED with the reason: writable shared mappings, O_SYNC,
 * O_TMPFILE, symbolic links, exchanging renames, files moved into or out of the folder. Left out are sync() and
 * syncfs(), since the simulated disk then only loses more than a real one, and sync_file_range(), which promises
 * nothing. What passes by unseen (splice, io_uring) shows when the journal is compared with the folder (verify).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <sys/mman.h>

#include "recorder.h"

/* On 64-bit Linux the functions for large files are the plain ones under another name. */
#define ALSO(name, of) extern __typeof__(of) name __attribute__((alias(#of)));

/* The C library's own functions, for what is more than a system call. Looked up once: a look-up takes the loader's
 * lock, which a fork in another thread would leave taken in the child. */
#define REAL(name) ((__typeof__(&name))real_##name)
static void *real_fopen, *real_fdopen, *real_fflush, *real_fclose;

static void look_up(void)
{
    real_fopen = dlsym(RTLD_NEXT, "fopen");
    real_fdopen = dlsym(RTLD_NEXT, "fdopen");
    real_fflush = dlsym(RTLD_NEXT, "fflush");
    real_fclose = dlsym(RTLD_NEXT, "fclose");
}

/* ---- streams of stdio ---- */

enum { STREAMS = 256 };
static struct { FILE *stream; off_t recorded; } streams[STREAMS];

static int slot_of(const FILE *stream)
{
    int i = 0;
    while (i < STREAMS && streams[i].stream != stream)
        i++;
    return i;
}

static int only_reads(const char *mode) { return *mode == 'r' && !strchr(mode, '+'); }

static void stream_opened(FILE *stream, const char *mode)
{
    struct file file;
    if (only_reads(mode) || !tracked(fileno(stream), &file))
        return;
    int i = slot_of(NULL);
    if (i == STREAMS) {
        unsupported(file.path, "too many open streams");
        return;
    }
    streams[i].stream = stream;
    streams[i].recorded = lseek(fileno(stream), 0, SEEK_CUR);
}

static void record_range(int fd, off_t offset, off_t end)
{
    struct file file;
    char link[40], data[1 << 14];
    if (!tracked(fd, &file))
        return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd); /* opened anew, since fd may be for writing only */
    int in = syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC, 0);
    while (offset < end) {
        size_t want = end - offset < (off_t)sizeof data ? end - offset : (off_t)sizeof data;
        ssize_t n = pread(in, data, want, offset);
        if (n <= 0) {
            unsupported(file.path, "what was written cannot be read back");
            break;
        }
        append_write(&file, offset, data, n);
        offset += n;
    }
    syscall(SYS_close, in);
}

static void record_stream(int i)
{
    int fd = fileno(streams[i].stream);
    off_t end = lseek(fd, 0, SEEK_CUR);
    if (end > streams[i].recorded)
        record_range(fd, streams[i].recorded, end);
    streams[i].recorded = end;
}

int fflush(FILE *stream)
{
    ready();
    int first = stream ? slot_of(stream) : 0, last = stream ? first : STREAMS - 1;
    if (journal < 0 || first == STREAMS)
        return REAL(fflush)(stream);
    lock();
    int rc = REAL(fflush)(stream);
    for (int i = first; i <= last; i++)
        if (streams[i].stream)
            record_stream(i);
    unlock();
    return rc;
}

int fclose(FILE *stream)
{
    ready();
    int i = slot_of(stream);
    if (journal < 0 || i == STREAMS)
        return REAL(fclose)(stream);
    lock();
    REAL(fflush)(stream);
    record_stream(i);
    streams[i].stream = NULL;
    int rc = REAL(fclose)(stream);
    unlock();
    return rc;
}

FILE *fdopen(int fd, const char *mode)
{
    struct file file;
    ready();
    FILE *stream = REAL(fdopen)(fd, mode);
    if (stream && tracked(fd, &file)) {
        lock();
        stream_opened(stream, mode);
        unlock();
    }
    return stream;
}

/* What is in a buffer when the program ends, the C library would write after us: flush it here. */
__attribute__((destructor)) static void finish(void)
{
    for (int i = 0; journal >= 0 && i < STREAMS; i++)
        if (streams[i].stream)
            fflush(streams[i].stream);
}

/* ---- opening and creating ---- */

static void record_open(const struct entry *at, const struct stat *before, int fd, int truncated)
{
    struct file file;
    if (!before && !fstat(fd, &file.st))
        append_entry(CREATE, at, file.st.st_ino);
    else if (truncated && before->st_size && tracked(fd, &file))
        append_file(TRUNCATE, &file, 0);
}

enum { UNNAMED = O_TMPFILE & ~O_DIRECTORY };

static int do_open(int folder, const char *path, int flags, mode_t mode)
{
    struct entry at;
    struct stat st;
    if (!(flags & (O_CREAT | O_TRUNC | O_DSYNC | UNNAMED)) || !located(folder, path, &at))
        return syscall(SYS_openat, folder, path, flags, mode);
    lock();
    int existed = !fstatat(folder, path, &st, 0);
    int fd = syscall(SYS_openat, folder, path, flags, mode);
    if (fd >= 0 && flags & (O_DSYNC | UNNAMED)) /* O_SYNC contains O_DSYNC */
        unsupported(at.path, flags & UNNAMED ? "O_TMPFILE" : "O_SYNC or O_DSYNC");
    else if (fd >= 0)
        record_open(&at, existed ? &st : NULL, fd, flags & O_TRUNC);
    unlock();
    return fd;
}

#define MODE_ARGUMENT(flags)           \
    mode_t mode = 0;                   \
    if (flags & (O_CREAT | UNNAMED)) { \
        va_list rest;                  \
        va_start(rest, flags);         \
        mode = va_arg(rest, int);      \
        va_end(rest);                  \
    }

int open(const char *path, int flags, ...)
{
    MODE_ARGUMENT(flags)
    return do_open(AT_FDCWD, path, flags, mode);
}
ALSO(open64, open)

int openat(int folder, const char *path, int flags, ...)
{
    MODE_ARGUMENT(flags)
    return do_open(folder, path, flags, mode);
}
ALSO(openat64, openat)

/* What programs compiled with _FORTIFY_SOURCE call. */
int __open_2(const char *path, int flags) { return do_open(AT_FDCWD, path, flags, 0); }
ALSO(__open64_2, __open_2)
int __openat_2(int folder, const char *path, int flags) { return do_open(folder, path, flags, 0); }
ALSO(__openat64_2, __openat_2)

int creat(const char *path, mode_t mode) { return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
ALSO(creat64, creat)

FILE *fopen(const char *path, const char *mode)
{
    struct entry at;
    struct stat st;
    ready();
    if (only_reads(mode) || !located(AT_FDCWD, path, &at))
        return REAL(fopen)(path, mode);
    lock();
    int existed = !stat(path, &st);
    FILE *stream = REAL(fopen)(path, mode);
    if (stream) {
        record_open(&at, existed ? &st : NULL, fileno(stream), *mode == 'w');
        stream_opened(stream, mode);
    }
    unlock();
    return stream;
}
ALSO(fopen64, fopen)

/* ---- data ---- */

static void record_write(int fd, const struct file *file, off_t offset, const void *data, size_t size)
{
    struct stat st;
    if (offset < 0)
        offset = lseek(fd, 0, SEEK_CUR) - size;
    else if (fcntl(fd, F_GETFL) & O_APPEND && !fstat(fd, &st)) /* Linux appends whatever the offset of pwrite */
        offset = st.st_size - size;
    append_write(file, offset, data, size);
}

static ssize_t do_write(int fd, const void *data, size_t size, off_t offset)
{
    struct file file;
    int ours = enter(fd, &file);
    ssize_t n = offset < 0 ? syscall(SYS_write, fd, data, size) : syscall(SYS_pwrite64, fd, data, size, offset);
    if (ours && n > 0)
        record_write(fd, &file, offset, data, n);
    leave(ours);
    return n;
}

static ssize_t bad_offset(void)
{
    errno = EINVAL;
    return -1;
}

ssize_t write(int fd, const void *data, size_t size) { return do_write(fd, data, size, -1); }

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    return offset < 0 ? bad_offset() : do_write(fd, data, size, offset);
}
ALSO(pwrite64, pwrite)

ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
    struct file file;
    int ours = enter(fd, &file);
    ssize_t n = syscall(SYS_pwritev2, fd, parts, count, offset, 0, flags);
    if (ours && n > 0) {
        char *data = malloc(n), *end = data;
        if (!data)
            die("no memory");
        for (; end < data + n; parts++) {
            size_t left = data + n - end, size = parts->iov_len < left ? parts->iov_len : left;
            memcpy(end, parts->iov_base, size);
            end += size;
        }
        if (flags & (RWF_DSYNC | RWF_SYNC | RWF_APPEND))
            unsupported(file.path, "pwritev2 with flags");
        record_write(fd, &file, offset, data, n);
        free(data);
    }
    leave(ours);
    return n;
}
ALSO(pwritev64v2, pwritev2)

ssize_t writev(int fd, const struct iovec *parts, int count) { return pwritev2(fd, parts, count, -1, 0); }

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    return offset < 0 ? bad_offset() : pwritev2(fd, parts, count, offset, 0);
}
ALSO(pwritev64, pwritev)

/* What the kernel copies is read back. */
ssize_t copy_file_range(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t size, unsigned flags)
{
    struct file file;
    int ours = enter(out, &file);
    ssize_t n = syscall(SYS_copy_file_range, in, in_offset, out, out_offset, size, flags);
    if (ours && n > 0) {
        off_t end = out_offset ? *out_offset : lseek(out, 0, SEEK_CUR); /* both were moved by the call */
        record_range(out, end - n, end);
    }
    leave(ours);
    return n;
}

ssize_t sendfile(int out, int in, off_t *in_offset, size_t size)
{
    struct file file;
    int ours = enter(out, &file);
    ssize_t n = syscall(SYS_sendfile, out, in, in_offset, size);
    if (ours && n > 0) {
        off_t end = lseek(out, 0, SEEK_CUR);
        record_range(out, end - n, end);
    }
    leave(ours);
    return n;
}
ALSO(sendfile64, sendfile)

void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    struct file file;
    int writes = protection & PROT_WRITE && flags & MAP_SHARED && !(flags & MAP_ANONYMOUS);
    if (writes && enter(fd, &file)) {
        unsupported(file.path, "a writable shared mapping");
        leave(1);
    }
    return (void *)syscall(SYS_mmap, address, size, protection, flags, fd, offset);
}
ALSO(mmap64, mmap)

/* ---- size ---- */

int ftruncate(int fd, off_t size)
{
    struct file file;
    int ours = enter(fd, &file), rc = syscall(SYS_ftruncate, fd, size);
    if (ours && !rc)
        append_file(TRUNCATE, &file, size);
    leave(ours);
    return rc;
}
ALSO(ftruncate64, ftruncate)

int truncate(const char *path, off_t size)
{
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int rc = ftruncate(fd, size), kept = errno;
    syscall(SYS_close, fd);
    errno = kept;
    return rc;
}
ALSO(truncate64, truncate)

int fallocate(int fd, int mode, off_t offset, off_t size)
{
    struct file file;
    struct stat before, after;
    int ours = enter(fd, &file);
    int known = ours && !fstat(fd, &before), rc = syscall(SYS_fallocate, fd, mode, offset, size);
    if (ours && !rc && mode & ~FALLOC_FL_KEEP_SIZE)
        unsupported(file.path, "fallocate that changes content");
    else if (known && !rc && !fstat(fd, &after) && after.st_size != before.st_size)
        append_file(TRUNCATE, &file, after.st_size);
    leave(ours);
    return rc;
}
ALSO(fallocate64, fallocate)
int posix_fallocate(int fd, off_t offset, off_t size) { return fallocate(fd, 0, offset, size) ? errno : 0; }
ALSO(posix_fallocate64, posix_fallocate)

/* ---- durability ---- */

static int do_sync(int fd, long call)
{
    struct file file;
    struct stat st;
    int ours = enter(fd, &file);
    for (int i = 0; ours && i < STREAMS; i++) /* what streams have written so far is synced with the file */
        if (streams[i].stream && !fstat(fileno(streams[i].stream), &st) && st.st_ino == file.st.st_ino)
            record_stream(i);
    int rc = syscall(call, fd);
    if (ours && !rc)
        append_file(SYNC, &file, call == SYS_fdatasync);
    leave(ours);
    return rc;
}

int fsync(int fd) { return do_sync(fd, SYS_fsync); }
int fdatasync(int fd) { return do_sync(fd, SYS_fdatasync); }

/* ---- names ---- */

int renameat2(int folder, const char *path, int folder2, const char *path2, unsigned flags)
{
    struct entry from, to;
    struct stat st, replaced;
    int leaves = located(folder, path, &from), arrives = located(folder2, path2, &to);
    if (!leaves && !arrives)
        return syscall(SYS_renameat2, folder, path, folder2, path2, flags);
    lock();
    int there = !fstatat(folder, path, &st, AT_SYMLINK_NOFOLLOW);
    int same = there && !fstatat(folder2, path2, &replaced, AT_SYMLINK_NOFOLLOW) && replaced.st_ino == st.st_ino;
    int rc = syscall(SYS_renameat2, folder, path, folder2, path2, flags);
    if (!rc && (!leaves || !arrives))
        unsupported(leaves ? from.path : to.path, "a rename into or out of the folder");
    else if (!rc && flags & ~RENAME_NOREPLACE)
        unsupported(from.path, "renameat2 with flags");
    else if (!rc && !same) /* between two names of one file rename does nothing */
        append((struct header){.kind = RENAME, .node = st.st_ino, .parent = from.parent, .parent2 = to.parent},
               from.path, to.path, NULL, 0);
    unlock();
    return rc;
}
int renameat(int from, const char *path, int to, const char *path2) { return renameat2(from, path, to, path2, 0); }
int rename(const char *path, const char *path2) { return renameat2(AT_FDCWD, path, AT_FDCWD, path2, 0); }

/* Makes the call `made`, which creates the entry `path`, and records it. */
#define RECORD_NEW(new_kind, made)                                             \
    struct entry at;                                                           \
    struct stat st;                                                            \
    int ours = located(folder, path, &at);                                     \
    if (ours)                                                                  \
        lock();                                                                \
    int rc = made;                                                             \
    if (ours && !rc && !fstatat(folder, path, &st, AT_SYMLINK_NOFOLLOW))       \
        append_entry(new_kind, &at, st.st_ino);                                \
    leave(ours);                                                               \
    return rc;

int mkdirat(int folder, const char *path, mode_t mode)
{
    RECORD_NEW(MKDIR, syscall(SYS_mkdirat, folder, path, mode))
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int linkat(int folder1, const char *path1, int folder, const char *path, int flags)
{
    RECORD_NEW(LINK, syscall(SYS_linkat, folder1, path1, folder, path, flags))
}
int link(const char *path, const char *path2) { return linkat(AT_FDCWD, path, AT_FDCWD, path2, 0); }

int symlinkat(const char *target, int folder, const char *path)
{
    struct entry at;
    int rc = syscall(SYS_symlinkat, target, folder, path);
    if (!rc && located(folder, path, &at)) {
        lock();
        unsupported(at.path, "a symbolic link");
        unlock();
    }
    return rc;
}
int symlink(const char *target, const char *path) { return symlinkat(target, AT_FDCWD, path); }

int unlinkat(int folder, const char *path, int flags)
{
    struct entry at;
    struct stat st;
    int ours = located(folder, path, &at);
    if (ours)
        lock();
    int there = ours && !fstatat(folder, path, &st, AT_SYMLINK_NOFOLLOW);
    int rc = syscall(SYS_unlinkat, folder, path, flags);
    if (there && !rc)
        append_entry(UNLINK, &at, st.st_ino);
    leave(ours);
    return rc;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char *path)
{
    int rc = unlink(path);
    return rc && errno == EISDIR ? rmdir(path) : rc;
}

/* ---- acknowledgements: called by the recorded program itself, through ctypes ---- */

void powerloss_ack(const char *message, size_t size)
{
    ready();
    if (journal < 0)
        return;
    lock();
    append((struct header){.kind = ACK}, NULL, NULL, message, size);
    unlock();
}
