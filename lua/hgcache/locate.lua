--- Line numbers of the keys in a configuration's source text.
--
-- Lua keeps no line for data, so the text is read once more: every `key =` and `["key"] =` is noted with the braces
-- around it. What is computed rather than written has no line; a wrong line would be worse than none.
--
--   index(text) -> lines          lines:find({ "groups", "test", "capacity" }) -> number | nil

local M = {}
local Lines = {}
Lines.__index = Lines

local MAX_KEYS = 100000 -- of a text; the rest have no line
local SEPARATOR = "\1"

-- After an opening [[ or [==[ at `at`: the position behind its end and the content, or nil when there is none.
local function long_bracket(text, at)
    local level = text:match("^%[(=*)%[", at)
    if not level then
        return nil
    end
    local from = at + #level + 2
    local stop_from, stop_to = text:find("]" .. level .. "]", from, true)
    if not stop_from then
        return #text + 1, ""
    end
    return stop_to + 1, text:sub(from, stop_from - 1)
end

local function short_string(text, at)
    local quote, i = text:sub(at, at), at + 1
    while i <= #text do
        local c = text:sub(i, i)
        if c == "\\" then
            i = i + 2
        elseif c == quote or c == "\n" then
            break
        else
            i = i + 1
        end
    end
    return i + 1, text:sub(at + 1, i - 1)
end

-- Calls emit(kind, word, line) for each token: "name", "string", or the character itself.
local function tokens(text, emit)
    local at, line, counted = 1, 1, 1
    local function line_at(position)
        local from = counted
        while true do
            local newline = text:find("\n", from, true)
            if not newline or newline >= position then
                break
            end
            line, from = line + 1, newline + 1
        end
        counted = from
        return line
    end
    while at <= #text do
        local c = text:sub(at, at)
        if c:find("%s") then
            at = text:find("%S", at) or #text + 1
        elseif text:sub(at, at + 1) == "--" then
            at = long_bracket(text, at + 2) or text:find("\n", at, true) or #text + 1
        elseif c == '"' or c == "'" then
            local next_at, word = short_string(text, at)
            emit("string", word, line_at(at))
            at = next_at
        elseif c == "[" and text:find("^%[=*%[", at) then
            local next_at, word = long_bracket(text, at)
            emit("string", word, line_at(at))
            at = next_at
        elseif c:find("[%a_]") then
            local word = text:match("^[%w_]+", at)
            emit("name", word, line_at(at))
            at = at + #word
        elseif text:find("^[=~<>]=", at) then
            emit("==", "==", line_at(at))
            at = at + 2
        else
            emit(c, c, line_at(at))
            at = at + 1
        end
    end
end

function M.index(text)
    local self = setmetatable({ by_path = {}, by_key = {} }, Lines)
    local frames = { { path = "" } }
    local count = 0
    local older, old -- the two tokens before: { kind, word, line }

    local function note(key, line)
        count = count + 1
        if count > MAX_KEYS then
            return
        end
        local frame = frames[#frames]
        frame.key = key
        local path = frame.path .. SEPARATOR .. key
        -- false: written more than once, so neither is named
        self.by_path[path] = self.by_path[path] == nil and line or false
        self.by_key[key] = self.by_key[key] == nil and line or false
    end

    tokens(text, function(kind, word, line)
        local frame = frames[#frames]
        if kind == "=" and old then
            if old.kind == "name" then
                note(old.word, old.line)
            elseif old.kind == "]" and older and older.kind == "string" then
                note(older.word, older.line)
            end
        elseif kind == "{" then
            local path = frame.path
            if frame.key then
                path = path .. SEPARATOR .. frame.key
            end
            frames[#frames + 1] = { path = path }
        elseif kind == "}" then
            if #frames > 1 then
                frames[#frames] = nil
            end
        elseif kind == "," or kind == ";" or (kind == "name" and word == "return" and #frames == 1) then
            frame.key = nil
        end
        older, old = old, { kind = kind, word = word, line = line }
    end)
    return self
end

--- The line where the key at the end of `keys` is written, or nil. Indexes of lists are skipped: their list is meant.
function Lines:find(keys)
    local words = {}
    for _, key in ipairs(keys) do
        if type(key) == "string" then
            words[#words + 1] = key
        end
    end
    if #words == 0 then
        return nil
    end
    local line = self.by_path[SEPARATOR .. table.concat(words, SEPARATOR)]
    if line == nil then
        line = self.by_key[words[#words]]
    end
    return line or nil
end

return M
