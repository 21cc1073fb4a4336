#include "base/err.h"

const char *hg_err_name(int err)
{
    switch (err) {
#define X(name, value, text)                                                                       \
    case value:                                                                                    \
        return #name;
        HG_ERRORS(X)
#undef X
    case HG_OK:
        return "OK";
    case HG_PENDING:
        return "PENDING";
    default:
        return "EUNKNOWN";
    }
}

const char *hg_err_text(int err)
{
    switch (err) {
#define X(name, value, text)                                                                       \
    case value:                                                                                    \
        return text;
        HG_ERRORS(X)
#undef X
    case HG_OK:
        return "success";
    case HG_PENDING:
        return "pending";
    default:
        return "unknown error";
    }
}
