/*
 * pg_config - where a PostgreSQL server is and how to log in there, taken apart so that no name is left for libpq, which
 * would wait for it.
 *
 * Ownership  counted, not atomically: one thread's.
 * Errors     HG_EINVAL and HG_EIO (no libpq) with words in error, HG_ENOMEM.
 */
#ifndef HG_NET_PG_CONFIG_H
#define HG_NET_PG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#define HG_PG_OPTIONS_MAX 64
#define HG_PG_HOSTS_MAX   8

struct hg_pg_place {
    char *host;    /* a name, an address, or the folder of a unix socket */
    char *address; /* numeric, or NULL: `host` is to be resolved, unless it is a folder */
    char *port;
};

struct hg_pg_config {
    unsigned ref_count;
    /* For libpq, without the place. */
    char *keywords[HG_PG_OPTIONS_MAX], *values[HG_PG_OPTIONS_MAX];
    size_t option_count;
    struct hg_pg_place places[HG_PG_HOSTS_MAX]; /* to be tried in this order */
    size_t place_count;
};

struct hg_pg_option {
    const char *keyword, *value; /* as in a connection string: "host", "dbname", ... */
};

/*
 * conninfo: "host=... dbname=..." or a URL, or NULL; options, which outweigh it. Both are libpq's, but `service`; the host is
 * 127.0.0.1 unless they name one.
 */
int hg_pg_config_create(const char *conninfo, const struct hg_pg_option *options,
                        size_t option_count, struct hg_pg_config **out_config, char *error,
                        size_t error_size);
struct hg_pg_config *hg_pg_config_ref(struct hg_pg_config *config);
void hg_pg_config_unref(struct hg_pg_config *config); /* NULL is fine */
/* Whether the host is the folder of a unix socket. */
bool hg_pg_is_folder(const struct hg_pg_place *place);

#endif
