// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A job in the running, without a guest: a real job store and real images in a
 * folder of the test's own, hooks that write down what they are told, and a
 * domain that is made by hand, or one of libvirt's own test driver.
 *
 * The job moves vda (and vdb) from old/vda to new/vda, 1 MiB, raw.
 */
#ifndef TESTS_UNIT_RUN_FIXTURE_H
#define TESTS_UNIT_RUN_FIXTURE_H

#include "blockmig/job/disk-location.h"
#include "blockmig/job/job-chain.h"
#include "blockmig/run/run.h"
#include "nbd/base/units.h"
#include "tests/unit/file-fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>

#define RUN_UUID "11111111-2222-4333-8444-555555555555"
#define RUN_SIZE (1U << 20)

static struct bm_run run;
static struct bm_job *job;
static struct bm_error err;

/* --- the hooks --- */

/* The lines of the events, each with a newline; a state by its name. */
static char told[16384];
static struct bm_progress progress;
static int n_progress;
/* What the user wants. */
static bool wants_cancel, wants_pause, wants_limits;
static struct bm_limits limits_wanted;
static enum bm_settle_decision decision_wanted;
static int until_decision; /* looks before the decision is taken */

static inline void on_progress(void *opaque, const struct bm_job *of,
                               const struct bm_progress *it)
{
    (void)opaque, (void)of;
    progress = *it;
    n_progress++;
}

static inline void on_event(void *opaque, const struct bm_job *of,
                            const char *text)
{
    size_t n = strlen(told);

    (void)opaque;
    snprintf(told + n, sizeof told - n, "%s\n",
             text ? text : bm_state_name(of->state));
}

static inline bool on_cancelled(void *opaque)
{
    (void)opaque;
    return wants_cancel;
}

static inline enum bm_settle_decision on_decision(void *opaque)
{
    (void)opaque;
    return until_decision-- > 0 ? BM_DECISION_NONE : decision_wanted;
}

static inline bool on_limits(void *opaque, struct bm_limits *out)
{
    bool any = wants_limits;

    (void)opaque;
    *out = limits_wanted;
    wants_limits = false;
    return any;
}

static inline bool on_paused(void *opaque)
{
    (void)opaque;
    return wants_pause;
}

static const struct bm_run_hooks run_hooks = {
    .progress = on_progress,
    .event = on_event,
    .cancelled = on_cancelled,
    .decision = on_decision,
    .limits = on_limits,
    .paused = on_paused,
};

/* --- the job --- */

static inline void run_add_disk(struct bm_job_disk *disk, const char *target)
{
    char old[16], new[16];
    struct stat st;

    snprintf(old, sizeof old, "old/%s", target);
    snprintf(new, sizeof new, "new/%s", target);
    sh("truncate -s %u %s", RUN_SIZE, old);
    disk->target = strdup(target);
    cr_assert_eq(bm_chain_append(&disk->source, BM_SOURCE_FILE, at(old), "raw"),
                 0);
    cr_assert_eq(bm_chain_append(&disk->dest, BM_SOURCE_FILE, at(new), "raw"),
                 0);
    disk->source.complete = disk->dest.complete = true;
    cr_assert_eq(stat(old, &st), 0);
    bm_job_fill_disk(disk)->capacity = RUN_SIZE;
    bm_job_fill_disk(disk)->source_dev = st.st_dev;
    bm_job_fill_disk(disk)->source_ino = st.st_ino;
    bm_job_fill_disk(disk)->source_overlay_dir = strdup(at("old"));
}

/* A claimed job in the state planned, of n disks. */
static inline void run_begin(enum bm_strategy strategy, size_t n)
{
    static const char *const targets[] = {"vda", "vdb", "vdc"};
    struct bm_job_store *store = NULL;

    fixture_setup();
    sh("mkdir old new");
    err = (struct bm_error)BM_ERROR_INIT;
    ok(bm_job_store_open(at("state"), false, &store, &err), err);
    job = bm_job_new();
    cr_assert(job);
    strcpy(job->uuid, RUN_UUID);
    job->domain = strdup("vm1");
    job->host = strdup("here");
    job->store = strdup(at("new"));
    bm_job_fill_plan(job)->strategy = strategy;
    bm_job_fill_request(job)->proof = true;
    job->disks = calloc(n, sizeof *job->disks);
    cr_assert(job->disks && n <= 3);
    for (job->n_disks = 0; job->n_disks < n; job->n_disks++)
        run_add_disk(&job->disks[job->n_disks], targets[job->n_disks]);
    job->created_ms = bm_wall_ms(); /* the sources are older */
    ok(bm_job_store_claim(store, job, &err), err);
    run = (struct bm_run){.jobs = store,
                          .job = job,
                          .hooks = &run_hooks,
                          .phase_ms = bm_now_ms()};
}

static inline void run_begin_staged(void)
{
    run_begin(BM_STRATEGY_STAGED, 1);
}

static inline void run_begin_two(void)
{
    run_begin(BM_STRATEGY_BLOCKCOPY, 2);
}

static inline void run_end(void)
{
    bm_run_unlock(&run);
    bm_domain_free(run.domain);
    if (run.conn)
        bm_connection_close(run.conn);
    bm_job_store_close(run.jobs);
    bm_job_free(job);
    file_teardown();
}

/* The new image of disk i, empty but of its size; made by the job. */
static inline void make_new_image(size_t i)
{
    struct bm_job_disk *disk = &job->disks[i];
    const char *path = bm_job_new_image(disk)->path;
    struct stat st;

    sh("truncate -s %u %s", RUN_SIZE, path);
    cr_assert_eq(stat(path, &st), 0);
    disk->image.dev = st.st_dev;
    disk->image.ino = st.st_ino;
    disk->image.make_sent = true;
}

/* As another process reads it; the caller frees. */
static inline struct bm_job *stored_job(void)
{
    struct bm_job *stored = NULL;

    ok(bm_job_store_load(run.jobs, job->id, &stored, &err), err);
    return stored;
}

static inline enum bm_state stored_state(void)
{
    struct bm_job *stored = stored_job();
    enum bm_state state = stored->state;

    bm_job_free(stored);
    return state;
}

/* From now on nothing can be written into the store. */
static inline void break_store(void)
{
    sqlite3 *db = NULL;

    cr_assert_eq(sqlite3_open("state/jobs.sqlite", &db), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(db,
                              "CREATE TRIGGER full BEFORE UPDATE ON job BEGIN "
                              "SELECT RAISE(ABORT, 'full'); END",
                              NULL, NULL, NULL),
                 SQLITE_OK);
    sqlite3_close(db);
}

/* One more overlay of ours on the old side of disk i, made by qemu-img. */
static inline void add_source_overlay(size_t i)
{
    struct bm_job_disk *disk = &job->disks[i];
    struct bm_chain chain = {0};
    char *path = bm_job_source_overlay(job, disk, ++disk->overlays.n_source);

    cr_assert(path);
    sh("qemu-img create -q -f qcow2 -F %s -b %s %s",
       disk->source.layers[0].format, disk->source.layers[0].path, path);
    cr_assert_eq(bm_chain_on_top(path, &disk->source, &chain), 0);
    bm_chain_clear(&disk->source);
    disk->source = chain;
    job->staged.overlays_sent = disk->overlays.n_source;
    free(path);
}

/* A file system of so many MiB on ./m; what the disks have on the old side
 * stands there, or the test is skipped. */
static inline void move_to_small_store(unsigned mib)
{
    char options[32];

    snprintf(options, sizeof options, "size=%uM", mib);
    need_mount("tmpfs", options);
    for (size_t i = 0; i < job->n_disks; i++) {
        struct bm_job_disk *disk = &job->disks[i];
        char old[16];

        snprintf(old, sizeof old, "m/%s", disk->target);
        sh("truncate -s %u %s", RUN_SIZE, old);
        free(disk->source.layers[0].path);
        disk->source.layers[0].path = strdup(at(old));
        free(disk->fixed.source_overlay_dir);
        bm_job_fill_disk(disk)->source_overlay_dir = strdup(at("m"));
    }
}

/* --- the domain --- */

static inline struct bm_chain *chain_of(size_t i)
{
    return &run.domain->disks[i].chain;
}

/* By hand: no libvirt knows it. Its disks stand where the job found them. */
static inline void make_domain(bool active)
{
    struct bm_domain *domain = calloc(1, sizeof *domain);

    cr_assert(domain);
    strcpy(domain->uuid, RUN_UUID);
    domain->name = strdup("vm1");
    domain->active = active;
    domain->persistent = true;
    domain->disks = calloc(job->n_disks, sizeof *domain->disks);
    domain->n_disks = job->n_disks;
    for (size_t i = 0; i < job->n_disks; i++) {
        struct bm_disk *disk = &domain->disks[i];

        disk->target = strdup(job->disks[i].target);
        cr_assert_eq(bm_chain_copy(&job->disks[i].source, &disk->chain), 0);
        cr_assert_eq(bm_chain_copy(&job->disks[i].source, &disk->inactive), 0);
    }
    bm_domain_free(run.domain);
    run.domain = domain;
}

/* Disk i stands on that chain now, live and saved. */
static inline void put_disk(size_t i, const struct bm_chain *chain)
{
    struct bm_disk *disk = &run.domain->disks[i];

    bm_chain_clear(&disk->chain);
    bm_chain_clear(&disk->inactive);
    cr_assert_eq(bm_chain_copy(chain, &disk->chain), 0);
    cr_assert_eq(bm_chain_copy(chain, &disk->inactive), 0);
}

/* The XML of a chain from layer l on, inside a <disk>. */
static inline void print_layers(FILE *out, const struct bm_chain *chain,
                                size_t l)
{
    const struct bm_layer *layer = &chain->layers[l];

    if (l == chain->n) {
        fprintf(out, chain->complete ? "<backingStore/>" : "");
        return;
    }
    fprintf(out,
            l ? "<backingStore type='file'><format type='%s'/>"
              : "<driver name='qemu' type='%s'/>",
            layer->format);
    fprintf(out, "<source file='%s'/>", layer->path);
    print_layers(out, chain, l + 1);
    fprintf(out, l ? "</backingStore>" : "");
}

/* A host of libvirt's test driver with that domain, whose disks stand on these
 * chains, and no other; chains NULL: no domain either. */
static inline void make_host(bool active, const struct bm_chain *const *chains)
{
    FILE *out = fopen("host.xml", "w");
    char uri[300];

    cr_assert(out);
    fprintf(out, "<node>");
    if (chains) {
        fprintf(out,
                "<domain type='test' xmlns:test='http://libvirt.org/schemas/"
                "domain/test/1.0'><name>vm1</name><uuid>%s</uuid>"
                "<memory>1024</memory><os><type>hvm</type></os><devices>",
                RUN_UUID);
        for (size_t i = 0; i < job->n_disks; i++) {
            fprintf(out, "<disk type='file' device='disk'>");
            print_layers(out, chains[i], 0);
            fprintf(out, "<target dev='%s' bus='virtio'/></disk>",
                    job->disks[i].target);
        }
        fprintf(out, "</devices><test:runstate>%d</test:runstate></domain>",
                active ? VIR_DOMAIN_RUNNING : VIR_DOMAIN_SHUTOFF);
    }
    fprintf(out, "</node>");
    cr_assert_eq(fclose(out), 0);
    snprintf(uri, sizeof uri, "test://%s", at("host.xml"));
    ok(bm_connection_open(uri, &run.conn, &err), err);
    free(job->uri);
    job->uri = strdup(uri);
    ok(bm_run_refresh(&run, &err), err);
}

/* Its disks stand where the job found them. */
static inline void make_host_at_source(bool active)
{
    const struct bm_chain *chains[3];

    for (size_t i = 0; i < job->n_disks; i++)
        chains[i] = &job->disks[i].source;
    make_host(active, chains);
}

/* They stand on their new images. */
static inline void make_host_at_dest(bool active)
{
    const struct bm_chain *chains[3];

    for (size_t i = 0; i < job->n_disks; i++)
        chains[i] = &job->disks[i].dest;
    make_host(active, chains);
}

static inline void make_host_without(void)
{
    make_host(false, NULL);
}

/* --- claims --- */

/* The text has that part. */
#define has(text, part)                                                        \
    cr_expect_neq(strstr((text), (part)), NULL, "no '%s' in: %s", part, text)
#define has_not(text, part)                                                    \
    cr_expect_eq(strstr((text), (part)), NULL, "'%s' in: %s", part, text)

static inline bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

#endif
