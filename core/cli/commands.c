/* The commands of this version, and the words that `help` has for them. */
#include "cli/args.h"

#include <stdint.h>

#define TALKS (HG_OPTION_NODE | HG_OPTION_TOKEN_FILE | HG_OPTION_JSON)
#define KEYED (TALKS | HG_OPTION_KEY64)

const struct hg_command hg_commands[] = {
    {"run", HG_COMMAND_RUN, 0, 1, SIZE_MAX, "FILE [name=value ...]", "run a node",
     "FILE is the configuration, a Lua chunk; the pairs reach it as hg.args.\n"
     "TERM and INT drain the node and end it with 0; a second one, or the drain limit, ends it at "
     "once with 1.\n"},
    {"check", HG_COMMAND_CHECK, 0, 1, SIZE_MAX, "FILE [name=value ...]",
     "load and validate a configuration",
     "Prints the effective configuration and the routes. Touches no network. Exit code 2 when "
     "something is wrong.\nWarns of globals that scripts set or read by accident, and of what is "
     "configured and never used.\n"},
    {"init", HG_COMMAND_INIT, 0, 1, 1, "DIR", "write a commented starter project",
     "A configuration with a getter and routes, its spec, a README and what an editor needs. DIR "
     "is "
     "made; one\nthat is there already has to be empty.\n"},
    {"test", HG_COMMAND_TEST, HG_OPTION_FOREIGN, 0, SIZE_MAX, "[option ...] [SPEC ...]",
     "run specs of your scripts in fake time",
     "SPECs are files or folders of busted (package lua-busted), default spec/; so are options, "
     "output and exit code: 0 when\nall of them pass, 1 when one does not or an option is "
     "wrong.\nIn them hg.testing has nodes whose time stands still until it is told "
     "to go on, and that reach no\nnetwork but fakes:\n\n"
     "  local testing = require \"hgcache.testing\"\n"
     "  local node = testing.node(\"config.lua\", {}, { http = { [\"GET https://origin/items/7\"] "
     "= "
     "{ body = \"x\" } } })\n"
     "  assert.equal(\"x\", node:get(\"items\", \"7\"))\n"
     "  node:advance(\"61s\")\n"},
    {"get", HG_COMMAND_GET, KEYED, 2, 2, "GROUP KEY", "print a key's value, loading it if need be",
     "Prints the raw bytes; nothing and exit code 3 when there is no such key.\n"
     "--json prints an object instead; a value that is not UTF-8 stands in it as \"value64\", in "
     "base64.\n"},
    {"peek", HG_COMMAND_PEEK, KEYED, 2, 2, "GROUP KEY", "print a key's value if the node has it",
     "As get, but loads nothing: exit code 3 also when the node does not have the key now.\n"},
    {"set", HG_COMMAND_SET, KEYED | HG_OPTION_TTL, 3, 3, "GROUP KEY VALUE|-", "store a value",
     "- reads the value from standard input. --ttl is its life (\"250ms\", \"10s\", \"5m\", "
     "\"1h\").\n"
     "Prints which nodes know: {\"acknowledged\":[..],\"lease_waited\":[..],\"bound_ms\":2000}.\n"},
    {"del", HG_COMMAND_DEL, KEYED, 2, 2, "GROUP KEY", "remove a key",
     "Prints which nodes know: {\"acknowledged\":[..],\"lease_waited\":[..],\"bound_ms\":2000}.\n"},
    {"flush", HG_COMMAND_FLUSH, TALKS, 1, 1, "GROUP", "remove everything from a group",
     "On every node, copies included. Prints which nodes know, as del does.\n"},
    {"untag", HG_COMMAND_UNTAG, TALKS | HG_OPTION_SOFT, 2, 2, "GROUP TAG",
     "remove the values that have a tag",
     "On every node, copies included. With --soft they are stale from now on: still served within "
     "their\nstale windows while they are loaded anew. Prints which nodes know, as del does.\n"},
    {"stats", HG_COMMAND_STATS, TALKS, 0, 0, "", "print the node's counters", NULL},
    {"ring", HG_COMMAND_RING, TALKS | HG_OPTION_JOIN | HG_OPTION_LEAVE, 0, 0, "",
     "draw the members and the ring as the node sees them",
     "keys is the part of all keys that a member owns, heard how long ago a sign of life came from "
     "it. Nodes whose\n"
     "ring is another are named below. With --join or --leave: what part of the keys would move, "
     "from whom to whom,\n"
     "if that member came or went.\n"},
    {"hot", HG_COMMAND_HOT, TALKS, 0, 0, "", "print the keys that the node is asked for most",
     "rate is gets a minute, about; from 600 on a key is hot: copies of it live longer.\n"
     "With --json a key that is not UTF-8 stands in it as \"key64\", in base64.\n"},
    {"explain", HG_COMMAND_EXPLAIN, KEYED, 2, 2, "GROUP KEY",
     "say who owns a key, who holds it, and what became of it",
     "One row for each node of the cluster: what it has, how old it is, how long it still lives, "
     "how "
     "long it may be\nserved stale; then loads under way, the last load, the last error, and why "
     "the key "
     "last left. A node that\ndoes not answer within cluster.timeout is named as unreachable.\n"},
    {"reload", HG_COMMAND_RELOAD, TALKS, 0, 0, "", "have the node read its configuration again",
     "As HUP does. Prints what has changed; the store stays. A configuration that is wrong, or changes "
     "what cannot change\nwhile the node runs, changes nothing: exit code 2.\n"},
    {"drain", HG_COMMAND_DRAIN, TALKS, 0, 0, "", "have the node finish what is in flight and end",
     "As TERM does. Does not wait for the end.\n"},
    {"replay", HG_COMMAND_REPLAY,
     HG_OPTION_POLICY | HG_OPTION_OBJECTS | HG_OPTION_CAPACITY | HG_OPTION_JSON, 1, 1, "TRACE",
     "count hits and misses of eviction policies on a trace",
     "TRACE has a line for each request, `key` or `key size`, or is an nginx access log (combined "
     "format:\nthe key is the request's target, the size its body bytes). Plain or gzipped; - "
     "reads "
     "standard input.\nSizes are numbers of entries (--objects) or bytes such as 64MiB "
     "(--capacity); several of each are\nreplayed at once. Without --policy: every policy.\n"},
    {"version", HG_COMMAND_VERSION, 0, 0, 0, "", "print the version", NULL},
    {"help", HG_COMMAND_HELP, 0, 0, 1, "[COMMAND]", "print this, or more about a command", NULL},
    {NULL, HG_COMMAND_HELP, 0, 0, 0, NULL, NULL, NULL},
};

const struct hg_command *hg_command_find(const char *name)
{
    for (const struct hg_command *command = hg_commands; command->name != NULL; command++)
        if (strcmp(command->name, name) == 0)
            return command;
    return NULL;
}
