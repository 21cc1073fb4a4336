#include "net/fetch_impl.h"

void hg_fetch_set_tls(CURL *easy, const struct hg_fetch_options *options)
{
    if (options->ca_file != NULL)
        hg_curl->easy_setopt(easy, CURLOPT_CAINFO, options->ca_file);
    if (options->cert_file != NULL)
        hg_curl->easy_setopt(easy, CURLOPT_SSLCERT, options->cert_file);
    if (options->key_file != NULL)
        hg_curl->easy_setopt(easy, CURLOPT_SSLKEY, options->key_file);
}
