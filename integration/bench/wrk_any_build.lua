-- Asks each time for another build: WRK_PATH with a number up to WRK_BUILDS in place of "*".
dofile(os.getenv("WRK_REPORT"))
local before, after = os.getenv("WRK_PATH"):match("(.*)%*(.*)")
local builds = tonumber(os.getenv("WRK_BUILDS"))

function request()
  return wrk.format("GET", before .. math.random(builds) .. after)
end
