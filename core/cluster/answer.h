/*
 * answer - between the read path's results and what travels: a peer's HTTP answer to hg_ask_answer, and a
 * local result to HTTP status and Response.
 *
 * With our typed body (status field set) an answer is final whatever its HTTP status. 200 without it is a Go node's value.
 * Any other status without it is untyped. An answer whose key_hash is not the key's, or that does not decode, is a transport failure (A5, A7).
 */
#ifndef HG_CLUSTER_ANSWER_H
#define HG_CLUSTER_ANSWER_H

#include "group/group.h"
#include "wire/peer_message.h"

/* out_answer->sent_ms is the caller's to set. HG_ENOMEM, else HG_OK. */
int hg_answer_from_http(int http_status, struct hg_bytes body, struct hg_bytes key, uint64_t now_unix_ns,
                        struct hg_ask_answer *out_answer);

/*
 * The same of an answer over gRPC. grpc_code: -1 = none came, which is a transport failure. details: hgcache-response-bin, as it came.
 * body: with code 0 one message, not compressed; anything else is a transport failure (A8).
 */
int hg_answer_from_grpc(int http_status, int grpc_code, struct hg_bytes details, struct hg_bytes body, struct hg_bytes key,
                        uint64_t now_unix_ns, struct hg_ask_answer *out_answer);

/* The same of one Response in a message of many keys, which is either typed or a transport failure. */
int hg_answer_from_response(const struct hg_peer_response *response, struct hg_bytes key, uint64_t now_unix_ns,
                            struct hg_ask_answer *out_answer);

/* The HTTP status and the encoded Response for a result. key: for key_hash. expose_errors: else the class's generic text. */
int hg_answer_to_http(const struct hg_result *result, struct hg_bytes key, uint64_t now_ms, bool expose_errors,
                      double minute_qps, int *out_http_status, struct hg_buf *out_body);
/* No such group. */
int hg_answer_no_group(int *out_http_status, struct hg_buf *out_body);
/* HTTP status of a result for clients and peers alike (INTERFACES): 200, 404, 403, 502, 503, 504, 414, 400. */
int hg_result_http_status(const struct hg_result *result);
/* Seconds for Retry-After, at least 1; 0 = none to send. */
uint64_t hg_result_retry_after_s(const struct hg_result *result);

#endif
