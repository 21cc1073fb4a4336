#include "cli/remote.h"

#include <errno.h>
#include <jansson.h>

#include "base/alloc.h"
#include "base/err.h"
#include "cli/client.h"
#include "cli/explain.h"
#include "cli/ring.h"
#include "cli/ring_plan.h"
#include "cli/show.h"
#include "wire/query.h"

#define DEFAULT_NODE   "http://127.0.0.1:8792"
#define TOKEN_MAX      4096
#define PATH_MAX_BYTES ((size_t)1024 * 1024)

struct remote {
    const struct hg_args *args;
    const struct hg_cli_io *io;
    struct hg_buf key, path, token, body;
    struct hg_client_response response;
};

static int fail(struct remote *remote, int code, const char *what, const char *why)
{
    fprintf(remote->io->err, "hgcache: %s: %s%s%s\n", remote->args->command->name, what,
            why[0] == '\0' ? "" : ": ", why);
    return code;
}

static int fail_memory(struct remote *remote, int rc)
{
    return fail(remote, HG_EXIT_FAILED, hg_err_text(rc), "");
}

/* The whole of a stream, at most the buffer's maximum. */
static int read_all(FILE *in, struct hg_buf *buf)
{
    for (;;) {
        int rc = hg_buf_reserve(buf, 1);
        if (rc < 0)
            return rc;
        size_t got = fread(buf->data + buf->len, 1, buf->capacity - buf->len, in);
        buf->len += got;
        if (got == 0)
            return ferror(in) ? HG_EIO : HG_OK;
    }
}

static int read_token(struct remote *remote)
{
    const char *name = remote->args->token_file;
    FILE *file = fopen(name, "rb");
    if (file == NULL)
        return fail(remote, HG_EXIT_USAGE, name, strerror(errno));
    int rc = read_all(file, &remote->token);
    fclose(file);
    if (rc < 0)
        return fail(remote, HG_EXIT_USAGE, name, hg_err_text(rc));
    struct hg_bytes text = hg_buf_bytes(&remote->token);
    while (text.len > 0 && strchr(" \t\r\n", text.data[text.len - 1]) != NULL)
        text.len--;
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] <= 0x20 || text.data[i] == 0x7f)
            return fail(remote, HG_EXIT_USAGE, name, "expected one token of printable characters");
    if (text.len == 0)
        return fail(remote, HG_EXIT_USAGE, name, "expected a token, found nothing");
    remote->token.len = text.len;
    rc = hg_buf_append_char(&remote->token, '\0');
    return rc < 0 ? fail_memory(remote, rc) : HG_EXIT_DONE;
}

static int read_key(struct remote *remote)
{
    struct hg_bytes word = hg_bytes_str(remote->args->words[1]);
    int rc = hg_buf_reserve(&remote->key, word.len + 3);
    if (rc == HG_OK && remote->args->key64) {
        if (hg_base64_decode(word, remote->key.data, &remote->key.len) < 0)
            return fail(remote, HG_EXIT_USAGE, "the key is not base64", "");
    } else if (rc == HG_OK) {
        rc = hg_buf_append_bytes(&remote->key, word);
    }
    if (rc < 0)
        return fail_memory(remote, rc);
    if (remote->key.len == 0)
        return fail(remote, HG_EXIT_USAGE,
                    remote->args->command->id == HG_COMMAND_UNTAG ? "the tag is empty"
                                                                  : "the key is empty",
                    "");
    return HG_EXIT_DONE;
}

/* "/keys?group=G&key=K" and what else belongs to the command. */
static int build_path(struct remote *remote)
{
    const struct hg_args *args = remote->args;
    struct hg_buf *path = &remote->path;
    int rc = HG_OK;
    switch (args->command->id) {
    case HG_COMMAND_STATS:
        rc = hg_buf_append_str(path, "/stats");
        break;
    case HG_COMMAND_RING:
        rc = hg_buf_append_str(path, "/ring");
        break;
    case HG_COMMAND_HOT:
        rc = hg_buf_append_str(path, "/hot");
        break;
    case HG_COMMAND_RELOAD:
        rc = hg_buf_append_str(path, "/reload");
        break;
    case HG_COMMAND_DRAIN:
        rc = hg_buf_append_str(path, "/drain");
        break;
    case HG_COMMAND_EXPLAIN:
        rc = hg_buf_append_str(path, "/explain");
        break;
    case HG_COMMAND_FLUSH:
        rc = hg_buf_append_str(path, "/flush");
        break;
    case HG_COMMAND_UNTAG:
        rc = hg_buf_append_str(path, "/tags");
        break;
    default:
        rc = hg_buf_append_str(path, "/keys");
        break;
    }
    if (rc == HG_OK && args->word_count >= 1) {
        rc = hg_buf_append_str(path, "?group=");
        if (rc == HG_OK)
            rc = hg_percent_encode(path, hg_bytes_str(args->words[0]));
    }
    if (rc == HG_OK && args->word_count >= 2) {
        bool is_tag = args->command->id == HG_COMMAND_UNTAG;
        rc = hg_buf_append_str(path, is_tag ? "&tag=" : "&key=");
        if (rc == HG_OK)
            rc = hg_percent_encode(path, hg_buf_bytes(&remote->key));
    }
    if (rc == HG_OK && args->soft)
        rc = hg_buf_append_str(path, "&soft=1");
    if (rc == HG_OK && args->command->id == HG_COMMAND_GET)
        rc = hg_buf_append_str(path, "&load=1");
    if (rc == HG_OK && args->ttl != NULL) {
        rc = hg_buf_append_str(path, "&ttl=");
        if (rc == HG_OK)
            rc = hg_percent_encode(path, hg_bytes_str(args->ttl));
    }
    if (rc == HG_OK)
        rc = hg_buf_append_char(path, '\0');
    return rc < 0 ? fail_memory(remote, rc) : HG_EXIT_DONE;
}

static int read_value(struct remote *remote)
{
    const char *word = remote->args->words[2];
    bool is_stdin = strcmp(word, "-") == 0;
    int rc =
        is_stdin ? read_all(remote->io->in, &remote->body) : hg_buf_append_str(&remote->body, word);
    return rc < 0 ? fail(remote, HG_EXIT_FAILED, is_stdin ? "standard input" : "the value",
                         hg_err_text(rc))
                  : HG_EXIT_DONE;
}

static int print_json(struct remote *remote, json_t *json)
{
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);
    json_decref(json);
    if (text == NULL)
        return fail_memory(remote, HG_ENOMEM);
    fprintf(remote->io->out, "%s\n", text);
    free(text);
    return HG_EXIT_DONE;
}

/* A member in base64 under NAME64 when it is not UTF-8. */
static int set_bytes(json_t *object, const char *name, const char *name64, struct hg_bytes bytes)
{
    json_t *string = json_stringn(bytes.data == NULL ? "" : bytes.data, bytes.len);
    if (string != NULL)
        return json_object_set_new(object, name, string);
    struct hg_buf text;
    hg_buf_init(&text, HG_CLIENT_BODY_MAX * 2);
    int rc = hg_base64_encode(&text, bytes);
    if (rc == HG_OK)
        rc = json_object_set_new(object, name64, json_stringn(text.data, text.len));
    hg_buf_finish(&text);
    return rc;
}

static int print_value(struct remote *remote)
{
    const struct hg_buf *body = &remote->response.body;
    if (!remote->args->json) {
        if (body->len > 0)
            fwrite(body->data, 1, body->len, remote->io->out);
        return HG_EXIT_DONE;
    }
    json_t *object = json_object();
    if (object == NULL ||
        set_bytes(object, "group", "group64", hg_bytes_str(remote->args->words[0])) < 0 ||
        set_bytes(object, "key", "key64", hg_buf_bytes(&remote->key)) < 0 ||
        set_bytes(object, "value", "value64", hg_buf_bytes(body)) < 0) {
        json_decref(object);
        return fail_memory(remote, HG_ENOMEM);
    }
    return print_json(remote, object);
}

/* JSON as it came, on one line. */
static void print_body(struct remote *remote)
{
    const struct hg_buf *body = &remote->response.body;
    if (body->len == 0)
        return;
    fwrite(body->data, 1, body->len, remote->io->out);
    if (body->data[body->len - 1] != '\n')
        fputc('\n', remote->io->out);
}

/* What --join or --leave would move. */
static int print_plan(struct remote *remote, const json_t *page)
{
    const struct hg_args *args = remote->args;
    const char *name = args->join != NULL ? args->join : args->leave;
    char error[160];
    json_t *plan = NULL;
    int rc = hg_ring_plan_create(page, args->join != NULL, name, &plan, error, sizeof(error));
    if (rc < 0)
        return fail(remote, rc == HG_EINVAL ? HG_EXIT_USAGE : HG_EXIT_FAILED, error, "");
    if (args->json)
        return print_json(remote, plan);
    rc = hg_ring_plan_show(plan, remote->io->colour, remote->io->out);
    json_decref(plan);
    return rc < 0 ? fail_memory(remote, rc) : HG_EXIT_DONE;
}

static int show_page(const struct remote *remote, const json_t *page)
{
    const struct hg_cli_io *io = remote->io;
    switch (remote->args->command->id) {
    case HG_COMMAND_EXPLAIN:
        return hg_explain_show(page, io->colour, io->out);
    case HG_COMMAND_RING:
        return hg_ring_show(page, io->colour, io->out);
    default:
        return hg_show(page, io->colour, io->out);
    }
}

static int print_page(struct remote *remote)
{
    const struct hg_buf *body = &remote->response.body;
    json_error_t error;
    json_t *page =
        json_loadb(body->data == NULL ? "" : body->data, body->len, JSON_ALLOW_NUL, &error);
    if (page == NULL)
        return fail(remote, HG_EXIT_FAILED, "expected JSON from the node", error.text);
    if (remote->args->join != NULL || remote->args->leave != NULL) {
        int code = print_plan(remote, page);
        json_decref(page);
        return code;
    }
    if (remote->args->json) {
        json_decref(page);
        print_body(remote);
        return HG_EXIT_DONE;
    }
    int rc = show_page(remote, page);
    json_decref(page);
    return rc < 0 ? fail_memory(remote, rc) : HG_EXIT_DONE;
}

/* "404: no such group", from the first line of the body. */
static int fail_status(struct remote *remote)
{
    char status[16], line[256];
    struct hg_bytes body = hg_buf_bytes(&remote->response.body);
    const char *end = body.len == 0 ? NULL : memchr(body.data, '\n', body.len);
    if (end != NULL)
        body.len = (size_t)(end - body.data);
    snprintf(status, sizeof status, "%d", remote->response.status);
    return fail(remote, HG_EXIT_FAILED, status, hg_bytes_escape(body, line, sizeof line));
}

/* The node's words as they are: they begin with file and line. */
static int fail_configuration(struct remote *remote)
{
    char line[1100];
    struct hg_bytes body = hg_buf_bytes(&remote->response.body);
    if (body.len > 0 && body.data[body.len - 1] == '\n')
        body.len--;
    fprintf(remote->io->err, "hgcache: %s\n", hg_bytes_escape(body, line, sizeof line));
    return HG_EXIT_USAGE;
}

/* A line for each change, and the number of the generation. */
static int print_changes(struct remote *remote)
{
    if (remote->args->json) {
        print_body(remote);
        return HG_EXIT_DONE;
    }
    const struct hg_buf *body = &remote->response.body;
    json_error_t error;
    json_t *answer = json_loadb(body->data == NULL ? "" : body->data, body->len, 0, &error);
    if (answer == NULL)
        return fail(remote, HG_EXIT_FAILED, "expected JSON from the node", error.text);
    json_t *changes = json_object_get(answer, "changes");
    for (size_t i = 0; i < json_array_size(changes); i++)
        fprintf(remote->io->out, "%s\n", json_string_value(json_array_get(changes, i)));
    fprintf(remote->io->out, "generation %lld serves, %zu changes\n",
            (long long)json_integer_value(json_object_get(answer, "generation")),
            json_array_size(changes));
    json_decref(answer);
    return HG_EXIT_DONE;
}

/* A group or a page that the node does not have is a failure; only a missing key is "no such key".
 */
static bool is_no_such_key(const struct remote *remote)
{
    return remote->response.status == 404 &&
           hg_bytes_has_prefix(hg_buf_bytes(&remote->response.body), HG_BYTES("no such key"));
}

static int print_answer(struct remote *remote)
{
    enum hg_command_id id = remote->args->command->id;
    int status = remote->response.status;
    if ((id == HG_COMMAND_GET || id == HG_COMMAND_PEEK) && is_no_such_key(remote))
        return HG_EXIT_NO_KEY;
    if (id == HG_COMMAND_RELOAD && status == 422)
        return fail_configuration(remote);
    if (status < 200 || status > 299)
        return fail_status(remote);
    switch (id) {
    case HG_COMMAND_GET:
    case HG_COMMAND_PEEK:
        return print_value(remote);
    case HG_COMMAND_RELOAD:
        return print_changes(remote);
    case HG_COMMAND_SET:
    case HG_COMMAND_DEL:
    case HG_COMMAND_FLUSH:
    case HG_COMMAND_UNTAG:
    case HG_COMMAND_DRAIN:
        print_body(remote);
        return HG_EXIT_DONE;
    default:
        return print_page(remote);
    }
}

static int ask(struct remote *remote)
{
    const struct hg_args *args = remote->args;
    enum hg_command_id id = args->command->id;
    int code = args->token_file != NULL ? read_token(remote) : HG_EXIT_DONE;
    if (code == HG_EXIT_DONE && args->word_count >= 2)
        code = read_key(remote);
    if (code == HG_EXIT_DONE)
        code = build_path(remote);
    if (code == HG_EXIT_DONE && id == HG_COMMAND_SET)
        code = read_value(remote);
    if (code != HG_EXIT_DONE)
        return code;

    struct hg_client_request request = {
        .node = args->node != NULL ? args->node : DEFAULT_NODE,
        .method = id == HG_COMMAND_SET                             ? "PUT"
                  : id == HG_COMMAND_FLUSH || id == HG_COMMAND_RELOAD || id == HG_COMMAND_DRAIN
                      ? "POST"
                  : id == HG_COMMAND_DEL || id == HG_COMMAND_UNTAG ? "DELETE"
                                                                   : "GET",
        .path = remote->path.data,
        .token = args->token_file != NULL ? remote->token.data : NULL,
        .has_body = id == HG_COMMAND_SET,
        .body = hg_buf_bytes(&remote->body),
    };
    if (hg_client_send(&request, &remote->response) < 0)
        return fail(remote, HG_EXIT_FAILED, remote->response.error, "");
    return print_answer(remote);
}

int hg_remote(const struct hg_args *args, const struct hg_cli_io *io)
{
    struct remote remote = {.args = args, .io = io};
    hg_buf_init(&remote.key, PATH_MAX_BYTES);
    hg_buf_init(&remote.path, PATH_MAX_BYTES);
    hg_buf_init(&remote.token, TOKEN_MAX);
    hg_buf_init(&remote.body, HG_CLIENT_BODY_MAX);
    int code = ask(&remote);
    hg_client_response_finish(&remote.response);
    hg_buf_finish(&remote.body);
    hg_buf_finish(&remote.token);
    hg_buf_finish(&remote.path);
    hg_buf_finish(&remote.key);
    return code;
}
