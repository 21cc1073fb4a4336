-- docs/cookbook.md, typed: each recipe against real servers, which are stopped and started where it says so.

local node = require "spec.support.node"
local walk = require "spec.support.walk"
local fake = require "spec.support.fake"
local posix = require "spec.support.posix"
local postgres = require "spec.support.postgres"
local mariadb = require "spec.support.mariadb"
local redis = require "spec.support.redis"

local sections = walk.sections("docs/cookbook.md")
local kinds = { postgresql = postgres, mariadb = mariadb, redis = redis }

-- What a section needs that is not installed, or nil.
local function missing(section)
    for _, block in ipairs(section.blocks) do
        for name, kind in pairs(kinds) do
            if block.text:find(name, 1, true) and kind.missing() then
                return kind.missing()
            end
        end
    end
    return nil
end

-- An object store with one object, which notes the status that it answered last.
local function object_store(port, notes)
    local etag, body = '"22c3683b094136c3398391ae71b20f04"', "hello, world\n"
    return fake.http(port, notes, function(path, request)
        local status, text = "404 Not Found", ""
        if path == "/shop/hello.txt" then
            local has_it = request:find("If-None-Match: " .. etag, 1, true)
            status, text = has_it and "304 Not Modified" or "200 OK", has_it and "" or body
        end
        if path == "/shop/hello.txt" then
            node.write(notes .. ".status", status:sub(1, 3))
        end
        return ("HTTP/1.1 %s\r\nContent-Type: text/plain\r\nETag: %s\r\nContent-Length: %d\r\n\r\n%s"):format(status, etag,
            #text, text)
    end)
end

describe("the cookbook", function()
    local servers, w, store, notes = {}, nil, nil, nil

    local function switch(name)
        return function()
            servers[name]:kill()
        end, function()
            servers[name]:launch()
        end
    end

    setup(function()
        local actions, replace = {}, {}
        for name, kind in pairs(kinds) do
            if not kind.missing() then
                servers[name] = kind.start()
                local service = name == "redis" and "redis-server" or name
                actions[("sudo service %s stop"):format(service)], actions[("sudo service %s start"):format(service)] = switch(name)
            end
        end
        if servers.postgresql then
            local port = servers.postgresql.port
            replace[#replace + 1] = { "@127.0.0.1/", "@127.0.0.1:" .. port .. "/" }
            replace[#replace + 1] = { "sudo -u postgres psql", "psql -q -h 127.0.0.1 -U postgres -p " .. port }
        end
        if servers.mariadb then
            replace[#replace + 1] = { "3306", tostring(servers.mariadb.port) }
            replace[#replace + 1] = { "sudo mariadb", "mariadb --no-defaults -S " .. servers.mariadb.socket }
        end
        if servers.redis then
            replace[#replace + 1] = { "6379", tostring(servers.redis.port) }
            replace[#replace + 1] = { "redis-cli", "redis-cli -p " .. servers.redis.port }
        end
        local store_port = posix.free_port()
        notes = node.dir() .. "/notes"
        store = object_store(store_port, notes)
        replace[#replace + 1] = { "127.0.0.1:9000", "127.0.0.1:" .. store_port }
        actions["docker stop minio"] = function()
            assert.equal("304", node.read(notes .. ".status"))
            store:stop()
            store = nil
        end
        actions["docker start minio"] = function() end
        -- The server of the specs has the database, and knows no users.
        actions['sudo mariadb -e "create database shop; create user app@127.0.0.1 identified by \'secret\'; '
            .. 'grant all on shop.* to app@127.0.0.1"'] = function() end
        w = walk.start { replace = replace, actions = actions }
    end)

    teardown(function()
        node.finish()
        for _, kind in pairs(kinds) do
            kind.finish()
        end
        if store then
            store:stop()
        end
    end)

    for _, section in ipairs(sections) do
        if #section.blocks > 0 then
            it("does what it says: " .. section.title, function()
                local why = missing(section)
                if why then
                    print("recipe skipped: " .. section.title .. ": " .. why)
                    return
                end
                w:blocks(section.blocks)
                w:finish()
            end)
        end
    end
end)
