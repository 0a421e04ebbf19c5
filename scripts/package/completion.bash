# bash completion for tvpassd

_tvpassd_apps() {
	tvpassd "$@" status --json 2>/dev/null | sed -n 's/^ *"app": "\([^"]*\)".*/\1/p'
}

_tvpassd() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} word command='' place=() i
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case $word in
		--config | --socket)
			place+=("$word" "${COMP_WORDS[i+1]}")
			((i++))
			;;
		--app | --accept | --root | --output | --wait | --min-ttl | --status) ((i++)) ;;
		-*) ;;
		*) [ -n "$command" ] || command=$word ;;
		esac
	done
	case $prev in
	--config | --socket | --output) mapfile -t COMPREPLY < <(compgen -f -- "$cur") && return ;;
	--root) mapfile -t COMPREPLY < <(compgen -d -- "$cur") && return ;;
	--app) mapfile -t COMPREPLY < <(compgen -W "$(_tvpassd_apps "${place[@]}")" -- "$cur") && return ;;
	esac
	local words='--config --socket --help --version'
	case $command in
	'') words+=' run status token headers report watch device doctor bundle config refresh reload reset install uninstall start stop restart version' ;;
	status) words+=' --json --watch' ;;
	token | headers) words+=' --app --wait --min-ttl' ;;
	refresh | watch) words+=' --app' ;;
	report) words+=' --app --status' ;;
	reset) words+=' --app --yes' ;;
	reload) words+=' --accept' ;;
	device) words+=' --json --root' ;;
	doctor | version) words+=' --json' ;;
	bundle) words+=' --output' ;;
	config) words+=' check' ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -o filenames -F _tvpassd tvpassd
