// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/output/output.h"

#include "cli/output/report.h"
#include "nbd/base/units.h"
#include "blockmig/run/hooks.h"
#include "cli/output/write-private.h"
#include "blockmig/report/job-report.h"
#include "blockmig/report/json.h"
#include "blockmig/report/progress.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define TTY_MS 200   /* between two pictures of the progress line */
#define JSON_MS 1000 /* between two progress objects */

void cli_output_start(const struct cli_options *options)
{
    cli_out.options = options;
    cli_out.tty = isatty(STDOUT_FILENO) == 1;
    cli_out.phase = -1;
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
}

bool cli_verbose(void)
{
    return cli_out.options->verbose;
}

/* --- a long command ----------------------------------------------------- */

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
                 paused, bm_report_percent(p),
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
    cli_out.line = true;
}

static bool due(int interval)
{
    int64_t now = bm_now_ms();

    if (cli_out.shown && now - cli_out.shown < interval)
        return false;
    cli_out.shown = now;
    return true;
}

static void show_progress(const char *id, const char *phase,
                          const struct bm_progress *progress)
{
    if (cli_out.options->quiet)
        return;
    if (cli_out.options->json) {
        if (due(JSON_MS))
            cli_json(bm_report_progress(id, phase, progress));
    } else if (cli_out.tty && due(TTY_MS)) {
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

    if (cli_out.options->quiet)
        return;
    if (!cli_out.options->json) {
        cli_say("%s\n", phase);
        return;
    }
    o = bm_report_event("event", NULL);
    if (o)
        bm_report_add_text(o, "phase", phase);
    cli_json(o);
}

static void event_json(const struct bm_job *job, const char *text)
{
    json_object *o = bm_report_event("event", job->id);

    if (o) {
        bm_report_add_text(o, "phase", bm_state_name(job->state));
        bm_report_add_text(o, "text", text);
    }
    cli_json(o);
}

/* One line a phase; every event of it with -v. */
void cli_event(const struct bm_job *job, const char *text)
{
    bool entered = (int)job->state != cli_out.phase;
    char now[40];

    cli_out.phase = (int)job->state;
    if (cli_out.options->quiet)
        return;
    if (cli_out.options->json)
        event_json(job, text);
    else if (cli_verbose())
        cli_say("%s %s: %s%s%s\n",
                bm_report_time(bm_wall_ms(), now, sizeof now), job->id,
                bm_state_name(job->state), text ? ": " : "", text ? text : "");
    else if (entered)
        cli_say("%s: %s%s%s\n", job->id, bm_state_name(job->state),
                text ? ": " : "", text ? text : "");
    else if (text)
        cli_say("%s: %s\n", job->id, text);
}

void cli_result_json_line(json_object *object)
{
    cli_out.result = true;
    cli_json(object);
}

void cli_result(const struct bm_job *job)
{
    cli_out.result = true;
    if (cli_out.options->json)
        cli_json(bm_report_result(job));
    else if (!cli_out.options->quiet)
        cli_result_text(job);
}
