# Steps of test_worktrees.c: a repository with three worktrees that are worked in at the same time.
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_TERMINAL_PROMPT=0 GIT_EDITOR=true
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@example
export GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'
trees='one two three'

make_repository() {
        mkdir repo
        cd repo
        git init -q -b main .
        git config safe.directory '*'
        git config gc.auto 0
        # Locks of shared refs are waited for, however loaded the machine is.
        git config core.packedRefsTimeout -1
        git config core.filesRefLockTimeout -1
        local i
        for i in {1..400}; do
                mkdir -p "d$((i % 13))"
                seq "$i" "$((i + i % 50))" >"d$((i % 13))/f$i"
        done
        ln -s d1/f1 link
        git add -A
        git commit -qm base
        for i in {1..5}; do
                seq "$i" 500 >"main$i"
                echo "$i" >>d0/f13
                git add -A
                git commit -qm "main $i"
        done
        for i in $trees; do
                git worktree add -q -b "$i" "../$i" main~3
        done
        git worktree list --porcelain
}

# One worktree's share. Each changes files of its own, so that rebasing meets no conflict.
work() {
        local round
        for round in 1 2 3; do
                echo "$1 $round" >>"d$((round + 1))/new-$1"
                seq "$round" 300 >"$1-$round"
                git add -A
                git commit -qm "$1 $round"
                echo more >>"$1-$round"
                echo untracked >"untracked-$1"
                # All worktrees share one stash.
                flock 9
                git stash push -q --include-untracked
                git checkout -q --detach main~4
                git checkout -q "$1"
                git stash pop -q
                flock -u 9
                [ "$(tail -n 1 "$1-$round")" = more ]
                rm "untracked-$1"
                git commit -qam "$1 $round more"
                git mv "d5/f$((5 + 13 * round))" "moved-$1-$round"
                git commit -qm "$1 $round move"
                git reset -q --hard HEAD~1
                git cherry-pick ORIG_HEAD >/dev/null
        done
        git rebase -q main
        git reset -q --hard main
        git reset -q --hard ORIG_HEAD
}

work_in_all() {
        local tree pids=() pid
        for tree in $trees; do
                (cd "$tree" && work "$tree") 9>stash.lock &
                pids+=($!)
        done
        # No gc yet: it removes empty object directories under whoever is about to write there, and git gives up then.
        git -C repo log -p --all >/dev/null &
        pids+=($!)
        for pid in "${pids[@]}"; do
                wait "$pid"
        done
        rm stash.lock
        git -C repo gc -q
        git -C repo repack -adq
        describe
}

# Whatever doesn't depend on who was first.
describe() {
        local tree
        git -C repo for-each-ref
        for tree in repo $trees; do
                git -C "$tree" log --format='%H %P %s' -n 30
                git -C "$tree" ls-files -s | sha256sum
        done
        (cd repo && git fsck --full --strict --no-dangling)
}

# Each index describes its worktree exactly: these two trust what stat says, and nothing refreshes before them.
must_be_valid() {
        local tree out
        for tree in repo $trees; do
                out=$(git -C "$tree" diff-files --name-only && git -C "$tree" diff-index --name-only HEAD)
                [ -z "$out" ] || {
                        echo "the index of $tree does not hold: $out"
                        return 1
                }
        done
}

must_be_clean() {
        local tree out
        must_be_valid
        for tree in repo $trees; do
                out=$(git -C "$tree" status --porcelain)
                [ -z "$out" ] || {
                        echo "$tree is not clean: $out"
                        return 1
                }
        done
}

# The other side at work. Whoever comes next finds every index valid.
change() {
        local tree
        for tree in repo $trees; do
                echo changed >>"$tree/d7/f7"
                git -C "$tree" commit -qam changed
                git -C "$tree" checkout -q --detach main~5
                git -C "$tree" checkout -q -
        done
}

remove_worktrees() {
        local tree
        for tree in $trees; do
                git -C repo worktree remove "../$tree"
        done
        git -C repo worktree prune
        git -C repo gc -q --prune=now
        git -C repo fsck --full --strict
        git -C repo worktree list
        ls
}

"$@"
