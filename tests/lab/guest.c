// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The guest that can tell: /init of a kernel without anything else. It writes
 * records (record.h) to its disks, reads them back and says what it saw.
 *
 * The kernel's command line:
 *   g.disk=vda,vdb   the disks
 *   g.mode=mixed     or seq64: 64 KiB in order; rewrite: 64 KiB at random;
 *                    idle: nothing
 *   g.rate=N         operations a second and disk; 0: as fast as possible
 *   g.depth=N        requests at a time and disk, each in its own part; 1
 *   g.span=BYTES     of each disk from its start, with k, M or G; 128M
 *   g.mix=30,70,20,10,16   percent of reads; of the writes, percent of 4 KiB,
 *                    64 KiB and unaligned 24 KiB; one flush in 16 operations
 *   g.seed=N         1
 *
 * First serial port, one line each:
 *   B disk=.. scanned=.. torn=.. lost=.. wrong=.. healed=.. maxseq=..
 *     flushed=..     at boot, for each stream: what it found on the disk.
 *                    lost: flushed, but not there
 *   T n              each 100 ms
 *   S sec=.. ...     each second, of that second: see print_second
 *   WRONG, LOST disk=.. slot=.. off=.. size=.. want=.. got=LOW..HIGH state=..
 *   IOERR disk=.. op=.. off=.. size=.. errno=..   it tries again
 *   V records=.. wrong=..   the answer to `verify`
 * Second serial port: `#TAG COMMAND`, answered by `#TAG TEXT`. Commands:
 *   verify           stop, flush, read all back, say V, go on
 *   pause, go, rate N, status, poweroff, reboot; agent ...: guest-agent.h
 * poweroff and reboot are sudden: nothing is flushed.
 */
#include "guest-agent.h"
#include "guest-boot.h"
#include "guest-gate.h"
#include "guest-stream.h"

#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>

#include <linux/fs.h>

#define STREAMS_MAX 64
#define TICK_NS 100000000L
#define DISK_WAIT_MS 20000

static struct {
    char cmdline[4096];
    unsigned share[REGIONS];
    unsigned reads;       /* percent */
    unsigned flush_every; /* operations */
    unsigned depth;
    int sequential;
    int idle;
    uint64_t rate; /* atomic */
} conf;

static struct stream streams[STREAMS_MAX];
static unsigned stream_count;
static int console = -1;
static pthread_mutex_t out_lock = PTHREAD_MUTEX_INITIALIZER;

static void out(const char *fmt, ...)
{
    char line[4096];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(line, sizeof line - 1, fmt, ap);
    va_end(ap);
    if (n > (int)sizeof line - 2)
        n = sizeof line - 2;
    line[n] = '\n';
    pthread_mutex_lock(&out_lock);
    if (write(console, line, (size_t)n + 1) < 0)
        sync(); /* nowhere left to complain */
    pthread_mutex_unlock(&out_lock);
}

static void die(const char *what, const char *on)
{
    out("DIED %s %s: %s", what, on, strerror(errno));
    sleep(1);
    reboot(RB_POWER_OFF);
}

/* The value of g.NAME, or the default. In a buffer of its own. */
static const char *option(const char *name, const char *standard)
{
    char key[32], *at = conf.cmdline, *value;
    size_t len = (size_t)snprintf(key, sizeof key, " g.%s=", name);

    at = strstr(at, key);
    if (at == NULL)
        return standard;
    value = strdup(at + len);
    value[strcspn(value, " \n")] = '\0';
    return value;
}

static uint64_t option_number(const char *name, const char *standard)
{
    char *end;
    uint64_t n = strtoull(option(name, standard), &end, 10);

    switch (*end) {
    case 'G':
        n <<= 10; /* fall through */
    case 'M':
        n <<= 10; /* fall through */
    case 'k':
        n <<= 10;
    }
    return n;
}

static void read_options(void)
{
    const char *mode;
    FILE *f = fopen("/proc/cmdline", "re");

    conf.cmdline[0] = ' ';
    if (f == NULL ||
        fgets(conf.cmdline + 1, sizeof conf.cmdline - 1, f) == NULL)
        die("read", "/proc/cmdline");
    fclose(f);
    mode = option("mode", "mixed");
    if (sscanf(option("mix", "30,70,20,10,16"), "%u,%u,%u,%u,%u", &conf.reads,
               &conf.share[0], &conf.share[1], &conf.share[2],
               &conf.flush_every) != 5)
        die("parse", "g.mix");
    conf.idle = strcmp(mode, "idle") == 0;
    conf.sequential = strcmp(mode, "seq64") == 0;
    if (conf.sequential || strcmp(mode, "rewrite") == 0) {
        conf.share[0] = conf.share[2] = 0;
        conf.share[1] = 100;
    }
    conf.rate = option_number("rate", "0");
    conf.depth = (unsigned)option_number("depth", "1");
}

static int open_disk(const char *disk)
{
    char path[64];
    int fd = -1, waited;

    snprintf(path, sizeof path, "/dev/%s", disk);
    for (waited = 0; fd < 0 && waited < DISK_WAIT_MS; waited += 10) {
        fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
        if (fd < 0)
            sleep_ns(10000000L);
    }
    if (fd < 0)
        die("open", path);
    return fd;
}

static void add_stream(const char *disk, int fd, unsigned part, uint64_t span)
{
    struct stream *s = &streams[stream_count++];
    uint64_t seed = option_number("seed", "1"), i;

    for (i = 0; disk[i] != '\0'; i++)
        seed = seed * 257 + (unsigned char)disk[i];
    s->disk = disk;
    s->fd = fd;
    layout_init(&s->layout, mix64(seed) + part, part * span, span, conf.share);
    s->layout.sequential = conf.sequential;
    s->want = calloc(s->layout.slots, sizeof *s->want);
    s->dice = now_ns();
    pthread_mutex_init(&s->stats.lock, NULL);
    if (s->layout.slots == 0 || s->want == NULL ||
        posix_memalign(&s->buf, 4096, SCAN_CHUNK) != 0)
        die("no room on", disk);
    stream_boot(s);
}

static void add_disks(void)
{
    char *list = strdup(option("disk", "vda")), *disk, *rest = NULL;
    uint64_t size, span;
    unsigned part;
    int fd;

    for (disk = strtok_r(list, ",", &rest); disk != NULL;
         disk = strtok_r(NULL, ",", &rest)) {
        fd = open_disk(disk);
        if (ioctl(fd, BLKGETSIZE64, &size) < 0)
            die("size of", disk);
        span = option_number("span", "128M");
        span = (span < size ? span : size) / conf.depth;
        span -= span % (4 * RECORD_MAX);
        for (part = 0; part < conf.depth && stream_count < STREAMS_MAX; part++)
            add_stream(disk, fd, part, span);
    }
}

/* A rate is kept by waiting; what was missed is not made up for. */
static void wait_turn(struct stream *s)
{
    uint64_t rate = __atomic_load_n(&conf.rate, __ATOMIC_RELAXED);
    uint64_t now = now_ns();

    if (rate == 0)
        return;
    if (s->next_ns > now)
        sleep_ns((long)(s->next_ns - now));
    else if (now - s->next_ns > 20000000)
        s->next_ns = now;
    s->next_ns += 1000000000ULL * conf.depth / rate;
}

static void *work(void *arg)
{
    struct stream *s = arg;

    for (;;) {
        gate_pass();
        wait_turn(s);
        if (conf.flush_every > 0 && roll(s) % conf.flush_every == 0)
            op_flush(s);
        else if (roll(s) % 100 >= conf.reads || op_read(s) < 0)
            op_write(s);
    }
    return NULL;
}

static void take_stats(struct stats *sum)
{
    struct stats *one;
    unsigned i, op;

    memset(sum, 0, sizeof *sum);
    for (i = 0; i < stream_count; i++) {
        one = &streams[i].stats;
        pthread_mutex_lock(&one->lock);
        for (op = 0; op < OPS; op++)
            hist_merge(&sum->hist[op], &one->hist[op]);
        memset(one->hist, 0, sizeof one->hist);
        if (one->max_us > sum->max_us)
            sum->max_us = one->max_us;
        sum->bytes += one->bytes;
        sum->verified += one->verified;
        sum->wrong += one->wrong;
        one->max_us = one->bytes = one->verified = one->wrong = 0;
        pthread_mutex_unlock(&one->lock);
    }
}

/* Of this second alone; mib: written; p50, p99 and max: of all operations. */
static void print_second(unsigned long second)
{
    static struct stats sum;
    static struct hist all;
    char text[OPS][1024];
    unsigned op;

    take_stats(&sum);
    memset(&all, 0, sizeof all);
    for (op = 0; op < OPS; op++) {
        hist_merge(&all, &sum.hist[op]);
        hist_print(&sum.hist[op], text[op], sizeof text[op]);
    }
    out("S sec=%lu writes=%" PRIu64 " reads=%" PRIu64 " flushes=%" PRIu64
        " mib=%.1f p50_us=%" PRIu64 " p99_us=%" PRIu64 " max_us=%" PRIu64
        " verified=%" PRIu64 " wrong=%" PRIu64 " hist_r=%s hist_w=%s hist_f=%s",
        second, hist_total(&sum.hist[OP_WRITE]), hist_total(&sum.hist[OP_READ]),
        hist_total(&sum.hist[OP_FLUSH]), (double)sum.bytes / (1 << 20),
        hist_percentile(&all, 50), hist_percentile(&all, 99), sum.max_us,
        sum.verified, sum.wrong, text[OP_READ], text[OP_WRITE], text[OP_FLUSH]);
}

/* Before all others, so that a late tick means that the machine stood. */
static void *tick(void *arg)
{
    struct sched_param first = {.sched_priority = 10};
    struct timespec next;
    unsigned long n = 0;

    if (sched_setscheduler(0, SCHED_FIFO, &first) < 0)
        out("no real-time priority: %s", strerror(errno));
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (;;) {
        out("T %lu", n++);
        if (n % 10 == 0)
            print_second(n / 10);
        next.tv_nsec += TICK_NS;
        if (next.tv_nsec >= 1000000000L) {
            next.tv_nsec -= 1000000000L;
            next.tv_sec++;
        }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
    return arg;
}

static void verify(char *answer, size_t size)
{
    struct scan_result result = {0};
    unsigned i;

    guest_park();
    for (i = 0; i < stream_count; i++)
        stream_verify(&streams[i], &result);
    guest_go();
    snprintf(answer, size, "V records=%" PRIu64 " wrong=%" PRIu64,
             result.records, result.wrong);
    out("%s", answer);
}

static void obey(const char *command, char *answer, size_t size)
{
    static int paused;

    snprintf(answer, size, "ok");
    if (strcmp(command, "verify") == 0) {
        verify(answer, size);
    } else if (strcmp(command, "pause") == 0) {
        if (!paused)
            guest_park();
        paused = 1;
    } else if (strcmp(command, "go") == 0) {
        if (paused)
            guest_go();
        paused = 0;
    } else if (strncmp(command, "rate ", 5) == 0) {
        __atomic_store_n(&conf.rate, strtoull(command + 5, NULL, 10),
                         __ATOMIC_RELAXED);
    } else if (strcmp(command, "status") == 0) {
        snprintf(answer, size, "streams=%u paused=%d rate=%" PRIu64,
                 stream_count, paused, conf.rate);
    } else if (!agent_told(command)) {
        snprintf(answer, size, "not known: %s", command);
    }
}

/* The main thread: commands from the second serial port. */
static void serve(int port)
{
    FILE *f = fdopen(port, "r");
    char line[256], answer[256], *text;

    while (fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\r\n")] = '\0';
        text = strchr(line, ' ');
        if (line[0] != '#' || text == NULL)
            continue;
        *text++ = '\0';
        if (strcmp(text, "poweroff") == 0 || strcmp(text, "reboot") == 0) {
            dprintf(port, "%s ok\n", line);
            tcdrain(port);
            reboot(*text == 'p' ? RB_POWER_OFF : RB_AUTOBOOT);
        }
        obey(text, answer, sizeof answer);
        dprintf(port, "%s %s\n", line, answer);
    }
}

static void start(void *(*body)(void *), void *arg)
{
    pthread_t thread;

    errno = pthread_create(&thread, NULL, body, arg);
    if (errno != 0)
        die("start", "a thread");
}

int main(void)
{
    char failed[256];
    unsigned i;
    int port;

    if (mount("proc", "/proc", "proc", 0, NULL) < 0 ||
        mount("sysfs", "/sys", "sysfs", 0, NULL) < 0 ||
        mount("devtmpfs", "/dev", "devtmpfs", 0, NULL) < 0)
        return 1;
    console = open_raw("/dev/ttyS0"); /* without it nobody can be told */
    out("%s", ""); /* a reset may have cut off a line: ours begin a new one */
    read_options();
    if (load_modules(failed, sizeof failed) < 0)
        die("load", failed);
    add_disks();
    out("G started streams=%u", stream_count);
    start(tick, NULL);
    gate.inside = conf.idle ? 0 : stream_count;
    for (i = 0; i < stream_count && !conf.idle; i++)
        start(work, &streams[i]);
    agent.streams = streams;
    agent.count = stream_count;
    start(agent_serve, NULL);
    port = open_raw("/dev/ttyS1");
    if (port >= 0)
        serve(port);
    die("lost", "the second serial port");
    return 1;
}
