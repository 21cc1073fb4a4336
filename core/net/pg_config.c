#include "net/pg_config.h"

#include <stdio.h>
#include <string.h>
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/err.h"
#include "net/address.h"
#include "net/pq_library.h"

/* The three lists of a connection string that together say where. */
struct lists {
    char *host, *address, *port;
};

struct making {
    struct hg_pg_config *config;
    struct lists lists;
    char *error;
    size_t error_size;
};

static int wrong(struct making *making, const char *format, const char *what)
{
    snprintf(making->error, making->error_size, format, what);
    return HG_EINVAL;
}

static int replace(char **slot, const char *text)
{
    char *copy = hg_strndup(text, strlen(text));
    if (copy == NULL)
        return HG_ENOMEM;
    hg_free(*slot);
    *slot = copy;
    return HG_OK;
}

static int set(struct making *making, const char *keyword, const char *value)
{
    struct hg_pg_config *config = making->config;

    if (strcmp(keyword, "host") == 0)
        return replace(&making->lists.host, value);
    if (strcmp(keyword, "hostaddr") == 0)
        return replace(&making->lists.address, value);
    if (strcmp(keyword, "port") == 0)
        return replace(&making->lists.port, value);
    if (strcmp(keyword, "service") == 0 || strcmp(keyword, "replication") == 0)
        return wrong(making, "%s is not supported", keyword);
    for (size_t i = 0; i < config->option_count; i++)
        if (strcmp(config->keywords[i], keyword) == 0)
            return replace(&config->values[i], value);
    /* One place is kept for what ends the list, four for the place and one for the name of the program. */
    if (config->option_count >= HG_PG_OPTIONS_MAX - 6)
        return wrong(making, "too many options at %s", keyword);
    int err = replace(&config->keywords[config->option_count], keyword);
    if (err == HG_OK)
        err = replace(&config->values[config->option_count], value);
    if (err == HG_OK)
        config->option_count++;
    else
        hg_free(config->keywords[config->option_count]);
    return err;
}

static int set_all(struct making *making, const char *conninfo, const struct hg_pg_option *options,
                   size_t option_count)
{
    char *error = NULL;
    /* Kerberos may wait for names, and a cache stores bytes of one encoding. */
    int err = set(making, "gssencmode", "disable");
    if (err == HG_OK)
        err = set(making, "client_encoding", "UTF8");
    if (conninfo != NULL && err == HG_OK) {
        PQconninfoOption *parsed = hg_pq->conninfoParse(conninfo, &error);
        if (parsed == NULL) {
            err = error != NULL ? wrong(making, "%s", error) : HG_ENOMEM;
            size_t len = strlen(making->error);
            if (err == HG_EINVAL && len > 0 && making->error[len - 1] == '\n')
                making->error[len - 1] = '\0';
            hg_pq->freemem(error);
            return err;
        }
        for (PQconninfoOption *at = parsed; at->keyword != NULL && err == HG_OK; at++)
            if (at->val != NULL && at->val[0] != '\0')
                err = set(making, at->keyword, at->val);
        hg_pq->conninfoFree(parsed);
    }
    for (size_t i = 0; i < option_count && err == HG_OK; i++)
        err = set(making, options[i].keyword, options[i].value);
    return err;
}

static size_t count_items(const char *list)
{
    size_t count = 1;
    for (; *list != '\0'; list++)
        count += *list == ',';
    return count;
}

/* The item at index of a list, or NULL with HG_OK where it is empty or there is no list. */
static int item_at(const char *list, size_t index, char **out_item)
{
    *out_item = NULL;
    if (list == NULL)
        return HG_OK;
    for (; index > 0; index--)
        list = strchr(list, ',') + 1;
    size_t len = strcspn(list, ",");
    if (len == 0)
        return HG_OK;
    *out_item = hg_strndup(list, len);
    return *out_item != NULL ? HG_OK : HG_ENOMEM;
}

static bool is_numeric(const char *host)
{
    struct sockaddr_storage scratch;
    return hg_address_numeric(host, 0, &scratch);
}

static int fill_place(const struct lists *lists, size_t index, struct hg_pg_place *place)
{
    int err = item_at(lists->host, index, &place->host);
    if (err == HG_OK)
        err = item_at(lists->address, index, &place->address);
    if (err == HG_OK)
        err = item_at(lists->port, lists->port != NULL && count_items(lists->port) > 1 ? index : 0,
                      &place->port);
    if (err == HG_OK && place->port == NULL)
        err = replace(&place->port, "5432");
    if (err == HG_OK && place->host == NULL)
        err = replace(&place->host, place->address != NULL ? place->address : "127.0.0.1");
    if (err == HG_OK && place->address == NULL && is_numeric(place->host))
        err = replace(&place->address, place->host);
    return err;
}

static int fill_places(struct making *making)
{
    const struct lists *lists = &making->lists;
    size_t count = count_items(lists->host != NULL      ? lists->host
                               : lists->address != NULL ? lists->address
                                                        : "");

    if (count > HG_PG_HOSTS_MAX)
        return wrong(making, "%s: too many hosts", "host");
    if (lists->address != NULL && count_items(lists->address) != count)
        return wrong(making, "%s: expected as many as hosts", "hostaddr");
    if (lists->port != NULL && count_items(lists->port) != 1 && count_items(lists->port) != count)
        return wrong(making, "%s: expected one, or as many as hosts", "port");
    int err = HG_OK;
    for (size_t i = 0; i < count && err == HG_OK; i++) {
        making->config->place_count = i + 1;
        err = fill_place(lists, i, &making->config->places[i]);
    }
    return err;
}

int hg_pg_config_create(const char *conninfo, const struct hg_pg_option *options,
                        size_t option_count, struct hg_pg_config **out_config, char *error,
                        size_t error_size)
{
    struct making making = {.error = error, .error_size = error_size};

    if (hg_pq_load() < 0) {
        snprintf(error, error_size, "there is no libpq.so.5 (package libpq5)");
        return HG_EIO;
    }
    snprintf(error, error_size, "%s", hg_err_text(HG_ENOMEM));
    making.config = hg_calloc(1, sizeof(*making.config));
    if (making.config == NULL)
        return HG_ENOMEM;
    making.config->ref_count = 1;
    int err = set_all(&making, conninfo, options, option_count);
    if (err == HG_OK)
        err = fill_places(&making);
    hg_free(making.lists.host);
    hg_free(making.lists.address);
    hg_free(making.lists.port);
    if (err < 0)
        hg_pg_config_unref(making.config);
    else
        *out_config = making.config;
    return err;
}

struct hg_pg_config *hg_pg_config_ref(struct hg_pg_config *config)
{
    config->ref_count++;
    return config;
}

void hg_pg_config_unref(struct hg_pg_config *config)
{
    if (config == NULL || --config->ref_count > 0)
        return;
    for (size_t i = 0; i < config->option_count; i++) {
        hg_free(config->keywords[i]);
        hg_free(config->values[i]);
    }
    for (size_t i = 0; i < config->place_count; i++) {
        hg_free(config->places[i].host);
        hg_free(config->places[i].address);
        hg_free(config->places[i].port);
    }
    hg_free(config);
}

bool hg_pg_is_folder(const struct hg_pg_place *place)
{
    return place->host[0] == '/' || place->host[0] == '@';
}
