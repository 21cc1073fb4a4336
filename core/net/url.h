/*
 * url - http and https URLs as libcurl reads them, so that what is checked is what is asked.
 *
 * An origin is "scheme://host" in lower case, with ":port" where it is not the scheme's own.
 *
 * Ownership  what hg_url_parse fills in is its own until hg_url_finish.
 * Errors     HG_EINVAL with a text, HG_ENOMEM. Names and passwords in a URL are refused: they would end in logs.
 */
#ifndef HG_NET_URL_H
#define HG_NET_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HG_URL_MAX 8192 /* bytes */

struct hg_url {
    char *text; /* absolute */
    char *origin;
};

/* text may be relative to base (a whole URL; NULL: none). *out_error is static storage. */
int hg_url_parse(const char *base, const char *text, struct hg_url *out_url,
                 const char **out_error);
/* Whom a whole URL is asked of: a name, or an address without brackets (hg_free it), and its port or its scheme's own. */
int hg_url_host(const char *text, char **out_host, uint16_t *out_port);
void hg_url_finish(struct hg_url *url); /* zeroed memory is fine */
/* "https" of both, or "http" of both. */
bool hg_url_is_same_scheme(const struct hg_url *a, const struct hg_url *b);

#endif
