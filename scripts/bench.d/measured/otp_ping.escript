#!/usr/bin/env escript
%%! -noshell -start_epmd false -kernel inet_dist_use_interface {127,0,0,1}
%% Real OTP, for orientation: gen_server:call with 200 bytes between two nodes. epmd runs, and ERL_EPMD_PORT says where.
%%   otp_ping.escript echo NODE                       serves until end of input
%%   otp_ping.escript caller NODE ECHO CALLS PACED    one after the other, then one each millisecond; prints microseconds
%% Both say ready first; the caller then waits for a line.
-mode(compile).
-export([init/1, handle_call/3, handle_cast/2]).

main(["echo", Node]) ->
    join(Node),
    {ok, _} = gen_server:start({local, echo}, ?MODULE, none, []),
    io:format("ready~n"),
    io:get_line(""),
    halt(0);
main(["caller", Node, Echo, Calls, Paced]) ->
    join(Node),
    To = {echo, list_to_atom(Echo)},
    Data = binary:copy(<<0>>, 200),
    Time = fun() ->
        Began = erlang:monotonic_time(nanosecond),
        Data = gen_server:call(To, Data),
        (erlang:monotonic_time(nanosecond) - Began) / 1000
    end,
    [Time() || _ <- lists:seq(1, 200)],
    io:format("ready~n"),
    io:get_line(""),
    Closed = [Time() || _ <- lists:seq(1, list_to_integer(Calls))],
    Slow = [begin timer:sleep(1), Time() end || _ <- lists:seq(1, list_to_integer(Paced))],
    [P50, P99, S50, S99] = [cut(Times, Part) || Times <- [Closed, Slow], Part <- [50, 99]],
    io:format("{\"p50\": ~.3f, \"p99\": ~.3f, \"paced p50\": ~.3f, \"paced p99\": ~.3f}~n", [P50, P99, S50, S99]),
    halt(0).

join(Node) ->
    {ok, _} = net_kernel:start([list_to_atom(Node), longnames]).

cut(Times, Part) ->
    lists:nth(1 + length(Times) * Part div 100, lists:sort(Times)).

init(none) -> {ok, none}.
handle_call(Data, _, State) -> {reply, Data, State}.
handle_cast(_, State) -> {noreply, State}.
