/*
 * curl_library - libcurl, loaded when it is first needed: with its TLS it costs milliseconds and megabytes that a start
 * which fetches nothing need not pay.
 *
 * Threads    load from any; hg_curl is set once and may be read by whoever called load.
 */
#ifndef HG_NET_CURL_LIBRARY_H
#define HG_NET_CURL_LIBRARY_H

#include <curl/curl.h>

/* The functions that we use, without "curl_". */
#define HG_CURL_FUNCTIONS(X)                                                                       \
    X(easy_init) X(easy_setopt) X(easy_perform) X(easy_getinfo) X(easy_strerror) X(easy_reset)     \
    X(easy_cleanup) X(easy_pause) X(slist_append) X(slist_free_all) X(multi_init) X(multi_setopt)                \
    X(multi_assign) X(multi_add_handle) X(multi_remove_handle) X(multi_socket_action)              \
    X(multi_info_read) X(multi_cleanup) X(url) X(url_set) X(url_get) X(url_cleanup) X(free)

/* Macros of the same names check types, and hide the functions. */
#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt

struct hg_curl {
#define X(name) __typeof__(&curl_##name) name;
    HG_CURL_FUNCTIONS(X)
#undef X
};

extern const struct hg_curl *hg_curl;

/* HG_OK with hg_curl set, or HG_EIO: there is no libcurl.so.4, or it does not start. The first call decides. */
int hg_curl_load(void);

int hg_err_from_curl(CURLcode code);

#endif
