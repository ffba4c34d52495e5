// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * measure OUT FROM_MS TO_MS: what the guest saw in a time of the host's
 * clock, from the file that `watch` wrote. `measure --now` prints that clock.
 * FROM_MS and TO_MS may be - for the first and the last line of the file.
 *
 * One key=value a line:
 *   n                operations (of the guest's S lines in the interval)
 *   writes reads flushes mib    mib: written
 *   p50_us p99_us    of all; write_, read_, flush_ before them: of one kind
 *   worst_second_p99_us   the highest p99 of one S line
 *   max_us           the slowest operation by the guest's clock
 *   verified wrong   records read back, wrong ones (WRONG and LOST of scans
 *                    too: V and B lines)
 *   ioerrors boots   IOERR and B lines
 *   seconds          S lines
 *   worst_gap_ms     the longest time between two T lines, of which the later
 *                    is in the interval, or from the last T line to the
 *                    interval's end, less the 100 ms that are due; a boot in
 *                    between is no gap, nor is a guest that stopped
 *   pauses pause_total_ms pause_longest_ms
 *                    from E suspended to E resumed, as far as it lies in the
 *                    interval; ended too by E stopped or E state running
 *   worst_stall_ms   the largest of max_us, worst_gap_ms, pause_longest_ms
 * An S line counts for the interval its end is in: it is of the second before.
 */
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "hist.h"

#define TICK_MS 100.0

struct measure {
    double from, to; /* ms */
    double last;     /* the file's last line */
    struct hist read, write, flush;
    uint64_t writes, reads, flushes, verified, wrong;
    uint64_t max_us, worst_p99_us;
    uint64_t io_errors, boots, seconds;
    double mib;
    double tick; /* the last T line, or < 0 */
    double worst_gap;
    double suspended; /* since when, or < 0 */
    unsigned pauses;
    double pause_total, pause_longest;
};

static double larger(double a, double b)
{
    return a > b ? a : b;
}

static double smaller(double a, double b)
{
    return a < b ? a : b;
}

/* The text behind " KEY=", or "". */
static const char *value(const char *line, const char *key)
{
    size_t len = strlen(key);
    const char *at = line;

    while ((at = strchr(at, ' ')) != NULL)
        if (strncmp(++at, key, len) == 0 && at[len] == '=')
            return at + len + 1;
    return "";
}

static uint64_t number(const char *line, const char *key)
{
    return strtoull(value(line, key), NULL, 10);
}

static int take_second(struct measure *m, const char *line)
{
    uint64_t p99 = number(line, "p99_us"), max = number(line, "max_us");

    m->seconds++;
    m->writes += number(line, "writes");
    m->reads += number(line, "reads");
    m->flushes += number(line, "flushes");
    m->verified += number(line, "verified");
    m->wrong += number(line, "wrong");
    m->mib += strtod(value(line, "mib"), NULL);
    if (p99 > m->worst_p99_us)
        m->worst_p99_us = p99;
    if (max > m->max_us)
        m->max_us = max;
    return hist_parse(&m->read, value(line, "hist_r")) |
           hist_parse(&m->write, value(line, "hist_w")) |
           hist_parse(&m->flush, value(line, "hist_f"));
}

static void take_tick(struct measure *m, double ms)
{
    if (m->tick >= 0 && ms >= m->from && ms <= m->to &&
        ms - m->tick - TICK_MS > m->worst_gap)
        m->worst_gap = ms - m->tick - TICK_MS;
    if (ms <= m->to)
        m->tick = ms;
}

static void end_pause(struct measure *m, double ms)
{
    double from = larger(m->suspended, m->from), to = smaller(ms, m->to);

    if (m->suspended >= 0 && to > from) {
        m->pauses++;
        m->pause_total += to - from;
        m->pause_longest = larger(m->pause_longest, to - from);
    }
    m->suspended = -1;
}

static void take_event(struct measure *m, double ms, const char *word)
{
    if (strcmp(word, "suspended") == 0 || strcmp(word, "state paused") == 0) {
        if (m->suspended < 0)
            m->suspended = ms;
        return;
    }
    if (strcmp(word, "resumed") == 0 || strcmp(word, "state running") == 0) {
        end_pause(m, ms);
    } else if (strcmp(word, "stopped") == 0 || strcmp(word, "crashed") == 0) {
        end_pause(m, ms);
        if (ms <= m->to)
            m->tick = -1;
    }
}

static int take_line(struct measure *m, double ms, const char *text)
{
    bool inside = ms >= m->from && ms <= m->to;

    if (strncmp(text, "T ", 2) == 0) {
        take_tick(m, ms);
    } else if (strncmp(text, "E ", 2) == 0) {
        take_event(m, ms, text + 2);
    } else if (strncmp(text, "B ", 2) == 0 && ms <= m->to) {
        m->tick = -1;
        if (inside) {
            m->boots++;
            m->wrong += number(text, "wrong") + number(text, "lost");
        }
    } else if (!inside) {
        return 0;
    } else if (strncmp(text, "S ", 2) == 0) {
        return take_second(m, text);
    } else if (strncmp(text, "V ", 2) == 0) {
        m->verified += number(text, "records");
        m->wrong += number(text, "wrong");
    } else if (strncmp(text, "IOERR ", 6) == 0) {
        m->io_errors++;
    }
    return 0;
}

static int take_file(struct measure *m, FILE *f)
{
    static char line[16384];
    char *text;

    while (fgets(line, sizeof line, f) != NULL) {
        double ms = strtod(line, &text);

        line[strcspn(line, "\n")] = '\0';
        if (text == line || *text != ' ')
            return -1;
        m->last = ms;
        if (take_line(m, ms, text + 1) < 0)
            return -1;
    }
    return ferror(f) ? -1 : 0;
}

static void finish(struct measure *m)
{
    double end = isinf(m->to) ? m->last : m->to;

    if (m->tick >= 0 && end - larger(m->tick, m->from) - TICK_MS > m->worst_gap)
        m->worst_gap = end - larger(m->tick, m->from) - TICK_MS;
    end_pause(m, end);
}

static void print_kind(const char *kind, const struct hist *h)
{
    printf("%sp50_us=%" PRIu64 "\n%sp99_us=%" PRIu64 "\n", kind,
           hist_percentile(h, 50), kind, hist_percentile(h, 99));
}

static void print(const struct measure *m)
{
    struct hist all = {0};
    double stall = larger((double)m->max_us / 1000,
                          larger(m->worst_gap, m->pause_longest));

    hist_merge(&all, &m->read);
    hist_merge(&all, &m->write);
    hist_merge(&all, &m->flush);
    printf("n=%" PRIu64 "\nwrites=%" PRIu64 "\nreads=%" PRIu64
           "\nflushes=%" PRIu64 "\nmib=%.1f\n",
           hist_total(&all), m->writes, m->reads, m->flushes, m->mib);
    print_kind("", &all);
    print_kind("write_", &m->write);
    print_kind("read_", &m->read);
    print_kind("flush_", &m->flush);
    printf("worst_second_p99_us=%" PRIu64 "\nmax_us=%" PRIu64
           "\nverified=%" PRIu64 "\nwrong=%" PRIu64 "\nioerrors=%" PRIu64
           "\nboots=%" PRIu64 "\nseconds=%" PRIu64 "\n",
           m->worst_p99_us, m->max_us, m->verified, m->wrong, m->io_errors,
           m->boots, m->seconds);
    printf("worst_gap_ms=%.1f\npauses=%u\npause_total_ms=%.1f\n"
           "pause_longest_ms=%.1f\nworst_stall_ms=%.1f\n",
           m->worst_gap, m->pauses, m->pause_total, m->pause_longest, stall);
}

static int parse_ms(const char *text, double open, double *ms)
{
    char *end;

    *ms = open;
    if (strcmp(text, "-") == 0)
        return 0;
    *ms = strtod(text, &end);
    return end == text || *end != '\0' ? -1 : 0;
}

int main(int argc, char **argv)
{
    struct measure m = {.tick = -1, .suspended = -1};
    struct timespec t;
    FILE *f;

    if (argc == 2 && strcmp(argv[1], "--now") == 0) {
        clock_gettime(CLOCK_MONOTONIC, &t);
        printf("%.3f\n", (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6);
        return 0;
    }
    if (argc != 4 || parse_ms(argv[2], 0, &m.from) < 0 ||
        parse_ms(argv[3], INFINITY, &m.to) < 0) {
        fprintf(stderr, "usage: measure OUT FROM_MS|- TO_MS|-\n"
                        "       measure --now\n");
        return 2;
    }
    f = fopen(argv[1], "re");
    if (f == NULL || take_file(&m, f) < 0) {
        fprintf(stderr, "measure: %s: %s\n", argv[1],
                f == NULL ? strerror(errno) : "malformed");
        return 1;
    }
    fclose(f);
    finish(&m);
    print(&m);
    return 0;
}
