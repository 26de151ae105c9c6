/* The recorder behind shim.c: which calls concern us, the lock that orders them, and the journal.
 *
 * Files and folders are named by inode, which survives a rename and tells apart two files of one name. Nothing is
 * remembered about descriptors: on every call the kernel is asked what the descriptor is (fstat, /proc/self/fd), so
 * dup, fork and closing behind our back need no record. An inode number is given again only after its file is gone,
 * and then a CREATE or MKDIR record says so.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Kinds and layout of a record are those of journal.py: this header, path, path2, data. */
enum kind { CREATE = 2, MKDIR, LINK, WRITE, TRUNCATE, SYNC, RENAME, UNLINK, ACK, UNSUPPORTED };

struct header {
    uint32_t kind;
    uint32_t flag;      /* SYNC: 1 for fdatasync */
    uint64_t node;      /* inode of the file or folder */
    uint64_t parent;    /* inode of the folder that holds, or held, the entry */
    uint64_t parent2;   /* RENAME: inode of the folder it went to */
    uint64_t offset;    /* WRITE: where; TRUNCATE: the new size */
    uint32_t path_size; /* paths are relative to the root */
    uint32_t path2_size;
    uint64_t data_size;
};

static char root[PATH_MAX];
static size_t root_size;
static int journal = -1; /* -1: nothing is recorded */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void die(const char *what)
{
    char text[PATH_MAX];
    int n = snprintf(text, sizeof text, "powerloss shim: %s: %s\n", what, strerror(errno));
    syscall(SYS_write, 2, text, n);
    abort();
}

static void hold(void) { pthread_mutex_lock(&mutex); }
static void release(void) { pthread_mutex_unlock(&mutex); }

static void look_up(void); /* of the real functions, in shim.c */

static void start(void)
{
    look_up();
    const char *folder = getenv("VSEARCH_RECORD_ROOT"), *path = getenv("VSEARCH_RECORD_JOURNAL");
    if (!folder || !path)
        return;
    if (!realpath(folder, root))
        die(folder);
    root_size = strlen(root);
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        die(path);
    journal = fcntl(fd, F_DUPFD_CLOEXEC, 900); /* out of the way of programs that expect low numbers */
    if (journal < 0)
        die("cannot move the journal's descriptor");
    syscall(SYS_close, fd);
    pthread_atfork(hold, release, release);
}

__attribute__((constructor)) static void ready(void) { pthread_once(&once, start); }

/* One lock for the threads, one for the processes. unlock() keeps errno, and so does everything in between that
 * follows the real call, since it runs only when the call succeeded. */
static void lock(void)
{
    hold();
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    while (fcntl(journal, F_SETLKW, &whole) && errno == EINTR)
        ;
}

static void unlock(void)
{
    int kept = errno;
    struct flock whole = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    fcntl(journal, F_SETLK, &whole);
    release();
    errno = kept;
}

static void append(struct header header, const char *path, const char *path2, const void *data, size_t size)
{
    header.path_size = path ? strlen(path) : 0;
    header.path2_size = path2 ? strlen(path2) : 0;
    header.data_size = size;
    struct iovec parts[4] = {{&header, sizeof header},
                             {(void *)path, header.path_size},
                             {(void *)path2, header.path2_size},
                             {(void *)data, size}};
    ssize_t whole = sizeof header + header.path_size + header.path2_size + size;
    int kept = errno;
    if (syscall(SYS_writev, journal, parts, 4) != whole)
        die("cannot append to the journal"); /* a journal with a hole would prove nothing */
    errno = kept;
}

/* ---- which calls concern us ---- */

static int below_root(const char *path)
{
    return !strncmp(path, root, root_size) && (path[root_size] == '/' || !path[root_size]);
}

struct file { /* an open file or folder below the root */
    struct stat st;
    char path[PATH_MAX];
};

static int tracked(int fd, struct file *file)
{
    ready();
    if (journal < 0 || fd < 0)
        return 0;
    int kept = errno, ours = 0;
    char link[40], path[PATH_MAX];
    if (!fstat(fd, &file->st) && (S_ISREG(file->st.st_mode) || S_ISDIR(file->st.st_mode))) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, path, sizeof path - 1);
        path[n < 0 ? 0 : n] = 0;
        ours = below_root(path);
        if (ours)
            strcpy(file->path, path[root_size] ? path + root_size + 1 : "");
    }
    errno = kept;
    return ours;
}

struct entry { /* a name in a folder below the root, whether it exists or not */
    char path[PATH_MAX];
    uint64_t parent;
};

static int located(int folder, const char *given, struct entry *entry)
{
    ready();
    if (journal < 0 || !given || !*given)
        return 0;
    int kept = errno, ours = 0;
    char path[2 * PATH_MAX], resolved[PATH_MAX], link[40];
    struct stat st;
    size_t n = 0;
    if (*given != '/') {
        snprintf(link, sizeof link, folder == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", folder);
        ssize_t got = readlink(link, path, PATH_MAX - 1);
        n = got < 0 ? 0 : got;
        path[n++] = '/';
    }
    snprintf(path + n, sizeof path - n, "%s", given);
    for (n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
        path[n - 1] = 0;
    char *name = strrchr(path, '/');
    if (name) {
        *name++ = 0;
        if (realpath(*path ? path : "/", resolved) && below_root(resolved) && !stat(resolved, &st)) {
            const char *above = resolved[root_size] ? resolved + root_size + 1 : "";
            ours = snprintf(entry->path, PATH_MAX, "%s%s%s", above, *above ? "/" : "", name) < PATH_MAX;
            entry->parent = st.st_ino;
        }
    }
    errno = kept;
    return ours;
}

/* ---- records ---- */

/* For a call on a descriptor: when its file is ours, takes the lock that leave() gives back. */
static int enter(int fd, struct file *file)
{
    int ours = tracked(fd, file);
    if (ours)
        lock();
    return ours;
}

static void leave(int ours)
{
    if (ours)
        unlock();
}

static void append_file(enum kind kind, const struct file *file, uint64_t value)
{
    struct header header = {.kind = kind, .node = file->st.st_ino};
    if (kind == SYNC)
        header.flag = value;
    else
        header.offset = value;
    append(header, file->path, NULL, NULL, 0);
}

static void append_write(const struct file *file, off_t offset, const void *data, size_t size)
{
    append((struct header){.kind = WRITE, .node = file->st.st_ino, .offset = offset}, file->path, NULL, data, size);
}

static void append_entry(enum kind kind, const struct entry *at, uint64_t node)
{
    append((struct header){.kind = kind, .node = node, .parent = at->parent}, at->path, NULL, NULL, 0);
}

static void unsupported(const char *path, const char *reason)
{
    append((struct header){.kind = UNSUPPORTED}, path, NULL, reason, strlen(reason));
}
