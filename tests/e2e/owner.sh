# For scripts that are run by root in a checkout of somebody else's: git, and being that somebody.
owner=1000
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_CONFIG_COUNT=2
export GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*' GIT_CONFIG_KEY_1=gc.auto GIT_CONFIG_VALUE_1=0
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@example

as_owner() {
        setpriv --reuid "$owner" --regid "$owner" --clear-groups -- "$@"
}

# Nothing that git ignores is here, or that it doesn't know, or that is anybody else's.
must_be_clean() {
        local found
        found=$(as_owner git status --ignored --porcelain && find . ! \( -uid "$owner" -gid "$owner" \))
        [ -z "$found" ] || {
                echo "in the source: $found"
                return 1
        }
}
