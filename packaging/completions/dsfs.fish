# fish completion of dsfs: the program itself says what fits (`dsfs complete WORDS…`).
function __dsfs_complete
        set -l words (commandline -opc)
        set -l last (commandline -ct)
        for found in ($words[1] complete $words[2..-1] "$last" 2>/dev/null)
                if test "$found" = ":files"
                        __fish_complete_path "$last"
                else
                        printf '%s\n' $found
                end
        end
end
complete -c dsfs -f -a '(__dsfs_complete)'
