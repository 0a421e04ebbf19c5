#!/bin/sh
# A player in shell: one call of the REST API V2, through tvpassd's gateway. Needs
# curl (any since 7.40) and sed.
#
#   player.sh SOCKET APP PATH [BODY]
set -eu

die() {
	echo "player: $*" >&2
	exit 1
}

# text NAME: a text in the JSON of the answer.
text() { sed -nE 's/.*"'"$1"'": *"(([^"\\]|\\.)*)".*/\1/p' "$answer"; }

[ $# -ge 3 ] || die "usage: player.sh SOCKET APP PATH [BODY]"
socket=$1 url=http://tvpassd/v1/apps/$2/api/v2/$3 body=${4:-}
case $body in
'{'*) type=application/json ;;
*) type=application/x-www-form-urlencoded ;;
esac
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

# tvpassd adds the token, waits for the throttle, and repeats what may be repeated.
status=$(printf %s "$body" | curl -s --max-time 120 --unix-socket "$socket" -H 'Prefer: wait=60' -o "$answer" \
	-w '%{http_code}' ${body:+-H "Content-Type: $type" --data-binary @-} "$url") ||
	die "no answer: start tvpassd (tvpassd start), or see who may open $socket (ls -l)"
case $status in
2??) cat "$answer" ;;
401) die "401 $(text code): have the app checked in the TVE Dashboard" ;;
*) die "$status $(text code): $(text detail)$(text message): docs/players.md says what to do" ;;
esac
