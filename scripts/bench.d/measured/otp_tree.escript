#!/usr/bin/env escript
%%! -noshell
%% Real OTP, for orientation: a supervisor (one_for_one) of N children.
%%   otp_tree.escript processes N KILLS                 Erlang processes; prints the microseconds of each restart
%%   otp_tree.escript ports N PYTHON PROGRAM SOCKET     each owns an operating system process; runs until end of input
-mode(compile).
-export([init/1, handle_info/2, handle_call/3, handle_cast/2]).

main(["processes", N, Kills]) ->
    Sup = start({process, self()}, list_to_integer(N)),
    [receive {ready, _} -> ok end || _ <- lists:seq(1, list_to_integer(N))],
    Times = [restart(Sup) || _ <- lists:seq(1, list_to_integer(Kills))],
    io:format("~w~n", [Times]);
main(["ports", N, Python, Program, Socket]) ->
    start({port, Python, ["-I", "-S", Program, Socket, "stdio"]}, list_to_integer(N)),
    io:get_line(""),
    halt(0).

start(Child, N) ->
    logger:set_primary_config(level, none),
    {ok, Sup} = supervisor:start_link(?MODULE, {tree, Child, N}),
    Sup.

restart(Sup) ->
    {_, Pid, _, _} = hd(supervisor:which_children(Sup)),
    Began = erlang:monotonic_time(nanosecond),
    exit(Pid, kill),
    receive {ready, _} -> (erlang:monotonic_time(nanosecond) - Began) / 1000 end.

init({tree, Child, N}) ->
    {ok, {#{strategy => one_for_one, intensity => 1000000, period => 1},
          [#{id => Id, start => {gen_server, start_link, [?MODULE, Child, []]}} || Id <- lists:seq(1, N)]}};
init({process, Tell}) ->
    Tell ! {ready, self()},
    {ok, none};
init({port, Python, Arguments}) ->
    Port = open_port({spawn_executable, Python}, [{args, Arguments}, exit_status, binary]),
    receive
        {Port, {data, _}} -> {ok, Port};
        {Port, {exit_status, Status}} -> {stop, {exit_status, Status}}
    end.

handle_info({Port, {exit_status, Status}}, Port) -> {stop, {exit_status, Status}, Port};
handle_info(_, Port) -> {noreply, Port}.

handle_call(_, _, State) -> {reply, ok, State}.
handle_cast(_, State) -> {noreply, State}.
