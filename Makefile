# dsfs: build, test, measure, install. `make help` lists the targets.
# Each room lists its own files in <room>/files.mk; nothing is found by globbing.

PREFIX ?= /usr/local
DESTDIR ?=
VARIANT ?= release
BUILD ?= build
OUT := $(BUILD)/$(VARIANT)

VERSION := 0.1.0

.DEFAULT_GOAL := all

include cache/files.mk fs/files.mk sync/files.mk tests/files.mk bench/files.mk
include packaging/flags.mk

# Everything but main() is in the library, which the binary, the tests and the benchmarks link.
MAIN := sync/agent/main.c
LIB_SRCS := $(filter-out $(MAIN),$(CACHE_SRCS) $(FS_SRCS) $(SYNC_SRCS))
LIB_OBJS := $(LIB_SRCS:%.c=$(OUT)/%.o)
LIB := $(OUT)/libdsfs.a
OBJS := $(LIB_OBJS) $(MAIN:%.c=$(OUT)/%.o)

LINK = @mkdir -p $(@D) && echo "  LINK $@" && \
	$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) $(LINK_LIBS) $(LIBS) -Wl,--end-group

all: $(BUILD)/dsfs ## build the binary, build/dsfs

# The binary is found here whatever the variant; always looked at, for switching the variant makes nothing newer.
$(BUILD)/dsfs: $(OUT)/dsfs FORCE
	@test $@ -ef $< || ln -f $< $@ 2>/dev/null || cp -f $< $@

$(OUT)/dsfs: $(MAIN:%.c=$(OUT)/%.o) $(LIB)
	$(LINK)

$(LIB): $(LIB_OBJS)
	@rm -f $@
	@echo "  AR   $@"
	@$(AR) rcs $@ $^

$(OUT)/%.o: %.c $(DEPS_STAMP)
	@mkdir -p $(@D)
	@echo "  CC   $@"
	@$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

include sync/client/rules.mk bench/rules.mk tests/rules.mk tests/fuzz/rules.mk packaging/rules.mk

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | sort | expand -t 18
	@echo 'Variables: VARIANT=release|asan|tsan BUILD=build CC= CFLAGS= LDFLAGS= WERROR=1 PREFIX= DESTDIR= SRC='

clean: ## remove what was built (libfuse's own build stays)
	rm -rf $(BUILD)

-include $(OBJS:.o=.d)

FORCE:
.PHONY: all help clean FORCE
.DELETE_ON_ERROR:
