# bash completion for tvpassd. Commands and flags are what `tvpassd help` says.

_tvpassd_apps() {
	tvpassd "$@" status --json 2>/dev/null | sed -n 's/^ *"app": "\([^"]*\)".*/\1/p'
}
_tvpassd_commands() { tvpassd help 2>/dev/null | sed -n 's/^  \([a-z]\{1,\}\) .*/\1/p'; }
_tvpassd_flags() { tvpassd help "$1" 2>/dev/null | sed -n 's/^  \(--[a-z-]\{1,\}\).*/\1/p'; }

_tvpassd() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} word command='' place=() words i
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case $word in
		--config | --socket)
			place+=("$word" "${COMP_WORDS[i+1]}")
			((i++))
			;;
		--app | --accept | --root | --output | --user | --wait | --min-ttl | --status | -X | -H | -d) ((i++)) ;;
		-*) ;;
		*) [ -n "$command" ] || command=$word ;;
		esac
	done
	case $prev in
	--config | --socket | --output) mapfile -t COMPREPLY < <(compgen -f -- "$cur") && return ;;
	--root) mapfile -t COMPREPLY < <(compgen -d -- "$cur") && return ;;
	--user) mapfile -t COMPREPLY < <(compgen -u -- "$cur") && return ;;
	--app) mapfile -t COMPREPLY < <(compgen -W "$(_tvpassd_apps "${place[@]}")" -- "$cur") && return ;;
	esac
	case $command in
	'') words="--config --socket --help --version help $(_tvpassd_commands)" ;;
	help) words=$(_tvpassd_commands) ;;
	config) words="check $(_tvpassd_flags config)" ;;
	*) words="--help $(_tvpassd_flags "$command")" ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -o filenames -F _tvpassd tvpassd
