# fish completion for tvpassd. Commands and flags are what `tvpassd help` says.

function __tvpassd_command -d 'the command on the line'
    set -l words (commandline -opc)[2..-1]
    while set -q words[1]
        switch $words[1]
            case --config --socket --app --accept --root --output --user --wait --min-ttl --status
                set -e words[1]
            case '-*'
            case '*'
                echo $words[1]
                return
        end
        set -e words[1]
    end
end
function __tvpassd_commands
    tvpassd help 2>/dev/null | awk -F '   *' '/^  [a-z]/ { sub(/ .*/, "", $2); print $2 "\t" $3 }'
end
function __tvpassd_flags
    tvpassd help (__tvpassd_command) 2>/dev/null | sed -n 's/^  \(--[a-z-]\{1,\}\) *[A-Z]* *\(.*\)$/\1\t\2/p'
    printf '%s\t%s\n' --help 'what the command does'
end
function __tvpassd_apps
    tvpassd status --json 2>/dev/null | sed -n 's/^ *"app": "\([^"]*\)".*/\1/p'
end
function __tvpassd_is
    set -l command (__tvpassd_command)
    test "$command" = "$argv[1]"
end
function __tvpassd_after
    contains -- (commandline -opc)[-1] $argv
end

complete -c tvpassd -f
complete -c tvpassd -n '__tvpassd_after --config --socket --output' -F
complete -c tvpassd -n '__tvpassd_after --root' -a '(__fish_complete_directories)'
complete -c tvpassd -n '__tvpassd_after --user' -a '(__fish_complete_users)'
complete -c tvpassd -n '__tvpassd_after --app' -a '(__tvpassd_apps)'
set -l free 'not __tvpassd_after --config --socket --output --root --user --app --accept'
complete -c tvpassd -n "$free; and __tvpassd_is ''" -a 'help (__tvpassd_commands)'
complete -c tvpassd -n "$free; and __tvpassd_is ''" -a '--config --socket --help --version'
complete -c tvpassd -n "$free; and __tvpassd_is help" -a '(__tvpassd_commands)'
complete -c tvpassd -n "$free; and __tvpassd_is config" -a check
complete -c tvpassd -n "$free; and not __tvpassd_is ''" -a '(__tvpassd_flags)'
