-- POST the bodies of a file, one a line, over and over: wrk -s wrk.lua URL -- BODIES
local requests, last = {}, 0

function init(args)
  for body in io.lines(args[1]) do
    requests[#requests + 1] =
      wrk.format("POST", nil, { ["Content-Type"] = "application/json", ["Host"] = wrk.host }, body)
  end
end

function request()
  last = last % #requests + 1
  return requests[last]
end
