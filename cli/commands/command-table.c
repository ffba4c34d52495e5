// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The table of commands. */
#include "cli/commands/commands.h"

#include <stddef.h>

static const enum cli_option none[] = {CLI_OPTION_NONE};
static const enum cli_option move_options[] = {
    CLI_TO,          CLI_STRATEGY,   CLI_FORMAT,           CLI_PROOF,
    CLI_BANDWIDTH,   CLI_MAX_PAUSE,  CLI_SOURCE,           CLI_NAME,
    CLI_FORCE,       CLI_DRY_RUN,    CLI_DETACH,           CLI_OVERLAY_DIR,
    CLI_OVERLAY_MAX, CLI_OVERLAY_ON, CLI_SWITCH_MAX,       CLI_GUEST_LATENCY,
    CLI_SETTLE,      CLI_CHAIN,      CLI_ON_READ_ERROR,    CLI_MAPFILE,
    CLI_FILL_FROM,   CLI_QUIESCE,    CLI_DROP_CHECKPOINTS, CLI_OPTION_NONE};
static const enum cli_option list_options[] = {CLI_KEPT, CLI_ALL,
                                               CLI_OPTION_NONE};
static const enum cli_option resume_options[] = {CLI_ACCEPT, CLI_BACK,
                                                 CLI_OPTION_NONE};

static const enum cli_option compare_options[] = {
    CLI_IMAGE_FORMAT,     CLI_OTHER_FORMAT, CLI_STRICT,
    CLI_FORCE_SHARE,      CLI_CACHE,        CLI_DIGESTS,
    CLI_TLS_CERTIFICATES, CLI_TLS_PSK,      CLI_OPTION_NONE};

static const enum cli_option copy_options[] = {
    CLI_IMAGE_FORMAT, CLI_OUTPUT_FORMAT, CLI_VERIFY,      CLI_VERIFY_FROM,
    CLI_MANIFEST,     CLI_DIGEST,        CLI_BANDWIDTH,   CLI_CACHE,
    CLI_RESUME,       CLI_FORCE,         CLI_FORCE_SHARE, CLI_ON_READ_ERROR,
    CLI_MAPFILE,      CLI_RETRIES,       CLI_FILL_FROM,   CLI_TLS_CERTIFICATES,
    CLI_TLS_PSK,      CLI_OPTION_NONE};
static const enum cli_option hash_options[] = {
    CLI_IMAGE_FORMAT, CLI_DIGEST,    CLI_MANIFEST,         CLI_CHECK,
    CLI_UPDATE,       CLI_DIRTY,     CLI_CHANGED_SINCE,    CLI_CACHE,
    CLI_FORCE_SHARE,  CLI_BANDWIDTH, CLI_TLS_CERTIFICATES, CLI_TLS_PSK,
    CLI_OPTION_NONE};

static const enum cli_option create_options[] = {
    CLI_DISK,        CLI_DESCRIPTION, CLI_MEMORY,     CLI_QUIESCE,
    CLI_OVERLAY_DIR, CLI_MAX_DEPTH,   CLI_MANIFEST,   CLI_BANDWIDTH,
    CLI_MODE,        CLI_DRY_RUN,     CLI_OPTION_NONE};
static const enum cli_option revert_options[] = {
    CLI_FORCE, CLI_OVERLAY_DIR, CLI_MAX_DEPTH, CLI_DRY_RUN, CLI_OPTION_NONE};
static const enum cli_option pull_options[] = {
    CLI_DISK,          CLI_BASE,      CLI_BANDWIDTH,
    CLI_GUEST_LATENCY, CLI_MAX_PAUSE, CLI_SWITCH_MAX,
    CLI_DRY_RUN,       CLI_DETACH,    CLI_OPTION_NONE};
static const enum cli_option flatten_options[] = {
    CLI_DISK,       CLI_BANDWIDTH, CLI_GUEST_LATENCY, CLI_MAX_PAUSE,
    CLI_SWITCH_MAX, CLI_DRY_RUN,   CLI_DETACH,        CLI_OPTION_NONE};
static const enum cli_option verify_options[] = {CLI_DISK, CLI_BANDWIDTH,
                                                 CLI_FORCE, CLI_OPTION_NONE};
static const enum cli_option doctor_options[] = {CLI_FIX, CLI_OPTION_NONE};
static const enum cli_option group_options[] = {
    CLI_DESCRIPTION, CLI_OVERLAY_DIR, CLI_MAX_DEPTH,
    CLI_MAX_PAUSE,   CLI_DRY_RUN,     CLI_OPTION_NONE};
static const enum cli_option save_options[] = {
    CLI_DISK,  CLI_OUTPUT_FORMAT, CLI_BANDWIDTH,  CLI_MANIFEST,
    CLI_FORCE, CLI_DIGEST,        CLI_OPTION_NONE};
#define MERGE_OPTIONS                                                          \
    CLI_PROOF, CLI_BANDWIDTH, CLI_GUEST_LATENCY, CLI_MAX_PAUSE, CLI_DRY_RUN,   \
        CLI_DETACH
static const enum cli_option delete_options[] = {CLI_CHILDREN, MERGE_OPTIONS,
                                                 CLI_OPTION_NONE};
static const enum cli_option commit_options[] = {
    CLI_DISK, CLI_TOP, CLI_BASE, CLI_FORCE, MERGE_OPTIONS, CLI_OPTION_NONE};
static const enum cli_option consolidate_options[] = {
    CLI_DEPTH, CLI_KEEP,      CLI_OLDER_THAN, CLI_DISK,
    CLI_FORCE, MERGE_OPTIONS, CLI_OPTION_NONE};

static const char move_details[] =
    "Moves the named disks (vda, or an image's path; without names all of\n"
    "them) of a domain, by name or UUID, to STORE, and proves block by block\n"
    "that nothing was lost. A running guest keeps running. Exit status 0: the\n"
    "guest runs on the new images; 1: it runs where it ran; 3: refused,\n"
    "nothing was touched; 4: a proof failed; 5: done, but for unreadable "
    "ranges,\n"
    "which are listed; 6: run 'blockmig job resume'.\n";

static const char compare_details[] =
    "A and B are paths or NBD URIs, in any format. Prints every range that\n"
    "differs, its offset and length in bytes, in blocks of 64 KiB. Exit\n"
    "status 0: the images are identical; 1: they differ; 2: it cannot be\n"
    "told.\n";

static const char copy_details[] =
    "SRC and DST are paths or NBD URIs. A new file gets its name when all of\n"
    "it is there, durably (and proven, with --verify): a half copy never\n"
    "looks whole. Exit status 0: done; 1: failed, --resume goes on; 3:\n"
    "refused, nothing was touched; 4: the target does not read back as it\n"
    "was written; 5: done, but for the unreadable ranges that are listed.\n";

static const char hash_details[] =
    "Prints DIGEST  NAME for each image: the digest over the digests of its\n"
    "64 KiB blocks and its length, as blksum and nbdcopy --blkhash do. Exit\n"
    "status 4: --check found ranges that differ; they are listed.\n";

static const char create_details[] =
    "The guest goes on in the overlays. libvirt knows the restore point as\n"
    "every other; without NAME it is named by the time. --disk takes a list\n"
    "by commas. Exit status 0: it is there; 1: it is not; 3: refused,\n"
    "nothing was touched; 6: run 'blockmig job resume'.\n";
static const char revert_details[] =
    "The domain must be off, unless --force is given, which ends the guest.\n"
    "Each disk gets a fresh overlay. What it stood on is kept, as a restore\n"
    "point before-NAME, unless it holds nothing; of a guest that runs nobody\n"
    "knows that. The saved XML is that of then. A guest that ran is\n"
    "started; one whose memory was kept goes on from it. Exit status as of\n"
    "snapshot create.\n";
static const char delete_details[] =
    "The disk is what it was. An image that others stand on too is not\n"
    "written: then only the restore point goes. Exit status 0: done; 1: it\n"
    "stopped, and every image that is named is valid; 3: refused, nothing\n"
    "was touched; 4: a proof failed; 6: run 'blockmig job resume'.\n";
static const char commit_details[] =
    "The layers from --top down to the one above --base go into that.\n"
    "Restore points that are lost with it are in the way, unless --force is\n"
    "given. Exit status as of snapshot delete.\n";
static const char verify_details[] =
    "Reads the disk as it is at each frozen layer, or at those of NAME, and\n"
    "holds it against the digests that were noted before; without such, they\n"
    "are noted now. Prints what differs, offset and length in bytes. A layer\n"
    "that differs is not merged any more, until --force takes it for right.\n"
    "Exit status 0: all is as it was; 4: something differs; 1: an image\n"
    "cannot be read, it stopped, or it gave way to a job.\n";
static const char doctor_details[] =
    "Finds what is missing, orphaned, doubled, relative, mixed, written to or\n"
    "replaced, and says what to do. --fix does what is safe. Exit status 0:\n"
    "nothing was found, or all is mended; 1: something was.\n";
static const char group_details[] =
    "All guests are paused, all restore points made, all run again: so no\n"
    "guest has written what another one's does not know. Each is a job of its\n"
    "own. Exit status 0: all are there; 1: those that are listed are not.\n";
static const char flatten_details[] =
    "A move in place: the frozen disk is copied into a new image beside it,\n"
    "proven, and the disk switches to that. No old image is written; the one\n"
    "that the guest wrote to is deleted afterwards, the others stay, as\n"
    "restore points or others may need them. Exit status as of move.\n";
static const char consolidate_details[] =
    "Layers that are no restore point are merged; with --keep, --older-than\n"
    "or --depth restore points go too, the oldest first. The end of a chain\n"
    "that never was one may be a template: it is merged into with --force\n"
    "only. Exit status as of snapshot delete.\n";

const struct cli_command cli_commands[] = {
    {"move", "DOMAIN [DISK...] --to STORE",
     "move a domain's disks to another datastore", move_details, move_options,
     1, -1, "DOMAIN", true, cli_move},
    {"job list", "", "jobs that are not finished", NULL, list_options, 0, 0,
     NULL, false, cli_job_list},
    {"job show", "ID", "everything about one job", NULL, none, 1, 1, "ID",
     false, cli_job_show},
    {"job watch", "ID", "follow a job to its end; exits as the job does", NULL,
     none, 1, 1, "ID", true, cli_job_watch},
    {"job set", "ID NAME=VALUE...", "other limits for a job, at once",
     "NAME is bandwidth (RATE or none), guest-latency (FACTOR or off),\n"
     "switch-max, settle or max-pause, with a value as of the option of that\n"
     "name. A job that nobody runs has them when it is resumed.\n",
     none, 2, 6, "ID or NAME=VALUE", false, cli_job_set},
    {"job pause", "ID", "a running job: stand still; job resume goes on",
     "Before the switch nothing is read or written any more, and a settled\n"
     "job stays settled. The guest runs on. In the switch and after settled\n"
     "there is no pause.\n",
     none, 1, 1, "ID", false, cli_job_pause},
    {"job cancel", "ID", "ask a running job to stop and go back", NULL, none, 1,
     1, "ID", false, cli_job_cancel},
    {"job undo", "ID", "a settled job: go back to the old images, in seconds",
     "While a move waits by --settle, the old images with what was written\n"
     "since are still the whole disk: no write is lost.\n",
     none, 1, 1, "ID", false, cli_job_undo},
    {"job accept", "ID",
     "a settled job: end the waiting, stay on the new images", NULL, none, 1, 1,
     "ID", false, cli_job_accept},
    {"job resume", "ID",
     "go on with a paused or an interrupted job, or go back",
     "A job that was paused goes on, and this command ends. An interrupted "
     "one:\n"
     "Looks at what is really there (XML, block jobs, files) and ends the job\n"
     "from there: forwards, or with --back backwards.\n",
     resume_options, 1, 1, "ID", true, cli_job_resume},
    {"job release", "ID", "delete the kept source images of a job",
     "Checks anew that nothing uses them: no domain, no snapshot, no other\n"
     "image.\n",
     none, 1, 1, "ID", false, cli_job_release},
    {"job events", "ID", "what happened in a job, with the time", NULL, none, 1,
     1, "ID", false, cli_job_events},
    {"job prune", "", "forget finished jobs that kept nothing", NULL, none, 0,
     0, NULL, false, cli_job_prune},
    {"store list", "", "datastores: pools, and folders that disks live in",
     NULL, none, 0, 0, NULL, false, cli_store_list},
    {"store show", "STORE", "what a datastore is, its room and its device",
     NULL, none, 1, 1, "STORE", false, cli_store_show},
    {"store probe", "STORE", "write a little file there and time it", NULL,
     none, 1, 1, "STORE", false, cli_store_probe},
    {"copy", "SRC DST", "copy an image, sparse, resumable, proven",
     copy_details, copy_options, 2, 2, "SRC or DST", true, cli_copy},
    {"hash", "IMAGE...", "digests of images, and manifests", hash_details,
     hash_options, 1, -1, "IMAGE", false, cli_hash},
    {"compare", "A B", "find all that differs between two images",
     compare_details, compare_options, 2, 2, "A or B", false, cli_compare},
    {"snapshot list", "DOMAIN", "the restore points of a domain", NULL, none, 1,
     1, "DOMAIN", false, cli_snapshot_list},
    {"snapshot tree", "DOMAIN",
     "the images of each disk, and what stands on "
     "what",
     "Each image stands on the one above it; an empty line is between chains.\n"
     "vda[n] is its number in the live XML, in brackets are the snapshots "
     "whose\n"
     "state it is, in parentheses who else needs it.\n",
     none, 1, 1, "DOMAIN", false, cli_snapshot_tree},
    {"snapshot show", "DOMAIN NAME", "everything about one restore point", NULL,
     none, 2, 2, "DOMAIN or NAME", false, cli_snapshot_show},
    {"snapshot create", "DOMAIN [NAME]",
     "a restore point: an overlay on each disk, at once", create_details,
     create_options, 1, 2, "DOMAIN", true, cli_snapshot_make},
    {"snapshot create-group", "NAME DOMAIN...",
     "a restore point of several domains at one instant", group_details,
     group_options, 2, -1, "NAME or DOMAIN", true, cli_snapshot_group},
    {"snapshot save", "DOMAIN NAME FILE",
     "a view, or a restore point, as an image of its own", NULL, save_options,
     3, 3, "DOMAIN, NAME or FILE", true, cli_snapshot_save},
    {"snapshot revert", "DOMAIN NAME",
     "the disks are again what they were then", revert_details, revert_options,
     2, 2, "DOMAIN or NAME", true, cli_snapshot_make},
    {"snapshot delete", "DOMAIN NAME",
     "a restore point goes; its layers are merged, with proof", delete_details,
     delete_options, 2, 2, "DOMAIN or NAME", true, cli_snapshot_merge},
    {"snapshot commit", "DOMAIN", "layers go down into one below them",
     commit_details, commit_options, 1, 1, "DOMAIN", true, cli_snapshot_merge},
    {"snapshot pull", "DOMAIN --base IMG|vda[n]",
     "the layers above one become one new image, proven", flatten_details,
     pull_options, 1, 1, "DOMAIN", true, cli_snapshot_flatten},
    {"snapshot flatten", "DOMAIN", "a disk becomes one new image, proven",
     flatten_details, flatten_options, 1, 1, "DOMAIN", true,
     cli_snapshot_flatten},
    {"snapshot consolidate", "DOMAIN", "fewer layers, and fewer restore points",
     consolidate_details, consolidate_options, 1, 1, "DOMAIN", true,
     cli_snapshot_merge},
    {"snapshot verify", "DOMAIN [NAME]",
     "whether each frozen layer is byte for byte what it was", verify_details,
     verify_options, 1, 2, "DOMAIN", false, cli_snapshot_verify},
    {"snapshot doctor", "DOMAIN",
     "XML, metadata, headers, files and locks, side by side", doctor_details,
     doctor_options, 1, 1, "DOMAIN", false, cli_snapshot_doctor},
    {"doctor", "", "is this host fit? A list of checks with remedies",
     "Exit status 0: all is fine; 1: something was found.\n", none, 0, 0, NULL,
     false, cli_doctor},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, NULL, false, NULL},
};
