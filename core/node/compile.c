#include <stdio.h>
#include "base/alloc.h"
#include "node/node_impl.h"
#include "wire/reply.h"

static int compile_cors(struct hg_generation *generation, const struct hg_config_cors *config,
                        struct hg_cors **out_cors, char *error, size_t error_size)
{
    generation->asks_origins = generation->asks_origins || config->by_function;
    struct hg_cors_config wire = {
        .origins = config->origins.items,
        .origin_count = config->origins.count,
        .methods = config->methods.items,
        .method_count = config->methods.count,
        .headers = config->headers.items,
        .header_count = config->headers.count,
        .expose = config->expose.items,
        .expose_count = config->expose.count,
        .credentials = config->credentials,
        .by_function = config->by_function,
        .max_age_s = config->max_age_s,
    };
    return hg_cors_create(&wire, out_cors, error, error_size);
}

static int compile_serve(struct hg_generation *generation, struct hg_node_route *route, char *error,
                         size_t error_size)
{
    const struct hg_config_route *config = route->config;
    if (config->group != NULL) {
        route->group = hg_generation_group(generation, hg_bytes_str(config->group));
        if (route->group == NULL) {
            snprintf(error, error_size, "routes[\"%s\"]: no group \"%s\"", config->route,
                     config->group);
            return HG_EINVAL;
        }
    }
    char why[200] = "";
    int err = hg_template_create(hg_bytes_str(config->key), &route->key, why, sizeof(why));
    if (err < 0) {
        snprintf(error, error_size, "routes[\"%s\"]: key: %s", config->route,
                 why[0] != 0 ? why : hg_err_text(err));
        return err;
    }
    struct hg_bytes names[16];
    size_t count = hg_route_param_names(hg_bytes_str(config->route), names);
    const char *unknown = hg_template_unknown_path(route->key, names, count);
    if (unknown != NULL) {
        snprintf(error, error_size, "routes[\"%s\"]: key: {path.%s} is not in the pattern",
                 config->route, unknown);
        return HG_EINVAL;
    }
    for (size_t i = 0; i < config->header_names.count; i++) {
        err = hg_field_append(&route->headers, config->header_names.items[i],
                              config->header_values.items[i]);
        if (err < 0) {
            snprintf(error, error_size, "routes[\"%s\"]: header \"%s\" cannot be sent",
                     config->route, config->header_names.items[i].data);
            return err;
        }
    }
    return HG_OK;
}

int hg_routes_compile(struct hg_generation *generation, char *error, size_t error_size)
{
    const struct hg_config *config = generation->config;
    snprintf(error, error_size, "routes: out of memory");
    if (config->cors.is_set && !config->cors.is_off) {
        int err = compile_cors(generation, &config->cors, &generation->cors, error, error_size);
        if (err < 0)
            return err;
    }
    int err = hg_routes_create(&generation->routes);
    if (err < 0)
        return err;
    generation->node_routes =
        hg_calloc(config->route_count == 0 ? 1 : config->route_count, sizeof(*generation->node_routes));
    if (generation->node_routes == NULL)
        return HG_ENOMEM;
    generation->route_count = config->route_count;
    for (size_t i = 0; i < config->route_count; i++) {
        struct hg_node_route *route = &generation->node_routes[i];
        route->config = &config->routes[i];
        hg_buf_init(&route->headers, 16 << 10);
        route->cors = generation->cors;
        if (route->config->cors.is_set) {
            route->cors = NULL;
            if (!route->config->cors.is_off) {
                err = compile_cors(generation, &route->config->cors, &route->cors, error, error_size);
                if (err < 0)
                    return err;
                route->owns_cors = true;
            }
        }
        err = hg_routes_add(generation->routes, hg_bytes_str(route->config->route), route, error,
                            error_size);
        if (err == HG_OK && !route->config->is_function)
            err = compile_serve(generation, route, error, error_size);
        if (err < 0)
            return err;
    }
    return HG_OK;
}

void hg_routes_release(struct hg_generation *generation)
{
    hg_routes_destroy(generation->routes);
    for (size_t i = 0; i < generation->route_count; i++) {
        struct hg_node_route *route = &generation->node_routes[i];
        hg_template_destroy(route->key);
        if (route->owns_cors)
            hg_cors_destroy(route->cors);
        hg_buf_finish(&route->headers);
    }
    hg_free(generation->node_routes);
    hg_cors_destroy(generation->cors);
    generation->routes = NULL;
    generation->node_routes = NULL;
    generation->route_count = 0;
    generation->cors = NULL;
}
