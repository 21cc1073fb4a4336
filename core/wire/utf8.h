/*
 * utf8 - where bytes have to become text: JSON and protobuf strings. Bytes that are not UTF-8 (RFC
 * 3629: no overlong forms, no surrogates, at most U+10FFFF) become U+FFFD, one for each byte, as in
 * Go.
 */
#ifndef HG_WIRE_UTF8_H
#define HG_WIRE_UTF8_H

#include "base/bytes.h"

#define HG_UTF8_REPLACEMENT "\xef\xbf\xbd"

/* Length (1 to 4) of the character at the front; 0 when there is none or it is malformed. */
size_t hg_utf8_char(struct hg_bytes bytes);
/*
 * A valid text without NUL: bad bytes and NUL become U+FFFD. out holds at least 3 * bytes.len + 1
 * and is NUL-terminated. Returns its length.
 */
size_t hg_utf8_clean(struct hg_bytes bytes, char *out);

#endif
