/*
 * make and a compiler in the mount: what they build, and that they build again what was edited on the host, no more and no less.
 */
#include "tests/e2e/tool.h"

CASE_WITH(make, builds_as_without_a_mount, tool_variants)
{
        tool(f, f->plain, "make.sh", "make_project");
        tool(f, f->src, "make.sh", "make_project");
        fixture_wait(f);
        tool_compare(f, "make.sh", "build");
        tool(f, f->src, "make.sh", "up_to_date");
        tool_compare(f, "make.sh", "clean");
}

CASE_WITH(make, compiles_what_was_edited_on_the_other_side, tool_variants)
{
        tool(f, f->mnt, "make.sh", "make_project");
        tool(f, f->mnt, "make.sh", "build");
        fixture_wait(f);
        for (int round = 0; round < 2; round++) {
                tool(f, f->src, "make.sh", "edit");
                fixture_wait(f);
                tool(f, f->mnt, "make.sh", "rebuild");
                tool(f, f->src, "make.sh", "up_to_date");
                tool(f, f->mnt, "make.sh", "edit");
                tool(f, f->src, "make.sh", "rebuild");
                fixture_wait(f);
                tool(f, f->mnt, "make.sh", "up_to_date");
        }
        fixture_wait(f);
        must_mirror(f);
}
