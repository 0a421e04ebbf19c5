#!/bin/sh
# A player in shell: one protected call with what tvpassd hands out. Needs curl (7.84 or newer) and sed.
#
#   player.sh SOCKET APP URL [CA_FILE]
set -eu

die() {
	echo "player: $*" >&2
	exit 1
}

# text NAME, number NAME: a value in the JSON of the last answer.
text() { sed -nE 's/.*"'"$1"'": *"(([^"\\]|\\.)*)".*/\1/p' "$answer"; }
number() { sed -nE 's/.*"'"$1"'": *([0-9]+).*/\1/p' "$answer"; }

# ask PATH [CURL OPTION...]: asks the daemon, again where it says when.
ask() {
	path=$1
	shift
	for _ in 1 2 3 4 5; do
		status=$(curl -s --max-time 60 --unix-socket "$socket" -o "$answer" -w '%{http_code}' "$@" "http://tvpassd/v1/apps/$app/$path") ||
			die "no answer: start tvpassd (tvpassd start), or see who may open $socket (ls -l)"
		pause_ms=$(number retry_after_ms)
		[ "$status" = 503 ] && [ "${pause_ms:=1000}" -le 60000 ] || break
		sleep $(((pause_ms + 999) / 1000))
	done
	[ "$status" -lt 300 ] || die "tvpassd answered $(text code): $(text detail): see tvpassd status"
}

[ $# -ge 3 ] || die "usage: player.sh SOCKET APP URL [CA_FILE]"
socket=$1 app=$2 url=$3 ca=${4:-}
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
pause=1 reported=
while :; do
	ask headers # each time: it costs nothing, and is sure to be good
	headers=$(sed -E 's/.*"headers":\{"(.*)"\}.*/\1/; s/":"/: /g; s/","/\
/g' "$answer")
	# From standard input: a token on the command line stands in every list of processes.
	status=$(printf '%s\n' "$headers" | curl -s --max-time 60 ${ca:+--cacert "$ca"} -H @- -o "$answer" \
		-w '%{http_code} %header{retry-after}' "$url") || die "no answer from $url: check the network and the certificate (tvpassd doctor)"
	after=${status#* } status=${status% *}
	case $after in
	'' | *[!0-9]*) after=0 ;; # there is none, or it is a date
	esac
	[ "$after" -gt $pause ] || after=$pause
	if [ "$status" = 429 ] && [ $pause -le 4 ] && [ "$after" -le 60 ]; then # the throttle: wait 1, 2 and 4 s, or what it asks for
		sleep "$after"
		pause=$((pause * 2))
	elif [ "$status" = 401 ] && [ -z "$reported" ]; then # the daemon fetches another token, and has the next call wait for it
		reported=yes
		token=$(printf '%s\n' "$headers" | sed -n 's/^Authorization: Bearer //p')
		printf '{"access_token":"%s","status":401}' "$token" | ask report --data-binary @-
	else
		break
	fi
done
case $status in
2??) cat "$answer" ;;
401) die "$url answered 401 $(text code): have the app checked in the TVE Dashboard" ;;
429) die "$url answered 429: too many calls from this address, try again in a minute" ;;
*) die "$url answered $status $(text code): see Adobe's page \"Enhanced error codes\"" ;;
esac
