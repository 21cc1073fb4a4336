# Completion of hgcache for bash: commands, their options, and files where a file is meant.

_hgcache() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command="" i
    local commands="run check init test get peek set del flush untag stats ring hot explain reload drain replay version help"
    local policies="lru fifo random clock sampled-lru lfu sieve s3-fifo w-tinylfu arc"
    local talks="--node --token-file --json"

    # The command is the first word that is neither an option nor an option's value.
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            --node | --token-file | --ttl | --policy | --objects | --capacity | --join | --leave) ((i++)) ;;
            -*) ;;
            *) command=${COMP_WORDS[i]}; break ;;
        esac
    done

    COMPREPLY=()
    case $before in
        --token-file) compopt -o default; return ;;
        --policy) COMPREPLY=($(compgen -W "$policies" -- "$word")); return ;;
        --node) COMPREPLY=($(compgen -W "http://127.0.0.1:8792" -- "$word")); return ;;
        --ttl | --objects | --capacity | --join | --leave) return ;;
    esac
    if [[ -z $command ]]; then
        COMPREPLY=($(compgen -W "$commands --help --version $talks --key64" -- "$word"))
        return
    fi

    local options=""
    case $command in
        get | peek | del | explain) options="$talks --key64" ;;
        set) options="$talks --key64 --ttl" ;;
        untag) options="$talks --soft" ;;
        ring) options="$talks --join --leave" ;;
        flush | stats | hot | reload | drain) options=$talks ;;
        replay) options="--policy --objects --capacity --json" ;;
        help) COMPREPLY=($(compgen -W "$commands" -- "$word")); return ;;
    esac
    if [[ $word == -* ]]; then
        COMPREPLY=($(compgen -W "$options --help" -- "$word"))
    elif [[ $command == @(run|check|init|test|replay) ]]; then
        compopt -o default
    fi
}

complete -F _hgcache hgcache
