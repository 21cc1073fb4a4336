/* Every answer is one of few texts, so they are put together once, when the configuration is read.
 */
#include "wire/cors.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/err.h"
#include "wire/reply.h"

#define LIST_MAX 256   /* entries of one list */
#define TEXT_MAX 16384 /* bytes of all header lines together */

struct hg_cors {
    bool is_any; /* "*" */
    bool by_function;
    size_t origin_count;
    struct hg_bytes *origins; /* into text */
    struct hg_bytes answer,
        preflight; /* lines that follow Access-Control-Allow-Origin; into text */
    char text[];
};

static int refuse(char *error, size_t error_size, const char *what, struct hg_bytes found)
{
    char shown[120];
    if (error_size > 0)
        snprintf(error, error_size, "%s, found \"%s\"", what,
                 hg_bytes_escape(found, shown, sizeof(shown)));
    return HG_EINVAL;
}

/* "null", or scheme "://" host [":" port] as browsers serialise it: lower case, no path, no slash
 * at the end. */
static bool is_origin(struct hg_bytes origin)
{
    if (hg_bytes_eq(origin, HG_BYTES("null")))
        return true;
    const char *colon = origin.len == 0 ? NULL : memchr(origin.data, ':', origin.len);
    if (colon == NULL || colon == origin.data || origin.data + origin.len - colon < 4 ||
        memcmp(colon, "://", 3) != 0)
        return false;
    for (size_t i = 0; i < origin.len; i++) {
        unsigned char c = (unsigned char)origin.data[i];
        if (c <= ' ' || c >= 0x7f || (c >= 'A' && c <= 'Z') || strchr(",;\"'?#@\\*", c) != NULL)
            return false;
    }
    return memchr(colon + 3, '/', (size_t)(origin.data + origin.len - colon - 3)) == NULL;
}

static int check_tokens(const char *what, const struct hg_bytes *list, size_t count, char *error,
                        size_t error_size)
{
    if (count > LIST_MAX)
        return refuse(error, error_size, "cors: a list is too long", hg_bytes_str(what));
    for (size_t i = 0; i < count; i++) {
        if (!hg_field_name_is_valid(list[i]))
            return refuse(error, error_size, what, list[i]);
    }
    return HG_OK;
}

static int check(const struct hg_cors_config *config, char *error, size_t error_size)
{
    if ((config->origin_count == 0) != config->by_function || config->origin_count > LIST_MAX)
        return refuse(error, error_size, "cors.origins: expected 1 to 256 origins",
                      HG_BYTES("another number"));
    for (size_t i = 0; i < config->origin_count; i++) {
        struct hg_bytes origin = config->origins[i];
        if (!hg_bytes_eq(origin, HG_BYTES("*"))) {
            if (!is_origin(origin))
                return refuse(error, error_size,
                              "cors.origins: expected \"*\" or scheme://host[:port] in lower case "
                              "without a path",
                              origin);
            continue;
        }
        if (config->origin_count > 1)
            return refuse(error, error_size, "cors.origins: \"*\" stands alone",
                          config->origins[i == 0]);
        if (config->credentials)
            return refuse(error, error_size, "cors: credentials need exact origins", origin);
    }
    int err = check_tokens("cors.methods: expected a method", config->methods, config->method_count,
                           error, error_size);
    if (err == HG_OK)
        err = check_tokens("cors.headers: expected a header name", config->headers,
                           config->header_count, error, error_size);
    if (err == HG_OK)
        err = check_tokens("cors.expose: expected a header name", config->expose,
                           config->expose_count, error, error_size);
    return err;
}

static int append_list(struct hg_buf *buf, const char *name, const struct hg_bytes *list,
                       size_t count)
{
    if (count == 0)
        return HG_OK;
    int err = hg_buf_append_str(buf, name);
    for (size_t i = 0; i < count && err == HG_OK; i++) {
        err = i == 0 ? HG_OK : hg_buf_append_str(buf, ", ");
        if (err == HG_OK)
            err = hg_buf_append_bytes(buf, list[i]);
    }
    return err == HG_OK ? hg_buf_append_str(buf, "\r\n") : err;
}

/* All texts one behind the other: origins, lines of an answer, lines of a preflight. */
static int build(const struct hg_cors_config *config, struct hg_buf *buf, size_t *out_answer,
                 size_t *out_preflight)
{
    static const char credentials[] = "Access-Control-Allow-Credentials: true\r\n";
    int err = HG_OK;
    for (size_t i = 0; i < config->origin_count && err == HG_OK; i++)
        err = hg_buf_append_bytes(buf, config->origins[i]);
    *out_answer = buf->len;
    if (err == HG_OK && config->credentials)
        err = hg_buf_append_str(buf, credentials);
    if (err == HG_OK)
        err = append_list(buf, "Access-Control-Expose-Headers: ", config->expose,
                          config->expose_count);
    *out_preflight = buf->len;
    if (err == HG_OK && config->credentials)
        err = hg_buf_append_str(buf, credentials);
    if (err == HG_OK)
        err = append_list(buf, "Access-Control-Allow-Methods: ", config->methods,
                          config->method_count);
    if (err == HG_OK)
        err = append_list(buf, "Access-Control-Allow-Headers: ", config->headers,
                          config->header_count);
    if (err == HG_OK && config->max_age_s > 0)
        err = hg_buf_printf(buf, "Access-Control-Max-Age: %llu\r\n",
                            (unsigned long long)config->max_age_s);
    return err;
}

static struct hg_cors *assemble(const struct hg_cors_config *config, struct hg_bytes text,
                                size_t answer, size_t preflight)
{
    struct hg_cors *cors = hg_malloc(sizeof(*cors) + text.len);
    if (cors == NULL)
        return NULL;
    cors->origins =
        hg_calloc(config->by_function ? 1 : config->origin_count, sizeof(*cors->origins));
    if (cors->origins == NULL) {
        hg_free(cors);
        return NULL;
    }
    memcpy(cors->text, text.data, text.len);
    const char *at = cors->text;
    for (size_t i = 0; i < config->origin_count; i++) {
        cors->origins[i] = hg_bytes(at, config->origins[i].len);
        at += config->origins[i].len;
    }
    cors->origin_count = config->origin_count;
    cors->by_function = config->by_function;
    cors->is_any = !cors->by_function && hg_bytes_eq(config->origins[0], HG_BYTES("*"));
    cors->answer = hg_bytes(cors->text + answer, preflight - answer);
    cors->preflight = hg_bytes(cors->text + preflight, text.len - preflight);
    return cors;
}

int hg_cors_create(const struct hg_cors_config *config, struct hg_cors **out_cors, char *error,
                   size_t error_size)
{
    struct hg_buf buf;
    size_t answer, preflight;
    int err = check(config, error, error_size);
    if (err < 0)
        return err;
    hg_buf_init(&buf, TEXT_MAX);
    err = build(config, &buf, &answer, &preflight);
    if (err == HG_ETOOBIG)
        refuse(error, error_size, "cors: all lists together are too long",
               HG_BYTES("more than 16 KiB"));
    if (err == HG_OK) {
        struct hg_cors *cors = assemble(config, hg_buf_bytes(&buf), answer, preflight);
        if (cors == NULL)
            err = HG_ENOMEM;
        else
            *out_cors = cors;
    }
    hg_buf_finish(&buf);
    return err == HG_ETOOBIG ? HG_EINVAL : err;
}

void hg_cors_destroy(struct hg_cors *cors)
{
    if (cors == NULL)
        return;
    hg_free(cors->origins);
    hg_free(cors);
}

bool hg_cors_is_preflight(const struct hg_http1_request *request)
{
    return request->method == HG_OPTIONS && request->origin_count > 0 &&
           hg_http1_field(request, "Access-Control-Request-Method").data != NULL;
}

bool hg_cors_is_asking(const struct hg_cors *cors, const struct hg_http1_request *request)
{
    return cors != NULL && cors->by_function && request->origin_count == 1 &&
           is_origin(request->origin);
}

static bool is_allowed(const struct hg_cors *cors, const struct hg_http1_request *request,
                       bool is_approved)
{
    if (cors->by_function)
        return is_approved && hg_cors_is_asking(cors, request);
    if (request->origin_count != 1)
        return false;
    for (size_t i = 0; i < cors->origin_count; i++) {
        if (hg_bytes_eq(cors->origins[i], request->origin))
            return true;
    }
    return false;
}

/* The fields are there as a whole or not at all: on failure len goes back. */
static int append(const struct hg_cors *cors, const struct hg_http1_request *request,
                  bool is_approved, struct hg_bytes lines, struct hg_buf *headers)
{
    size_t before = headers->len;
    int err = HG_OK;
    if (cors->is_any) {
        err = hg_buf_append_str(headers, "Access-Control-Allow-Origin: *\r\n");
    } else {
        err = hg_buf_append_str(headers, "Vary: Origin\r\n");
        if (err == HG_OK && !is_allowed(cors, request, is_approved))
            return HG_OK;
        if (err == HG_OK)
            err = hg_buf_append_str(headers, "Access-Control-Allow-Origin: ");
        if (err == HG_OK)
            err = hg_buf_append_bytes(headers, request->origin);
        if (err == HG_OK)
            err = hg_buf_append_str(headers, "\r\n");
    }
    if (err == HG_OK)
        err = hg_buf_append_bytes(headers, lines);
    if (err < 0)
        headers->len = before;
    return err;
}

int hg_cors_answer(const struct hg_cors *cors, const struct hg_http1_request *request,
                   bool is_approved, struct hg_buf *headers)
{
    return cors == NULL ? HG_OK : append(cors, request, is_approved, cors->answer, headers);
}

int hg_cors_preflight(const struct hg_cors *cors, const struct hg_http1_request *request,
                      bool is_approved, struct hg_buf *headers)
{
    if (cors == NULL || (cors->is_any && request->origin_count == 0))
        return HG_OK;
    return append(cors, request, is_approved, cors->preflight, headers);
}
