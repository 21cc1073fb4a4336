-- The README, typed: the first node, and the tutorial against a real PostgreSQL, whose minute is ten seconds here.

local node = require "spec.support.node"
local walk = require "spec.support.walk"
local postgres = require "spec.support.postgres"

local sections = walk.sections("README.md")

local function blocks_of(title)
    for _, section in ipairs(sections) do
        if section.title == title then
            return section.blocks
        end
    end
    error("no section: " .. title)
end

-- apt-get is not run: the packages are those that scripts/setup.sh installs for the tests.
local function is_installed(package)
    return function()
        assert.is_truthy((" " .. node.read("scripts/setup.sh") .. " "):find("[ \n]" .. package:gsub("%-", "%%-") .. "[ \n\"]"))
    end
end

describe("the README", function()
    local missing = postgres.missing()
    local server

    teardown(function()
        node.finish()
        postgres.finish()
    end)

    it("has a first node", function()
        local blocks = blocks_of "Your first node, in five minutes"
        assert.equal(node.read("configs/minimal.lua"), blocks[1].text)
        local w = walk.start {}
        w:blocks(blocks)
        assert.equal(1, w.node:count("[SlowDB] search key Tom"))
        w:finish()
    end)

    it("has a program to be installed", function()
        assert.is_truthy(node.read("README.md"):find("\nsudo cmake --install build/release ", 1, true))
        local folder, to = node.binary():match("^(.*)/"), node.dir()
        if node.read(folder .. "/cmake_install.cmake") == "" then
            return -- a program from elsewhere
        end
        assert.equal(0, os.execute(("cmake --install '%s' --prefix '%s' >/dev/null"):format(folder, to)))
        assert.equal(0, os.execute(("'%s/bin/hgcache' check configs/minimal.lua >/dev/null"):format(to)))
    end)

    it("has a tutorial", function()
        if missing then
            print("the tutorial skipped: " .. missing)
            return
        end
        server = postgres.start()
        local w = walk.start {
            replace = {
                { "@127.0.0.1/", "@127.0.0.1:" .. server.port .. "/" },
                { "sudo -u postgres psql", "psql -q -h 127.0.0.1 -U postgres -p " .. server.port },
                { 'ttl = "1m"', 'ttl = "10s"' },
            },
            actions = {
                ["sudo apt-get install -y postgresql"] = is_installed("postgresql"),
                ["sudo apt-get install -y lua-busted"] = is_installed("lua-busted"),
                ["sudo service postgresql stop"] = function()
                    server:kill()
                end,
                ["sudo service postgresql start"] = function()
                    if not server:try("select 1") then
                        server:launch()
                    end
                end,
            },
        }
        w:blocks(blocks_of "A cache in front of PostgreSQL, in ten minutes")
        w:finish()
    end)
end)
