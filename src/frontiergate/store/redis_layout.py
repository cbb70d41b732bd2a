"""How the store lies in Redis: its keys, all under one hash tag, and the scripts that read and write them in one step.

meta          hash    layout, lineage, epoch, and how many directives and pauses there are. While the layout is brought forward it is
                      `1>2`, and `at` says how far that came (redis_forward)
log           stream  one entry each, with the id `<epoch>-0`
directives    hash    id → the directive in force, with who added it and when
history:<id>  list    the epochs at which a directive changed
pauses        hash    model → pause
grants        hash    id → grant;  grants:ids, a sorted set, lists the ids in order
live:<who>    set     the ids of a principal's grants that are active or suspended
keys          hash    sha256 → key;  keys:ids, a hash, says id → sha256
replicas      hash    name → last report;  replicas:seen, a sorted set, says when that was
changed       channel the epoch of each append: a hint to look, never the truth
"""

import hashlib

import msgspec

LAYOUT = 1  # the version of all this. An older one is brought forward (redis_forward), a newer one is refused


class Keys:
    """The names of one gate's keys. The braces make a Cluster keep them on one node (Redis Cluster specification, hash tags)."""

    def __init__(self, prefix: str) -> None:
        self._tag = "{" + prefix + "}:"
        self.meta = self._tag + "meta"
        self.log = self._tag + "log"
        self.directives = self._tag + "directives"
        self.pauses = self._tag + "pauses"
        self.grants = self._tag + "grants"
        self.grant_ids = self._tag + "grants:ids"
        self.keys = self._tag + "keys"
        self.key_ids = self._tag + "keys:ids"
        self.replicas = self._tag + "replicas"
        self.replicas_seen = self._tag + "replicas:seen"
        self.trial = self._tag + "trial"
        self.changed = self._tag + "changed"

    def history(self, directive: str) -> str:
        return f"{self._tag}history:{directive}"

    def live(self, principal: str) -> str:
        return f"{self._tag}live:{principal}"

    def of_policy(self) -> tuple[str, ...]:
        """Those without which the rest cannot be believed."""
        return self.meta, self.log, self.directives, self.pauses


class Script(msgspec.Struct, frozen=True):
    """A Lua script, and the digest under which the server remembers it."""

    text: str
    sha1: str


def _script(text: str) -> Script:
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


HEAD = ("layout", "lineage", "epoch", "mark")

# KEYS of_policy; ARGV layout, lineage. Begins a log where there is none. A log that lost its head is not begun anew.
BEGIN = _script("""
if redis.call('EXISTS', KEYS[1]) == 0 then
    if redis.call('EXISTS', KEYS[2], KEYS[3], KEYS[4]) > 0 then return {} end
    redis.call('HSET', KEYS[1], 'layout', ARGV[1], 'lineage', ARGV[2], 'epoch', 0, 'mark', '', 'directives', 0, 'pauses', 0)
end
return redis.call('HMGET', KEYS[1], 'layout', 'lineage', 'epoch', 'mark')
""")

# KEYS meta; ARGV layout, the next one, channel. Says that the layout is being brought forward: 1, or 0 where it is another by now.
SHUT = _script("""
if redis.call('HGET', KEYS[1], 'layout') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'layout', ARGV[1] .. '>' .. ARGV[2], 'at', '')
redis.pcall('PUBLISH', ARGV[3], '0')
return 1
""")

# KEYS meta, then those that `commands` change; ARGV layout, at, what they are afterwards, commands. One step forward, if nobody was faster.
STEP = _script("""
local now = redis.call('HMGET', KEYS[1], 'layout', 'at')
if now[1] ~= ARGV[1] or now[2] ~= ARGV[2] then return 0 end
for _, command in ipairs(cjson.decode(ARGV[5])) do redis.call(unpack(command)) end
redis.call('HSET', KEYS[1], 'layout', ARGV[3], 'at', ARGV[4])
return 1
""")

# KEYS trial; ARGV commands. Does what appends and reports do, to a key that nobody reads: a permission that is missing must not
# show halfway through an append, since Redis does not undo what a script did before it failed.
TRY = _script("for _, command in ipairs(cjson.decode(ARGV[1])) do redis.call(unpack(command)) end")

# KEYS meta, things[, names]; ARGV name in things[, name in names]. What an append is computed from, at one instant.
LOOK = _script("""
local thing = redis.call('HGET', KEYS[2], ARGV[1])
if KEYS[3] and not thing then
    local name = redis.call('HGET', KEYS[3], ARGV[2])
    thing = name and redis.call('HGET', KEYS[2], name)
end
return {redis.call('HMGET', KEYS[1], 'layout', 'lineage', 'epoch', 'mark'), redis.call('TIME'), thing}
""")

# KEYS of_policy, then those that `commands` change; ARGV layout, lineage, epoch, next epoch, mark, channel, commands, then the
# entry's fields. Appends if the log still stands where the effect was computed from; returns 1, or where it stands.
APPEND = _script("""
local now = redis.call('HMGET', KEYS[1], 'layout', 'lineage', 'epoch', 'mark')
if now[1] ~= ARGV[1] or now[2] ~= ARGV[2] or now[3] ~= ARGV[3] then return now end
redis.call('XADD', KEYS[2], ARGV[4] .. '-0', 'mark', ARGV[5], unpack(ARGV, 8))
for _, command in ipairs(cjson.decode(ARGV[7])) do redis.call(unpack(command)) end
local directives, pauses = redis.call('HLEN', KEYS[3]), redis.call('HLEN', KEYS[4])
redis.call('HSET', KEYS[1], 'epoch', ARGV[4], 'mark', ARGV[5], 'directives', directives, 'pauses', pauses)
redis.pcall('PUBLISH', ARGV[6], ARGV[4])
return 1
""")

# KEYS live, grants, meta. The layout comes with what is found: only a version that knows it may read that.
GRANTS_OF = _script("""
local found = {}
for _, id in ipairs(redis.call('SMEMBERS', KEYS[1])) do table.insert(found, id); table.insert(found, redis.call('HGET', KEYS[2], id)) end
return {found, redis.call('HGET', KEYS[3], 'layout')}
""")

# KEYS grants:ids, grants, meta; ARGV after, limit.
GRANTS = _script("""
local found = {}
local from = ARGV[1] == '' and '-' or '(' .. ARGV[1]
for _, id in ipairs(redis.call('ZRANGEBYLEX', KEYS[1], from, '+', 'LIMIT', 0, ARGV[2])) do
    table.insert(found, id)
    table.insert(found, redis.call('HGET', KEYS[2], id))
end
return {found, redis.call('HGET', KEYS[3], 'layout')}
""")

# KEYS replicas, replicas:seen; ARGV name, report, seconds until it is forgotten.
REPORT = _script("""
local now = redis.call('TIME')[1]
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], now, ARGV[1])
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[3])) do
    redis.call('HDEL', KEYS[1], name)
    redis.call('ZREM', KEYS[2], name)
end
""")

# KEYS replicas, replicas:seen; ARGV name, instance.
FORGET = _script("""
local report = redis.call('HGET', KEYS[1], ARGV[1])
if report and cjson.decode(report).instance == ARGV[2] then
    redis.call('HDEL', KEYS[1], ARGV[1])
    redis.call('ZREM', KEYS[2], ARGV[1])
end
""")


def trial(keys: Keys) -> list[list[str]]:
    """One of each command that appends and reports are made of."""
    key = keys.trial
    return [
        ["DEL", key],
        ["XADD", key, "1-0", "a", "b"],
        ["XRANGE", key, "-", "+"],
        ["DEL", key],
        ["HSET", key, "a", "b"],
        ["HGET", key, "a"],
        ["HMGET", key, "a"],
        ["HLEN", key],
        ["HDEL", key, "a"],
        ["SADD", key, "a"],
        ["SMEMBERS", key],
        ["SREM", key, "a"],
        ["ZADD", key, "0", "a"],
        ["ZRANGEBYLEX", key, "-", "+"],
        ["ZRANGEBYSCORE", key, "-inf", "+inf"],
        ["ZREM", key, "a"],
        ["RPUSH", key, "a"],
        ["LRANGE", key, "0", "0"],
        ["DEL", key],
        ["TIME"],
    ]
