#include "cli/client.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/err.h"
#include "net/curl_library.h"

static size_t on_body(char *data, size_t size, size_t count, void *ctx)
{
    struct hg_client_response *response = ctx;
    return hg_buf_append(&response->body, data, size * count) < 0 ? 0 : size * count;
}

static int add_header(struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = hg_curl->slist_append(*list, line);
    if (longer == NULL)
        return HG_ENOMEM;
    *list = longer;
    return HG_OK;
}

static int add_headers(const struct hg_client_request *request, struct curl_slist **list)
{
    int rc = add_header(list, "Expect:");
    if (rc == HG_OK && request->has_body)
        rc = add_header(list, "Content-Type: application/octet-stream");
    if (rc == HG_OK && request->token != NULL) {
        struct hg_buf line;
        hg_buf_init(&line, 64 * 1024);
        rc = hg_buf_printf(&line, "Authorization: Bearer %s", request->token);
        if (rc == HG_OK)
            rc = hg_buf_append_char(&line, '\0');
        if (rc == HG_OK)
            rc = add_header(list, line.data);
        hg_buf_finish(&line);
    }
    return rc;
}

/* The address as curl wants it, NUL-terminated; the path of a unix socket, or NULL. */
static int build_url(const struct hg_client_request *request, struct hg_buf *url,
                     const char **out_socket)
{
    const char *node = request->node;
    *out_socket = NULL;
    if (strncmp(node, "unix:", 5) == 0) {
        *out_socket = node + 5;
        node = "http://localhost";
    }
    size_t len = strlen(node);
    while (len > 0 && node[len - 1] == '/')
        len--;
    int rc = hg_buf_append(url, node, len);
    if (rc == HG_OK)
        rc = hg_buf_append_str(url, request->path);
    return rc == HG_OK ? hg_buf_append_char(url, '\0') : rc;
}

static int perform(CURL *easy, const struct hg_client_request *request,
                   struct hg_client_response *response)
{
    char why[CURL_ERROR_SIZE] = "";
    struct hg_buf url;
    struct curl_slist *headers = NULL;
    const char *socket;
    hg_buf_init(&url, 1024 * 1024);
    int rc = build_url(request, &url, &socket);
    if (rc == HG_OK)
        rc = add_headers(request, &headers);
    if (rc < 0)
        goto free_request;

    CURLcode code = CURLE_OK;
#define SET(option, value)                                                                         \
    code = code == CURLE_OK ? hg_curl->easy_setopt(easy, (option), (value)) : code
    SET(CURLOPT_URL, url.data);
    if (socket != NULL)
        SET(CURLOPT_UNIX_SOCKET_PATH, socket);
    SET(CURLOPT_CUSTOMREQUEST, request->method);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_CONNECTTIMEOUT, 5L);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_PATH_AS_IS, 1L);
    SET(CURLOPT_HTTPHEADER, headers);
    SET(CURLOPT_ERRORBUFFER, why);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, response);
    if (request->has_body) {
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
        SET(CURLOPT_POSTFIELDS, request->body.len == 0 ? "" : request->body.data);
    }
#undef SET
    if (code == CURLE_OK)
        code = hg_curl->easy_perform(easy);
    long status = 0;
    if (code == CURLE_OK)
        code = hg_curl->easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    response->status = (int)status;
    if (code != CURLE_OK) {
        snprintf(response->error, sizeof response->error, "no answer from %.200s: %.200s",
                 request->node, why[0] != '\0' ? why : hg_curl->easy_strerror(code));
        rc = HG_EPEER;
    }

free_request:
    hg_curl->slist_free_all(headers);
    hg_buf_finish(&url);
    return rc;
}

int hg_client_send(const struct hg_client_request *request, struct hg_client_response *response)
{
    *response = (struct hg_client_response){0};
    hg_buf_init(&response->body, HG_CLIENT_BODY_MAX);
    int rc = hg_curl_load();
    if (rc < 0) {
        snprintf(response->error, sizeof response->error, "libcurl.so.4 cannot be loaded");
        return rc;
    }
    CURL *easy = hg_curl->easy_init();
    if (easy == NULL) {
        snprintf(response->error, sizeof response->error, "%s", hg_err_text(HG_ENOMEM));
        return HG_ENOMEM;
    }
    rc = perform(easy, request, response);
    hg_curl->easy_cleanup(easy);
    if (rc < 0 && response->error[0] == '\0')
        snprintf(response->error, sizeof response->error, "%s", hg_err_text(rc));
    return rc;
}

void hg_client_response_finish(struct hg_client_response *response)
{
    hg_buf_finish(&response->body);
}
