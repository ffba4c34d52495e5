// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the two sides of the control socket share: its address and its lines.
 * Descriptors are non-blocking; deadlines are bm_now_ms times.
 */
#ifndef BM_CONTROL_CONTROL_SOCKET_H
#define BM_CONTROL_CONTROL_SOCKET_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

struct bm_control_address {
    int dir;               /* the folder, open; -1: none */
    char file[32];         /* the socket's name in it */
    struct sockaddr_un un; /* goes through /proc/self/fd when long */
};

/* -ENOENT: no such folder. Clear it also after a failure. */
int bm_control_find_address(const char *dir, const char *id,
                            struct bm_control_address *out);
void bm_control_address_clear(struct bm_control_address *address);

/* One line of at most max bytes; its newline is cut off. Caller frees. */
int bm_control_receive(int fd, size_t max, int64_t deadline, char **line);
int bm_control_send(int fd, const char *text, int64_t deadline);

/* Starts a thread with all signals blocked: they are for the main thread.
 * Returns 0 or a positive errno. */
int bm_control_thread(pthread_t *thread, void *(*fn)(void *), void *arg);

#endif
