// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Maps as files. Lines end a comment, from a '#' that begins the line or
 * follows a blank; the first line that is left says where the rescue was, each
 * of the others is an area. Notes are comments that begin with our name.
 */
#include "nbd/map/mapfile.h"

#include "nbd/base/cleanup.h"
#include "nbd/base/atomic-replace.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_FILE                                                               \
    (256 << 20) /* millions of areas; more is no map but a disk                \
                 */

static const char note_prefix[] = "# blockmig ";

/* What current_status can be, and what it means. */
static const struct {
    char phase;
    const char *message;
} phases[] = {
    {'?', "Copying"}, {'*', "Trimming"},   {'/', "Scraping"}, {'-', "Retrying"},
    {'F', "Filling"}, {'G', "Generating"}, {'+', "Finished"},
};
#define N_PHASES (sizeof phases / sizeof *phases)

/* --- reading --- */

struct reader {
    const char *path;
    FILE *file;
    char *line;
    size_t room;
    unsigned long number; /* of the line */
    struct bm_mapfile *map;
    bool begun;   /* the status line was seen */
    uint64_t end; /* of the last area */
    struct bm_error *err;
};

static void end_reader(struct reader *r)
{
    bm_cleanup_file(&r->file);
    free(r->line);
    bm_mapfile_free(r->map);
}

static int bad_line(struct reader *r, const char *why)
{
    bm_fail(r->err, EBADMSG, "cannot use the map %s", r->path);
    bm_cause(r->err, "line %lu: %s", r->number, why);
    return -EBADMSG;
}

static bool is_end_of_word(char c)
{
    return c == '\0' || isspace((unsigned char)c);
}

static void skip_blanks(char **text)
{
    while (isspace((unsigned char)**text))
        ++*text;
}

/* Takes a number off the front of the text, as strtoull reads it in this base,
 * which would take signs too. */
static bool take_number(char **text, int base, uint64_t *out)
{
    char *end;

    skip_blanks(text);
    if (!isdigit((unsigned char)**text))
        return false;
    errno = 0;
    *out = strtoull(*text, &end, base);
    *text = end;
    return errno == 0 && is_end_of_word(*end);
}

static bool take_char(char **text, char *out)
{
    skip_blanks(text);
    *out = **text;
    if (!*out || !is_end_of_word((*text)[1]))
        return false;
    ++*text;
    return true;
}

static bool at_end(char *text)
{
    skip_blanks(&text);
    return !*text;
}

static int read_status(struct reader *r, char *text)
{
    uint64_t pos, pass = 1;
    char phase;

    if (!take_number(&text, 0, &pos) || !take_char(&text, &phase) ||
        (!at_end(text) && !take_number(&text, 10, &pass)) || !at_end(text))
        return bad_line(r, "it is not \"current_pos status pass\"");
    for (size_t i = 0; i < N_PHASES; i++)
        if (phases[i].phase == phase) {
            r->begun = true;
            r->map->current = pos;
            r->map->phase = phase;
            r->map->pass = (unsigned)pass;
            return pass >= 1 && pass <= INT32_MAX
                       ? 0
                       : bad_line(r, "there is no such pass");
        }
    return bad_line(r, "the status is unknown");
}

static bool is_area(char c)
{
    return c && strchr("?*/-+", c);
}

static int add_area(struct reader *r, uint64_t pos, uint64_t size, char status)
{
    if (pos > r->map->size || size > r->map->size - pos)
        return bad_line(r, "the area goes beyond the end of the image");
    if (size == 0)
        return pos == 0 && r->end == 0 ? 0 : bad_line(r, "the area is empty");
    if (r->end > 0 && pos != r->end)
        return bad_line(r, pos > r->end ? "there is a gap before the area"
                                        : "the area overlaps the one before");
    r->end = pos + size;
    if (bm_mapfile_set(r->map, pos, size, (enum bm_area)status) != 0)
        return bm_fail_errno(r->err, ENOMEM, "cannot use the map %s", r->path);
    return 0;
}

static int read_area(struct reader *r, char *text)
{
    uint64_t pos, size;
    char status;

    if (!take_number(&text, 0, &pos) || !take_number(&text, 0, &size) ||
        !take_char(&text, &status) || !at_end(text))
        return bad_line(r, "it is not \"pos size status\"");
    if (!is_area(status))
        return bad_line(r, "the status is unknown");
    return add_area(r, pos, size, status);
}

static void cut_comment(char *line)
{
    for (char *c = line; *c; c++)
        if (*c == '#' && (c == line || isspace((unsigned char)c[-1]))) {
            *c = '\0';
            return;
        }
}

static int read_note(struct reader *r, char *text)
{
    char *colon = strstr(text, ": ");
    int rc;

    if (!colon)
        return 0;
    *colon = '\0';
    rc = bm_mapfile_note(r->map, text, colon + 2);
    return rc == -ENOMEM
               ? bm_fail_errno(r->err, ENOMEM, "cannot use the map %s", r->path)
               : 0;
}

static int read_line(struct reader *r, size_t len)
{
    if (memchr(r->line, '\0', len))
        return bad_line(r, "it is not text");
    r->line[strcspn(r->line, "\n")] = '\0';
    if (strncmp(r->line, note_prefix, sizeof note_prefix - 1) == 0)
        return read_note(r, r->line + sizeof note_prefix - 1);
    cut_comment(r->line);
    if (at_end(r->line))
        return 0;
    return r->begun ? read_area(r, r->line) : read_status(r, r->line);
}

static int read_lines(struct reader *r)
{
    ssize_t len;
    int rc = 0;

    errno = 0;
    while (rc == 0 && (len = getline(&r->line, &r->room, r->file)) >= 0) {
        r->number++;
        rc = read_line(r, (size_t)len);
        errno = 0;
    }
    if (rc == 0 && !feof(r->file))
        rc = bm_fail_errno(r->err, errno, "cannot read %s", r->path);
    if (rc == 0 && !r->begun)
        rc = bad_line(r, "there is no map in it");
    return rc;
}

/* A FIFO would make open wait for ever, and a disk be read whole. */
static int open_regular(struct reader *r)
{
    BM_CLOSE int fd = open(r->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) != 0)
        return bm_fail_errno(r->err, errno, "cannot read the map %s", r->path);
    if (!S_ISREG(st.st_mode))
        return bad_line(r, "it is no regular file");
    if (st.st_size > MAX_FILE)
        return bad_line(r, "it is too large for a map");
    r->file = fdopen(fd, "r");
    if (!r->file)
        return bm_fail_errno(r->err, errno, "cannot read the map %s", r->path);
    fd = -1;
    return 0;
}

int bm_mapfile_load(const char *path, uint64_t size, struct bm_mapfile **out,
                    struct bm_error *err)
{
    __attribute__((cleanup(end_reader))) struct reader r = {
        .path = path, .map = bm_mapfile_new(size), .err = err};
    int rc;

    if (!r.map)
        return bm_fail_errno(err, ENOMEM, "cannot read the map %s", path);
    rc = open_regular(&r);
    if (rc == 0)
        rc = read_lines(&r);
    if (rc == 0)
        *out = BM_STEAL(r.map);
    return rc;
}

/* --- writing --- */

static const char *message(const struct bm_mapfile *map)
{
    for (size_t i = 0; i < N_PHASES; i++)
        if (phases[i].phase == map->phase)
            return phases[i].message;
    return "Unknown";
}

/* Hex digits of the longest number: 8, or more for a large image. */
static int digits_of(const struct bm_mapfile *map)
{
    uint64_t largest = map->current > map->size ? map->current : map->size;
    int digits = 8;

    while (digits < 16 && largest >> (4 * digits))
        digits++;
    return digits;
}

static void print_head(const struct bm_mapfile *map, int digits, FILE *file)
{
    fprintf(file, "# Mapfile. Created by blockmig\n");
    for (size_t i = 0; i < map->n_notes; i++)
        fprintf(file, "%s%s\n", note_prefix, map->notes[i]);
    fprintf(file, "# %s\n", message(map));
    fprintf(file, "# current_pos  current_status  current_pass\n");
    fprintf(file, "0x%0*llX%*s%c               %u\n", digits,
            (unsigned long long)map->current, digits < 12 ? 13 - digits : 1, "",
            map->phase, map->pass);
}

static void print_areas(const struct bm_mapfile *map, int digits, FILE *file)
{
    fprintf(file, "#%*s  %*s  status\n", digits + 1, "pos", digits + 2, "size");
    for (size_t i = 0; i < map->n; i++) {
        uint64_t start = map->areas[i].offset;
        uint64_t end = i + 1 < map->n ? map->areas[i + 1].offset : map->size;

        fprintf(file, "0x%0*llX  0x%0*llX  %c\n", digits,
                (unsigned long long)start, digits,
                (unsigned long long)(end - start), map->areas[i].status);
    }
}

static int print(const struct bm_mapfile *map, int fd, const char *path,
                 struct bm_error *err)
{
    BM_CLOSE int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    BM_FCLOSE FILE *file = copy < 0 ? NULL : fdopen(copy, "w");
    int digits = digits_of(map);

    if (!file)
        return bm_fail_errno(err, errno, "cannot write %s", path);
    copy = -1; /* the stream's now */
    print_head(map, digits, file);
    print_areas(map, digits, file);
    if (fflush(file) != 0 || ferror(file))
        return bm_fail_errno(err, errno ? errno : EIO, "cannot write %s", path);
    return 0;
}

int bm_mapfile_save(struct bm_mapfile *map, const char *path,
                    struct bm_error *err)
{
    BM_ATOMIC_REPLACE struct bm_atomic_replace r = BM_ATOMIC_REPLACE_INIT;
    int rc = bm_atomic_replace_begin(path, &r, err);

    if (rc == 0)
        rc = print(map, r.fd, path, err);
    return rc ? rc : bm_atomic_replace_commit(&r, err);
}
