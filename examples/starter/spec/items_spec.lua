-- hgcache test: time stands still here until it is told to go on, and the origin is a fake.

local testing = require "hgcache.testing"

describe("items", function()
    it("come out of the table", function()
        local node = testing.node("config.lua")
        assert.equal("1.20", (node:get("items", "apple")))
        local value, _, code = node:get("items", "stone")
        assert.is_nil(value)
        assert.equal("not_found", code)
    end)

    describe("of an origin", function()
        local node, origin

        before_each(function()
            origin = { status = 200, body = "9.99" }
            node = testing.node("config.lua", { origin = "https://origin.example" }, {
                http = {
                    ["GET https://origin.example/items/apple"] = function()
                        return origin
                    end,
                },
            })
        end)

        it("are asked for again when they are too old", function()
            assert.equal("9.99", (node:get("items", "apple")))
            node:advance("59s")
            node:get("items", "apple")
            assert.equal(1, node:calls("items", "apple"))
            node:advance("30s")
            node:get("items", "apple")
            assert.equal(2, node:calls("items", "apple"))
        end)

        it("are served stale while it fails", function()
            node:get("items", "apple")
            origin = { status = 500 }
            node:advance("10m")
            local value, meta = node:get("items", "apple")
            assert.equal("9.99", value)
            assert.is_true(meta.stale)
        end)
    end)
end)

describe("routes", function()
    it("serve one item, and a basket of them", function()
        local node = testing.node("config.lua")
        local status, body, headers = node:request("GET", "/items/apple")
        assert.equal(200, status)
        assert.equal("1.20", body)
        assert.equal("text/plain", headers["content-type"])
        assert.equal(404, (node:request("GET", "/items/stone")))

        status, body = node:request("GET", "/basket?keys=apple,cherry")
        assert.equal(200, status)
        assert.same({ apple = "1.20", cherry = "4.00" }, require("cjson").decode(body))
    end)
end)
