/* duration - milliseconds as people say them: 250ms, 1.5s, 2m5s, 3h20m, 12d4h. */
#ifndef HG_CLI_DURATION_H
#define HG_CLI_DURATION_H

#include <stddef.h>

/* Returns `out`; 32 bytes are enough for any. */
const char *hg_duration_show(long long ms, char *out, size_t size);

#endif
