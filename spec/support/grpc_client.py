"""A gRPC client of the specs, with the messages of HgCache (Go) as it wrote them: group and key are strings.

    grpc_client.py TARGET < JSON      a list of calls: {"key", "group", "timeout", "times", "method", "token", "gzip", "at_once",
                                    "chain": bytes of a link of the chain}
                                    "pause": true: writes a line and waits for one before it goes on

Writes a JSON list: for each call {"code", "details", "value", "bytes", "response"}, with "times" the codes counted.
"""
import collections
import json
import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def messages():
    proto = descriptor_pb2.FileDescriptorProto(name="hgcache.proto", package="hgcache.cache", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in (("Request", (("group", kinds.TYPE_STRING), ("key", kinds.TYPE_STRING))),
                         ("Response", (("value", kinds.TYPE_BYTES),))):
        message = proto.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields, 1):
            message.field.add(name=field, number=number, type=kind, label=kinds.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(proto)
    make = message_factory.MessageFactory(pool).GetPrototype
    return [make(pool.FindMessageTypeByName("hgcache.cache." + name)) for name in ("Request", "Response")]


Request, Response = messages()


def outcome(future):
    try:
        value = future.result().value
        return {"code": "OK", "value": value[:100].decode("latin-1"), "bytes": len(value)}
    except grpc.RpcError as error:
        trailers = dict(error.trailing_metadata() or ())
        return {"code": error.code().name, "details": error.details(),
                "response": trailers.get("hgcache-response-bin", b"").hex()}


def run(channel, call):
    if call.get("pause"):
        print("paused", flush=True)
        sys.stdin.readline()
        return {}
    link = call.get("chain", 0)  # field 13; its length as a varint of three bytes
    chain = bytes((0x6a, link & 127 | 128, link >> 7 & 127 | 128, link >> 14)) + b"k" * link if link else b""
    method = channel.unary_unary(call.get("method", "/hgcache.cache.GroupCache/Get"),
                                 request_serializer=lambda request: request.SerializeToString() + chain,
                                 response_deserializer=Response.FromString)
    metadata = (("authorization", "Bearer " + call["token"]),) if "token" in call else ()

    def start(number):
        request = Request(group=call.get("group", ""), key=call["key"].replace("%d", str(number)))
        return method.future(request, timeout=call.get("timeout"), metadata=metadata,
                             compression=grpc.Compression.Gzip if call.get("gzip") else None)

    if "times" not in call:
        return start(0) if call.get("at_once") else outcome(start(0))
    futures = [start(number) for number in range(call["times"])]
    return dict(collections.Counter(outcome(future)["code"] for future in futures))


def main():
    calls = json.loads(sys.stdin.readline())
    with grpc.insecure_channel(sys.argv[1], options=[
            ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1)]) as channel:
        results = [run(channel, call) for call in calls]
        print(json.dumps([outcome(one) if isinstance(one, grpc.Future) else one for one in results]), flush=True)


if __name__ == "__main__":
    main()
