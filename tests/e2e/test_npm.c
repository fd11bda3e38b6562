/*
 * npm ci in the mount: the tree that it leaves without one, byte by byte; and tools that run from it.
 */
#include "tests/e2e/tool.h"

CASE_WITH(npm, installs_as_without_a_mount, tool_variants)
{
        tool(f, f->base, "npm.sh", "fetch");
        tool_compare(f, "npm.sh", "install");
        tool_compare_output(f, "npm.sh", "list");
        tool_compare(f, "npm.sh", "run_tools");
        tool_compare(f, "npm.sh", "uninstall");
        tool_compare(f, "npm.sh", "remove");
}
