-- Finds an address by the library for Lua that Debian has (lua-mmdb), used as its manual says.
local database = require("mmdb").open(GEOIP)

return function(address)
  local found = database:search_ipv4(address)
  local place = found and (found.location or found)
  if not place then return nil end
  return place.latitude, place.longitude
end
