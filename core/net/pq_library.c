#include "net/pq_library.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>

#include "base/err.h"

const struct hg_pq *hg_pq;

static void load_once(void)
{
    static struct hg_pq functions;
    void *library = dlopen("libpq.so.5", RTLD_NOW | RTLD_LOCAL);
    bool is_whole = library != NULL;
    if (library == NULL)
        return;
#define X(name)                                                                                    \
    *(void **)(void *)&functions.name = dlsym(library, "PQ" #name);                                \
    is_whole = is_whole && functions.name != NULL;
    HG_PQ_FUNCTIONS(X)
#undef X
    if (is_whole)
        hg_pq = &functions;
}

int hg_pq_load(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load_once);
    return hg_pq != NULL ? HG_OK : HG_EIO;
}
