"""A gRPC load of the specs: goes round all nodes, as clients behind a balancer do, until it is told to stop.

    grpc_load.py GROUP KEYS STOP PORT...    asks for key-1 ... key-KEYS over and over until the file STOP is there

Writes one JSON object: {"done": calls, "failed": {"CODE: details": calls}, "wrong": values that were others'}.
"""
import collections
import json
import os
import sys

import grpc

from grpc_client import Request, Response

BATCH = 50


def main():
    group, keys, stop = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    target = "ipv4:" + ",".join("127.0.0.1:" + port for port in sys.argv[4:])
    policy = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})
    options = (("grpc.service_config", policy), ("grpc.initial_reconnect_backoff_ms", 100),
               ("grpc.max_reconnect_backoff_ms", 500), ("grpc.default_authority", "hgcache"))
    failed, done, wrong, at = collections.Counter(), 0, 0, 0
    with grpc.insecure_channel(target, options=options) as channel:
        get = channel.unary_unary("/hgcache.cache.GroupCache/Get", request_serializer=Request.SerializeToString,
                                  response_deserializer=Response.FromString)
        while not os.path.exists(stop):
            calls = []
            for _ in range(BATCH):
                at = at % keys + 1
                key = "key-%d" % at
                calls.append((key, get.future(Request(group=group, key=key), timeout=20, wait_for_ready=True)))
            for key, call in calls:
                done += 1
                try:
                    wrong += call.result().value != ("value of " + key).encode()
                except grpc.RpcError as error:
                    failed["%s: %s" % (error.code().name, error.details())] += 1
    json.dump({"done": done, "failed": failed, "wrong": wrong}, sys.stdout)


main()
