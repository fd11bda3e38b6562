/*
 * git with several worktrees that are worked in at the same time, in the mount; and git on the host in the same ones afterwards, which
 * finds every index valid, as the mount does what the host's git leaves.
 */
#include "tests/e2e/tool.h"

CASE_WITH(worktrees, behave_as_without_a_mount, tool_variants)
{
        tool_compare_output(f, "git.sh", "make_repository");
        tool_compare_output(f, "git.sh", "work_in_all");
        tool(f, f->mnt, "git.sh", "must_be_clean");
        fixture_wait(f);
        must_mirror(f);
        tool(f, f->src, "git.sh", "must_be_clean");
        tool_compare_output(f, "git.sh", "remove_worktrees");
        fixture_wait(f);
        must_mirror(f);
}

CASE_WITH(worktrees, are_valid_on_both_sides, tool_variants)
{
        tool(f, f->mnt, "git.sh", "make_repository");
        for (int round = 0; round < 2; round++) {
                tool(f, f->src, "git.sh", "must_be_valid");
                tool(f, f->src, "git.sh", "change");
                fixture_wait(f);
                tool(f, f->mnt, "git.sh", "must_be_valid");
                tool(f, f->mnt, "git.sh", "change");
                fixture_wait(f);
        }
        tool(f, f->src, "git.sh", "must_be_clean");
        tool(f, f->mnt, "git.sh", "must_be_clean");
        fixture_wait(f);
        must_mirror(f);
        tool(f, f->mnt, "git.sh", "describe");
}
