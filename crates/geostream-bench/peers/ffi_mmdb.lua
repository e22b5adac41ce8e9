-- Finds an address by libmaxminddb, called without anything in between and without garbage.
local ffi = require "ffi"
ffi.cdef [[
typedef unsigned int mmdb_uint128_t __attribute__ ((__mode__(TI)));
typedef struct MMDB_entry_s { struct MMDB_s *mmdb; uint32_t offset; } MMDB_entry_s;
typedef struct MMDB_lookup_result_s { bool found_entry; MMDB_entry_s entry; uint16_t netmask; } MMDB_lookup_result_s;
typedef struct MMDB_entry_data_s {
  bool has_data;
  union {
    uint32_t pointer; const char *utf8_string; double double_value; const uint8_t *bytes;
    uint16_t uint16; uint32_t uint32; int32_t int32; uint64_t uint64; mmdb_uint128_t uint128;
    bool boolean; float float_value;
  };
  uint32_t offset; uint32_t offset_to_next; uint32_t data_size; uint32_t type;
} MMDB_entry_data_s;
typedef struct MMDB_s { char opaque[512]; } MMDB_s;
int MMDB_open(const char *const filename, uint32_t flags, MMDB_s *const mmdb);
MMDB_lookup_result_s MMDB_lookup_sockaddr(const MMDB_s *const mmdb, const void *const sockaddr, int *const mmdb_error);
int MMDB_aget_value(MMDB_entry_s *const start, MMDB_entry_data_s *const entry_data, const char *const *const path);
int inet_pton(int af, const char *src, void *dst);
typedef struct { uint16_t family; uint16_t port; uint8_t address[4]; char zero[8]; } ipv4_sockaddr;
]]
local FLOAT = 15 -- MMDB_DATA_TYPE_FLOAT
local mmdb = ffi.load("libmaxminddb.so.0")
local database = ffi.new("MMDB_s")
assert(mmdb.MMDB_open(GEOIP, 1, database) == 0, "the GeoIP file cannot be opened")
local socket = ffi.new("ipv4_sockaddr")
socket.family = 2
local failure, data = ffi.new("int[1]"), ffi.new("MMDB_entry_data_s")

-- Returns a path as C takes it, with the strings that C has pointers into: they have to stay.
local function path(...)
  local keys = { ... }
  local words = ffi.new("const char*[4]")
  for i, key in ipairs(keys) do words[i - 1] = key end
  return { words = words, keys = keys }
end
local latitude_path, longitude_path = path(@LATITUDE@), path(@LONGITUDE@)

local function degrees(entry, path)
  if mmdb.MMDB_aget_value(entry, data, path.words) ~= 0 or not data.has_data then return nil end
  return data.type == FLOAT and data.float_value or data.double_value
end

return function(address)
  if ffi.C.inet_pton(2, address, socket.address) ~= 1 then return nil end
  local found = mmdb.MMDB_lookup_sockaddr(database, socket, failure)
  if failure[0] ~= 0 or not found.found_entry then return nil end
  local latitude = degrees(found.entry, latitude_path)
  if not latitude then return nil end
  return latitude, degrees(found.entry, longitude_path)
end
