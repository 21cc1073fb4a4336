// What spec/support/grpc_client.py does, by grpc-js: the same calls in, the same results out.
//
//     node client.js HOST:PORT < JSON      NODE_PATH: where scripts/setup.sh has installed it
"use strict";

const path = require("path");
const readline = require("readline");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const definition = loader.loadSync(path.join(__dirname, "hgcache.proto"), { defaults: true });
const { GroupCache } = grpc.loadPackageDefinition(definition).hgcache.cache;
const { Get } = GroupCache.service;
const OPTIONS = { "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 };
const GZIP = { ...OPTIONS, "grpc.default_compression_algorithm": grpc.compressionAlgorithms.gzip };

const address = process.argv[2];
const plain = new GroupCache(address, grpc.credentials.createInsecure(), OPTIONS);
const zipped = new GroupCache(address, grpc.credentials.createInsecure(), GZIP);

// One call. -> promise of { code, ... }
function start(call, number) {
    const metadata = new grpc.Metadata();
    if (call.token !== undefined) {
        metadata.set("authorization", "Bearer " + call.token);
    }
    const options = call.timeout ? { deadline: Date.now() + call.timeout * 1000 } : {};
    const request = { group: call.group || "", key: call.key.replace("%d", String(number)) };
    return new Promise((resolve) => {
        (call.gzip ? zipped : plain).makeUnaryRequest(call.method || Get.path, Get.requestSerialize,
            Get.responseDeserialize, request, metadata, options, (error, response) => {
                if (error) {
                    const typed = error.metadata.get("hgcache-response-bin")[0] || Buffer.alloc(0);
                    resolve({ code: grpc.status[error.code], details: error.details, response: typed.toString("hex") });
                } else {
                    const { value } = response;
                    resolve({ code: "OK", value: value.subarray(0, 100).toString("latin1"), bytes: value.length });
                }
            });
    });
}

async function run(call, lines) {
    if (call.pause) {
        console.log("paused");
        await lines.next();
        return {};
    }
    if (!call.times) {
        return start(call, 0);
    }
    const codes = {};
    const calls = Array.from({ length: call.times }, (_, number) => start(call, number));
    for (const { code } of await Promise.all(calls)) {
        codes[code] = (codes[code] || 0) + 1;
    }
    return codes;
}

async function main() {
    const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
    const results = [];
    for (const call of JSON.parse((await lines.next()).value)) {
        const result = run(call, lines);
        results.push(call.at_once ? result : await result);
    }
    console.log(JSON.stringify(await Promise.all(results)));
    process.exit(0);
}

main();
