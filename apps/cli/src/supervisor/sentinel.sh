#!/bin/sh
# Ends the platform's processes when their supervisor is gone without having said so (SIGKILL, out of memory). The supervisor
# writes "add PID START SIGNAL TIER" and "del PID" to our standard input; its end of file is the supervisor's end.
# START is the process's start time: a number that was given to another process meanwhile is left alone.
set -u
list=''

is_ours() {
  # Fields of /proc/PID/stat after the name: state first, start time the 20th.
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  wanted=$2
  # shellcheck disable=SC2086 # the fields are to be split
  set -- ${stat##*) }
  [ "$1" != Z ] && [ "${20}" = "$wanted" ]
}

each() {
  # each TIER ACTION: for the processes of that tier, newest first.
  for entry in $list; do
    pid=${entry%%:*} rest=${entry#*:}
    start=${rest%%:*} rest=${rest#*:}
    signal=${rest%%:*} tier=${rest#*:}
    [ "$tier" = "$1" ] || continue
    is_ours "$pid" "$start" || continue
    living=$((living + 1))
    case $2 in
      stop) kill -s "$signal" "$pid" 2>/dev/null ;;
      kill) kill -s KILL "$pid" 2>/dev/null ;;
    esac
  done
}

while read -r verb pid start signal tier; do
  case $verb in
    add) list="$pid:$start:$signal:$tier $list" ;;
    del)
      kept=''
      for entry in $list; do
        [ "${entry%%:*}" = "$pid" ] || kept="$kept$entry "
      done
      list=$kept
      ;;
  esac
done

for tier in 3 2 1; do
  living=0
  each $tier stop
  waited=0
  # Ten seconds, as a service needs them to finish what it has in hand.
  while [ "$living" -gt 0 ] && [ "$waited" -lt 100 ]; do
    sleep 0.1
    waited=$((waited + 1))
    living=0
    each $tier count
  done
  each $tier kill
done
