--- hg.dns{ name = "hgcache.default.svc.cluster.local" }: every address of the name is a member, as a headless service of Kubernetes
-- has one for each pod that is ready. With SRV records ("_peer._tcp.hgcache.default.svc.cluster.local") it is every target, at the
-- port of its record: of the service's named ports, or of what Consul knows.
--
-- Asked each cluster.refresh (10 s). cluster.self says how a member is written: its family (A or AAAA), its port where neither the
-- options nor a record have one, and whether "http://" stands before it. Priorities and weights are for who chooses a target: here all
-- are members alike.

local core = require "hgcache.core"
local discovery = require "hgcache.discovery"
local schema = require "hgcache.schema"

local TARGET_MAX = 253 -- bytes

local Dns = {}
Dns.__index = Dns

-- The addresses of our family in an answer: all, and by name.
function Dns:addresses_in(records)
    local list, by_name = {}, {}
    for _, record in ipairs(records) do
        if record.address and (record.address:find(":", 1, true) ~= nil) == self.is_ip6 then
            list[#list + 1] = record.address
            local own = by_name[record.name] or {}
            own[#own + 1] = record.address
            by_name[record.name] = own
        end
    end
    return list, by_name
end

-- Asks for the addresses of a name. -> list | nil, message, "none" | "failed"
function Dns:ask(name)
    local records, message, code = core.records(name, self.is_ip6 and "AAAA" or "A", self.server, self.tcp)
    if not records then
        return nil, message, code
    end
    return (self:addresses_in(records))
end

function Dns:member(address, port)
    return self.scheme .. (self.is_ip6 and "[" .. address .. "]" or address) .. ":" .. port
end

-- Every address of the name. -> list | nil, message
function Dns:list_of_addresses()
    local addresses, message
    if self.server then
        addresses, message = self:ask(self.name)
    else
        addresses, message = core.resolve(self.name, self.is_ip6 and 6 or 4)
    end
    if not addresses then
        return nil, message
    end
    local list = {}
    for i, address in ipairs(addresses) do
        list[i] = self:member(address, self.port)
    end
    return list
end

-- Every address of every target: those that came along with the records, or else asked for. A target without one is no member,
-- such as a pod that has just gone; where it cannot be told, there is no list. -> list, how many were ignored | nil, message
function Dns:list_of_services()
    local records, message = core.records(self.name, "SRV", self.server, self.tcp)
    if not records then
        return nil, message
    end
    local list, count, ignored = {}, 0, 0
    local _, by_target = self:addresses_in(records)
    for _, record in ipairs(records) do
        local target, port = record.name, record.port
        if port then
            local addresses = by_target[target]
            if not addresses and target ~= "" and #target <= TARGET_MAX then
                local code
                addresses, message, code = self:ask(target .. ".")
                if code == "failed" then
                    return nil, ("%s: %s"):format(target, message)
                end
                by_target[target] = addresses
            end
            if port == 0 or not addresses or #addresses == 0 then
                addresses, ignored = {}, ignored + 1
            end
            for _, address in ipairs(addresses) do
                list[#list + 1] = self:member(address, port)
            end
            count = count + 1
        end
    end
    if #list == 0 then
        return nil, count == 1 and records[1].name == "" and "the SRV record says that there is no such service"
            or ("%d SRV records, and none leads to an %s address"):format(count, self.is_ip6 and "IPv6" or "IPv4")
    end
    return list, ignored
end

function Dns:run()
    local found, more
    if self.srv then
        found, more = self:list_of_services()
    else
        found, more = self:list_of_addresses()
    end
    local list = {}
    table.sort(found or {})
    for _, member in ipairs(found or {}) do
        if member ~= list[#list] then
            list[#list + 1] = member
        end
    end
    local wrong = not found and more or discovery.wrong(list)
    if wrong then
        discovery.failed(("%s: %s"):format(self.name, wrong))
        return
    end
    discovery.propose(list, more)
end

return function(options, cluster)
    local own, port = schema.split_address((schema.member_address(cluster.self)))
    local self = setmetatable({
        name = options.name, srv = options.srv, server = options.server, tcp = options.tcp, port = options.port or port,
        scheme = cluster.self:match("^http://") or "", is_ip6 = own:find(":", 1, true) ~= nil,
    }, Dns)
    return {
        run = function()
            self:run()
        end,
    }
end
