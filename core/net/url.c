#include "net/url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "base/err.h"
#include "net/curl_library.h"

static const char form[] =
    "expected a URL such as \"https://example.com/path\", without a name and a password";

/* A part of the URL as libcurl has it, or NULL; to be freed with hg_curl->free. */
static char *part(CURLU *handle, CURLUPart what, unsigned how)
{
    char *text = NULL;
    return hg_curl->url_get(handle, what, &text, how) == CURLUE_OK ? text : NULL;
}

static bool is_own_port(const char *scheme, const char *port)
{
    return strcmp(port, strcmp(scheme, "https") == 0 ? "443" : "80") == 0;
}

static char *make_origin(const char *scheme, const char *host, const char *port)
{
    bool has_port = port != NULL && !is_own_port(scheme, port);
    size_t size = strlen(scheme) + strlen(host) + (has_port ? strlen(port) : 0) + sizeof("://:");
    char *origin = hg_malloc(size);
    if (origin == NULL)
        return NULL;
    snprintf(origin, size, "%s://%s%s%s", scheme, host, has_port ? ":" : "", has_port ? port : "");
    for (char *c = origin; *c != '\0'; c++)
        *c = *c >= 'A' && *c <= 'Z' ? (char)(*c + 32) : *c;
    return origin;
}

static int fill(CURLU *handle, struct hg_url *out_url, const char **out_error)
{
    char *scheme = part(handle, CURLUPART_SCHEME, 0), *host = part(handle, CURLUPART_HOST, 0),
         *port = part(handle, CURLUPART_PORT, 0), *text = part(handle, CURLUPART_URL, 0);
    struct hg_url url = {0};
    int err = HG_OK;

    if (scheme != NULL && strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0) {
        err = HG_EINVAL;
        *out_error = "only http and https are spoken";
    } else if (scheme == NULL || host == NULL || text == NULL) {
        err = HG_EINVAL;
        *out_error = form;
    } else if (strlen(text) > HG_URL_MAX) {
        err = HG_EINVAL;
        *out_error = "the URL is longer than 8192 bytes";
    } else {
        url.origin = make_origin(scheme, host, port);
        url.text = hg_strndup(text, strlen(text));
        if (url.origin == NULL || url.text == NULL)
            err = HG_ENOMEM;
    }
    hg_curl->free(scheme);
    hg_curl->free(host);
    hg_curl->free(port);
    hg_curl->free(text);
    if (err < 0)
        hg_url_finish(&url);
    else
        *out_url = url;
    return err;
}

static const unsigned flags = CURLU_PATH_AS_IS | CURLU_DISALLOW_USER | CURLU_NON_SUPPORT_SCHEME;

int hg_url_parse(const char *base, const char *text, struct hg_url *out_url, const char **out_error)
{
    *out_error = hg_err_text(HG_ENOMEM);
    if (hg_curl_load() < 0)
        return HG_ENOMEM;
    *out_error = form;
    /* Bytes that no URL has; libcurl lets some of them pass. */
    for (const char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f)
            return HG_EINVAL;
    CURLU *handle = hg_curl->url();
    CURLUcode code = handle == NULL ? CURLUE_OUT_OF_MEMORY : CURLUE_OK;
    if (code == CURLUE_OK && base != NULL)
        code = hg_curl->url_set(handle, CURLUPART_URL, base, flags);
    if (code == CURLUE_OK)
        code = hg_curl->url_set(handle, CURLUPART_URL, text, flags);
    int err = code == CURLUE_OUT_OF_MEMORY ? HG_ENOMEM : HG_EINVAL;
    if (code == CURLUE_OK)
        err = fill(handle, out_url, out_error);
    hg_curl->url_cleanup(handle);
    if (err == HG_ENOMEM)
        *out_error = hg_err_text(err);
    return err;
}

int hg_url_host(const char *text, char **out_host, uint16_t *out_port)
{
    if (hg_curl_load() < 0)
        return HG_ENOMEM;
    CURLU *handle = hg_curl->url();
    CURLUcode code = handle == NULL ? CURLUE_OUT_OF_MEMORY
                                    : hg_curl->url_set(handle, CURLUPART_URL, text, flags);
    int err = code == CURLUE_OUT_OF_MEMORY ? HG_ENOMEM : HG_EINVAL;
    if (code == CURLUE_OK) {
        char *host = part(handle, CURLUPART_HOST, 0);
        char *port = part(handle, CURLUPART_PORT, CURLU_DEFAULT_PORT);
        if (host != NULL && port != NULL) {
            size_t len = strlen(host);
            bool is_bracketed = host[0] == '[';
            *out_host = is_bracketed ? hg_strndup(host + 1, len - 2) : hg_strndup(host, len);
            *out_port = (uint16_t)atoi(port); /* libcurl has seen that it is one */
            err = *out_host == NULL ? HG_ENOMEM : HG_OK;
        }
        hg_curl->free(host);
        hg_curl->free(port);
    }
    hg_curl->url_cleanup(handle);
    return err;
}

void hg_url_finish(struct hg_url *url)
{
    hg_free(url->text);
    hg_free(url->origin);
    *url = (struct hg_url){0};
}

bool hg_url_is_same_scheme(const struct hg_url *a, const struct hg_url *b)
{
    size_t len = strcspn(a->origin, ":");
    return strncmp(a->origin, b->origin, len + 1) == 0;
}
