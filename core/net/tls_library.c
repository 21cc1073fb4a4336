#include "net/tls_library.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>

#include "base/err.h"

const struct hg_ssl *hg_ssl;

static void load_once(void)
{
    static struct hg_ssl functions;
    /* Its libcrypto is found through it. */
    void *library = dlopen("libssl.so.3", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return;
    bool is_whole = true;
#define X(name)                                                                                    \
    *(void **)(void *)&functions.name = dlsym(library, #name);                                     \
    is_whole = is_whole && functions.name != NULL;
    HG_SSL_FUNCTIONS(X)
#undef X
    if (is_whole && functions.OPENSSL_init_ssl(0, NULL) == 1)
        hg_ssl = &functions;
}

int hg_ssl_load(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load_once);
    return hg_ssl != NULL ? HG_OK : HG_EIO;
}
