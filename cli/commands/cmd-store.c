// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/datastore/datastore.h"

#include "cli/commands/commands.h"
#include "cli/output/table.h"
#include "cli/session/store-watchdog.h"
#include "nbd/base/units.h"
#include "snapshot/libvirt/timed-call.h"
#include "snapshot/domain/domain.h"
#include "cli/output/write.h"
#include "blockmig/report/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- list: the names first, then each is opened like a name from a user -- */

struct names_context {
    char **names;
    size_t n;
};

static void names_clear(struct names_context *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->names[i]);
    free(names->names);
}
#define NAMES __attribute__((cleanup(names_clear))) struct names_context

static int add_name(struct names_context *names, const char *name, size_t len)
{
    char **grown;

    for (size_t i = 0; i < names->n; i++)
        if (strlen(names->names[i]) == len &&
            memcmp(names->names[i], name, len) == 0)
            return 0;
    grown = reallocarray(names->names, names->n + 1, sizeof *grown);
    if (!grown)
        return -ENOMEM;
    names->names = grown;
    grown[names->n] = strndup(name, len);
    if (!grown[names->n])
        return -ENOMEM;
    names->n++;
    return 0;
}

/* The folder of an image; a device is no place to put another disk. */
static int add_folder(void *opaque, const struct bm_image_use *use)
{
    const char *path = use->path;
    const char *slash = path ? strrchr(path, '/') : NULL;

    if (!slash || path[0] != '/' || strncmp(path, "/dev/", 5) == 0)
        return 0;
    return add_name(opaque, path, slash == path ? 1 : (size_t)(slash - path));
}

static int add_pools(struct bm_connection *conn, struct names_context *names,
                     struct bm_error *err)
{
    virStoragePoolPtr *pools = NULL;
    int n =
        virConnectListAllStoragePools(bm_connection_handle(conn), &pools, 0);
    int rc = 0;

    if (n < 0)
        return bm_virt_error(err, "cannot list the storage pools");
    for (int i = 0; i < n; i++) {
        const char *name = virStoragePoolGetName(pools[i]);

        if (rc == 0 && name)
            rc = add_name(names, name, strlen(name));
        virStoragePoolFree(pools[i]);
    }
    free(pools);
    return rc < 0 ? bm_fail_errno(err, -rc, "cannot list the storage pools")
                  : 0;
}

static json_object *store_json(const struct bm_datastore *s)
{
    json_object *o = json_object_new_object();

    if (!o)
        return NULL;
    bm_report_add_text(o, "name", s->name);
    bm_report_add_text(o, "kind", bm_datastore_kind_name(s->kind));
    bm_report_add_text(o, "path", s->path);
    bm_report_add_text(o, "pool", s->pool);
    bm_report_add_text(o, "pool_type", s->pool_type);
    json_object_object_add(o, "capacity", json_object_new_uint64(s->capacity));
    json_object_object_add(o, "available",
                           json_object_new_uint64(s->available));
    bm_report_add_bool(o, "writable", s->writable);
    bm_report_add_text(o, "fs_type", s->fs_type);
    bm_report_add_text(o, "fs_uuid", s->fs_uuid);
    bm_report_add_text(o, "fs_label", s->fs_label);
    bm_report_add_text(o, "device", s->device_path);
    bm_report_add_text(o, "signature", s->signature);
    return o;
}

static int store_row(struct cli_table *table, const struct bm_datastore *s)
{
    char capacity[32], available[32];
    const char *cells[] = {
        s->name,
        bm_datastore_kind_name(s->kind),
        bm_format_size(s->available, available, sizeof available),
        bm_format_size(s->capacity, capacity, sizeof capacity),
        s->writable ? "yes" : "no",
        s->fs_type,
        s->path};

    return cli_table_row(table, cells);
}

/* One that cannot be opened (an inactive pool) is listed with the reason. */
static int broken_row(struct cli_table *table, const char *name,
                      const struct bm_error *err)
{
    const char *cells[] = {
        name, "-", "-", "-", "no", "-", err->cause[0] ? err->cause : err->what};

    return cli_table_row(table, cells);
}

static json_object *broken_json(const char *name, const struct bm_error *err)
{
    json_object *o = json_object_new_object();
    char line[2100];

    if (!o)
        return NULL;
    bm_error_line(err, line, sizeof line);
    bm_report_add_text(o, "name", name);
    bm_report_add_text(o, "error", line);
    return o;
}

static int list_one(struct bm_connection *conn, const char *name,
                    struct cli_table *table, json_object *array)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_datastore *store = NULL;
    int rc = bm_datastore_open(conn, name, &store, &err);

    if (array)
        rc = json_object_array_add(array, rc < 0 ? broken_json(name, &err)
                                                 : store_json(store)) == 0
                 ? 0
                 : -ENOMEM;
    else
        rc = rc < 0 ? broken_row(table, name, &err) : store_row(table, store);
    bm_datastore_free(store);
    return rc;
}

static int list(struct bm_connection *conn, bool json, struct bm_error *err)
{
    static const char *const head[] = {"STORE", "KIND",     "FREE", "SIZE",
                                       "WRITE", "CONTENTS", "PATH"};
    CLI_TABLE table = {.columns = sizeof head / sizeof *head};
    NAMES names = {NULL, 0};
    json_object *array = json ? json_object_new_array() : NULL;
    int rc = add_pools(conn, &names, err);

    if (rc == 0)
        rc = bm_domain_image_users(conn, add_folder, &names, err);
    if (rc == 0)
        rc = cli_table_row(&table, head);
    for (size_t i = 0; i < names.n && rc == 0; i++)
        rc = list_one(conn, names.names[i], &table, array);
    if (rc == -ENOMEM)
        bm_fail_errno(err, ENOMEM, "cannot list the datastores");
    if (rc == 0 && json)
        cli_json(array);
    else if (rc == 0)
        cli_table_print(&table);
    if (rc < 0)
        json_object_put(array);
    return rc;
}

int cli_store_list(struct cli *cli, struct bm_error *err)
{
    struct bm_connection *conn = NULL;
    int rc = cli_watchdog_connect(cli, &conn, err);

    if (rc == 0)
        rc = list(conn, cli->options.json, err);
    bm_connection_close(conn);
    return rc;
}

/* --- show, probe -------------------------------------------------------- */

/* A path needs no libvirt: it may be shown while libvirt is down. */
static int open_store(struct cli *cli, struct bm_connection **conn,
                      struct bm_datastore **store, struct bm_error *err)
{
    const char *name = cli->args[0];
    int rc = 0;

    if (!strchr(name, '/'))
        rc = cli_watchdog_connect(cli, conn, err);
    return rc < 0 ? rc : bm_datastore_open(*conn, name, store, err);
}

static void line(const char *name, const char *value)
{
    if (value)
        cli_print("%-10s %s\n", name, value);
}

static void print_store(const struct bm_datastore *s)
{
    char size[32];

    line("store", s->name);
    line("kind", bm_datastore_kind_name(s->kind));
    line("path", s->path);
    line("pool", s->pool);
    line("pool type", s->pool_type);
    line("size", bm_format_size(s->capacity, size, sizeof size));
    line("free", bm_format_size(s->available, size, sizeof size));
    line("writable", s->writable ? "yes" : "no");
    line("contents", s->fs_type);
    line("fs uuid", s->fs_uuid);
    line("label", s->fs_label);
    line("device", s->device_path);
    line("signature", s->signature);
}

int cli_store_show(struct cli *cli, struct bm_error *err)
{
    struct bm_connection *conn = NULL;
    struct bm_datastore *store = NULL;
    int rc = open_store(cli, &conn, &store, err);

    if (rc == 0 && cli->options.json)
        cli_json(store_json(store));
    else if (rc == 0)
        print_store(store);
    bm_datastore_free(store);
    bm_connection_close(conn);
    return rc;
}

static void print_probe(const struct bm_datastore *store,
                        const struct bm_datastore_probe *probe, bool json)
{
    json_object *o;

    if (!json) {
        cli_print("%s: made a file in %.3f ms, wrote 1 MiB in %.3f ms, synced "
                  "in %.3f ms; O_DIRECT %s\n",
                  store->path, (double)probe->create_us / 1000,
                  (double)probe->write_us / 1000, (double)probe->sync_us / 1000,
                  probe->direct ? "works" : "does not work");
        return;
    }
    o = store_json(store);
    if (o) {
        bm_report_add_number(o, "create_us", probe->create_us);
        bm_report_add_number(o, "write_us", probe->write_us);
        bm_report_add_number(o, "sync_us", probe->sync_us);
        bm_report_add_bool(o, "direct", probe->direct);
    }
    cli_json(o);
}

int cli_store_probe(struct cli *cli, struct bm_error *err)
{
    struct bm_connection *conn = NULL;
    struct bm_datastore *store = NULL;
    struct bm_datastore_probe probe;
    int rc = open_store(cli, &conn, &store, err);

    (void)cli_watchdog_end();
    if (rc == 0)
        rc = bm_datastore_try(store, &probe, err);
    if (rc == 0)
        print_probe(store, &probe, cli->options.json);
    bm_datastore_free(store);
    bm_connection_close(conn);
    return rc;
}
