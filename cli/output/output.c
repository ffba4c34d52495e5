// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/output/output.h"

#include "cli/output/report.h"
#include "nbd/base/units.h"
#include "blockmig/run/hooks.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define TTY_MS 200   /* between two pictures of the progress line */
#define JSON_MS 1000 /* between two progress objects */

static struct {
    const struct cli_options *options;
    bool tty;
    bool line;     /* a progress line stands on the terminal */
    bool lost;     /* something could not be written */
    bool result;   /* the result object was written */
    int trouble;   /* the status when something was lost; 0: the usual */
    int64_t shown; /* bm_now_ms of the last progress */
    int phase;     /* the state of the last line, -1: none */
} out;

void cli_output_start(const struct cli_options *options)
{
    out.options = options;
    out.tty = isatty(STDOUT_FILENO) == 1;
    out.phase = -1;
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
}

void cli_output_trouble(int status)
{
    out.trouble = status;
}

bool cli_verbose(void)
{
    return out.options->verbose;
}

static void clear_line(void)
{
    if (out.line)
        fputs("\r\033[K", stdout);
    out.line = false;
}

static void check_stdout(void)
{
    if (ferror(stdout))
        out.lost = true;
}

void cli_print(const char *fmt, ...)
{
    va_list ap;

    clear_line();
    va_start(ap, fmt);
    if (vprintf(fmt, ap) < 0)
        out.lost = true;
    va_end(ap);
}

void cli_say(const char *fmt, ...)
{
    va_list ap;

    if (out.options->json || out.options->quiet)
        return;
    clear_line();
    va_start(ap, fmt);
    if (vprintf(fmt, ap) < 0)
        out.lost = true;
    va_end(ap);
}

void cli_json(json_object *object)
{
    const char *text = object ? json_object_to_json_string_ext(
                                    object, JSON_C_TO_STRING_PLAIN |
                                                JSON_C_TO_STRING_NOSLASHESCAPE)
                              : NULL;

    if (!text || puts(text) == EOF)
        out.lost = true;
    json_object_put(object);
}

void cli_add_text(json_object *object, const char *name, const char *text)
{
    json_object_object_add(object, name,
                           text ? json_object_new_string(text) : NULL);
}

void cli_add_number(json_object *object, const char *name, int64_t number)
{
    json_object_object_add(object, name, json_object_new_int64(number));
}

void cli_add_bool(json_object *object, const char *name, bool value)
{
    json_object_object_add(object, name, json_object_new_boolean(value));
}

const char *cli_time(int64_t ms, char *buf, size_t size)
{
    time_t seconds = (time_t)(ms / 1000);
    char date[32];
    struct tm tm;

    if (!gmtime_r(&seconds, &tm) ||
        strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        date[0] = '\0';
    snprintf(buf, size, "%s.%03dZ", date, (int)(ms % 1000));
    return buf;
}

/* --- the end ------------------------------------------------------------ */

/* Names come from outside: none may move the cursor. */
static void print_clean(FILE *stream, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        fputc(c < 0x20 || c == 0x7f ? ' ' : c, stream);
    }
}

void cli_output_error(const struct bm_error *err,
                      const struct cli_command *command)
{
    char line[2100];

    if (command && command->stream && out.options->json && !out.result &&
        err->status != BM_EXIT_USAGE)
        cli_json(cli_error_json(err));
    clear_line();
    fflush(stdout);
    bm_error_line(err, line, sizeof line);
    fputs("blockmig: ", stderr);
    print_clean(stderr, line);
    fputc('\n', stderr);
    if (err->status == BM_EXIT_USAGE)
        fprintf(stderr, "Try 'blockmig %s%s--help'.\n",
                command ? command->words : "", command ? " " : "");
}

/* `blockmig job list | head -1`: who reads no more misses nothing. */
static bool reader_gone(void)
{
    struct pollfd fd = {.fd = STDOUT_FILENO};

    return poll(&fd, 1, 0) == 1 && (fd.revents & POLLERR);
}

int cli_output_end(int status)
{
    struct bm_error err = BM_ERROR_INIT;

    if (reader_gone())
        return status;
    clear_line();
    check_stdout();
    if (fflush(stdout) == EOF || close(STDOUT_FILENO) < 0)
        out.lost = true;
    if (!out.lost)
        return status;
    bm_fail(&err, EIO, "cannot write to standard output");
    bm_cause(&err, "some of it was not taken (full, or closed)");
    if (status == 0)
        bm_remedy(&err, "what was asked for is done, its report is not");
    out.result = true;
    cli_output_error(&err, NULL);
    if (out.trouble)
        return out.trouble;
    return status ? status : BM_EXIT_FAILED;
}

/* --- a long command ----------------------------------------------------- */

static double percent(const struct bm_progress *p)
{
    if (p->bytes_total == 0)
        return 0;
    if (p->bytes_done >= p->bytes_total)
        return 100;
    return 100.0 * (double)p->bytes_done / (double)p->bytes_total;
}

/* "1:02:03" left, or "" when it cannot be told. */
static const char *time_left(const struct bm_progress *p, char *buf,
                             size_t size)
{
    uint64_t seconds;

    buf[0] = '\0';
    if (p->paused || p->rate == 0 || p->bytes_done >= p->bytes_total)
        return buf;
    seconds = (p->bytes_total - p->bytes_done) / p->rate;
    if (seconds < 360000)
        snprintf(buf, size, "  %d:%02d:%02d left", (int)(seconds / 3600),
                 (int)(seconds / 60 % 60), (int)(seconds % 60));
    return buf;
}

/* "  guest 0.4 of 1.0 ms", or "" when it is not watched. */
static const char *guest_latency(const struct bm_progress *p, char *buf,
                                 size_t size)
{
    buf[0] = '\0';
    if (p->bound_us > 0)
        snprintf(buf, size, "  guest %.1f of %.1f ms", p->latency_us / 1000,
                 p->bound_us / 1000);
    return buf;
}

static int terminal_width(void)
{
    struct winsize size;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20)
        return size.ws_col;
    return 80;
}

static void show_line(const char *phase, const struct bm_progress *p)
{
    char done[32], total[32], rate[32], left[48], guest[64], line[320];
    const char *paused = p->paused ? ", paused" : "";

    if (p->bytes_total > 0)
        snprintf(line, sizeof line, "%s%s  %5.1f %%  %s of %s  %s/s%s%s", phase,
                 paused, percent(p),
                 bm_format_size(p->bytes_done, done, sizeof done),
                 bm_format_size(p->bytes_total, total, sizeof total),
                 bm_format_size(p->rate, rate, sizeof rate),
                 guest_latency(p, guest, sizeof guest),
                 time_left(p, left, sizeof left));
    else
        snprintf(line, sizeof line, "%s%s  %.1f s", phase, paused,
                 (double)p->elapsed_ms / 1000);
    printf("\r\033[K%.*s", terminal_width() - 1, line);
    fflush(stdout);
    out.line = true;
}

static json_object *progress_json(const char *id, const char *phase,
                                  const struct bm_progress *p)
{
    json_object *o = cli_event_json("progress", id);

    if (!o)
        return NULL;
    cli_add_text(o, "phase", phase);
    json_object_object_add(o, "bytes_done",
                           json_object_new_uint64(p->bytes_done));
    json_object_object_add(o, "bytes_total",
                           json_object_new_uint64(p->bytes_total));
    json_object_object_add(o, "rate", json_object_new_uint64(p->rate));
    json_object_object_add(o, "percent", json_object_new_double(percent(p)));
    cli_add_number(o, "elapsed_ms", p->elapsed_ms);
    if (p->paused)
        cli_add_bool(o, "paused", true);
    if (p->bound_us > 0) {
        json_object_object_add(o, "guest_latency_ms",
                               json_object_new_double(p->latency_us / 1000));
        json_object_object_add(o, "guest_bound_ms",
                               json_object_new_double(p->bound_us / 1000));
    }
    return o;
}

json_object *cli_progress_json(const struct bm_job *job,
                               const struct bm_progress *p)
{
    return progress_json(job->id, bm_state_name(p->state), p);
}

static bool due(int interval)
{
    int64_t now = bm_now_ms();

    if (out.shown && now - out.shown < interval)
        return false;
    out.shown = now;
    return true;
}

static void show_progress(const char *id, const char *phase,
                          const struct bm_progress *progress)
{
    if (out.options->quiet)
        return;
    if (out.options->json) {
        if (due(JSON_MS))
            cli_json(progress_json(id, phase, progress));
    } else if (out.tty && due(TTY_MS)) {
        show_line(phase, progress);
    }
}

void cli_progress(const struct bm_job *job, const struct bm_progress *progress)
{
    show_progress(job->id, bm_state_name(progress->state), progress);
}

void cli_phase_progress(const char *phase, uint64_t done, uint64_t total,
                        int64_t elapsed_ms)
{
    const struct bm_progress progress = {
        .bytes_done = done,
        .bytes_total = total,
        .elapsed_ms = elapsed_ms,
        .rate = elapsed_ms > 0 ? done * 1000 / (uint64_t)elapsed_ms : 0};

    show_progress(NULL, phase, &progress);
}

void cli_phase(const char *phase)
{
    json_object *o;

    if (out.options->quiet)
        return;
    if (!out.options->json) {
        cli_say("%s\n", phase);
        return;
    }
    o = cli_event_json("event", NULL);
    if (o)
        cli_add_text(o, "phase", phase);
    cli_json(o);
}

static void event_json(const struct bm_job *job, const char *text)
{
    json_object *o = cli_event_json("event", job->id);

    if (o) {
        cli_add_text(o, "phase", bm_state_name(job->state));
        cli_add_text(o, "text", text);
    }
    cli_json(o);
}

/* One line a phase; every event of it with -v. */
void cli_event(const struct bm_job *job, const char *text)
{
    bool entered = (int)job->state != out.phase;
    char now[40];

    out.phase = (int)job->state;
    if (out.options->quiet)
        return;
    if (out.options->json)
        event_json(job, text);
    else if (cli_verbose())
        cli_say("%s %s: %s%s%s\n", cli_time(bm_wall_ms(), now, sizeof now),
                job->id, bm_state_name(job->state), text ? ": " : "",
                text ? text : "");
    else if (entered)
        cli_say("%s: %s%s%s\n", job->id, bm_state_name(job->state),
                text ? ": " : "", text ? text : "");
    else if (text)
        cli_say("%s: %s\n", job->id, text);
}

void cli_result_json_line(json_object *object)
{
    out.result = true;
    cli_json(object);
}

void cli_result(const struct bm_job *job)
{
    out.result = true;
    if (out.options->json)
        cli_json(cli_result_json(job));
    else if (!out.options->quiet)
        cli_result_text(job);
}
