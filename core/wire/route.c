/* A tree of path segments. A walk visits each node at most once, so its cost is bounded by the
 * tree. */
#include "wire/route.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/err.h"
#include "wire/query.h"

#define PARAMS_MAX   16
#define SEGMENTS_MAX 64 /* of a pattern; bounds the recursion of a walk */
#define ROUTES_MAX   4096

struct route {
    void *target;
    size_t name_count;
    struct hg_bytes names[PARAMS_MAX]; /* into text */
    char text[];
};

struct node {
    struct node *next;                  /* sibling literals */
    struct node *literals, *any, *rest; /* below: literal segments, ":name", "*rest" */
    struct route *routes[HG_METHOD_COUNT];
    size_t len;
    char literal[];
};

struct hg_routes {
    struct node *root;
    size_t count;
};

static struct node *node_create(struct hg_bytes literal)
{
    struct node *node = hg_calloc(1, sizeof(*node) + literal.len);
    if (node == NULL)
        return NULL;
    node->len = literal.len;
    if (literal.len > 0)
        memcpy(node->literal, literal.data, literal.len);
    return node;
}

/* The depth is at most SEGMENTS_MAX. */
static void node_destroy(struct node *node)
{
    while (node != NULL) {
        struct node *next = node->next;
        node_destroy(node->literals);
        node_destroy(node->any);
        node_destroy(node->rest);
        for (size_t i = 0; i < HG_METHOD_COUNT; i++)
            hg_free(node->routes[i]);
        hg_free(node);
        node = next;
    }
}

int hg_routes_create(struct hg_routes **out_routes)
{
    struct hg_routes *routes = hg_calloc(1, sizeof(*routes));
    if (routes == NULL)
        return HG_ENOMEM;
    routes->root = node_create(HG_BYTES_NONE);
    if (routes->root == NULL) {
        hg_free(routes);
        return HG_ENOMEM;
    }
    *out_routes = routes;
    return HG_OK;
}

void hg_routes_destroy(struct hg_routes *routes)
{
    if (routes == NULL)
        return;
    node_destroy(routes->root);
    hg_free(routes);
}

/* Takes the segment up to the next '/' off *rest, which begins behind a '/'; false when it was the
 * last. */
static bool take_segment(struct hg_bytes *rest, struct hg_bytes *out_segment)
{
    const char *slash = rest->len == 0 ? NULL : memchr(rest->data, '/', rest->len);
    size_t len = slash == NULL ? rest->len : (size_t)(slash - rest->data);
    *out_segment = hg_bytes(rest->data, len);
    if (slash == NULL) {
        *rest = HG_BYTES_NONE;
        return false;
    }
    *rest = hg_bytes(slash + 1, rest->len - len - 1);
    return true;
}

/* "GET /a" into method name and pattern behind its '/'; false when it has not that shape. */
static bool split_pattern(struct hg_bytes text, struct hg_bytes *out_method,
                          struct hg_bytes *out_pattern)
{
    const char *space = text.len == 0 ? NULL : memchr(text.data, ' ', text.len);
    if (space == NULL)
        return false;
    *out_method = hg_bytes(text.data, (size_t)(space - text.data));
    struct hg_bytes pattern = hg_bytes_trim(hg_bytes(space, text.len - out_method->len));
    if (pattern.len == 0 || pattern.data[0] != '/')
        return false;
    *out_pattern = hg_bytes(pattern.data + 1, pattern.len - 1);
    return true;
}

static bool is_name(struct hg_bytes name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '_'))
            return false;
    }
    return name.len > 0;
}

static int refuse(char *error, size_t error_size, const char *what, struct hg_bytes text)
{
    char shown[120];
    if (error_size > 0)
        snprintf(error, error_size, "%s: \"%s\"", what,
                 hg_bytes_escape(text, shown, sizeof(shown)));
    return HG_EINVAL;
}

/* Checks the pattern and collects its names. NULL, or what is wrong with it. */
static const char *check_pattern(struct hg_bytes pattern, struct hg_bytes names[PARAMS_MAX],
                                 size_t *out_count)
{
    struct hg_bytes segment;
    size_t count = 0, segments = 0;
    bool has_more = true;
    while (has_more) {
        has_more = take_segment(&pattern, &segment);
        if (++segments > SEGMENTS_MAX)
            return "route has too many segments";
        if (segment.len == 0 || (segment.data[0] != ':' && segment.data[0] != '*')) {
            if (segment.len > 0 &&
                (memchr(segment.data, '?', segment.len) || memchr(segment.data, '#', segment.len)))
                return "route pattern is a path, without ? or #";
            continue;
        }
        struct hg_bytes name = hg_bytes(segment.data + 1, segment.len - 1);
        if (!is_name(name))
            return "expected a name of letters, digits and _ after : or * in route";
        if (segment.data[0] == '*' && has_more)
            return "*name must be the last segment of route";
        for (size_t i = 0; i < count; i++) {
            if (hg_bytes_eq(names[i], name))
                return "name stands twice in route";
        }
        if (count == PARAMS_MAX)
            return "route has too many names";
        names[count++] = name;
    }
    *out_count = count;
    return NULL;
}

size_t hg_route_param_names(struct hg_bytes method_and_pattern, struct hg_bytes names[16])
{
    struct hg_bytes method, pattern;
    size_t count = 0;
    if (!split_pattern(method_and_pattern, &method, &pattern) ||
        check_pattern(pattern, names, &count) != NULL)
        return 0;
    return count;
}

/* The child for a pattern's segment, made if need be; NULL: out of memory. */
static struct node *descend(struct node *node, struct hg_bytes segment)
{
    struct node **slot = &node->literals;
    if (segment.len > 0 && segment.data[0] == ':') {
        slot = &node->any;
        segment.len = 0;
    } else if (segment.len > 0 && segment.data[0] == '*') {
        slot = &node->rest;
        segment.len = 0;
    } else {
        while (*slot != NULL && !hg_bytes_eq(hg_bytes((*slot)->literal, (*slot)->len), segment))
            slot = &(*slot)->next;
    }
    if (*slot == NULL)
        *slot = node_create(segment);
    return *slot;
}

static struct route *route_create(const struct hg_bytes *names, size_t count, void *target)
{
    size_t size = sizeof(struct route);
    for (size_t i = 0; i < count; i++)
        size += names[i].len;
    struct route *route = hg_calloc(1, size);
    if (route == NULL)
        return NULL;
    char *at = route->text;
    route->target = target;
    route->name_count = count;
    for (size_t i = 0; i < count; i++) {
        memcpy(at, names[i].data, names[i].len);
        route->names[i] = hg_bytes(at, names[i].len);
        at += names[i].len;
    }
    return route;
}

int hg_routes_add(struct hg_routes *routes, struct hg_bytes method_and_pattern, void *target,
                  char *error, size_t error_size)
{
    struct hg_bytes method_name, pattern, names[PARAMS_MAX], segment;
    size_t name_count;
    if (!split_pattern(method_and_pattern, &method_name, &pattern))
        return refuse(error, error_size, "expected \"METHOD /pattern\", found route",
                      method_and_pattern);
    enum hg_method method = hg_method_from_name(method_name);
    if (method == HG_METHOD_COUNT)
        return refuse(error, error_size,
                      "expected GET, HEAD, POST, PUT, DELETE, OPTIONS or PATCH, found route",
                      method_and_pattern);
    const char *wrong = check_pattern(pattern, names, &name_count);
    if (wrong != NULL)
        return refuse(error, error_size, wrong, method_and_pattern);
    if (routes->count == ROUTES_MAX)
        return refuse(error, error_size, "too many routes at", method_and_pattern);

    /* Nodes made before memory ran out carry no route, so they change nothing. */
    struct node *node = routes->root;
    bool has_more = true;
    while (has_more) {
        has_more = take_segment(&pattern, &segment);
        node = descend(node, segment);
        if (node == NULL)
            return HG_ENOMEM;
    }
    if (node->routes[method] != NULL)
        return refuse(error, error_size, "the same route stands twice", method_and_pattern);
    node->routes[method] = route_create(names, name_count, target);
    if (node->routes[method] == NULL)
        return HG_ENOMEM;
    routes->count++;
    return HG_OK;
}

struct walk {
    enum hg_method method;
    bool has_escapes;
    struct hg_bytes values[PARAMS_MAX];
    const struct route *found;
    unsigned allowed;
};

/* A path ends at this node. True when it has a route for the method, which ends the walk. */
static bool arrive(struct walk *walk, const struct node *node, size_t value_count)
{
    for (unsigned i = 0; i < HG_METHOD_COUNT; i++) {
        if (node->routes[i] != NULL)
            walk->allowed |= 1u << i;
    }
    const struct route *route = node->routes[walk->method];
    if (route == NULL && walk->method == HG_HEAD)
        route = node->routes[HG_GET];
    if (route == NULL || route->name_count != value_count)
        return false;
    walk->found = route;
    return true;
}

static bool is_literal(const struct walk *walk, const struct node *node, struct hg_bytes segment)
{
    struct hg_bytes literal = hg_bytes(node->literal, node->len);
    return walk->has_escapes ? hg_percent_equals(segment, false, literal)
                             : hg_bytes_eq(segment, literal);
}

static bool visit(struct walk *walk, const struct node *node, struct hg_bytes rest,
                  size_t value_count)
{
    struct hg_bytes whole = rest, segment;
    bool has_more = take_segment(&rest, &segment);
    for (const struct node *child = node->literals; child != NULL; child = child->next) {
        if (!is_literal(walk, child, segment))
            continue;
        if (has_more ? visit(walk, child, rest, value_count) : arrive(walk, child, value_count))
            return true;
        break;
    }
    if (node->any != NULL && segment.len > 0) {
        walk->values[value_count] = segment;
        if (has_more ? visit(walk, node->any, rest, value_count + 1)
                     : arrive(walk, node->any, value_count + 1))
            return true;
    }
    if (node->rest != NULL) {
        walk->values[value_count] = whole;
        return arrive(walk, node->rest, value_count + 1);
    }
    return false;
}

int hg_routes_match(const struct hg_routes *routes, enum hg_method method, struct hg_bytes raw_path,
                    struct hg_route_match *out_match)
{
    struct walk walk = {.method = method};
    out_match->target = NULL;
    out_match->params.count = 0;
    out_match->allowed_methods = 0;
    if (!hg_percent_is_valid(raw_path))
        return HG_EPROTO;
    if (raw_path.len == 0 || raw_path.data[0] != '/')
        return HG_OK;
    walk.has_escapes = memchr(raw_path.data, '%', raw_path.len) != NULL;

    bool is_found = visit(&walk, routes->root, hg_bytes(raw_path.data + 1, raw_path.len - 1), 0);
    out_match->allowed_methods = walk.allowed;
    if (!is_found)
        return HG_OK;
    out_match->target = walk.found->target;
    out_match->params.count = walk.found->name_count;
    for (size_t i = 0; i < walk.found->name_count; i++) {
        out_match->params.names[i] = walk.found->names[i];
        out_match->params.values[i] = walk.values[i];
    }
    return HG_OK;
}

char *hg_methods_format(unsigned methods, char *buf, size_t size)
{
    static const enum hg_method order[] = {HG_GET,    HG_HEAD,  HG_POST,   HG_PUT,
                                           HG_DELETE, HG_PATCH, HG_OPTIONS};
    size_t len = 0;
    if (methods & 1u << HG_GET)
        methods |= 1u << HG_HEAD;
    methods |= 1u << HG_OPTIONS;
    if (size > 0)
        buf[0] = '\0';
    for (size_t i = 0; i < HG_COUNT(order); i++) {
        if (!(methods & 1u << order[i]))
            continue;
        const char *name = hg_method_name(order[i]);
        size_t need = (len > 0 ? 2 : 0) + strlen(name);
        if (len + need + 1 > size)
            break;
        snprintf(buf + len, size - len, "%s%s", len > 0 ? ", " : "", name);
        len += need;
    }
    return buf;
}
