/* request_fixture - for tests: a request from its text, alive until the next one. Include cmocka.h first. */
#ifndef HG_WIRE_REQUEST_FIXTURE_H
#define HG_WIRE_REQUEST_FIXTURE_H

#include <stdio.h>

#include "base/alloc.h"
#include "base/err.h"
#include "wire/http1.h"

static struct hg_http1_limits fixture_limits;
static struct hg_http1 fixture_parser;
static char fixture_text[32768];

/* "GET /target" and the field lines, each with its CRLF. Host is added. */
static inline const struct hg_http1_request *request_of(const char *method_and_target,
                                                        const char *fields)
{
    size_t consumed;
    int len = snprintf(fixture_text, sizeof(fixture_text), "%s HTTP/1.1\r\nHost: h\r\n%s\r\n",
                       method_and_target, fields);
    assert_true(len > 0 && (size_t)len < sizeof(fixture_text));
    hg_http1_finish(&fixture_parser);
    hg_http1_limits_default(&fixture_limits);
    hg_http1_init(&fixture_parser, &fixture_limits);
    assert_int_equal(hg_http1_feed(&fixture_parser, hg_bytes(fixture_text, (size_t)len), &consumed),
                     HG_HTTP1_REQUEST);
    return &fixture_parser.request;
}

static inline int request_fixture_end(void **state)
{
    (void)state;
    hg_http1_finish(&fixture_parser);
    return hg_alloc_live_count() != 0;
}

#endif
