#compdef tvpassd
# zsh completion for tvpassd. Commands and flags are what `tvpassd help` says.

_tvpassd_commands() {
	local -a commands
	commands=(${(f)"$(tvpassd help 2>/dev/null | awk -F '   *' '/^  [a-z]/ { sub(/ .*/, "", $2); print $2 ":" $3 }')"})
	_describe command commands
}
_tvpassd_apps() {
	local -a apps
	apps=(${(f)"$(tvpassd $place status --json 2>/dev/null | sed -n 's/^ *"app": "\([^"]*\)".*/\1/p')"})
	compadd -a apps
}
_tvpassd_flags() {
	local -a flags
	flags=(${(f)"$(tvpassd help $1 2>/dev/null | sed -n 's/^  \(--[a-z-]\{1,\}\) *[A-Z]* *\(.*\)$/\1:\2/p')"})
	flags+=('--help:what the command does')
	_describe flag flags
}

_tvpassd() {
	local command='' place=() i
	for ((i = 2; i < CURRENT; i++)); do
		case $words[i] in
		--config | --socket) place+=($words[i] $words[i+1]); ((i++)) ;;
		--app | --accept | --root | --output | --user | --wait | --min-ttl | --status) ((i++)) ;;
		-*) ;;
		*) [[ -n $command ]] || command=$words[i] ;;
		esac
	done
	case $words[CURRENT-1] in
	--config | --socket | --output) _files; return ;;
	--root) _directories; return ;;
	--user) _users; return ;;
	--app) _tvpassd_apps; return ;;
	esac
	case $command in
	'') _tvpassd_commands; [[ $PREFIX != -* ]] || compadd -- --config --socket --help --version ;;
	help) _tvpassd_commands ;;
	config) compadd check; _tvpassd_flags config ;;
	*) _tvpassd_flags $command ;;
	esac
}
_tvpassd "$@"
