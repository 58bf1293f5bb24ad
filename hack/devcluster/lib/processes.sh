# Processes of the cluster: each has a file with its id and a log. Sourced, not run.

alive() { # NAME: its process lives, and is ours (an id can be given anew after a restart of the machine)
  local pid
  pid=$(cat "$RUN/$1.pid" 2>/dev/null) && [ -n "$pid" ] && [ "/proc/$pid/ns/net" -ef "/run/netns/$NETWORK" ]
}

start() { # NAME COMMAND...: in the cluster's network, detached
  local name=$1
  shift
  alive "$name" && return
  # What this script holds open (its lock, the terminal) must not live on in the process.
  nsenter --net="/run/netns/$NETWORK" setsid "$@" >"$LOG/$name.log" 2>&1 </dev/null 8>&- 9>&- &
  echo $! >"$RUN/$name.pid"
  until alive "$name" || ! kill -0 $! 2>/dev/null; do sleep 0.05; done # it enters the network a moment after its start
}

stop() { # NAME: ask, wait 10 s, insist
  local pid
  alive "$1" || { rm -f "$RUN/$1.pid"; return 0; }
  pid=$(cat "$RUN/$1.pid")
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 50); do
    alive "$1" || break
    sleep 0.2
  done
  kill -KILL "$pid" 2>/dev/null || true
  rm -f "$RUN/$1.pid"
}

await() { # SECONDS NAME COMMAND...: until the command succeeds; NAME is the process whose log tells why it did not
  local until=$((SECONDS + $1)) name=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    alive "$name" || fail "$name ended: $(tail -n 1 "$LOG/$name.log" | cut -c1-200) ($LOG/$name.log)"
    [ $SECONDS -lt $until ] || fail "gave up waiting for $name ($LOG/$name.log)"
    sleep 0.3
  done
}

step() { # TITLE COMMAND...: its output goes to up.log; a failure is told in one line
  local title=$1 began=$SECONDS code=0
  shift
  set +e # else `set -e` ends this script before it has told; the subshell has its own
  (set -e; STEP=$title; "$@") 9>&2 >>"$LOG/up.log" 2>&1
  code=$?
  set -e
  [ $code != "$TOLD" ] || exit 1
  [ $code = 0 ] || fail "up failed at $title: $(tail -n 1 "$LOG/up.log" | cut -c1-200) ($LOG/up.log)"
  say "$title ($((SECONDS - began)) s)"
}
