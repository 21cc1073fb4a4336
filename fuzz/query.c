/* Percent-encoding, query strings, base64 and key templates: what is decoded encodes back, and nothing is read past its end. */
#include "fuzz.h"
#include "wire/query.h"
#include "wire/template.h"

static void percent(struct hg_bytes text)
{
    for (int plus = 0; plus < 2; plus++) {
        char *plain = malloc(text.len + 1), *again = malloc(text.len * 3 + 1), *small = malloc(4);
        size_t len = 0, len_again = 0, len_small = 0;
        struct hg_buf buf;

        must(plain != NULL && again != NULL && small != NULL);
        int err = hg_percent_decode(text, plus, plain, &len);
        must((err == HG_OK) == hg_percent_is_valid(text));
        int err_small = hg_percent_decode_into(text, plus, small, 4, &len_small);
        if (err == HG_OK) {
            must(len <= text.len && (err_small == HG_OK) == (len <= 4));
            must(hg_percent_equals(text, plus, hg_bytes(plain, len)));
            hg_buf_init(&buf, SIZE_MAX);
            must(hg_percent_encode(&buf, hg_bytes(plain, len)) == HG_OK);
            must(hg_percent_decode(hg_buf_bytes(&buf), true, again, &len_again) == HG_OK);
            must(hg_bytes_eq(hg_bytes(plain, len), hg_bytes(again, len_again)));
            hg_buf_finish(&buf);
        }
        free(plain);
        free(again);
        free(small);
    }
}

static void query(struct hg_bytes text)
{
    struct hg_bytes rest = text, value = HG_BYTES_NONE;
    struct hg_query_pair pair;
    unsigned count = 0;
    bool is_bad = false;

    while (hg_query_next(&rest, &pair)) {
        must(pair.name.len > 0 || pair.value.data != NULL);
        is_bad |= !hg_percent_is_valid(pair.name);
        count += hg_percent_equals(pair.name, true, HG_BYTES("key"));
    }
    int err = hg_query_find(text, HG_BYTES("key"), &value);
    must(err == HG_OK || err == HG_ENOENT || err == HG_EINVAL || err == HG_EPROTO);
    if (!is_bad)
        must(err == (count == 0 ? HG_ENOENT : count == 1 ? HG_OK : HG_EINVAL));
}

static void base64(struct hg_bytes text)
{
    char *out = malloc(text.len * 3 / 4 + 3);
    struct hg_buf buf, back;
    size_t len = 0;

    must(out != NULL);
    hg_buf_init(&buf, SIZE_MAX);
    if (hg_base64_decode(text, out, &len) == HG_OK) {
        must(hg_base64_encode(&buf, hg_bytes(out, len)) == HG_OK);
        must(buf.len == text.len);
    }
    free(out);
    hg_buf_init(&back, SIZE_MAX);
    must(hg_base64_encode(&back, text) == HG_OK);
    out = malloc(back.len * 3 / 4 + 3);
    must(out != NULL && hg_base64_decode(hg_buf_bytes(&back), out, &len) == HG_OK);
    must(hg_bytes_eq(hg_bytes(out, len), text));
    free(out);
    hg_buf_finish(&buf);
    hg_buf_finish(&back);
}

/* The first line is the template, the second what the path captured, the rest the query. */
static void template(struct hg_bytes text)
{
    struct hg_bytes line = fuzz_line(&text);
    struct hg_path_params params = {
        .names = {HG_BYTES("id")}, .values = {fuzz_line(&text)}, .count = 1};
    struct hg_http1_request request = {
        .method = HG_GET, .path = HG_BYTES("/"), .query = text, .host = HG_BYTES("h")};
    struct hg_template *tmpl = NULL;
    const char *part = NULL;
    char error[256] = "", out[128];
    size_t len = 0;

    int err = hg_template_create(line, &tmpl, error, sizeof(error));
    must(err == HG_OK || error[0] != '\0');
    if (err < 0)
        return;
    if (hg_template_unknown_path(tmpl, params.names, 1) == NULL) {
        err = hg_template_expand(tmpl, &request, &params, out, sizeof(out), &len, &part);
        must(err < 0 || len <= sizeof(out));
        must((err != HG_ENOENT && err != HG_EINVAL && err != HG_EPROTO) || part != NULL);
    }
    hg_template_destroy(tmpl);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t live = hg_alloc_live_count();
    char *copy = fuzz_copy(hg_bytes(data + 1, size - 1));
    struct hg_bytes text = hg_bytes(copy, size - 1);
    switch (data[0] % 4) {
    case 0:
        percent(text);
        break;
    case 1:
        query(text);
        break;
    case 2:
        base64(text);
        break;
    default:
        template(text);
        break;
    }
    free(copy);
    must(hg_alloc_live_count() == live);
    return 0;
}
