#include "net/curl_library.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>

#include "base/err.h"

const struct hg_curl *hg_curl;

static void load_once(void)
{
    static struct hg_curl functions;
    void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return;
    __typeof__(&curl_global_init) global_init;
    *(void **)(void *)&global_init = dlsym(library, "curl_global_init");
    bool is_whole = global_init != NULL;
#define X(name)                                                                                    \
    *(void **)(void *)&functions.name = dlsym(library, "curl_" #name);                             \
    is_whole = is_whole && functions.name != NULL;
    HG_CURL_FUNCTIONS(X)
#undef X
    if (is_whole && global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
        hg_curl = &functions;
}

int hg_curl_load(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load_once);
    return hg_curl != NULL ? HG_OK : HG_EIO;
}

int hg_err_from_curl(CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return HG_OK;
    case CURLE_OUT_OF_MEMORY:
        return HG_ENOMEM;
    case CURLE_OPERATION_TIMEDOUT:
        return HG_ETIMEDOUT;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
        return HG_EINVAL;
    case CURLE_FILESIZE_EXCEEDED:
        return HG_ETOOBIG;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_HTTP2:
    case CURLE_BAD_CONTENT_ENCODING:
        return HG_EPROTO;
    default:
        return HG_EPEER;
    }
}
