// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Bringing the guest's machine up: kernel modules and serial ports. Part of
 * guest.c.
 */
#ifndef LAB_GUEST_BOOT_H
#define LAB_GUEST_BOOT_H

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_module(const struct dirent *d)
{
    size_t len = strlen(d->d_name);

    return len > 3 && strcmp(d->d_name + len - 3, ".ko") == 0;
}

/* Loads the modules that lie in the root folder, in the order of their names.
 * -1: *failed, kept by the caller, did not load. */
static int load_modules(char *failed, size_t size)
{
    struct dirent **list;
    int n = scandir("/", &list, is_module, by_name), i, fd;

    for (i = 0; i < n; i++) {
        fd = open(list[i]->d_name, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) < 0) {
            snprintf(failed, size, "%s", list[i]->d_name);
            return -1;
        }
        close(fd);
        free(list[i]);
    }
    free(list);
    return 0;
}

/* A serial port that passes every byte as it is; -1 when it cannot. */
static int open_raw(const char *tty)
{
    int fd = open(tty, O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct termios t;

    if (fd < 0 || tcgetattr(fd, &t) < 0)
        return -1;
    cfmakeraw(&t);
    cfsetspeed(&t, B115200);
    tcsetattr(fd, TCSANOW, &t);
    return fd;
}

#endif
