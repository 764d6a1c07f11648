/*
 * For LD_PRELOAD: a QEMU that ends waits for its migration thread first.
 *
 * When main() is over other threads run on until the process is gone.  How far
 * they come is up to the scheduler; here they come to their end.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* As QEMU calls it, with -name debug-threads=on */
#define THREAD "mig/src/main\n"

static bool runs(const char *tid)
{
    char path[300], name[32] = "";
    FILE *comm;

    snprintf(path, sizeof(path), "/proc/self/task/%s/comm", tid);
    comm = fopen(path, "r");
    if (comm) {
        if (!fgets(name, sizeof(name), comm)) {
            name[0] = '\0';
        }
        fclose(comm);
    }
    return !strcmp(name, THREAD);
}

static bool migrates(void)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    bool found = false;

    while (tasks && !found && (task = readdir(tasks))) {
        found = task->d_name[0] != '.' && runs(task->d_name);
    }
    if (tasks) {
        closedir(tasks);
    }
    return found;
}

static void __attribute__((destructor)) finish(void)
{
    static const struct timespec pause = { .tv_nsec = 1000000 };

    while (migrates()) {
        nanosleep(&pause, NULL);
    }
}
