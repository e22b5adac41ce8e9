-- The decision: the haversine distance to every region that is well, and the nearest three.
local cjson = require "cjson.safe"
local rad, sin, cos, asin, sqrt, floor = math.rad, math.sin, math.cos, math.asin, math.sqrt, math.floor

local file = assert(io.open(REGIONS))
local regions = assert(cjson.decode(file:read("*a")))
file:close()
local count = #regions
local lat, lon, coslat, id, well = {}, {}, {}, {}, {}
for i, region in ipairs(regions) do
  lat[i], lon[i] = rad(region.latitude), rad(region.longitude)
  coslat[i], id[i], well[i] = cos(lat[i]), region.id, true
end

local function ms(h)
  local km = 2 * 6371.0 * asin(sqrt(h > 1 and 1 or h))
  return floor((2.0 + km / 100.0) * 10 + 0.5) / 10
end

local function decide(latitude, longitude)
  local a, o = rad(latitude), rad(longitude)
  local cosa = cos(a)
  local d1, d2, d3, i1, i2, i3 = 9, 9, 9, 0, 0, 0
  for i = 1, count do
    if well[i] then
      local s, t = sin((lat[i] - a) / 2), sin((lon[i] - o) / 2)
      local h = s * s + cosa * coslat[i] * t * t
      if h < d1 then
        d1, d2, d3, i1, i2, i3 = h, d1, d2, i, i1, i2
      elseif h < d2 then
        d2, d3, i2, i3 = h, d2, i, i2
      elseif h < d3 then
        d3, i3 = h, i
      end
    end
  end
  return {
    region = id[i1], latency_ms = ms(d1), reason = "nearest",
    alternatives = { { region = id[i2], latency_ms = ms(d2) }, { region = id[i3], latency_ms = ms(d3) } },
  }
end

local function say(text)
  ngx.header["Content-Length"] = #text
  ngx.print(text)
end

local function refuse(status, why)
  ngx.status = status
  say(why)
end

-- Returns what answers a request, by what finds an address.
local function answer(find)
  return function()
    ngx.req.read_body()
    local request = cjson.decode(ngx.req.get_body_data() or "")
    if not request or not request.client_ip then return refuse(400, '{"error":"bad request"}') end
    local latitude, longitude = find(request.client_ip)
    if not latitude then return refuse(404, '{"error":"unknown address"}') end
    say(cjson.encode(decide(latitude, longitude)))
  end
end

return { answer = answer }
