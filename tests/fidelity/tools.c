/*
 * Programs whose system calls are their own. Each runs in a directory of its own, the environment's $TREE.
 */
#include "tests/fidelity/fidelity.h"

#define SLOW "slow:"
#define GIT "git -c init.defaultBranch=main -c user.name=t -c user.email=t@localhost -c gc.auto=0 "
#define MANY "for i in $(seq 200); do "

const struct tool tools[] = {
        {"`git checkout` of another branch",
         GIT "init -q\n"
             "mkdir a b c; " MANY "echo 1 >a/$i; echo 1 >b/$i; done\n" GIT "add .; " GIT "commit -qm 1\n" GIT
             "checkout -qb other; rm -r b; " MANY "echo 2 >a/$i; echo 2 >c/$i; done; mkdir -p d/e/f; echo 2 >d/e/f/g\n" GIT "add .; " GIT
             "commit -qm 2; " GIT "checkout -q main",
         GIT "checkout -q other"},
        {"`git stash`", GIT "init -q; echo 1 >f; echo 1 >g; " GIT "add .; " GIT "commit -qm 1; echo 2 >f; rm g; echo 3 >h; " GIT "add h",
         GIT "stash -q"},
        {"`git rebase`",
         GIT "init -q; echo 1 >f; " GIT "add .; " GIT "commit -qm 1; " GIT "checkout -qb topic; echo 2 >g; " GIT "add .; " GIT
             "commit -qm 2; " GIT "checkout -q main; echo 3 >h; " GIT "add .; " GIT "commit -qm 3; " GIT "checkout -q topic",
         GIT "rebase -q main"},
        {SLOW "`npm ci`, 40 packages of 12 files",
         "mkdir pack cache\n"
         "for p in $(seq 40); do mkdir -p pack/package/lib; printf '{\"name\":\"p%s\",\"version\":\"1.0.0\"}' $p "
         ">pack/package/package.json\n"
         "  for f in $(seq 10); do echo $p.$f >pack/package/lib/$f.js; done; echo $p >pack/package/index.js\n"
         "  tar -czf p$p.tgz -C pack package; rm -r pack/package; deps=\"$deps${deps:+,}\\\"p$p\\\":\\\"file:p$p.tgz\\\"\"; done\n"
         "printf '{\"name\":\"t\",\"version\":\"1.0.0\",\"dependencies\":{%s}}' \"$deps\" >package.json\n"
         "npm install --offline --package-lock-only --no-audit --no-fund --loglevel=error --cache \"$TREE/../../npm\" >/dev/null",
         "npm ci --offline --no-audit --no-fund --loglevel=error --cache \"$TREE/../../npm\" >/dev/null"},
        {"`sed -i` of 200 files", MANY "echo 1 >$i; done", "sed -i s/1/2/ [0-9]*"},
        {"`rm -rf`", "mkdir -p a/b/c d; " MANY "echo 1 >a/b/$i; echo 1 >a/b/c/$i; done", "rm -rf a d"},
        {"`cp -a`", "mkdir -p a/b/c; " MANY "echo 1 >a/b/$i; echo 1 >a/b/c/$i; done; ln -s b a/l", "cp -a a z"},
        {"`mkdir -p`", "true", "mkdir -p a/b/c/d/e/f/g"},
        {"`tar -x`", "mkdir -p a/b; " MANY "echo 1 >a/b/$i; done; tar -cf t.tar a; rm -r a", "tar -xf t.tar"},
        {"`mv` of a tree", "mkdir -p a/b/c; " MANY "echo 1 >a/b/c/$i; done", "mv a z; echo 2 >z/b/c/1; echo 2 >z/b/c/new"},
};
const size_t tool_count = ARRAY_LEN(tools);
