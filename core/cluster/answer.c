#include "cluster/answer.h"

#include "base/bug.h"
#include "base/err.h"
#include "base/hash.h"
#include "wire/grpc.h"
#include "wire/query.h"

#define NS_PER_MS 1000000

/* --- from a peer --- */

/*
 * What groupcache-go says instead of a remaining life: a moment of the wall clock, nanoseconds; 0 =
 * none told.
 */
static uint64_t life_until(int64_t expire_unix_ns, uint64_t now_unix_ns)
{
    if (expire_unix_ns == 0)
        return HG_FOREVER;
    if (expire_unix_ns < 0 || (uint64_t)expire_unix_ns <= now_unix_ns)
        return 0;
    return ((uint64_t)expire_unix_ns - now_unix_ns) / NS_PER_MS;
}

static bool is_of_another_key(const struct hg_peer_response *response, struct hg_bytes key)
{
    return response->has_key_hash && response->key_hash != hg_xxh64(key);
}

static int take_response(const struct hg_peer_response *response, struct hg_bytes key,
                         uint64_t now_unix_ns, struct hg_ask_answer *out_answer)
{
    struct hg_value *result = hg_peer_response_to_value(response, key);
    if (result == NULL)
        return HG_ENOMEM;
    *out_answer = (struct hg_ask_answer){
        .outcome = HG_ASK_TYPED,
        .result = result,
        .ttl_ms = response->has_ttl ? response->ttl_ms
                                    : life_until(response->expire_unix_ns, now_unix_ns),
        .age_ms = response->age_ms,
        .minute_qps = response->minute_qps,
    };
    return HG_OK;
}

int hg_answer_from_http(int http_status, struct hg_bytes body, struct hg_bytes key,
                        uint64_t now_unix_ns, struct hg_ask_answer *out_answer)
{
    struct hg_peer_response response;
    void *owner = NULL;
    bool is_ok = http_status == 200;

    int err = hg_peer_response_decode(body, &response, &owner);
    if (err == HG_ENOMEM)
        return err;
    if (err < 0 || (response.status == HG_STATUS_NONE && !is_ok)) {
        /* A Go node's plain text, a proxy's page. A 200 that does not decode is garbage. */
        *out_answer = (struct hg_ask_answer){.outcome = is_ok ? HG_ASK_TRANSPORT : HG_ASK_UNTYPED};
        err = HG_OK;
    } else if (is_of_another_key(&response, key) && !hg_bug(HG_BUG_WRONG_KEY)) {
        *out_answer = (struct hg_ask_answer){.outcome = HG_ASK_TRANSPORT};
    } else {
        err = take_response(&response, key, now_unix_ns, out_answer);
    }
    hg_peer_message_free(owner);
    return err;
}

int hg_answer_from_grpc(int http_status, int grpc_code, struct hg_bytes details,
                        struct hg_bytes body, struct hg_bytes key, uint64_t now_unix_ns,
                        struct hg_ask_answer *out_answer)
{
    struct hg_bytes message;
    struct hg_buf response;
    size_t len = 0;

    *out_answer = (struct hg_ask_answer){.outcome = HG_ASK_TRANSPORT};
    if (http_status != 200) { /* no gRPC there: a proxy's page */
        out_answer->outcome = HG_ASK_UNTYPED;
        return HG_OK;
    }
    if (grpc_code == HG_GRPC_OK)
        return hg_grpc_message_read(body, SIZE_MAX, &message) < 0
                   ? HG_OK
                   : hg_answer_from_http(200, message, key, now_unix_ns, out_answer);
    if (grpc_code < 0)
        return HG_OK;
    hg_buf_init(&response, SIZE_MAX);
    int err = hg_buf_reserve(&response, details.len);
    if (err == HG_OK && details.len > 0 && hg_base64_decode(details, response.data, &len) == HG_OK)
        response.len = len;
    if (err == HG_OK)
        err = hg_answer_from_http(502, hg_buf_bytes(&response), key, now_unix_ns, out_answer);
    hg_buf_finish(&response);
    return err;
}

int hg_answer_from_response(const struct hg_peer_response *response, struct hg_bytes key,
                            uint64_t now_unix_ns, struct hg_ask_answer *out_answer)
{
    if (response->status != HG_STATUS_NONE &&
        (!is_of_another_key(response, key) || hg_bug(HG_BUG_MANY_NUMBER)))
        return take_response(response, key, now_unix_ns, out_answer);
    *out_answer = (struct hg_ask_answer){.outcome = HG_ASK_TRANSPORT};
    return HG_OK;
}

/* --- to clients and peers --- */

/* An answer that is an error value, whatever err says beside it. */
static bool has_error_value(const struct hg_result *result)
{
    return result->value != NULL && hg_value_status(result->value) == HG_STATUS_ERROR;
}

int hg_result_http_status(const struct hg_result *result)
{
    switch (result->err) {
    case HG_ETOOBIG:
        return 414;
    case HG_EINVAL:
        return 400;
    default:
        break;
    }
    if (has_error_value(result))
        return hg_class_http_status(hg_value_class(result->value));
    switch (result->err) {
    case HG_OK:
        break;
    case HG_ENOENT:
        return 404;
    case HG_ETIMEDOUT:
        return 504;
    case HG_ELIMIT:
    case HG_ENOMEM:
    case HG_ECANCELED:
    case HG_EDRAINING:
        return 503;
    default:
        return 502;
    }
    if (result->value == NULL)
        return 502;
    switch (hg_value_status(result->value)) {
    case HG_STATUS_VALUE:
        return 200;
    case HG_STATUS_NOT_FOUND:
    case HG_STATUS_NO_GROUP:
        return 404;
    default:
        return 502;
    }
}

uint64_t hg_result_retry_after_s(const struct hg_result *result)
{
    uint64_t ms = result->retry_after_ms;
    if (ms == 0 && has_error_value(result))
        ms = hg_value_more(result->value).retry_after_ms;
    if (ms == 0)
        return result->err != HG_OK && hg_result_http_status(result) == 503 ? 1 : 0;
    return ms / 1000 + (ms % 1000 != 0);
}

static const char *generic_text(enum hg_class klass)
{
    switch (klass) {
    case HG_CLASS_UNAVAILABLE:
        return "the source is unavailable";
    case HG_CLASS_TIMEOUT:
        return "deadline passed";
    case HG_CLASS_DENIED:
        return "permission denied";
    case HG_CLASS_TOO_LARGE:
        return "the value is over the size limit";
    case HG_CLASS_INTERNAL:
        break;
    }
    return "the source failed";
}

static enum hg_class class_of_err(int err)
{
    switch (err) {
    case HG_ETIMEDOUT:
        return HG_CLASS_TIMEOUT;
    case HG_ELIMIT:
    case HG_ENOMEM:
    case HG_ECANCELED:
    case HG_EDRAINING:
        return HG_CLASS_UNAVAILABLE;
    case HG_ETOOBIG:
        return HG_CLASS_TOO_LARGE;
    default:
        return HG_CLASS_INTERNAL;
    }
}

static uint64_t remaining_ms(uint64_t expires_ms, uint64_t now_ms)
{
    if (expires_ms == HG_FOREVER)
        return HG_FOREVER;
    return expires_ms > now_ms ? expires_ms - now_ms
                               : (hg_bug(HG_BUG_COPY_NOT_STORED) ? HG_FOREVER : 0);
}

int hg_answer_to_http(const struct hg_result *result, struct hg_bytes key, uint64_t now_ms,
                      bool expose_errors, double minute_qps, int *out_http_status,
                      struct hg_buf *out_body)
{
    struct hg_peer_response response;
    const struct hg_value *value = result->value;

    if (value != NULL && (result->err == HG_OK || hg_value_status(value) == HG_STATUS_ERROR)) {
        uint64_t age_ms = now_ms > result->created_ms && result->created_ms != 0
                              ? now_ms - result->created_ms
                              : 0;
        /* expires_ms 0: not stored here, so nobody else is to store it either. */
        hg_peer_response_from_value(value, remaining_ms(result->expires_ms, now_ms), true, age_ms,
                                    &response);
        if (hg_value_status(value) == HG_STATUS_ERROR && !expose_errors)
            response.error_message = hg_bytes_str(generic_text(hg_value_class(value)));
    } else if (result->err == HG_ENOENT) {
        response = (struct hg_peer_response){.status = HG_STATUS_NOT_FOUND, .has_ttl = true};
    } else {
        response = (struct hg_peer_response){
            .status = HG_STATUS_ERROR,
            .error_class = hg_bytes_str(hg_class_name(class_of_err(result->err))),
            .error_message = hg_bytes_str(result->err == HG_OK ? generic_text(HG_CLASS_INTERNAL)
                                                               : hg_err_text(result->err)),
            .has_ttl = true,
        };
    }
    response.has_key_hash = true;
    response.key_hash = hg_xxh64(key);
    response.minute_qps = minute_qps;
    if (response.status == HG_STATUS_ERROR)
        response.retry_after_ms = hg_result_retry_after_s(result) * 1000;

    int err = hg_peer_response_encode(&response, out_body);
    if (err == HG_OK)
        *out_http_status = hg_result_http_status(result);
    return err;
}

int hg_answer_no_group(int *out_http_status, struct hg_buf *out_body)
{
    struct hg_peer_response response = {
        .status = HG_STATUS_NO_GROUP,
        .error_message = HG_BYTES("no such group"),
    };
    int err = hg_peer_response_encode(&response, out_body);
    if (err == HG_OK)
        *out_http_status = 404;
    return err;
}
