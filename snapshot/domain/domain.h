// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A domain and its disks, read from live and inactive XML. A picture of one
 * moment: before anything is changed it is read again.
 */
#ifndef BM_SNAPSHOT_DOMAIN_DOMAIN_H
#define BM_SNAPSHOT_DOMAIN_DOMAIN_H

#include "snapshot/domain/chain.h"
#include "snapshot/libvirt/connection.h"

#include <stdint.h>

/* The stamp: metadata in the domain that names our job, host and store. */
#define BM_STAMP_URI "https://blockmig.org/job/1"
#define BM_STAMP_KEY "blockmig"

struct bm_disk {
    char *target;             /* vda */
    char *bus;                /* virtio, scsi, sata, ide, usb, sd, ... */
    char *device;             /* disk, cdrom, floppy, lun */
    struct bm_chain chain;    /* live; of the inactive XML when shut off */
    struct bm_chain inactive; /* n == 0: not in the inactive XML */
    /* NULL: not given */
    char *cache, *iothread, *discard, *serial, *error_policy;
    bool readonly, shareable, transient, copy_on_read;
    bool encrypted; /* any layer */
    bool sliced;    /* any layer, in a way that struct bm_layer cannot say */
    /* the block job libvirt shows in <mirror> */
    bool mirror, mirror_ready;
    char *mirror_job;             /* copy, active-commit */
    struct bm_chain mirror_chain; /* where it goes */
    /* of bm_domain_disk_size; 0 before */
    uint64_t capacity;   /* bytes, guest-visible */
    uint64_t allocation; /* bytes on the host */
};

struct bm_domain {
    virDomainPtr dom; /* owned */
    char uuid[VIR_UUID_STRING_BUFLEN];
    char *name;
    int state, reason; /* virDomainState, and its reason */
    int id;            /* -1 when shut off */
    bool active, persistent, managed_save;
    int snapshots, checkpoints; /* libvirt's, of this domain */
    char *seclabel_model;       /* of the live XML; NULL: none */
    char *stamp;                /* the stamp's text, or NULL */
    struct bm_disk *disks;
    size_t n_disks;
};

/* By name, UUID or (running) id. ENOENT with status BM_EXIT_REFUSED. */
int bm_domain_open(struct bm_connection *conn, const char *name,
                   struct bm_domain **out, struct bm_error *err);
/* By UUID only, for a job that knows its domain. ENOENT: it is gone. */
int bm_domain_open_uuid(struct bm_connection *conn, const char *uuid,
                        struct bm_domain **out, struct bm_error *err);
void bm_domain_free(struct bm_domain *domain); /* accepts NULL */
/* Reads everything again (also after a reconnect: looks up by UUID).
 * ENOENT: the domain is gone. The struct is unchanged on failure. */
int bm_domain_refresh(struct bm_connection *conn, struct bm_domain *domain,
                      struct bm_error *err);
/* By target name or source path; NULL: none. Borrowed. */
struct bm_disk *bm_domain_disk(struct bm_domain *domain, const char *name);

/* Whether the disk stands on that path, live and, if it is there, saved. */
bool bm_disk_names(const struct bm_disk *disk, const char *path);
/* Whether any disk does, live or saved, or a copy of it goes there. Disks that
 * the saved XML alone has are not known. */
bool bm_domain_names(const struct bm_domain *domain, const char *path);
/* A copy job of the disk goes to that path. */
bool bm_disk_copies_to(const struct bm_disk *disk, const char *path);
/* Fills disk->capacity and ->allocation. Asks QEMU, so it can take long. */
int bm_domain_disk_size(struct bm_domain *domain, struct bm_disk *disk,
                        struct bm_error *err);

/* Off, but to go on elsewhere or later with the disks as it knew them: words
 * for where it is; NULL: no. (A libvirtd that was started anew forgets what is
 * not a managed save.) */
const char *bm_domain_away(const struct bm_domain *domain);
/* Paused by a call, ours or an administrator's, not by an error. (A libvirtd
 * that was started anew meanwhile does not know the reason any more.) */
bool bm_domain_paused(const struct bm_domain *domain);
/* A pause by QEMU, since a request of the guest to some disks failed. */
#define BM_IO_FAULTS 32
struct bm_io_pause {
    bool paused; /* for that reason, now */
    size_t n;    /* disks, the first BM_IO_FAULTS of them */
    struct bm_io_fault {
        char target[32];
        bool no_space; /* ENOSPC; else another error */
    } faults[BM_IO_FAULTS];
};
/* Asks libvirt afresh, and changes nothing in `domain`. */
int bm_domain_io_pause(const struct bm_domain *domain, struct bm_io_pause *out,
                       struct bm_error *err);
/* Whether a job of the whole domain (backup, save, migration) is under way. */
int bm_domain_busy(struct bm_domain *domain, bool *busy, struct bm_error *err);

/* All of its XML, live or saved, with what is secret in it. Caller frees. */
int bm_domain_xml(struct bm_domain *domain, bool saved, char **out,
                  struct bm_error *err);

/* --- what changes a domain; each can be abandoned at its deadline --- */

int bm_domain_suspend(struct bm_domain *domain, int timeout_ms,
                      struct bm_error *err);
int bm_domain_resume(struct bm_domain *domain, int timeout_ms,
                     struct bm_error *err);
/* What the guest sees of the disk, in bytes. */
int bm_domain_resize(struct bm_domain *domain, const char *target,
                     uint64_t size, struct bm_error *err);
/* text NULL removes the stamp; live and config as the domain has them. */
int bm_domain_stamp(struct bm_domain *domain, const char *text,
                    struct bm_error *err);
/* One disk-only, NO_METADATA, ATOMIC snapshot: overlays[i] (absolute path;
 * NULL: snapshot='no') for each of domain->disks. made: they are qcow2 images,
 * empty, of the disks' sizes; else they do not exist, or are empty files. */
int bm_domain_freeze(struct bm_domain *domain, const char *const overlays[],
                     bool made, int timeout_ms, struct bm_error *err);
/* The XML of such a snapshot. Caller frees; NULL: out of memory. */
char *bm_domain_freeze_xml(const struct bm_domain *domain,
                           const char *const overlays[]);
/* Ends the guest at once, as if the power had failed; one that is off is fine.
 */
int bm_domain_destroy(struct bm_domain *domain, struct bm_error *err);
int bm_domain_start(struct bm_domain *domain, struct bm_error *err);
/* The saved XML. */
int bm_domain_define(struct bm_connection *conn, const char *xml,
                     struct bm_error *err);
/* A guest that is off goes on from a file of its memory, as this XML has it. */
int bm_domain_restore(struct bm_connection *conn, const char *file,
                      const char *xml, int timeout_ms, struct bm_error *err);
/* Makes the inactive XML name this chain for that disk. */
int bm_domain_set_config(struct bm_domain *domain, const char *target,
                         const struct bm_chain *chain, struct bm_error *err);

/* The layer of the live chain that is meant by "vda[3]", the number that the
 * live XML has; NULL: none. */
const struct bm_layer *bm_disk_numbered(const struct bm_disk *disk,
                                        const char *name);

/* One that names an image. */
struct bm_image_use {
    const char *uuid, *name; /* of the domain */
    const char *path;
    bool overlay; /* it is what a restore point has put on its state: the point
                   * does not need it */
    bool plain;   /* no image: a guest's memory, firmware, a kernel */
};

/* Calls fn for each image path that any domain of this connection (live or
 * inactive XML) or any of their snapshots names. Non-zero from fn stops. */
typedef int (*bm_image_user)(void *opaque, const struct bm_image_use *use);
int bm_domain_image_users(struct bm_connection *conn, bm_image_user fn,
                          void *opaque, struct bm_error *err);
/* And for each file that is no image. */
int bm_domain_file_users(struct bm_connection *conn, bm_image_user fn,
                         void *opaque, struct bm_error *err);

#endif
