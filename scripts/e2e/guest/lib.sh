# Sourced by what runs inside a test machine: a player's view of the daemon, and
# checks that stop at the first fault.

socket=/run/tvpassd/tvpassd.sock
: "${PATIENCE:=1}" # an emulated machine needs more time: each limit is multiplied by this

step() { printf '\n== %s\n' "$*"; }

fail() {
	printf 'FAILED: %s\n' "$*"
	systemctl --no-pager -l status tvpassd.service tvpassd.socket 2>&1 | head -n 40
	journalctl --no-pager -o cat -u tvpassd -n 400
	exit 1
}

# check WHAT COMMAND...: it must succeed.
check() {
	local what=$1 out
	shift
	out=$("$@" 2>&1) || fail "$what: $* ended with $?: $out"
	printf 'ok  %s\n' "$what"
}

# refuse WHAT STATUS COMMAND...: it must end with this status.
refuse() {
	local what=$1 want=$2 out got=0
	shift 2
	out=$("$@" 2>&1) || got=$?
	[ "$got" = "$want" ] || fail "$what: $* ended with $got, not $want: $out"
	printf 'ok  %s\n' "$what"
}

# eventually WHAT SECONDS COMMAND...: it must succeed within that time.
eventually() {
	local what=$1 end=$((SECONDS + $2 * PATIENCE))
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || fail "$what: not in time: $*: $("$@" 2>&1)"
		sleep 0.1
	done
	printf 'ok  %s\n' "$what"
}

equal() { [ "$1" = "$2" ] || { echo "'$1' is not '$2'"; return 1; }; }
differ() { [ "$1" != "$2" ] || { echo "both are '$1'"; return 1; }; }
holds() { [[ $1 == *$2* ]] || { echo "'$1' does not hold '$2'"; return 1; }; }

as() { runuser -u "$1" -- "${@:2}"; }

# ask USER PATH [OPTION...]: what the daemon answers this user; fails for an
# error.
ask() {
	as "$1" curl -sS --fail-with-body --max-time $((70 * PATIENCE)) --unix-socket $socket "${@:3}" "http://tvpassd$2"
}
# answer USER PATH: the HTTP status of the answer alone.
answer() { as "$1" curl -s -o /dev/null -w '%{http_code}' --unix-socket $socket "http://tvpassd$2"; }
# token QUERY: the player's token. Fails if there is none.
token() {
	local got
	got=$(ask player "/v1/apps/ref30/token$1") && got=$(value access_token <<<"$got") && [ -n "$got" ] && echo "$got"
}

# value NAME: the first value of that name in some JSON.
value() { grep -o "\"$1\": *\(\"[^\"]*\"\|[^,}]*\)" | head -n 1 | sed 's/^[^:]*: *//; s/^"//; s/"$//'; }
status() { tvpassd status --json | value "$1"; }
property() { systemctl show -p "$1" --value "${2:-tvpassd.service}"; }
active() { systemctl --quiet is-active "${1:-tvpassd.service}"; }
inactive() { ! active "$@"; }
missing() { [ ! -e "$1" ]; }
same_client() { equal "$(status client_id)" "$1" && equal "$(status registrations)" 1; }

# people: a player that may have tokens, another one that may not, and a user
# without the socket's group.
people() {
	for user in player other stranger; do id $user >/dev/null 2>&1 || useradd --no-create-home $user; done
	usermod -aG tvpass player
	usermod -aG tvpass other
}

# configure URL [CA]: the endpoint, and one app of the player's.
configure() {
	printf 'endpoint = "%s"\naccept_volatile_state = true\n' "$1" >/etc/tvpassd/config.toml
	[ -z "${2:-}" ] || printf '[http]\nca_file = "%s"\n' "$2" >>/etc/tvpassd/config.toml
	cp /payload/ref30.jwt /etc/tvpassd/apps.d/
	printf '[[app]]\nid = "ref30"\nsoftware_statement_file = "ref30.jwt"\nallow_users = ["player"]\n' \
		>/etc/tvpassd/apps.d/ref30.toml
}

main_pid() { property MainPID; }
# again PID: the daemon runs, as another process than PID.
again() { local now; now=$(main_pid); [ "$now" != 0 ] && [ "$now" != "$1" ] && active; }

# kill_hard: kills the daemon, and waits until the service manager has started
# it again.
kill_hard() {
	local was
	was=$(main_pid)
	kill -9 "$was"
	eventually "it is up again after kill -9" 30 again "$was"
}
