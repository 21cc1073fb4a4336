#include "cli/duration.h"

#include <stdio.h>

const char *hg_duration_show(long long ms, char *out, size_t size)
{
    long long s = ms / 1000;
    if (ms < 1000)
        snprintf(out, size, "%lldms", ms);
    else if (s < 60)
        snprintf(out, size, "%lld.%llds", s, ms % 1000 / 100);
    else if (s < 3600)
        snprintf(out, size, "%lldm%llds", s / 60, s % 60);
    else if (s < 86400)
        snprintf(out, size, "%lldh%lldm", s / 3600, s % 3600 / 60);
    else
        snprintf(out, size, "%lldd%lldh", s / 86400, s % 86400 / 3600);
    return out;
}
