// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/plan/snapshot-plan.h"

#include "blockmig/image/owned-file.h"
#include "blockmig/plan/snapshot-plan-private.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define TRIES 1000

int bm_snapshot_no_memory(struct bm_error *err)
{
    return bm_fail_errno(err, ENOMEM, "cannot make a plan");
}

static int refuse(int code, struct bm_error *err)
{
    return bm_status(err, BM_EXIT_REFUSED), -code;
}

/* --- names of files --- */

static bool ends_with(const char *text, size_t len, const char *end)
{
    size_t n = strlen(end);

    return len > n && text[len - n - 1] == '.' &&
           !strncmp(text + len - n, end, n);
}

/* The image's name without its ending, and without what we have added before:
 * disk.qcow2, disk.s1.qcow2 and disk.flatten.qcow2 are all "disk". */
static size_t stem_of(const char *base, const struct bm_restore_points *points)
{
    static const char *const verbs[] = {"pull", "flatten"};
    const char *dot = strrchr(base, '.');
    size_t len = dot && dot != base ? (size_t)(dot - base) : strlen(base);

    for (size_t v = 0; v < sizeof verbs / sizeof verbs[0]; v++)
        if (ends_with(base, len, verbs[v]))
            len -= strlen(verbs[v]) + 1;
    for (size_t p = 0; p < points->n; p++)
        if (ends_with(base, len, points->list[p].name))
            return len - strlen(points->list[p].name) - 1;
    return len;
}

/* Of another disk. */
static bool is_overlay(const struct bm_job *job, const char *path)
{
    for (size_t i = 0; job && i < job->n_disks; i++)
        if (job->disks[i].fixed.switch_overlay &&
            !strcmp(job->disks[i].fixed.switch_overlay, path))
            return true;
    return false;
}

char *bm_snapshot_overlay_name(const char *image, const char *folder,
                               const struct bm_restore_points *points,
                               const struct bm_job *job, const char *name)
{
    const char *slash = strrchr(image, '/');
    const char *base = slash ? slash + 1 : image;
    int len = (int)stem_of(base, points);
    char number[16] = "";

    for (int n = 1; n < TRIES; n++) {
        char *path;

        if (n > 1)
            snprintf(number, sizeof number, "-%d", n);
        if (asprintf(&path, "%s/%.*s.%s%s.qcow2", folder, len, base, name,
                     number) < 0)
            return NULL;
        if (access(path, F_OK) != 0 && !is_overlay(job, path))
            return path;
        free(path);
    }
    return NULL;
}

/* --- disks --- */

static int add_chains(struct bm_job_disk *disk, const struct bm_chain *below)
{
    int rc = bm_chain_append(&disk->dest, BM_SOURCE_FILE,
                             disk->fixed.switch_overlay, "qcow2");

    for (size_t l = 0; !rc && l < below->n; l++)
        rc = bm_chain_add(&disk->dest, &below->layers[l]);
    disk->dest.complete = true;
    disk->below = rc ? 0 : (int)disk->dest.n - 1;
    return rc;
}

int bm_snapshot_add_disk(struct bm_job *job, struct bm_disk *from,
                         const struct bm_chain *source,
                         const struct bm_chain *below, char *overlay,
                         struct bm_error *err)
{
    struct bm_job_disk *disks =
        realloc(job->disks, (job->n_disks + 1) * sizeof *disks);
    struct bm_job_disk *disk;

    if (!disks) {
        free(overlay);
        return bm_snapshot_no_memory(err);
    }
    job->disks = disks;
    disk = &disks[job->n_disks++];
    memset(disk, 0, sizeof *disk);
    bm_job_fill_disk(disk)->switch_overlay = overlay;
    bm_job_fill_disk(disk)->capacity = from->capacity;
    disk->target = strdup(from->target);
    if (!overlay || !disk->target || bm_chain_copy(source, &disk->source) < 0 ||
        add_chains(disk, below) < 0)
        return bm_snapshot_no_memory(err);
    return 0;
}

/* --- the job --- */

int bm_snapshot_new_job(struct bm_connection *conn,
                        const struct bm_domain *domain, const char *verb,
                        enum bm_strategy strategy, struct bm_job **out,
                        struct bm_error *err)
{
    struct bm_job *job = bm_job_new();
    char host[256] = "";

    (void)gethostname(host, sizeof host - 1);
    if (!job)
        return bm_snapshot_no_memory(err);
    memcpy(job->uuid, domain->uuid, sizeof job->uuid);
    job->domain = strdup(domain->name);
    job->uri = strdup(bm_connection_uri(conn));
    job->host = strdup(host);
    job->snapshot = bm_job_snapshot_new(verb);
    if (!job->domain || !job->uri || !job->host || !job->snapshot) {
        bm_job_free(job);
        return bm_snapshot_no_memory(err);
    }
    bm_job_fill_plan(job)->strategy = strategy;
    bm_job_fill_plan(job)->was_active = domain->active;
    *out = job;
    return 0;
}

/* --- create --- */

static int taken(const struct bm_domain *domain, const char *name,
                 struct bm_error *err)
{
    bm_fail(err, EEXIST, "domain %s has a snapshot %s already", domain->name,
            name);
    bm_remedy(err, "give another name");
    return refuse(EEXIST, err);
}

/* Part of file names and of XML; libvirt refuses a slash too. */
static int check_name(const char *name, struct bm_error *err)
{
    bool bad = name[0] == '.' || strchr(name, '/');

    for (const char *at = name; *at; at++)
        bad |= (unsigned char)*at < ' ' || *at == 127;
    if (name[0] && !bad && strlen(name) <= 128)
        return 0;
    bm_fail(err, EINVAL, "cannot name a snapshot '%.140s'", name);
    bm_cause(err, "a name has 1 to 128 bytes, no slash, no control character, "
                  "and no dot at its beginning");
    return bm_status(err, BM_EXIT_USAGE), -EINVAL;
}

/* XML cannot hold the others. */
static int check_description(const char *text, struct bm_error *err)
{
    for (const char *at = text; at && *at; at++) {
        if ((unsigned char)*at >= ' ' || *at == '\n' || *at == '\t')
            continue;
        bm_fail(err, EINVAL, "option --description");
        bm_cause(err, "it holds the control character %d", *at);
        return bm_status(err, BM_EXIT_USAGE), -EINVAL;
    }
    return 0;
}

int bm_snapshot_set_name(const struct bm_domain *domain,
                         const struct bm_restore_points *points,
                         const struct bm_snapshot_options *options,
                         struct bm_job *job, struct bm_error *err)
{
    char seconds[32];
    int rc;

    snprintf(seconds, sizeof seconds, "%" PRId64, bm_wall_ms() / 1000);
    job->snapshot->name = strdup(options->name ? options->name : seconds);
    if (options->description)
        job->snapshot->description = strdup(options->description);
    if (!job->snapshot->name ||
        (options->description && !job->snapshot->description))
        return bm_snapshot_no_memory(err);
    if (bm_restore_points_find(points, job->snapshot->name))
        return taken(domain, job->snapshot->name, err);
    rc = check_description(options->description, err);
    return rc ? rc : check_name(job->snapshot->name, err);
}

/* In a list by commas. */
static bool listed(const char *list, const char *target)
{
    size_t len = strlen(target);

    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (!strncmp(at, target, len) && (!at[len] || at[len] == ','))
            return true;
    }
    return false;
}

int bm_snapshot_check_listed(struct bm_domain *domain, const char *list,
                             struct bm_error *err)
{
    BM_FREE char *copy = list ? strdup(list) : NULL;
    char *save = NULL;

    for (char *name = copy ? strtok_r(copy, ",", &save) : NULL; name;
         name = strtok_r(NULL, ",", &save)) {
        struct bm_disk *disk = bm_domain_disk(domain, name);

        if (disk && !strcmp(disk->target, name))
            continue;
        bm_fail(err, ENOENT, "domain %s has no disk %s", domain->name, name);
        bm_remedy(err, "see virsh domblklist %s", domain->name);
        return refuse(ENOENT, err);
    }
    return 0;
}

bool bm_snapshot_wanted(const struct bm_disk *disk, const char *list)
{
    if (list)
        return listed(list, disk->target);
    return strcmp(disk->device, "cdrom") != 0 &&
           strcmp(disk->device, "floppy") != 0 && disk->chain.n &&
           disk->chain.layers[0].type != BM_SOURCE_NONE && !disk->readonly;
}

static int no_image(const struct bm_domain *domain, const struct bm_disk *disk,
                    struct bm_error *err)
{
    bm_fail(err, ENOTSUP, "cannot make a snapshot of disk %s of %s",
            disk->target, domain->name);
    bm_cause(err, "it has no image that is a file or a device");
    bm_remedy(err, "name the others with --disk");
    return refuse(ENOTSUP, err);
}

static int create_disk(struct bm_domain *domain, size_t d,
                       const struct bm_restore_points *points,
                       const struct bm_image_tree *tree,
                       const struct bm_snapshot_options *options,
                       struct bm_job *job, struct bm_error *err)
{
    struct bm_disk *disk = &domain->disks[d];
    int top = bm_tree_top(tree, domain, d), rc;
    BM_FREE char *folder = NULL;
    struct bm_chain chain;

    if (top < 0 || !tree->list[top].there ||
        disk->chain.layers[0].path[0] != '/')
        return no_image(domain, disk, err);
    rc = bm_domain_disk_size(domain, disk, err);
    if (rc)
        return rc;
    folder = options->overlay_dir ? strdup(options->overlay_dir)
                                  : bm_file_folder(disk->chain.layers[0].path);
    if (!folder || bm_tree_chain(tree, top, &chain) < 0)
        return bm_snapshot_no_memory(err);
    rc = bm_snapshot_add_disk(
        job, disk, &chain, &chain,
        bm_snapshot_overlay_name(disk->chain.layers[0].path, folder, points,
                                 job, job->snapshot->name),
        err);
    bm_chain_clear(&chain);
    return rc;
}

static int create_disks(struct bm_domain *domain,
                        const struct bm_restore_points *points,
                        const struct bm_image_tree *tree,
                        const struct bm_snapshot_options *options,
                        struct bm_job *job, struct bm_error *err)
{
    int rc = bm_snapshot_check_listed(domain, options->disks, err);

    for (size_t d = 0; !rc && d < domain->n_disks; d++)
        if (bm_snapshot_wanted(&domain->disks[d], options->disks))
            rc = create_disk(domain, d, points, tree, options, job, err);
    if (rc || job->n_disks)
        return rc;
    bm_fail(err, ENOENT, "domain %s has no disk to make a snapshot of",
            domain->name);
    return refuse(ENOENT, err);
}

static int set_memory(const struct bm_domain *domain, struct bm_job *job,
                      struct bm_error *err)
{
    BM_FREE char *folder = bm_file_folder(job->disks[0].fixed.switch_overlay);

    if (!domain->active) {
        bm_fail(err, EINVAL, "cannot keep the memory of %s", domain->name);
        bm_cause(err, "the guest is off");
        bm_remedy(err, "leave --memory out");
        return refuse(EINVAL, err);
    }
    if (!folder || asprintf(&job->snapshot->memory, "%s/%s.%s.mem", folder,
                            domain->name, job->snapshot->name) < 0) {
        job->snapshot->memory = NULL;
        return bm_snapshot_no_memory(err);
    }
    if (access(job->snapshot->memory, F_OK) != 0)
        return 0;
    bm_fail(err, EEXIST, "cannot write the memory of %s to %s", domain->name,
            job->snapshot->memory);
    bm_remedy(err, "move that file away, or give another name");
    return refuse(EEXIST, err);
}

int bm_snapshot_plan_create(struct bm_connection *conn,
                            struct bm_domain *domain,
                            const struct bm_restore_points *points,
                            const struct bm_image_tree *tree,
                            const struct bm_snapshot_options *options,
                            struct bm_job **out, struct bm_error *err)
{
    struct bm_job *job = NULL;
    int rc = bm_snapshot_new_job(conn, domain, "create", BM_STRATEGY_CREATE,
                                 &job, err);

    if (!rc)
        rc = bm_snapshot_set_name(domain, points, options, job, err);
    if (!rc)
        rc = create_disks(domain, points, tree, options, job, err);
    if (!rc && options->memory)
        rc = set_memory(domain, job, err);
    if (rc) {
        bm_job_free(job);
        return rc;
    }
    bm_job_fill_request(job)->quiesce = options->quiesce && domain->active;
    job->limits.max_pause_ms = options->max_pause_ms;
    bm_job_fill_request(job)->proof =
        true; /* nothing that could need one is left unproven */
    job->store = bm_file_folder(job->disks[0].fixed.switch_overlay);
    *out = job;
    return 0;
}
