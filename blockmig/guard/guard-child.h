// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The guard's own side of the pipe. One message asks, one answers
 * (SOCK_SEQPACKET): a letter, for BM_GUARD_ARM followed by the state
 * directory and the job's journal, each ended by a NUL.
 */
#ifndef BM_GUARD_GUARD_CHILD_H
#define BM_GUARD_GUARD_CHILD_H

#define BM_GUARD_MESSAGE 196608 /* bytes; a journal is far smaller */

enum bm_guard_word {
    BM_GUARD_ARM = 'A',
    BM_GUARD_SUSPENDING = 'S',
    BM_GUARD_FREEZING = 'F',
    BM_GUARD_VIEWING = 'V', /* followed by the name of its socket */
    BM_GUARD_PIVOTING = 'P',
    BM_GUARD_DISARM = 'D',
    /* answers */
    BM_GUARD_OK = 'k',
    BM_GUARD_ACTED = 'f', /* the bound had passed */
    BM_GUARD_ERROR = 'e', /* followed by a line of text */
};

/* Serves until the pipe closes. Returns the exit status of the process. */
int bm_guard_child(int pipe, const char *uri);

#endif
