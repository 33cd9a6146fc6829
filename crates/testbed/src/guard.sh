# Ends what a test process started, and removes its directory ($1), once that process is gone.
#
# The test process holds the other end of standard input, so that `read` fails when it ends, however
# it ends. Nothing else survives SIGKILL and works for servers kept in statics, which are never
# dropped; a parent death signal would be bound to the thread that started the server, and the
# threads of tests come and go.
#
# Lines: `+ PID SIGNAL` is ours to end with SIGNAL, `- PID` is no more.
trap '' HUP INT TERM
servers=
while read -r op pid signal; do
  case $op in
    +) servers="$servers $pid:$signal" ;;
    -) kept=
      for server in $servers; do
        [ "${server%:*}" = "$pid" ] || kept="$kept $server"
      done
      servers=$kept ;;
  esac
done

# Not if it is over and merely waits for init to notice.
is_running() {
  kill -s 0 "$1" && case $(ps -o stat= -p "$1") in Z*) false ;; esac
}

for server in $servers; do
  kill -s "${server#*:}" "${server%:*}"
  # A stopped process takes no other signal.
  kill -s CONT "${server%:*}"
done
for server in $servers; do
  tries=60
  while [ $tries -gt 0 ] && is_running "${server%:*}"; do
    sleep 0.05
    tries=$((tries - 1))
  done
  [ $tries -gt 0 ] || kill -s KILL "${server%:*}"
done
rm -rf "$1"
