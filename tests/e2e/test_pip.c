/*
 * Virtual environments, pip and compiled Python in the mount: what they leave without one, byte by byte; and the host edits a module that
 * the mount imports.
 */
#include "tests/e2e/tool.h"

CASE_WITH(pip, installs_as_without_a_mount, tool_variants)
{
        tool_compare(f, "pip.sh", "make_packages");
        tool_compare(f, "pip.sh", "make_venv");
        tool_compare(f, "pip.sh", "build");
        tool_compare(f, "pip.sh", "install_wheels");
        tool_compare(f, "pip.sh", "install_editable");
        fixture_wait(f);
        must(strcmp(tool(f, f->src, "pip.sh", "run_them"), tool(f, f->mnt, "pip.sh", "run_them")) == 0, "the host runs something else");
        put_text(at(f->src, "beta/beta/inner/__init__.py"), "value = 'from the host'\n");
        fixture_wait(f);
        must(strstr(tool(f, f->mnt, "pip.sh", "run_them"), "beta from the host data of beta"), "the edit doesn't run");
        put_text(at(f->plain, "beta/beta/inner/__init__.py"), "value = 'from the host'\n");
        tool(f, f->plain, "pip.sh", "run_them");
        tool_compare(f, "pip.sh", "remove");
}
