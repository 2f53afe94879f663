#!/usr/bin/env escript
%%! +S 1:1 -noinput
%% Replays event lists on the real OTP supervisor, with a virtual clock, and prints what it did.
%%
%% Input (file:consult): {scenario, Tree, Events} terms. Tree is {sup, Id, Strategy, Intensity, Period, Auto, Children},
%% a child is {Restart, Significant, Shutdown, {worker, Id} | Tree}; a dynamic supervisor has one child, its template.
%% Output: tab-separated lines: AT KIND PATH, then "which SUP ID STATE" and "count SUP N N N N", then "end".
%%
%% The code that runs is stdlib's own supervisor.beam under another name; only its reading of the clock is replaced,
%% and its brutal kills are logged (a killed worker cannot say anything any more).
%% This module is the gen_server callback around it, so that results and exits are logged in the order they happen.
%% One scheduler: when every process waits, nothing can happen any more.
-mode(compile).
-export([main/1, init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, start_sup/2, start_worker/1,
         start_dynamic/2, now_second/0, kill/1]).

main([File]) ->
    logger:set_primary_config(level, none),
    ets:new(reg, [named_table, public]),
    ets:new(log, [named_table, public, ordered_set]),
    load_supervisor(),
    {ok, Scenarios} = file:consult(File),
    lists:foreach(fun scenario/1, Scenarios).

load_supervisor() ->
    {ok, {_, [{abstract_code, {_, Forms}}]}} = beam_lib:chunks(code:which(supervisor), [abstract_code]),
    {ok, vsup, Code} = compile:forms(lists:map(fun virtual/1, Forms), [nowarn_deprecated_callback]),
    {module, vsup} = code:load_binary(vsup, "vsup", Code).

virtual({attribute, L, module, supervisor}) -> {attribute, L, module, vsup};
virtual({call, L, {remote, _, {atom, _, erlang}, {atom, _, monotonic_time}}, [{integer, _, 1}]}) ->
    {call, L, {remote, L, {atom, L, ?MODULE}, {atom, L, now_second}}, []};
virtual({call, L, {atom, _, exit}, [Pid, {atom, _, kill}]}) ->
    {call, L, {remote, L, {atom, L, ?MODULE}, {atom, L, kill}}, [virtual(Pid)]};
virtual(T) when is_tuple(T) -> list_to_tuple(virtual(tuple_to_list(T)));
virtual([H | T]) -> [virtual(H) | virtual(T)];
virtual(T) -> T.

now_second() -> [{now, N}] = ets:lookup(reg, now), N.

kill(Pid) ->
    case is_process_alive(Pid) andalso ets:lookup(reg, {path, Pid}) of
        [{_, Path}] -> log("stop", Path), ets:delete(reg, {worker, Path});
        _ -> ok
    end,
    exit(Pid, kill).

log(Kind, Path) ->
    N = ets:update_counter(reg, line, 1, {line, 0}),
    ets:insert(log, {N, now_second(), Kind, Path}),
    ok.

%% ---- a scenario ---------------------------------------------------------------------------------------------------

scenario({scenario, Tree, Events}) ->
    ets:delete_all_objects(reg),
    ets:delete_all_objects(log),
    {Before, After} = lists:partition(fun(E) -> element(1, E) < 0 end, Events),
    ets:insert(reg, {now, 0}),
    [event(E) || E <- Before],
    Starter = spawn(fun() ->
        process_flag(trap_exit, true),
        start_sup(element(2, Tree), Tree),
        receive stop -> ok end
    end),
    ets:insert(reg, {{call, Starter}, Starter}),
    settle(),
    lists:foreach(fun(E) -> ets:insert(reg, {now, element(1, E)}), event(E), settle() end, After),
    [io:format("~w\t~s\t~s~n", [At, K, P]) || {_, At, K, P} <- ets:tab2list(log)],
    [which(Path, Pid) || {{sup, Path}, Pid} <- lists:sort(ets:tab2list(reg)), is_process_alive(Pid)],
    io:format("end~n"),
    [exit(Pid, kill) || {_, Pid} <- ets:tab2list(reg), is_pid(Pid)],
    settle().

which(Path, Pid) ->
    case idle(Pid) of
        false -> io:format("which\t~s\t-\tblocked~n", [Path]);
        true ->
            io:format("which\t~s\t-\tlive~n", [Path]),
            io:format("count\t~s\t~w\t~w\t~w\t~w~n", [Path | [N || {_, N} <- supervisor:count_children(Pid)]]),
            State = sys:get_state(Pid),
            case is_dynamic(State) of
                true -> [io:format("which\t~s\t~s\t~s~n", [Path, Id, S]) || {Id, S} <- dynamic(State)];
                false ->
                    [io:format("which\t~s\t~s\t~s~n", [Path, Id, word(P)])
                     || {Id, P, _, _} <- supervisor:which_children(Pid)]
            end
    end.

word(restarting) -> "restarting";
word(undefined) -> "terminated";
word(_) -> "running".

is_dynamic(State) -> element(3, State) =:= simple_one_for_one.

%% #state.dynamics is {maps, #{Pid | {restarting, Pid} => Args}}, or {sets, ...} for temporary children
dynamic(State) ->
    {Kind, Store} = element(5, State),
    Keys = case Kind of maps -> maps:keys(Store); sets -> sets:to_list(Store); mapsets -> maps:keys(Store) end,
    lists:map(fun({restarting, P}) -> {id_of(P), "restarting"};
                 (P) -> {id_of(P), "running"} end, Keys).

id_of(Pid) -> [{_, Path}] = ets:lookup(reg, {path, Pid}), lists:last(binary:split(Path, <<"/">>, [global])).

idle(Pid) -> {current_function, F} = process_info(Pid, current_function), F =:= {gen_server, loop, 7}.

settle() -> settle(0).
settle(5) -> ok;
settle(N) ->
    erlang:yield(),
    Busy = erlang:statistics(run_queue) > 0 orelse
        [P || {_, P} <- ets:tab2list(reg), is_pid(P), process_info(P, status) =/= {status, waiting},
            is_process_alive(P)] =/= [],
    case Busy of false -> settle(N + 1); true -> settle(0) end.

%% ---- events -------------------------------------------------------------------------------------------------------

event({_, exit, Paths, Reason}) ->
    %% the supervisors of the first path go on first
    Live = lists:sort([{Path, P} || {{sup, Path}, P} <- ets:tab2list(reg), is_process_alive(P)]),
    First = [P || Path <- Paths, {Sup, P} <- Live, Sup =:= parent(Path)],
    Sups = First ++ [P || {_, P} <- Live, not lists:member(P, First)],
    [erlang:suspend_process(P) || P <- lists:usort(Sups)],
    lists:foreach(fun(Path) ->
        case ets:lookup(reg, {worker, Path}) of
            [{_, Pid}] ->
                Ref = monitor(process, Pid),
                Pid ! {die, Reason},
                receive {'DOWN', Ref, _, _, _} -> ok end;
            [] -> ok
        end end, Paths),
    resume(Sups);
event({_, fail_next_start, Path, Times}) -> ets:update_counter(reg, {fail, Path}, Times, {{fail, Path}, 0});
event({_, hold_next_start, Path}) -> ets:update_counter(reg, {hold_start, Path}, 1, {{hold_start, Path}, 0});
event({_, hold_next_stop, Path}) -> ets:update_counter(reg, {hold_stop, Path}, 1, {{hold_stop, Path}, 0});
event({_, release, Path}) ->
    case ets:take(reg, {held, Path}) of [{_, Pid}] -> Pid ! {release, Path}; [] -> ok end;
event({_, call, Call, Path, Id, Child}) ->
    case ets:lookup(reg, {sup, Path}) of
        [{_, Pid}] ->
            case is_process_alive(Pid) of
                true ->
                    Caller = spawn(fun() -> catch call(Call, Pid, Path, Id, Child) end),
                    ets:insert(reg, {{call, Caller}, Caller});
                false -> ok
            end;
        [] -> ok
    end.

parent(Path) -> filename:dirname(Path).

resume([]) -> ok;
resume([P | Rest]) -> erlang:resume_process(P), resume([R || R <- Rest, R =/= P]).

call(start_child, Pid, Path, Id, dynamic) -> gen_server:call(Pid, {by_id, start_child, Path, Id}, infinity);
call(start_child, Pid, _, Id, bad) -> supervisor:start_child(Pid, #{id => Id});
call(start_child, Pid, Path, _, Child) -> supervisor:start_child(Pid, spec(Path, Child));
call(which_children, Pid, _, _, _) -> supervisor:which_children(Pid);
call(Call, Pid, Path, Id, dynamic) -> gen_server:call(Pid, {by_id, Call, Path, Id}, infinity);
call(Call, Pid, _, Id, _) -> supervisor:Call(Pid, Id).

%% ---- children -----------------------------------------------------------------------------------------------------

spec(Parent, {Restart, Significant, Shutdown, Body}) ->
    Id = element(2, Body),
    Path = iolist_to_binary([Parent, "/", Id]),
    {Type, Start} = case element(1, Body) of
        worker -> {worker, {?MODULE, start_worker, [Path]}};
        sup -> {supervisor, {?MODULE, start_sup, [Path, Body]}}
    end,
    #{id => Id, start => Start, restart => Restart, significant => Significant, type => Type, shutdown => Shutdown}.

start_sup(Path, Tree) -> gen_server:start_link(?MODULE, {Path, Tree}, []).

start_dynamic(Parent, Id) -> start_worker(iolist_to_binary([Parent, "/", Id])).

start_worker(Path) ->
    case take({fail, Path}) of
        true -> log("start_failed", Path), {error, told};
        false ->
            log("start", Path),
            hold(hold_start, Path),
            Parent = self(),
            Pid = spawn_link(fun() -> process_flag(trap_exit, true), Parent ! {up, self()}, worker(Path) end),
            receive {up, Pid} -> ok end,
            ets:insert(reg, [{{worker, Path}, Pid}, {{path, Pid}, Path}]),
            {ok, Pid}
    end.

worker(Path) ->
    receive
        {die, Reason} -> leave(Path, Reason);
        {'EXIT', _, Reason} ->
            log("stop", Path),
            hold(hold_stop, Path),
            leave(Path, Reason)
    end.

leave(Path, Reason) -> ets:delete(reg, {worker, Path}), exit(Reason).

take(Key) ->
    case ets:lookup(reg, Key) of
        [{_, N}] when N > 0 -> ets:update_counter(reg, Key, -1), true;
        _ -> false
    end.

hold(Kind, Path) ->
    case take({Kind, Path}) of
        true ->
            ets:insert(reg, {{held, Path}, self()}),
            receive {release, Path} -> ok; {die, _} -> ets:delete(reg, {held, Path}), ok end;
        false -> ok
    end.

%% ---- gen_server callbacks around the real supervisor ---------------------------------------------------------------

init({Path, Tree = {sup, _, Strategy, Intensity, Period, Auto, Children}}) when is_tuple(Tree) ->
    put(path, Path),
    ets:insert(reg, {{sup, Path}, self()}),
    Flags = #{strategy => Strategy, intensity => Intensity, period => Period, auto_shutdown => Auto},
    Specs = case {Strategy, Children} of
        {simple_one_for_one, [{Restart, Significant, Shutdown, _}]} ->
            [#{id => template, start => {?MODULE, start_dynamic, [Path]}, restart => Restart,
               significant => Significant, shutdown => Shutdown}];
        _ -> [spec(Path, C) || C <- Children]
    end,
    vsup:init({self, ?MODULE, {flags, Flags, Specs}});
init({flags, Flags, Specs}) -> {ok, {Flags, Specs}}.

handle_call({by_id, Call, Path, Id}, From, State) ->
    Child = iolist_to_binary([Path, "/", Id]),
    {_, Store} = element(5, State),
    Keys = case element(1, element(5, State)) of sets -> sets:to_list(Store); _ -> maps:keys(Store) end,
    Found = [K || K <- Keys, ets:lookup(reg, {path, pid_of(K)}) =:= [{{path, pid_of(K)}, Child}]],
    case {Call, Found} of
        {start_child, []} -> handle_call({start_child, [Id]}, From, State);
        {start_child, [{restarting, _}]} -> log("already_present", "result"), {reply, {error, already_present}, State};
        {start_child, [_]} -> log("already_started", "result"), {reply, {error, already_started}, State};
        {terminate_child, [Key]} -> handle_call({terminate_child, pid_of(Key)}, From, State);
        {terminate_child, []} -> log("not_found", "result"), {reply, {error, not_found}, State};
        _ -> handle_call({Call, Id}, From, State)
    end;
handle_call(Request, From, State) ->
    {reply, Result, NState} = vsup:handle_call(Request, From, State),
    log(result(Result), "result"),
    {reply, Result, NState}.

pid_of({restarting, Pid}) -> Pid;
pid_of(Pid) -> Pid.

result(ok) -> "ok";
result({ok, _}) -> "ok";
result(List) when is_list(List) -> "ok";
result({error, {already_started, _}}) -> "already_started";
result({error, E}) when E =:= not_found; E =:= running; E =:= restarting; E =:= already_present -> atom_to_list(E);
result({error, _}) -> "error".

handle_cast(Message, State) -> own(vsup:handle_cast(Message, State)).
handle_info(Message, State) -> own(vsup:handle_info(Message, State)).

own({stop, _, _} = Stop) -> put(own, true), Stop;
own(Other) -> Other.

terminate(Reason, State) ->
    vsup:terminate(Reason, State),
    case get(own) of true -> log("supervisor_exit", get(path)); _ -> ok end.
