// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The guest's agent, as far as a freeze needs one: what libvirt asks over the
 * virtio port org.qemu.guest_agent.0, one line of JSON each. The guest has no
 * file system, so frozen means: the workers stand between two operations, and
 * all that they wrote is flushed. Part of guest.c.
 *
 * On the console: `F frozen disks=N`, `F thawed disks=N`. What the control port
 * can make of it: `agent dead` does and answers nothing any more; `agent hang`
 * is dead from the next freeze on, which it makes; `agent talk` ends both;
 * `agent thaw` thaws by itself.
 */
#ifndef LAB_GUEST_AGENT_H
#define LAB_GUEST_AGENT_H

#include "guest-gate.h"
#include "guest-stream.h"

#include <dirent.h>
#include <fcntl.h>
#include <time.h>

#define AGENT_PORT "org.qemu.guest_agent.0"
#define AGENT_WAIT_MS 5000

static struct {
    pthread_mutex_t lock; /* guards frozen */
    int frozen;
    int dead, hang; /* atomic */
    struct stream *streams;
    unsigned count;
} agent = {.lock = PTHREAD_MUTEX_INITIALIZER};

static unsigned agent_freeze(void)
{
    unsigned i, n = 0;

    pthread_mutex_lock(&agent.lock);
    if (!agent.frozen) {
        guest_park();
        for (i = 0; i < agent.count; i++)
            op_flush(&agent.streams[i]);
        agent.frozen = 1;
        n = agent.count;
        out("F frozen disks=%u", n);
    }
    pthread_mutex_unlock(&agent.lock);
    return n;
}

static unsigned agent_thaw(void)
{
    unsigned n = 0;

    pthread_mutex_lock(&agent.lock);
    if (agent.frozen) {
        n = agent.count;
        out("F thawed disks=%u", n);
        guest_go();
    }
    agent.frozen = 0;
    pthread_mutex_unlock(&agent.lock);
    return n;
}

/* The answer to one command, which takes its id from the line. */
static void agent_obey(const char *line, char *answer, size_t size)
{
    const char *name = strstr(line, "\"guest-"), *id = strstr(line, "\"id\":");
    unsigned long long number = id ? strtoull(id + 5, NULL, 10) : 0;
    int freeze = name && strncmp(name, "\"guest-fsfreeze-freeze", 22) == 0;

    if (name && strncmp(name, "\"guest-sync-delimited\"", 22) == 0)
        snprintf(answer, size, "\xff{\"return\": %llu}\n", number);
    else if (name && strncmp(name, "\"guest-sync\"", 12) == 0)
        snprintf(answer, size, "{\"return\": %llu}\n", number);
    else if (name && strncmp(name, "\"guest-ping\"", 12) == 0)
        snprintf(answer, size, "{\"return\": {}}\n");
    else if (name && strncmp(name, "\"guest-get-time\"", 16) == 0)
        snprintf(answer, size, "{\"return\": %llu}\n",
                 (unsigned long long)time(NULL) * 1000000000ULL);
    else if (name && strncmp(name, "\"guest-info\"", 12) == 0)
        snprintf(answer, size,
                 "{\"return\": {\"version\": \"7\", "
                 "\"supported_commands\": []}}\n");
    else if (name && strncmp(name, "\"guest-fsfreeze-status\"", 23) == 0)
        snprintf(answer, size, "{\"return\": \"%s\"}\n",
                 agent.frozen ? "frozen" : "thawed");
    else if (freeze && agent.frozen) /* as the real one says it */
        snprintf(answer, size,
                 "{\"error\": {\"class\": \"GenericError\", \"desc\": "
                 "\"the agent is in frozen state\"}}\n");
    else if (freeze)
        snprintf(answer, size, "{\"return\": %u}\n", agent_freeze());
    else if (name && strncmp(name, "\"guest-fsfreeze-thaw\"", 21) == 0)
        snprintf(answer, size, "{\"return\": %u}\n", agent_thaw());
    else
        snprintf(answer, size,
                 "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": "
                 "\"not known\"}}\n");
    if (freeze && __atomic_load_n(&agent.hang, __ATOMIC_SEQ_CST))
        __atomic_store_n(&agent.dead, 1, __ATOMIC_SEQ_CST);
}

/* The port of that name, when it comes; -1: there is none. */
static int agent_open(void)
{
    char path[300], name[64];
    struct dirent *one;
    int fd = -1, waited;
    DIR *dir;
    FILE *f;

    for (waited = 0; fd < 0 && waited < AGENT_WAIT_MS; waited += 20) {
        sleep_ns(20000000L);
        dir = opendir("/sys/class/virtio-ports");
        while (dir != NULL && fd < 0 && (one = readdir(dir)) != NULL) {
            snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name",
                     one->d_name);
            f = fopen(path, "re");
            if (f != NULL && fgets(name, sizeof name, f) != NULL &&
                strcmp(name, AGENT_PORT "\n") == 0) {
                snprintf(path, sizeof path, "/dev/%s", one->d_name);
                fd = open(path, O_RDWR | O_CLOEXEC);
            }
            if (f != NULL)
                fclose(f);
        }
        if (dir != NULL)
            closedir(dir);
    }
    return fd;
}

/* One line, however it comes; nobody at the other end reads as an end. */
static void agent_line(int fd, char *line, size_t size)
{
    size_t n = 0;

    while (n < size - 1) {
        if (read(fd, &line[n], 1) <= 0)
            sleep_ns(20000000L);
        else if (line[n] == '\n')
            break;
        else
            n++;
    }
    line[n] = '\0';
}

/* A thread of its own. */
static void *agent_serve(void *arg)
{
    char line[1024], answer[256];
    int fd = agent_open();

    while (fd >= 0) {
        agent_line(fd, line, sizeof line);
        if (__atomic_load_n(&agent.dead, __ATOMIC_SEQ_CST))
            continue;
        agent_obey(line, answer, sizeof answer);
        if (__atomic_load_n(&agent.dead, __ATOMIC_SEQ_CST))
            continue;
        if (write(fd, answer, strlen(answer)) < 0)
            out("F lost an answer: %s", strerror(errno));
    }
    return arg;
}

/* false: not a command for the agent. */
static int agent_told(const char *command)
{
    if (strcmp(command, "agent thaw") == 0) {
        agent_thaw();
        return 1;
    }
    if (strcmp(command, "agent dead") != 0 &&
        strcmp(command, "agent hang") != 0 &&
        strcmp(command, "agent talk") != 0)
        return 0;
    __atomic_store_n(&agent.hang, command[6] == 'h', __ATOMIC_SEQ_CST);
    __atomic_store_n(&agent.dead, command[6] == 'd', __ATOMIC_SEQ_CST);
    return 1;
}

#endif
