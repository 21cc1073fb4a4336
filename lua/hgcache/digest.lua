--- MD5 (RFC 1321), SHA-1 (RFC 3174), SHA-256 (RFC 6234) and CRC-32 as drivers of databases need them:
-- for short texts, and for no secret of ours.

local bit = require "bit"

local band, bor, bxor, bnot, rol, rshift, lshift, tobit = bit.band, bit.bor, bit.bxor, bit.bnot, bit.rol, bit.rshift,
    bit.lshift, bit.tobit
local byte, char, rep = string.byte, string.char, string.rep

local M = {}

-- The message, 0x80, zeros, and its length in bits: a multiple of 64 bytes.
local function padded(text, little)
    local low, high = #text * 8 % 4294967296, math.floor(#text / 536870912)
    local length
    if little then
        length = char(band(low, 255), band(rshift(low, 8), 255), band(rshift(low, 16), 255), band(rshift(low, 24), 255),
            band(high, 255), band(rshift(high, 8), 255), 0, 0)
    else
        length = char(0, 0, band(rshift(high, 8), 255), band(high, 255), band(rshift(low, 24), 255),
            band(rshift(low, 16), 255), band(rshift(low, 8), 255), band(low, 255))
    end
    return text .. "\128" .. rep("\0", (55 - #text) % 64) .. length
end

local function word_little(text, at)
    local a, b, c, d = byte(text, at, at + 3)
    return bor(a, lshift(b, 8), lshift(c, 16), lshift(d, 24))
end

local function word_big(text, at)
    local a, b, c, d = byte(text, at, at + 3)
    return bor(lshift(a, 24), lshift(b, 16), lshift(c, 8), d)
end

local function bytes_little(...)
    local out = {}
    for i = 1, select("#", ...) do
        local word = select(i, ...)
        out[i] = char(band(word, 255), band(rshift(word, 8), 255), band(rshift(word, 16), 255), rshift(word, 24))
    end
    return table.concat(out)
end

local function bytes_big(...)
    local out = {}
    for i = 1, select("#", ...) do
        local word = select(i, ...)
        out[i] = char(rshift(word, 24), band(rshift(word, 16), 255), band(rshift(word, 8), 255), band(word, 255))
    end
    return table.concat(out)
end

local md5_sines, md5_turns = {}, {}
for i = 0, 63 do
    md5_sines[i] = tobit(math.floor(math.abs(math.sin(i + 1)) * 4294967296))
end
for round, turns in ipairs { { 7, 12, 17, 22 }, { 5, 9, 14, 20 }, { 4, 11, 16, 23 }, { 6, 10, 15, 21 } } do
    for i = 0, 15 do
        md5_turns[(round - 1) * 16 + i] = turns[i % 4 + 1]
    end
end

--- 16 bytes.
function M.md5(text)
    local a0, b0, c0, d0 = 0x67452301, tobit(0xefcdab89), tobit(0x98badcfe), 0x10325476
    local data, words = padded(text, true), {}
    for at = 1, #data, 64 do
        for i = 0, 15 do
            words[i] = word_little(data, at + i * 4)
        end
        local a, b, c, d = a0, b0, c0, d0
        for i = 0, 63 do
            local f, from
            if i < 16 then
                f, from = bor(band(b, c), band(bnot(b), d)), i
            elseif i < 32 then
                f, from = bor(band(d, b), band(bnot(d), c)), (5 * i + 1) % 16
            elseif i < 48 then
                f, from = bxor(b, c, d), (3 * i + 5) % 16
            else
                f, from = bxor(c, bor(b, bnot(d))), 7 * i % 16
            end
            a, d, c, b = d, c, b, tobit(b + rol(tobit(a + f + md5_sines[i] + words[from]), md5_turns[i]))
        end
        a0, b0, c0, d0 = tobit(a0 + a), tobit(b0 + b), tobit(c0 + c), tobit(d0 + d)
    end
    return bytes_little(a0, b0, c0, d0)
end

--- 20 bytes.
function M.sha1(text)
    local h0, h1, h2, h3, h4 = 0x67452301, tobit(0xefcdab89), tobit(0x98badcfe), 0x10325476, tobit(0xc3d2e1f0)
    local data, words = padded(text, false), {}
    for at = 1, #data, 64 do
        for i = 0, 15 do
            words[i] = word_big(data, at + i * 4)
        end
        for i = 16, 79 do
            words[i] = rol(bxor(words[i - 3], words[i - 8], words[i - 14], words[i - 16]), 1)
        end
        local a, b, c, d, e = h0, h1, h2, h3, h4
        for i = 0, 79 do
            local f, k
            if i < 20 then
                f, k = bor(band(b, c), band(bnot(b), d)), 0x5a827999
            elseif i < 40 then
                f, k = bxor(b, c, d), 0x6ed9eba1
            elseif i < 60 then
                f, k = bor(band(b, c), band(b, d), band(c, d)), 0x8f1bbcdc
            else
                f, k = bxor(b, c, d), 0xca62c1d6
            end
            a, b, c, d, e = tobit(rol(a, 5) + f + e + k + words[i]), a, rol(b, 30), c, d
        end
        h0, h1, h2, h3, h4 = tobit(h0 + a), tobit(h1 + b), tobit(h2 + c), tobit(h3 + d), tobit(h4 + e)
    end
    return bytes_big(h0, h1, h2, h3, h4)
end

-- 32 bits behind the point, of the roots of the first 64 primes.
local sha256_begin, sha256_rounds = {}, {}
do
    local function fraction(number)
        return tobit(math.floor(number % 1 * 4294967296))
    end
    local primes, number = {}, 2
    while #primes < 64 do
        local is_prime = true
        for _, prime in ipairs(primes) do
            is_prime = is_prime and number % prime ~= 0
        end
        if is_prime then
            primes[#primes + 1] = number
            sha256_rounds[#primes - 1] = fraction(number ^ (1 / 3))
            sha256_begin[#primes] = #primes <= 8 and fraction(number ^ 0.5) or nil
        end
        number = number + 1
    end
end

--- 32 bytes.
function M.sha256(text)
    local ror = bit.ror
    local sums, data, words = { unpack(sha256_begin) }, padded(text, false), {}
    for at = 1, #data, 64 do
        for i = 0, 15 do
            words[i] = word_big(data, at + i * 4)
        end
        for i = 16, 63 do
            local x, y = words[i - 15], words[i - 2]
            words[i] = tobit(words[i - 16] + bxor(ror(x, 7), ror(x, 18), rshift(x, 3)) + words[i - 7]
                + bxor(ror(y, 17), ror(y, 19), rshift(y, 10)))
        end
        local a, b, c, d, e, f, g, h = unpack(sums)
        for i = 0, 63 do
            local first = tobit(h + bxor(ror(e, 6), ror(e, 11), ror(e, 25)) + bxor(band(e, f), band(bnot(e), g))
                + sha256_rounds[i] + words[i])
            local second = bxor(ror(a, 2), ror(a, 13), ror(a, 22)) + bxor(band(a, b), band(a, c), band(b, c))
            a, b, c, d, e, f, g, h = tobit(first + second), a, b, c, tobit(d + first), e, f, g
        end
        for i, sum in ipairs { a, b, c, d, e, f, g, h } do
            sums[i] = tobit(sums[i] + sum)
        end
    end
    return bytes_big(unpack(sums))
end

--- HMAC (RFC 2104) with SHA-1.
function M.hmac_sha1(key, text)
    if #key > 64 then
        key = M.sha1(key)
    end
    key = key .. rep("\0", 64 - #key)
    local function mixed(with)
        return (key:gsub(".", function(c)
            return char(bxor(byte(c), with))
        end))
    end
    return M.sha1(mixed(0x5c) .. M.sha1(mixed(0x36) .. text))
end

local crc_table = {}
for i = 0, 255 do
    local crc = i
    for _ = 1, 8 do
        crc = band(crc, 1) == 1 and bxor(rshift(crc, 1), 0xedb88320) or rshift(crc, 1)
    end
    crc_table[i] = crc
end

--- CRC-32 (IEEE), 0 to 4294967295.
function M.crc32(text)
    local crc = -1
    for i = 1, #text do
        crc = bxor(crc_table[band(bxor(crc, byte(text, i)), 255)], rshift(crc, 8))
    end
    return bnot(crc) % 4294967296
end

function M.hex(bytes)
    return (bytes:gsub(".", function(c)
        return ("%02x"):format(byte(c))
    end))
end

local DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

function M.encode_base64(text, no_padding)
    local out = {}
    for at = 1, #text, 3 do
        local a, b, c = byte(text, at, at + 2)
        local word = lshift(a, 16) + lshift(b or 0, 8) + (c or 0)
        for i = 0, (c and 3) or (b and 2) or 1 do
            local digit = band(rshift(word, 18 - 6 * i), 63) + 1
            out[#out + 1] = DIGITS:sub(digit, digit)
        end
    end
    local tail = no_padding and "" or rep("=", (3 - #text % 3) % 3)
    return table.concat(out) .. tail
end

local values = {}
for i = 1, 64 do
    values[DIGITS:byte(i)] = i - 1
end

--- -> bytes | nil: not base64. Padding may be absent.
function M.decode_base64(text)
    text = text:gsub("=?=$", "")
    if text:find("[^%w+/]") or #text % 4 == 1 then
        return nil
    end
    local out = {}
    for at = 1, #text, 4 do
        local a, b, c, d = byte(text, at, at + 3)
        local word = lshift(values[a], 18) + lshift(values[b], 12) + lshift(values[c] or 0, 6) + (values[d] or 0)
        out[#out + 1] = char(rshift(word, 16), band(rshift(word, 8), 255), band(word, 255)):sub(1, d and 3 or c and 2 or 1)
    end
    return table.concat(out)
end

return M
