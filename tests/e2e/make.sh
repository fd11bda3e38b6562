# Steps of test_make.c: a C project of 100 units, 30 headers, an archive, a shared library and a program that uses both.

make_project() {
        local i
        mkdir src include
        for i in {0..29}; do
                printf '#pragma once\nint unit%d(int x);\n#define H%d %d\n' "$i" "$i" "$i" >"include/h$i.h"
        done
        for i in {0..99}; do
                printf '#include <stdio.h>\n#include <string.h>\n#include "h%d.h"\n#include "h%d.h"\n' $((i % 30)) $((i * 7 % 30))
                printf 'int unit%d(int x)\n{\n\tchar b[64];\n\tsnprintf(b, sizeof(b), "%%d", x + H%d);\n\treturn (int)strlen(b);\n}\n' \
                        "$i" $((i * 7 % 30))
        done | awk '/stdio.h/ { n++ } { print > ("src/u" (n - 1) ".c") }'
        {
                for i in {0..99}; do echo "int unit$i(int x);"; done
                printf 'int main(void)\n{\n\tint sum = 0;\n'
                for i in {0..99}; do printf '\tsum += unit%d(%d);\n' "$i" "$i"; done
                printf '\treturn sum > 0 ? 0 : 1;\n}\n'
        } >src/main.c
        cat >Makefile <<'EOF'
LOW := $(patsubst %,o/u%.o,$(shell seq 0 49))
HIGH := $(patsubst %,o/u%.o,$(shell seq 50 99))
prog: o/main.o libhigh.so liblow.a
	gcc -o $@ $< -L. -lhigh -llow -Wl,-rpath,'$$ORIGIN'
liblow.a: $(LOW)
	rm -f $@
	ar rcs $@ $^
libhigh.so: $(HIGH)
	gcc -shared -o $@ $^
o/%.o: src/%.c | o
	@echo CC $*
	@gcc -O1 -fPIC -Iinclude -MMD -MP -c -o $@ $<
o:
	mkdir $@
-include $(wildcard o/*.d)
EOF
}

build() {
        make -j2 | sort
        make -q
        ./prog
}

# In the other place: nothing is left to do there either.
up_to_date() {
        make -q
        # Not before the agent closed what it wrote it with.
        until ./prog; do
                [ $? = 126 ]
        done 2>/dev/null
}

edit() {
        echo '/* edited */' >>include/h11.h
        ! make -q
}

# Exactly what includes the header is compiled again.
rebuild() {
        local want have
        want=$(grep -l '"h11.h"' src/*.c | sed -E 's,src/(.*)\.c,CC \1,' | sort)
        have=$(make -j2 | grep '^CC' | sort)
        [ -n "$want" ] && [ "$want" = "$have" ] || {
                printf 'compiled:\n%s\ninstead of:\n%s\n' "$have" "$want"
                return 1
        }
        make -q
        ./prog
}

clean() {
        rm -rf o prog lib*
}

"$@"
