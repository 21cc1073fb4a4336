"""A gRPC node of the specs, as HgCache v2 (Go) was: string fields, errors without a body of ours.

    grpc_server.py PORT NOTES       NOTES: a file that gets each key, a line each

Keys "none-..." are NOT_FOUND, "boom-..." UNKNOWN; everything else is "go KEY". Writes a line when it serves.
"""
import concurrent.futures
import sys
import time

import grpc

from grpc_client import Request, Response


def get(request, context):
    with open(sys.argv[2], "a") as notes:
        notes.write(request.key + "\n")
    if request.key.startswith("none-"):
        context.abort(grpc.StatusCode.NOT_FOUND, "no " + request.key)
    if request.key.startswith("boom-"):
        context.abort(grpc.StatusCode.UNKNOWN, "boom")
    return Response(value=b"go " + request.key.encode())


server = grpc.server(concurrent.futures.ThreadPoolExecutor(16))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("hgcache.cache.GroupCache", {
    "Get": grpc.unary_unary_rpc_method_handler(get, Request.FromString, Response.SerializeToString),
}),))
assert server.add_insecure_port("127.0.0.1:" + sys.argv[1]) == int(sys.argv[1])
server.start()
print("serving", flush=True)
while True:
    time.sleep(3600)
