/* The raw header lines of an answer, as fetch.c kept them. */
#include "net/fetch.h"

bool hg_fetch_next_header(struct hg_bytes *rest, struct hg_bytes *out_name,
                          struct hg_bytes *out_value)
{
    while (rest->len > 0) {
        const char *end = memchr(rest->data, '\n', rest->len);
        size_t len = end == NULL ? rest->len : (size_t)(end - rest->data) + 1;
        struct hg_bytes line = hg_bytes(rest->data, len);
        while (line.len > 0 && (line.data[line.len - 1] == '\n' || line.data[line.len - 1] == '\r'))
            line.len--;
        *rest = hg_bytes(rest->data + len, rest->len - len);
        if (line.len == 0) { /* what follows are trailers */
            *rest = HG_BYTES_NONE;
            return false;
        }
        const char *colon = memchr(line.data, ':', line.len);
        bool is_folded = line.data[0] == ' ' || line.data[0] == '\t'; /* obsolete: left out */
        if (colon == NULL || is_folded)
            continue;
        size_t name_len = (size_t)(colon - line.data);
        *out_name = hg_bytes(line.data, name_len);
        *out_value = hg_bytes_trim(hg_bytes(colon + 1, line.len - name_len - 1));
        return true;
    }
    return false;
}

struct hg_bytes hg_fetch_header(const struct hg_fetch_response *response, const char *name)
{
    struct hg_bytes rest = response->headers, wanted = hg_bytes_str(name), found, value;
    while (hg_fetch_next_header(&rest, &found, &value))
        if (hg_bytes_eq_nocase(found, wanted))
            return value;
    return HG_BYTES_NONE;
}
