-- How nodes are deployed: the unit, the package, the container and what starts it. Where a tool is missing the part that needs it
-- is skipped with a line.

local node = require "spec.support.node"
local posix = require "spec.support.posix"
local etcd = require "spec.support.etcd"
local cjson = require "cjson"

local function has(command)
    return os.execute("command -v " .. command .. " >/dev/null 2>&1") == 0
end

-- A command's output, standard error too, and whether it went well.
local function sh(command)
    local pipe = io.popen("{ " .. command .. "; } 2>&1; echo \"code=$?\"")
    local text = pipe:read("*a")
    pipe:close()
    local out, code = text:match("^(.-)code=(%d+)\n$")
    return out, code == "0"
end

local function skip_without(what, ...)
    for _, command in ipairs { ... } do
        if not has(command) then
            print(what .. " skipped: no " .. command)
            return true
        end
    end
    return false
end

-- The documents of a YAML file, or nil where nothing can read it.
local function yaml(path)
    local _, is_there = sh "python3 -c 'import yaml'"
    if not is_there then
        print(path .. " skipped: no python3-yaml")
        return nil
    end
    local text, ok = sh("python3 -c 'import json, yaml; print(json.dumps(list(yaml.safe_load_all(open(\"" .. path .. "\")))))'")
    assert.is_true(ok, text)
    return cjson.decode(text)
end

-- Arguments of the image are arguments of hgcache; the configuration is the one that it holds. None is a secret: the environment
-- (env) has those.
local function check_arguments(arguments, values, env)
    local words = {}
    for i, word in ipairs(arguments) do
        words[i] = word == "/etc/hgcache/config.lua" and "configs/node.lua" or word:gsub("%$[({]([%w_]+)[^)}]*[)}]", values)
        assert.is_nil(words[i]:find("$", 1, true), words[i])
        assert.is_nil(word:lower():find("token", 1, true), word)
    end
    assert.equal("run", words[1])
    words[1] = "check"
    local r = node.run(words, { env = env })
    assert.equal(0, r.code, table.concat(words, " ") .. "\n" .. r.err)
    return r.out
end

describe("configs/node.lua", function()
    after_each(function()
        node.finish()
        etcd.finish()
    end)

    it("is a cluster of one without arguments, and a cluster with them", function()
        local ports = { posix.free_port(), posix.free_port() }
        local peers, nodes = ("127.0.0.1:%d,127.0.0.1:%d"):format(ports[1], ports[2]), {}
        assert.equal(0, node.run({ "check", "configs/node.lua" }).code)
        for i = 1, 2 do
            nodes[i] = node.start { file = "configs/node.lua", wait = false, peer_port = ports[i], args = {
                name = "n" .. i, self = "127.0.0.1:" .. ports[i], peers = peers }, env = { HGCACHE_TOKEN = "secret" } }
        end
        for i = 1, 2 do
            nodes[i]:wait_ready()
            assert.equal(2, #nodes[i]:admin_json("/ring").members)
        end
        for i = 1, 2 do
            assert.equal("630", nodes[i]:get("/api?key=Tom").body)
        end
        assert.equal(1, nodes[1]:count("[SlowDB] search key Tom") + nodes[2]:count("[SlowDB] search key Tom"))
    end)

    it("finds its members in etcd, as Compose has it", function()
        if not etcd.is_there() then
            print "members in etcd skipped: no etcd"
            return
        end
        local server, nodes = etcd.start(), {}
        for i = 1, 4 do
            local port = posix.free_port()
            nodes[i] = node.start { file = "configs/node.lua", wait = false, peer_port = port, args = {
                name = "n" .. i, self = "localhost:" .. port, etcd = server.url }, env = { HGCACHE_TOKEN = "secret" } }
        end
        for i = 1, 4 do
            nodes[i]:wait_ready()
            node.until_true(function()
                return #nodes[i]:admin_json("/ring").members == 4
            end, 20, "four members")
        end
        assert.equal("630", nodes[4]:get("/api?key=Tom").body)
    end)
end)

describe("configs/hgcache.service", function()
    after_each(node.finish)

    it("reloads by programs that are always there, and fails where the configuration is wrong", function()
        local command = node.read("configs/hgcache.service"):match("\nExecReload=/bin/sh %-c '([^']+)'\n")
        local one = node.start { raw = node.read "configs/node.lua" }
        local function reload()
            -- As the unit does, where there is no /bin/kill.
            local text = command:gsub("/usr/bin/hgcache", node.binary()):gsub("/etc/hgcache/config.lua", one.file)
            return sh(("env -i PATH=/nowhere MAINPID=%d /bin/sh -c '%s'"):format(one.pid, text))
        end
        local out, ok = reload()
        assert.is_true(ok, out)
        one:wait_log "reload done generation=2"
        node.write(one.file, "return {")
        out, ok = reload()
        assert.is_false(ok)
        assert.is_truthy(out:find("unexpected symbol", 1, true), out)
        assert.equal(1, one:count "reload ")
        assert.equal("630", one:get("/api?key=Tom").body)
    end)

    it("leaves little to whoever takes the node over", function()
        if skip_without("the unit's score", "systemd-analyze") then
            return
        end
        local out, ok = sh "systemd-analyze security --offline=true --no-pager --threshold=15 configs/hgcache.service"
        assert.is_true(ok, out)
        local score = tonumber(out:match("exposure level for hgcache.service: ([%d.]+)"))
        assert.is_true(score <= 1.5, out)
    end)

    it("waits for as long as a drain may take, and lets no memory become executable while there is no JIT", function()
        local unit, schema = node.read "configs/hgcache.service", require "hgcache.schema"
        local seconds = 0
        for _, section in ipairs(schema.sections) do
            for _, field in ipairs(section[1] == "node" and section[2] or {}) do
                if field.name == "drain_timeout" or field.name == "drain_delay" then
                    seconds = seconds + tonumber(field.default:match("^(%d+)s$"))
                end
            end
        end
        assert.is_true(seconds > 0)
        assert.is_true(tonumber(unit:match("\nTimeoutStopSec=(%d+)s\n")) > seconds)
        assert.is_truthy(unit:find("\nMemoryDenyWriteExecute=yes\n", 1, true))
        assert.is_truthy(unit:find("\nExecStart=/usr/bin/hgcache run /etc/hgcache/config.lua\n", 1, true))
    end)
end)

describe("the Debian package", function()
    after_each(node.finish)
    local folder = node.binary():match("^(.*)/") or "."
    local to, package

    setup(function()
        if node.read(folder .. "/CPackConfig.cmake") == "" then
            print("the package skipped: a program from elsewhere")
        elseif not skip_without("the package", "cpack", "dpkg-deb", "dpkg-shlibdeps", "file") then
            to = posix.temp_dir()
            local out, ok = sh(("cpack -G DEB --config '%s/CPackConfig.cmake' -B '%s'"):format(folder, to))
            assert.is_true(ok, out)
            package = assert(sh(("ls '%s'/*.deb"):format(to)):match("^(%S+)\n$"))
        end
    end)
    teardown(function()
        if to then
            os.execute("rm -rf '" .. to .. "'")
        end
    end)

    it("installs into a folder, and its node answers", function()
        if not package then
            return
        end
        local root = to .. "/root"
        local out, ok = sh(("dpkg-deb -x '%s' '%s'"):format(package, root))
        assert.is_true(ok, out)
        local n = node.start { binary = root .. "/usr/bin/hgcache", file = root .. "/etc/hgcache/config.lua" }
        assert.equal("630", n:get("/api?key=Tom").body)
        assert.equal(0, n:stop())
        for _, file in ipairs { "usr/lib/systemd/system/hgcache.service", "usr/share/man/man1/hgcache.1",
            "usr/share/bash-completion/completions/hgcache", "usr/share/hgcache/lua/hgcache/redis.lua",
            "usr/share/hgcache/scripts/loaders/retry.lua", "usr/share/doc/hgcache/copyright",
            "usr/share/doc/hgcache/operations.md" } do
            assert.is_true(#node.read(root .. "/" .. file) > 0, file)
        end
        assert.equal(node.read "configs/hgcache.service", node.read(root .. "/usr/lib/systemd/system/hgcache.service"))
    end)

    it("keeps what was changed in the configuration, and names what it loads at run time", function()
        if not package then
            return
        end
        assert.equal("/etc/hgcache/config.lua\n", (sh(("dpkg-deb -I '%s' conffiles"):format(package))))
        local depends = sh(("dpkg-deb -f '%s' Depends"):format(package))
        for _, name in ipairs { "lua-cjson", "libcurl4", "libssl3", "libpq5", "libluajit2-5.1-2", "libuv1", "libc6" } do
            assert.is_truthy(depends:find(name, 1, true), name .. " in " .. depends)
        end
        for _, script in ipairs { "postinst", "prerm", "postrm" } do
            local out, ok = sh(("dpkg-deb -I '%s' %s | sh -n"):format(package, script))
            assert.is_true(ok, script .. ": " .. out)
        end
    end)
end)

describe("Dockerfile", function()
    local text = node.read("Dockerfile"):gsub("\\\n%s*", " ")

    it("is of Debian's image, copies what there is, and ends as a user without rights", function()
        local stages, user = {}, nil
        for line in text:gmatch("[^\n]+") do
            local image, name = line:match("^FROM (%S+) AS (%S+)$")
            image = image or line:match("^FROM (%S+)$")
            if image then
                assert.equal("debian:12-slim", image)
                stages[name or "node"], user = true, nil
            end
            local from, source = line:match("^COPY %-%-from=(%S+) "), line:match("^COPY ([^%-]%S*) ")
            assert.is_true(from == nil or stages[from] or false, line)
            assert.is_true(source == nil or os.execute("test -e " .. source) == 0, line)
            user = line:match("^USER (%S+)$") or user
        end
        assert.is_true(stages.build and stages.etcd and stages.node)
        assert.equal("10001:10001", user)
    end)

    it("sets up what scripts/setup.sh has, and runs what it installs", function()
        for set in text:match("RUN scripts/setup.sh ([%l ]-) &&"):gmatch("%l+") do
            assert.is_truthy(node.read("scripts/setup.sh"):find("\n        " .. set .. ") wanted=", 1, true), set)
        end
        local command = cjson.decode(text:match("\nCMD (%b[])"))
        check_arguments(command, {})
        assert.equal("hgcache", cjson.decode(text:match("\nENTRYPOINT (%b[])\nCMD"))[1])
    end)
end)

describe("configs/compose.yaml", function()
    local documents = yaml "configs/compose.yaml"
    if not documents then
        return
    end
    local services = documents[1].services

    it("has nodes that know etcd, and a front end, with arguments that hold", function()
        local nodes = 0
        for name, service in pairs(services) do
            if name ~= "etcd" then
                assert.is_truthy(service.environment.HGCACHE_TOKEN:find("^%${HGCACHE_TOKEN:%?[^}]+}$"))
                local out = check_arguments(service.command, {}, { HGCACHE_TOKEN = "secret" })
                assert.is_truthy(out:find(name .. ":8001", 1, true), out)
                assert.is_truthy(table.concat(service.command, " "):find("etcd=http://etcd:2379", 1, true))
                assert.equal("service_healthy", service.depends_on.etcd.condition)
                assert.equal("hgcache", service.healthcheck.test[2])
                nodes = nodes + 1
            end
        end
        assert.equal(4, nodes)
        assert.same({ "127.0.0.1:8791:8791" }, services.front.ports)
        assert.equal("etcd", services.etcd.build.target)
        assert.is_truthy(node.read("Dockerfile"):find("\nFROM debian:12-slim AS etcd\n", 1, true))
    end)

    it("is one to docker compose", function()
        local _, is_there = sh "docker compose version"
        if not is_there then
            print "docker compose config skipped: no docker compose"
            return
        end
        local out, ok = sh "HGCACHE_TOKEN=secret docker compose -f configs/compose.yaml config"
        assert.is_true(ok, out)
    end)
end)

describe("configs/kubernetes.yaml", function()
    local documents = yaml "configs/kubernetes.yaml"
    if not documents then
        return
    end
    local by_name = {}
    for _, document in ipairs(documents) do
        by_name[document.kind .. "/" .. document.metadata.name] = document
    end
    after_each(node.finish)
    local set = by_name["StatefulSet/hgcache"]
    local pod = set.spec.template
    local container = pod.spec.containers[1]

    local function port_of(name)
        for _, port in ipairs(container.ports) do
            if port.name == name then
                return port.containerPort
            end
        end
    end

    it("has one set of pods that everything means", function()
        for _, selector in ipairs { set.spec.selector.matchLabels, by_name["Service/hgcache"].spec.selector,
            by_name["Service/hgcache-peers"].spec.selector, by_name["PodDisruptionBudget/hgcache"].spec.selector
            .matchLabels } do
            assert.same(pod.metadata.labels, selector)
        end
        local headless = by_name["Service/" .. set.spec.serviceName].spec
        assert.equal("None", headless.clusterIP)
        assert.is_true(headless.publishNotReadyAddresses) -- or no node ever found itself
        assert.equal(1, by_name["PodDisruptionBudget/hgcache"].spec.maxUnavailable)
    end)

    it("has arguments that hold, and probes of pages that there are", function()
        local values, secrets = { POD_IP = "10.0.0.1" }, {}
        for _, variable in ipairs(container.env) do
            local is_secret = variable.valueFrom.secretKeyRef ~= nil
            local into = is_secret and secrets or values
            into[variable.name] = into[variable.name] or "value"
        end
        local out = check_arguments(container.args, values, secrets)
        local all = table.concat(container.args, " ")
        assert.is_truthy(all:find("dns=" .. set.spec.serviceName, 1, true))
        assert.is_truthy(out:find("10.0.0.1:" .. port_of "peer", 1, true), out)
        assert.is_truthy(all:find("admin=0.0.0.0:" .. port_of "admin", 1, true))
        assert.is_truthy(all:find("api=0.0.0.0:" .. port_of "api", 1, true))
        for probe, page in pairs { startupProbe = "/live", livenessProbe = "/live", readinessProbe = "/ready" } do
            assert.equal(page, container[probe].httpGet.path)
            assert.is_number(port_of(container[probe].httpGet.port))
        end
        local mounts = {}
        for _, volume in ipairs(pod.spec.volumes) do
            mounts[volume.name] = true
        end
        for _, mount in ipairs(container.volumeMounts) do
            assert.is_true(mounts[mount.name], mount.name)
        end
    end)

    it("drains before it stops, in the time that there is", function()
        local script = container.lifecycle.preStop.exec.command[3]
        assert.is_truthy(script:find("kill -TERM 1;", 1, true))
        -- The same on a node that is not the first process of a container; the spec has to take its end, for kill -0 to see it.
        local n = node.start { file = "configs/node.lua" }
        local there, count = script:gsub("(kill %-%w+) 1%f[^%d]", "%1 " .. n.pid)
        assert.equal(2, count)
        local pid = posix.spawn { argv = { "/bin/sh", "-c", there } }
        assert.equal(0, n:wait_exit().code)
        assert.equal(1, n:count("node drained"))
        node.until_true(function() return posix.reap(pid) end, 10, "the end of preStop")
        assert.is_true(pod.spec.terminationGracePeriodSeconds >= 15)
    end)
end)
