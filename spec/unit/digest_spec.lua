-- Digests of lua/hgcache/digest.lua against the vectors of their RFCs, and against lengths around a block.

local digest = require "hgcache.digest"

describe("digest", function()
    it("md5 has the vectors of RFC 1321", function()
        for text, wanted in pairs {
            [""] = "d41d8cd98f00b204e9800998ecf8427e", a = "0cc175b9c0f1b6a831c399e269772661",
            abc = "900150983cd24fb0d6963f7d28e17f72", ["message digest"] = "f96b697d7cb7938d525a2f31aaf161d0",
            ["12345678901234567890123456789012345678901234567890123456789012345678901234567890"] =
                "57edf4a22be3c955ac49da2e2107b67a",
        } do
            assert.equal(wanted, digest.hex(digest.md5(text)))
        end
    end)

    it("sha1 has the vectors of RFC 3174", function()
        for text, wanted in pairs {
            [""] = "da39a3ee5e6b4b0d3255bfef95601890afd80709", abc = "a9993e364706816aba3e25717850c26c9cd0d89d",
            ["abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"] = "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
        } do
            assert.equal(wanted, digest.hex(digest.sha1(text)))
        end
        assert.equal("effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
            digest.hex(digest.hmac_sha1("Jefe", "what do ya want for nothing?")))
        assert.equal("aa4ae5e15272d00e95705637ce8a3b55ed402112", digest.hex(digest.hmac_sha1(("\170"):rep(80),
            "Test Using Larger Than Block-Size Key - Hash Key First")))
    end)

    it("agrees with md5sum and sha1sum around the length of a block", function()
        for _, len in ipairs { 1, 54, 55, 56, 57, 63, 64, 65, 119, 120, 1000 } do
            local text = ("x"):rep(len)
            for name, fn in pairs { md5sum = digest.md5, sha1sum = digest.sha1, sha256sum = digest.sha256 } do
                local pipe = io.popen("printf %s '" .. text .. "' | " .. name)
                local wanted = pipe:read("*a"):match("^%x+")
                pipe:close()
                assert.equal(wanted, digest.hex(fn(text)))
            end
        end
    end)

    it("crc32", function()
        assert.equal(0, digest.crc32(""))
        assert.equal(0xcbf43926, digest.crc32("123456789"))
    end)

    it("base64 has the vectors of RFC 4648, and refuses what is none", function()
        for text, wanted in pairs { [""] = "", f = "Zg==", fo = "Zm8=", foo = "Zm9v", foob = "Zm9vYg==", fooba = "Zm9vYmE=" } do
            assert.equal(wanted, digest.encode_base64(text))
            assert.equal(text, digest.decode_base64(wanted))
            assert.equal((wanted:gsub("=", "")), digest.encode_base64(text, true))
            assert.equal(text, digest.decode_base64((wanted:gsub("=", ""))))
        end
        assert.equal("\255\254\0", digest.decode_base64(digest.encode_base64("\255\254\0")))
        for _, bad in ipairs { "Z", "Zg===", "Z!==", "Zm9vZ" } do
            assert.is_nil(digest.decode_base64(bad))
        end
    end)
end)
