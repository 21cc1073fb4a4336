-- What is an address, without asking anybody.

local schema = require "hgcache.schema"

describe("an address", function()
    it("in brackets is of IPv6", function()
        for _, text in ipairs { "::", "::1", "1::", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::ffff:1.2.3.4", "1:2:3:4:5:6:1.2.3.4",
            "fe80::1", "FE80::aB" } do
            assert.same({ text, 53 }, { schema.split_address("[" .. text .. "]:53") })
        end
        for _, text in ipairs { ":::", "", "1", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "::1::", ":1:2:3:4:5:6:7", ":1::",
            "1:2:3:4:5:6:7:", "12345::", "g::", "::1.2.3", "::1.2.3.256", "1.2.3.4", "::1.2.3.4:1",
            "1::2::3", "1:2:3:4:5:6:7:1.2.3.4" } do
            assert.is_nil(schema.split_address("[" .. text .. "]:53"), text)
        end
    end)

    it("of four numbers is of IPv4", function()
        for _, text in ipairs { "1.2.3.4", "0.0.0.0", "255.255.255.255" } do
            assert.is_true(schema.is_ip4(text), text)
        end
        for _, text in ipairs { "1.2.3", "1.2.3.256", "a.1.2.3", "1.2.3.4.5", "1..2.3.4", "", "1.2.3.4 " } do
            assert.is_false(schema.is_ip4(text), text)
        end
    end)
end)
