-- One lane's limiter: grants calls at the rate that a model and a key allow the whole fleet.
--
-- KEYS  the lane's hash, its processes (sorted set), the queue's lanes (model -> lane)
-- ARGV  1 process
--       2, 3   requests and tokens a minute: a number, 0 for no such limit, -1 to go by the API's
--       4, 5   requests and tokens a minute that the API named, 0 if it named none
--       6      tokens used beyond those asked for (less than none: fewer were used)
--       7..10  calls that have ended: how many, their seconds, their tokens, completion tokens
--       11     seconds to pause after a 429, -1 without one; more than MOST_PAUSE count as that
--       12     1 if the API says that hardly anything is left of a limit
--       13     seconds ahead that may be granted
--       14     model
--       15...  tokens of each call that waits, in their order
-- Returns the seconds until more can be granted (-1 if all were), the seconds of pause left, how
-- many processes there are, requests and tokens a minute in force (0 for none), the mean of
-- completion tokens (-1 if not known), and then the seconds until each call may start.
--
-- The hash: r, t     when the next request, the next token would be due (GCRA's arrival time)
--           f, fa    part of the limit in force, and since when: cut by a 429, grows back evenly
--           pause    until when nobody starts; cut: until when another 429 is the same trouble
--           gr, gt   limits that the settings name, lr, lt that the API named; pr: one measured, where none is known
--           n, ns, rate   calls granted since ns; and a minute, in the time before
--           first    there while nothing is known yet
--           seconds, tokens, completion   means of what calls took

-- Seconds' worth of an unused limit that may go at once.
local BURST = 1
-- Part of the limit that is used: the rest mends what jitter and estimates spend too much.
local USED = 0.99
-- What a 429, and an almost empty allowance, leave of the rate; the least that may be left.
local CUT, BRAKE, LEAST = 0.75, 0.9, 0.05
-- Part of the limit that comes back a second.
local RECOVERY = 0.02
-- Seconds after a cut in which what was under way before brings no further one.
local GRACE = 2
-- Before the first answer, which may name limits: calls at once; seconds until there may be twice as
-- many, as in TCP's slow start; calls a second at most, and at least; and seconds ahead that are
-- granted. A refusal comes within a fraction of a second and an answer after several, so calls that
-- are under way and were not refused prove that there may be as many again. Each process hears of
-- another's refusal only when it asks, so several go so many times slower together.
local FIRST, DOUBLED, FASTEST, SLOWEST_START, AHEAD = 20, 0.25, 150, 5, 0.5
-- Seconds that one 429 pauses all, at most. The limits are a minute's, so a minute brings all of one
-- back. A longer pause is a daily limit's, or a gateway's for one row; only that row keeps it.
local MOST_PAUSE = 60
-- Seconds over which the rate is measured, and calls a minute it is taken for at least.
local MEASURED, SLOWEST = 10, 6
-- Weight of one call in the means.
local WEIGHT = 0.02
-- Seconds after which a process that asks for nothing is not counted, and a lane is forgotten.
local PRESENT, KEPT = 60, 86400

-- The hash's fields, and the largest number that is taken from one.
local FIELDS = {'r', 't', 'f', 'fa', 'pause', 'cut', 'lr', 'lt', 'pr', 'n', 'ns', 'rate', 'first',
  'seconds', 'tokens', 'completion'}
local LARGEST = 1e15

local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local arg = {}
for i = 2, #ARGV do arg[i] = tonumber(ARGV[i]) end
local lane = {}
local stored = redis.call('HMGET', KEYS[1], unpack(FIELDS))
for i, name in ipairs(FIELDS) do
  local number = tonumber(stored[i])
  -- What another program wrote there is not kept, and makes no limit. NaN fails both comparisons.
  if number and number >= 0 and number <= LARGEST then lane[name] = number end
end
for _, name in ipairs({'lr', 'lt', 'pr'}) do
  if lane[name] == 0 then lane[name] = nil end
end

-- After a fail-over the clock may be behind the one before: `fa` was its last time. Then the lane's
-- times move back together, so that none lies further ahead than it did.
local back = (lane.fa or now) - now
if back > 0 then
  for _, name in ipairs({'r', 't', 'fa', 'pause', 'cut', 'ns'}) do
    if lane[name] then lane[name] = lane[name] - back end
  end
end

-- A process from ahead of now asked by another clock; if it lives, it asks again.
redis.call('ZREMRANGEBYSCORE', KEYS[2], string.format('(%.17g', now), '+inf')
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - PRESENT)
redis.call('EXPIRE', KEYS[2], PRESENT)
local processes = redis.call('ZCARD', KEYS[2])
redis.call('HSET', KEYS[3], ARGV[14], KEYS[1])
redis.call('EXPIRE', KEYS[3], KEPT)

-- the limits
if arg[4] > 0 then lane.lr = arg[4] end
if arg[5] > 0 then lane.lt = arg[5] end
local function limit(given, named)
  if given < 0 then return named end
  return given > 0 and given or nil
end
lane.gr, lane.gt = arg[2] >= 0 and arg[2] or nil, arg[3] >= 0 and arg[3] or nil
local requests, tokens = limit(arg[2], lane.lr), limit(arg[3], lane.lt)
local known = requests or tokens

-- how fast it goes, to have a measure where no limit is known
local ns = lane.ns or now
local for_now = (lane.n or 0) * 60 / math.max(1, now - ns)
if lane.seconds and now - ns >= MEASURED then
  lane.rate, lane.n, ns = for_now, 0, now
end
lane.ns = ns

-- what calls take
if arg[7] > 0 then
  local weight = 1 - (1 - WEIGHT) ^ arg[7]
  for name, sum in pairs({seconds = arg[8], tokens = arg[9], completion = arg[10]}) do
    local mean = sum / arg[7]
    lane[name] = lane[name] and lane[name] + weight * (mean - lane[name]) or mean
  end
end

-- what part of the limits is in force
local part = math.max(LEAST, lane.f or 1) + RECOVERY * (now - (lane.fa or now))
if known then lane.pr = nil end
-- Above a rate that was only measured there may be more.
if not lane.pr then part = math.min(1, part) end
local pause = math.min(lane.pause or 0, now + MOST_PAUSE)
lane.cut = math.min(lane.cut or 0, now + MOST_PAUSE + GRACE)
if arg[11] >= 0 then
  if now >= lane.cut then
    if not known then
      lane.pr = math.max(SLOWEST, lane.pr and lane.pr * part or math.max(lane.rate or 0, for_now))
      part = 1
    end
    part = math.max(LEAST, part * CUT)
  end
  pause = math.max(pause, now + math.min(arg[11], MOST_PAUSE))
  lane.cut = math.max(lane.cut, pause + GRACE)
  -- No burst when it goes on.
  lane.r, lane.t = math.max(lane.r or 0, pause + BURST), math.max(lane.t or 0, pause + BURST)
elseif arg[12] > 0 and known and now >= lane.cut then
  part = math.max(LEAST, part * BRAKE)
  lane.cut = now + GRACE
end
lane.f, lane.fa, lane.pause = part, now, pause
requests = requests or (not known and lane.pr) or nil
local per_request = requests and 60 / (requests * part * USED)
-- Seconds between one of the first calls and the next: the more are under way, the fewer.
local function pace()
  if (lane.n or 0) < FIRST then return 0 end
  local alone = math.max(1 / FASTEST, DOUBLED / (math.log(2) * lane.n))
  return math.min(1 / SLOWEST_START, processes * alone)
end
local burst, ahead = BURST, arg[13]
local first = not requests and not known and not lane.seconds and arg[2] < 0
if first then
  per_request, burst, ahead = pace(), 0, math.min(ahead, AHEAD)
  lane.first = 1
elseif lane.first then
  -- What has started since then is charged at the rate that is known now.
  if per_request then lane.r = ns + (lane.n or 0) * per_request end
  lane.first = nil
end
local per_token = tokens and 60 / (tokens * part * USED)

-- what was used otherwise than asked for
if per_token then lane.t = (lane.t or now) + arg[6] * per_token end

-- the calls that wait
local earliest = math.max(now, pause)
-- What was used is whole again within a minute at the rate in force, as the API's own limit is. So
-- beyond what was granted ahead, and that minute, only another clock wrote.
local furthest = earliest + arg[13] + math.max(burst, BURST) + 60 / (part * USED)
if per_request and lane.r then lane.r = math.min(lane.r, furthest) end
if per_token and lane.t then lane.t = math.min(lane.t, furthest) end
local grants, more = {}, -1
for i = 15, #ARGV do
  local start = earliest
  if per_request then start = math.max(start, (lane.r or 0) - burst) end
  if per_token then start = math.max(start, (lane.t or 0) - BURST) end
  if start > now + ahead then
    more = start - now - ahead
    break
  end
  lane.n = (lane.n or 0) + 1
  if first then per_request = pace() end
  -- An allowance that was not used for longer than the burst is gone.
  if per_request then lane.r = math.max(lane.r or 0, start) + per_request end
  if per_token then lane.t = math.max(lane.t or 0, start) + per_token * arg[i] end
  grants[#grants + 1] = string.format('%.4f', start - now)
end

local kept = {}
for name, value in pairs(lane) do
  kept[#kept + 1] = name
  kept[#kept + 1] = string.format('%.6f', value)
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(kept))
redis.call('EXPIRE', KEYS[1], KEPT)

local answer = {more, math.max(0, pause - now), processes,
  requests and requests * part or 0, tokens and tokens * part or 0, lane.completion or -1}
for i, value in ipairs(answer) do answer[i] = string.format('%.4f', value) end
for _, grant in ipairs(grants) do answer[#answer + 1] = grant end
return answer
