# bash completion of dsfs: the program itself says what fits (`dsfs complete WORDS…`).
_dsfs() {
        local cur=${COMP_WORDS[COMP_CWORD]} line=${COMP_LINE:0:COMP_POINT} word before found
        local -a words
        read -ra words <<<"$line"
        # A blank behind the last word begins another.
        [[ $line == *[[:space:]] ]] && words+=("")
        word=${words[-1]}
        # bash takes a = and a : for the end of a word; what stands before it is on the line already.
        [[ $cur == [=:] ]] && cur=
        before=${word%"$cur"}
        COMPREPLY=()
        while IFS= read -r found; do
                if [[ $found == :files ]]; then
                        compopt -o filenames 2>/dev/null
                        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$cur")
                else
                        found=${found%%$'\t'*}
                        [[ $found == *= || $found == *, ]] && compopt -o nospace 2>/dev/null
                        COMPREPLY+=("${found#"$before"}")
                fi
        done < <("${words[0]}" complete "${words[@]:1}" 2>/dev/null)
}
complete -F _dsfs dsfs
